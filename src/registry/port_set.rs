//! Sets of ports: runs that do not touch each other, lowest first.

use super::port::{Port, PortRange};

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<PortRange>);

/// Two runs that share a port.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} and {1} overlap")]
pub struct OverlapError(PortRange, PortRange);

impl PortSet {
    /// The ports of these runs, which must not overlap. Each run stays one of its own.
    ///
    /// # Errors
    /// If two of them share a port.
    pub fn new(mut runs: Vec<PortRange>) -> Result<Self, OverlapError> {
        runs.sort_unstable();
        match runs.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
            Some(pair) => Err(OverlapError(pair[0], pair[1])),
            None => Ok(Self(runs)),
        }
    }

    /// The ports that these are, in ascending order; neighbours become one run.
    #[must_use]
    pub fn of(ports: impl IntoIterator<Item = Port>) -> Self {
        let mut runs: Vec<PortRange> = Vec::new();
        for port in ports {
            match runs.last_mut() {
                Some(run) if run.last().number().checked_add(1) == Some(port.number()) => {
                    if let Ok(longer) = PortRange::new(run.first(), port) {
                        *run = longer;
                    }
                }
                _ => runs.push(PortRange::single(port)),
            }
        }
        Self(runs)
    }

    /// Its runs, lowest first.
    #[must_use]
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// How many ports it has.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.0.iter().map(|run| run.width()).sum()
    }

    /// Its ports, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Port> {
        self.0.iter().flat_map(|run| run.iter())
    }

    /// Whether it has the port.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        let after = self.0.partition_point(|run| run.first() <= port);
        after > 0 && self.0[after - 1].contains(port)
    }

    /// Whether it has all ports of the run.
    #[must_use]
    pub fn contains_all(&self, run: PortRange) -> bool {
        run.iter().all(|port| self.contains(port))
    }

    /// Its ports without those of the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self::of(self.iter().filter(|port| !other.contains(*port)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn run(first: u16, last: u16) -> PortRange {
        PortRange::new(Port::new(first), Port::new(last)).unwrap()
    }

    #[test]
    fn runs_that_share_a_port_are_refused() {
        assert!(PortSet::new(vec![run(5, 9), run(1, 4)]).is_ok());
        let fault = PortSet::new(vec![run(5, 9), run(1, 5)]).unwrap_err();
        assert_eq!(fault.to_string(), "1-5 and 5-9 overlap");
        assert!(PortSet::new(vec![run(3, 3), run(3, 3)]).is_err());
        assert_eq!(PortSet::of([Port::new(65_534), Port::MAX]).ranges(), [run(65_534, 65_535)]);
    }

    proptest! {
        #[test]
        fn a_set_of_runs_is_a_set_of_ports(
            a in proptest::collection::btree_set(0..60u16, 0..40),
            b in proptest::collection::btree_set(0..60u16, 0..40),
        ) {
            let set = |ports: &BTreeSet<u16>| PortSet::of(ports.iter().map(|&port| Port::new(port)));
            let left = set(&a).without(&set(&b));
            let expected: Vec<u16> = a.difference(&b).copied().collect();
            prop_assert_eq!(left.iter().map(Port::number).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(left.size() as usize, expected.len());
            for port in 0..60 {
                prop_assert_eq!(left.contains(Port::new(port)), expected.contains(&port));
            }
            let parted = left.ranges().windows(2).all(|pair| {
                pair[0].last().number() + 1 < pair[1].first().number()
            });
            prop_assert!(parted);
        }
    }
}
