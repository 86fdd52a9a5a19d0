//! Counts of a namespace's registrations by first port, updated with each change.

use std::sync::Arc;

use crate::registry::assignment::Record;
use crate::registry::port::{Port, PortRange, Transport};

/// The number of ports that share a count.
const BLOCK: usize = 256;

/// The number of registrations, in total and for each block of ports, by transport.
#[derive(Clone, Debug)]
pub(super) struct PortCounts {
    totals: [u32; Transport::ALL.len()],
    blocks: Arc<[[u16; Transport::ALL.len()]; BLOCKS]>,
}

const BLOCKS: usize = 65_536 / BLOCK;

impl PortCounts {
    pub(super) fn new() -> Self {
        let blocks = Arc::new([[0; Transport::ALL.len()]; BLOCKS]);
        Self { totals: [0; Transport::ALL.len()], blocks }
    }

    pub(super) fn add(&mut self, record: &Record) {
        if let Some((total, in_block)) = self.counts_of(record) {
            *total += 1;
            *in_block += 1;
        }
    }

    pub(super) fn remove(&mut self, record: &Record) {
        if let Some((total, in_block)) = self.counts_of(record) {
            *total -= 1;
            *in_block -= 1;
        }
    }

    fn counts_of(&mut self, record: &Record) -> Option<(&mut u32, &mut u16)> {
        let (transport, first) = (record.transport?.index(), record.ports?.first());
        let block = &mut Arc::make_mut(&mut self.blocks)[first.index() / BLOCK];
        Some((&mut self.totals[transport], &mut block[transport]))
    }

    /// Whether the transport has registrations.
    pub(super) const fn has(&self, transport: Transport) -> bool {
        self.totals[transport.index()] > 0
    }

    /// The number of registrations that begin in the range. `count_part` counts those in a block
    /// that the range covers only partially.
    pub(super) fn in_range(
        &self,
        ports: PortRange,
        transport: Transport,
        count_part: impl Fn(PortRange) -> u32,
    ) -> u32 {
        if ports == PortRange::ALL {
            return self.totals[transport.index()];
        }
        let (mut total, mut edges) = (0, Vec::with_capacity(2));
        let last = ports.last().index() / BLOCK;
        for block in ports.first().index() / BLOCK..=last {
            let first = Port::new((block * BLOCK) as u16);
            let last_port = Port::new((block * BLOCK + BLOCK - 1) as u16);
            let part = PortRange::new(first.max(ports.first()), last_port.min(ports.last()));
            match part {
                Ok(part) if part.width() as usize == BLOCK => {
                    total += u32::from(self.blocks[block][transport.index()]);
                }
                Ok(part) => edges.push(part),
                Err(_) => {}
            }
        }
        total + edges.into_iter().map(count_part).sum::<u32>()
    }
}
