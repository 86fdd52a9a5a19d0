//! Converts IANA's records into assignments: uids, shared texts and aliases.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{IanaError, IanaRecord};
use crate::registry::assignment::{Assignment, IanaColumns, Origin, Source, Uid};
use crate::registry::details::Details;
use crate::registry::interner::Interner;
use crate::registry::port::Transport;

/// Converts the records of one edition, in the order of its file.
#[derive(Debug, Default)]
pub struct Converter {
    assignments: Vec<Assignment>,
    texts: Interner,
    /// How many records have the same service name, port number and transport.
    occurrences: HashMap<(String, String, Option<Transport>), usize>,
}

impl Converter {
    /// Converts the next record.
    ///
    /// # Errors
    /// If its ports or its transport are not valid.
    pub fn push(&mut self, record: IanaRecord) -> Result<(), IanaError> {
        let number = self.assignments.len() + 1;
        let (ports, transport) = record.ports_and_transport(number)?;
        let state = record.state();
        let mut intern = |text: &str| self.texts.intern(text);
        let service_name = (!record.service_name.is_empty()).then(|| intern(&record.service_name));
        let columns = IanaColumns {
            ordinal: number as u32,
            published_as_range: record.port_number.contains('-'),
            aliases: Vec::new(),
            registration_date: intern(&record.registration_date),
            modification_date: intern(&record.modification_date),
            service_code: intern(&record.service_code),
            unauthorized_use_reported: intern(&record.unauthorized_use_reported),
        };
        let details = Details {
            description: intern(&record.description),
            assignee: intern(&record.assignee),
            contact: intern(&record.contact),
            reference: intern(&record.reference),
            assignment_notes: intern(&record.assignment_notes),
            // Fields that IANA's registry does not have.
            ..Details::default()
        };
        let key = (record.service_name, record.port_number, transport);
        let occurrence = self.occurrences.get(&key).copied().unwrap_or_default();
        let uid = Uid::fixed(Source::Iana, &key.0, &key.1, transport, occurrence);
        self.occurrences.insert(key, occurrence + 1);
        self.assignments.push(Assignment {
            uid,
            origin: Origin::Iana(columns),
            service_name,
            ports,
            transport,
            state,
            details,
        });
        Ok(())
    }

    /// The assignments, linked with their aliases.
    #[must_use]
    pub fn finish(mut self) -> Vec<Assignment> {
        link_aliases(&mut self.assignments);
        self.assignments
    }
}

/// Converts the records of one edition, in the order of its file.
///
/// # Errors
/// If the ports or the transport of a record are not valid.
pub fn assignments(
    records: impl IntoIterator<Item = IanaRecord>,
) -> Result<Vec<Assignment>, IanaError> {
    let mut converter = Converter::default();
    records.into_iter().try_for_each(|record| converter.push(record))?;
    Ok(converter.finish())
}

/// Links service names with their aliases in both directions, where IANA states "This entry is an
/// alias to ...".
fn link_aliases(assignments: &mut [Assignment]) {
    let mut links: HashMap<String, BTreeSet<Arc<str>>> = HashMap::new();
    for assignment in &*assignments {
        let target = alias_target(&assignment.details.assignment_notes);
        if let (Some(name), Some(target)) = (&assignment.service_name, target) {
            links.entry(name.to_lowercase()).or_default().insert(target.into());
            links.entry(target.to_lowercase()).or_default().insert(Arc::clone(name));
        }
    }
    for assignment in assignments {
        if let (Some(name), Origin::Iana(columns)) =
            (&assignment.service_name, &mut assignment.origin)
            && let Some(linked) = links.get(&name.to_lowercase())
        {
            columns.aliases = linked.iter().cloned().collect();
        }
    }
}

fn alias_target(notes: &str) -> Option<&str> {
    let (_, remaining) = notes.split_once("This entry is an alias to \"")?;
    let (target, _) = remaining.split_once('"')?;
    Some(target)
}
