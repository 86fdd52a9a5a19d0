//! What a registry holds, in figures.

use std::collections::HashSet;
use std::sync::Arc;

use super::assignment::{Origin, Record, Source, State};
use super::port::{PortRange, Transport};

/// The figures of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The source.
    pub source: Source,
    /// All its records.
    pub assignments: u32,
    /// Those with a port.
    pub with_port: u32,
    /// Those published as a run of ports.
    pub port_ranges: u32,
    /// Those with a service name.
    pub with_service_name: u32,
    /// How many different names these have.
    pub distinct_service_names: u32,
    /// By transport: each of [`Transport::ALL`], then none.
    pub transports: [u32; 5],
    /// By state, as in [`State::ALL`].
    pub states: [u32; 4],
}

impl Counts {
    const fn none(source: Source) -> Self {
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

    /// Counts the records that are of this source.
    pub fn of<'a>(source: Source, records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut counts = Self::none(source);
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

    /// Adds the record so many times, 1 or -1, to all figures but that of names.
    fn add(&mut self, record: &Record, times: i32) {
        let transport = record.transport.map_or(Transport::ALL.len(), Transport::index);
        for (figure, is_meant) in [
            (&mut self.assignments, true),
            (&mut self.with_port, record.ports.is_some()),
            (&mut self.port_ranges, is_range(record)),
            (&mut self.with_service_name, record.service_name.is_some()),
            (&mut self.transports[transport], true),
            (&mut self.states[record.state as usize], true),
        ] {
            if is_meant {
                *figure = figure.saturating_add_signed(times);
            }
        }
    }
}

/// The figures of registrations, kept as they come and go.
#[derive(Clone, Debug)]
pub(super) struct RunningCounts {
    counts: Counts,
    /// How many have each name.
    names: imbl::HashMap<Arc<str>, u32>,
}

impl RunningCounts {
    pub(super) fn new() -> Self {
        Self { counts: Counts::none(Source::Custom), names: imbl::HashMap::new() }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { distinct_service_names: self.names.len() as u32, ..self.counts.clone() }
    }

    pub(super) fn put(&mut self, record: &Record) {
        self.counts.add(record, 1);
        if let Some(name) = &record.service_name {
            *self.names.entry(Arc::clone(name)).or_insert(0) += 1;
        }
    }

    pub(super) fn take(&mut self, record: &Record) {
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
    /// The figure for a state.
    #[must_use]
    pub const fn in_state(&self, state: State) -> u32 {
        self.states[state as usize]
    }
}
