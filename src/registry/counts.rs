//! Counts of the records in a registry.

use std::collections::HashSet;
use std::sync::Arc;

use super::assignment::{Origin, Record, Source, State};
use super::port::{PortRange, Transport};

/// The counts of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The source.
    pub source: Source,
    /// All records.
    pub assignments: u32,
    /// Records with a port.
    pub with_port: u32,
    /// Records published as a port range.
    pub port_ranges: u32,
    /// Records with a service name.
    pub with_service_name: u32,
    /// Distinct service names.
    pub distinct_service_names: u32,
    /// By transport: each of [`Transport::ALL`], then records without one.
    pub transports: [u32; 5],
    /// By state, as in [`State::ALL`].
    pub states: [u32; 4],
}

impl Counts {
    const fn zero(source: Source) -> Self {
        Self {
            source,
            assignments: 0,
            with_port: 0,
            port_ranges: 0,
            with_service_name: 0,
            distinct_service_names: 0,
            transports: [0; 5],
            states: [0; 4],
        }
    }

    /// Counts the records of this source.
    pub fn of<'a>(source: Source, records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut counts = Self::zero(source);
        let mut names = HashSet::new();
        for record in records.filter(|record| record.source() == source) {
            counts.add(record, 1);
            if let Some(name) = record.service_name.as_deref()
                && names.insert(name)
            {
                counts.distinct_service_names += 1;
            }
        }
        counts
    }

    /// Adds `delta` (1 or -1) for the record to all counts except the one of distinct names.
    fn add(&mut self, record: &Record, delta: i32) {
        let transport = record.transport.map_or(Transport::ALL.len(), Transport::index);
        for (count, applies) in [
            (&mut self.assignments, true),
            (&mut self.with_port, record.ports.is_some()),
            (&mut self.port_ranges, is_range(record)),
            (&mut self.with_service_name, record.service_name.is_some()),
            (&mut self.transports[transport], true),
            (&mut self.states[record.state as usize], true),
        ] {
            if applies {
                *count = count.saturating_add_signed(delta);
            }
        }
    }
}

/// The counts of registrations, updated with every change.
#[derive(Clone, Debug)]
pub(super) struct RunningCounts {
    counts: Counts,
    /// The number of registrations with each name.
    names: imbl::HashMap<Arc<str>, u32>,
}

impl RunningCounts {
    pub(super) fn new() -> Self {
        Self { counts: Counts::zero(Source::Custom), names: imbl::HashMap::new() }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { distinct_service_names: self.names.len() as u32, ..self.counts.clone() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.counts.add(record, 1);
        if let Some(name) = &record.service_name {
            *self.names.entry(Arc::clone(name)).or_insert(0) += 1;
        }
    }

    pub(super) fn remove(&mut self, record: &Record) {
        self.counts.add(record, -1);
        let Some(name) = &record.service_name else { return };
        match self.names.get_mut(name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.names.remove(name)),
        }
    }
}

fn is_range(record: &Record) -> bool {
    match &record.origin {
        Origin::Iana(columns) => columns.published_as_range,
        Origin::Custom(_) | Origin::Common { .. } => {
            record.ports.is_some_and(|ports: PortRange| ports.width() > 1)
        }
    }
}

impl Counts {
    /// The number of records in a state.
    #[must_use]
    pub const fn in_state(&self, state: State) -> u32 {
        self.states[state as usize]
    }
}
