//! Labels for streams of ports: each label is sent once, and a number for each port.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::fields::{Fields, MAX_BATCH, Read, parse};
use super::status::CallError;
use super::{convert, proto};
use crate::registry::port::{Port, Transport};
use crate::registry::reference::Label;
use crate::registry::snapshot::Snapshot;

/// The labels that a stream has used, and the number each has in it.
#[derive(Debug, Default)]
pub struct StreamLabels {
    /// By the label's number in the reference's table.
    of_reference: Vec<Option<u32>>,
    /// Those of registrations.
    own: HashMap<Label, u32>,
    count: u32,
}

impl StreamLabels {
    /// The labels of a block, and those that the stream has not used before.
    ///
    /// # Errors
    /// If the block is not valid.
    pub fn annotate(
        &mut self,
        snapshot: &Snapshot,
        block: &proto::AnnotatePortsRequest,
    ) -> Result<proto::AnnotatePortsResponse, CallError> {
        let (namespace, keys) = parse(|fields| {
            let namespace = fields.namespace("namespace", &block.namespace);
            let keys = keys(fields, block);
            Ok((namespace?, keys?))
        })?;
        let view = snapshot.view(&namespace)?;
        let table = view.reference().labels();
        self.of_reference.resize(table.count(), None);
        let mut new_labels = Vec::new();
        let label_numbers = keys.into_iter().map(|(port, transport)| {
            if let Some(own) = view.custom_label(port, transport) {
                return self.number_of_own(own, &mut new_labels);
            }
            let in_table = table.number(port, transport);
            if let Some(number) = self.of_reference[in_table] {
                return number;
            }
            let number = self.send(table.get(in_table), &mut new_labels);
            self.of_reference[in_table] = Some(number);
            number
        });
        Ok(proto::AnnotatePortsResponse {
            label_numbers: label_numbers.collect(),
            new_labels,
            revision: snapshot.revision().0,
        })
    }

    fn number_of_own(&mut self, own: Label, new_labels: &mut Vec<proto::Label>) -> u32 {
        let next = self.count;
        match self.own.entry(own) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                new_labels.push(convert::label(unknown.key()));
                unknown.insert(next);
                self.count += 1;
                next
            }
        }
    }

    fn send(&mut self, label: &Label, new_labels: &mut Vec<proto::Label>) -> u32 {
        new_labels.push(convert::label(label));
        self.count += 1;
        self.count - 1
    }
}

/// The ports of a block with their transports.
fn keys(
    fields: &mut Fields,
    block: &proto::AnnotatePortsRequest,
) -> Read<Vec<(Port, Option<Transport>)>> {
    fields.batch("ports", block.ports.len(), MAX_BATCH)?;
    let transports: Vec<_> = block
        .transports
        .iter()
        .map(|&number| fields.transport("transports", number))
        .collect::<Read<_>>()?;
    let (given, asked) = (transports.len(), block.ports.len());
    if given > 1 && given != asked {
        let fault = format!(
            "has {given} entries for {asked} ports: one for each, one for all, or none is asked for"
        );
        return Err(fields.fault("transports", fault));
    }
    let transport_at = |place: usize| match transports[..] {
        [] => None,
        [one] => one,
        _ => transports[place],
    };
    let ports =
        block.ports.iter().enumerate().map(|(place, &number)| match Port::try_from(number) {
            Ok(port) => Ok((port, transport_at(place))),
            Err(fault) => Err(fields.fault(&format!("ports[{place}]"), fault)),
        });
    ports.collect()
}
