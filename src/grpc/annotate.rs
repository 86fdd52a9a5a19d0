//! Labels for streams of ports: each label is sent once, then a number for each port.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::fields::{Fields, MAX_BATCH, Parsed, parse};
use super::status::CallError;
use super::{convert, proto};
use crate::registry::port::{Port, Transport};
use crate::registry::reference::Label;
use crate::registry::snapshot::Snapshot;

/// The labels that a stream has sent, and their numbers.
#[derive(Debug, Default)]
pub struct StreamLabels {
    /// By the label's index in the reference's table.
    reference: Vec<Option<u32>>,
    /// The labels of registrations.
    custom: HashMap<Label, u32>,
    count: u32,
}

impl StreamLabels {
    /// The label numbers of a block, and the labels that were not sent before.
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
        self.reference.resize(table.count(), None);
        let mut new_labels = Vec::new();
        let label_numbers = keys.into_iter().map(|(port, transport)| {
            if let Some(label) = view.custom_label(port, transport) {
                return self.custom_number(label, &mut new_labels);
            }
            let index = table.number(port, transport);
            if let Some(number) = self.reference[index] {
                return number;
            }
            let number = self.send(table.get(index), &mut new_labels);
            self.reference[index] = Some(number);
            number
        });
        Ok(proto::AnnotatePortsResponse {
            label_numbers: label_numbers.collect(),
            new_labels,
            revision: snapshot.revision().0,
        })
    }

    fn custom_number(&mut self, label: Label, new_labels: &mut Vec<proto::Label>) -> u32 {
        let next = self.count;
        match self.custom.entry(label) {
            Entry::Occupied(sent) => *sent.get(),
            Entry::Vacant(unsent) => {
                new_labels.push(convert::label(unsent.key()));
                unsent.insert(next);
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

/// The ports of a block and their transports.
fn keys(
    fields: &mut Fields,
    block: &proto::AnnotatePortsRequest,
) -> Parsed<Vec<(Port, Option<Transport>)>> {
    fields.batch_size("ports", block.ports.len(), MAX_BATCH)?;
    let transports: Vec<_> = block
        .transports
        .iter()
        .map(|&number| fields.transport("transports", number))
        .collect::<Parsed<_>>()?;
    let (entries, ports) = (transports.len(), block.ports.len());
    if entries > 1 && entries != ports {
        let description = format!(
            "has {entries} entries for {ports} ports: expected one for each, one for all, or none"
        );
        return Err(fields.invalid("transports", description));
    }
    let transport_at = |index: usize| match transports[..] {
        [] => None,
        [one] => one,
        _ => transports[index],
    };
    let ports =
        block.ports.iter().enumerate().map(|(index, &number)| match Port::try_from(number) {
            Ok(port) => Ok((port, transport_at(index))),
            Err(error) => Err(fields.invalid(&format!("ports[{index}]"), error)),
        });
    ports.collect()
}
