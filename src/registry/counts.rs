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
    /// Counts the records that are of this source.
    pub fn of<'a>(source: Source, records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut counts = Self {
            source,
            assignments: 0,
            with_port: 0,
            port_ranges: 0,
            with_service_name: 0,
            distinct_service_names: 0,
            transports: [0; 5],
            states: [0; 4],
        };
        let mut names = HashSet::new();
        for record in records.filter(|record| record.source() == source) {
            counts.assignments += 1;
            counts.with_port += u32::from(record.ports.is_some());
            counts.port_ranges += u32::from(is_range(record));
            counts.with_service_name += u32::from(record.service_name.is_some());
            counts.transports[record.transport.map_or(Transport::ALL.len(), Transport::index)] += 1;
            counts.states[record.state as usize] += 1;
            if let Some(name) = record.service_name.as_deref()
                && names.insert(name)
            {
                counts.distinct_service_names += 1;
            }
        }
        counts
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
