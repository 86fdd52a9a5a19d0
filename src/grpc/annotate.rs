//! Labels for streams of ports: each label is sent once, then a number for each port.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Weak};

use super::fields::{Fields, MAX_BATCH, Parsed, parse};
use super::status::CallError;
use super::{convert, proto};
use crate::registry::port::{Port, Transport};
use crate::registry::reference::{Label, Reference};
use crate::registry::snapshot::Snapshot;

/// The labels that a stream has sent, and their numbers.
#[derive(Debug, Default)]
pub struct StreamLabels {
    sent: HashMap<Label, u32>,
    /// The numbers of sent labels by their index in the label table of `reference`.
    indexed: Vec<Option<u32>>,
    /// The reference of the last block. Weak: an idle stream must not keep a replaced reference.
    reference: Weak<Reference>,
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
        let reference = snapshot.reference();
        let table = reference.labels();
        if !ptr::eq(self.reference.as_ptr(), Arc::as_ptr(reference)) {
            self.reference = Arc::downgrade(reference);
            self.indexed.clear();
            self.indexed.resize(table.count(), None);
        }
        let mut new_labels = Vec::new();
        let label_numbers = keys.into_iter().map(|(port, transport)| {
            if let Some(label) = view.custom_label(port, transport) {
                return self.number(label, &mut new_labels);
            }
            let index = table.number(port, transport);
            if let Some(number) = self.indexed[index] {
                return number;
            }
            let number = self.number(table.get(index).clone(), &mut new_labels);
            self.indexed[index] = Some(number);
            number
        });
        Ok(proto::AnnotatePortsResponse {
            label_numbers: label_numbers.collect(),
            new_labels,
            revision: snapshot.revision().0,
        })
    }

    /// The number of the label, which is added to `new_labels` if it was not sent before.
    fn number(&mut self, label: Label, new_labels: &mut Vec<proto::Label>) -> u32 {
        let next = self.sent.len() as u32;
        *self.sent.entry(label).or_insert_with_key(|label| {
            new_labels.push(convert::label(label));
            next
        })
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
