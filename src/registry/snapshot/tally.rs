//! How many registrations of a namespace begin where, kept as they come and go.

use std::sync::Arc;

use crate::registry::assignment::Record;
use crate::registry::port::{Port, PortRange, Transport};

/// How many ports are counted together.
const STRETCH: usize = 256;

/// How many registrations there are, and how many begin on each stretch of ports, by transport.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    all: [u32; Transport::ALL.len()],
    stretches: Arc<[[u16; Transport::ALL.len()]; STRETCHES]>,
}

const STRETCHES: usize = 65_536 / STRETCH;

impl Tally {
    pub(super) fn new() -> Self {
        let stretches = Arc::new([[0; Transport::ALL.len()]; STRETCHES]);
        Self { all: [0; Transport::ALL.len()], stretches }
    }

    pub(super) fn put(&mut self, record: &Record) {
        if let Some((all, there)) = self.counts_of(record) {
            *all += 1;
            *there += 1;
        }
    }

    pub(super) fn take(&mut self, record: &Record) {
        if let Some((all, there)) = self.counts_of(record) {
            *all -= 1;
            *there -= 1;
        }
    }

    fn counts_of(&mut self, record: &Record) -> Option<(&mut u32, &mut u16)> {
        let (transport, first) = (record.transport?.index(), record.ports?.first());
        let stretch = &mut Arc::make_mut(&mut self.stretches)[first.index() / STRETCH];
        Some((&mut self.all[transport], &mut stretch[transport]))
    }

    /// Whether there are any.
    pub(super) const fn has(&self, transport: Transport) -> bool {
        self.all[transport.index()] > 0
    }

    /// How many begin on the run of ports. What begins on an end of it that is no whole stretch is
    /// counted by `on_part`.
    pub(super) fn on(
        &self,
        ports: PortRange,
        transport: Transport,
        on_part: impl Fn(PortRange) -> u32,
    ) -> u32 {
        if ports == PortRange::ALL {
            return self.all[transport.index()];
        }
        let (mut total, mut edges) = (0, Vec::with_capacity(2));
        let last = ports.last().index() / STRETCH;
        for stretch in ports.first().index() / STRETCH..=last {
            let begins = Port::new((stretch * STRETCH) as u16);
            let ends = Port::new((stretch * STRETCH + STRETCH - 1) as u16);
            let part = PortRange::new(begins.max(ports.first()), ends.min(ports.last()));
            match part {
                Ok(part) if part.width() as usize == STRETCH => {
                    total += u32::from(self.stretches[stretch][transport.index()]);
                }
                Ok(part) => edges.push(part),
                Err(_) => {}
            }
        }
        total + edges.into_iter().map(on_part).sum::<u32>()
    }
}
