//! Sets of ports: port ranges that do not overlap, lowest first.

use super::port::{Port, PortRange};

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<PortRange>);

/// Two ranges that share a port.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} and {1} overlap")]
pub struct OverlapError(PortRange, PortRange);

impl PortSet {
    /// The ports of these ranges, which must not overlap. Adjacent ranges are not merged.
    ///
    /// # Errors
    /// If two of them share a port.
    pub fn new(mut ranges: Vec<PortRange>) -> Result<Self, OverlapError> {
        ranges.sort_unstable();
        match ranges.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
            Some(pair) => Err(OverlapError(pair[0], pair[1])),
            None => Ok(Self(ranges)),
        }
    }

    /// The set of these ports, which must be in ascending order. Adjacent ports become one range.
    #[must_use]
    pub fn from_sorted(ports: impl IntoIterator<Item = Port>) -> Self {
        let mut ranges: Vec<PortRange> = Vec::new();
        for port in ports {
            match ranges.last_mut() {
                Some(range) if range.last().number().checked_add(1) == Some(port.number()) => {
                    if let Ok(longer) = PortRange::new(range.first(), port) {
                        *range = longer;
                    }
                }
                _ => ranges.push(PortRange::single(port)),
            }
        }
        Self(ranges)
    }

    /// The ranges, lowest first.
    #[must_use]
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// The number of ports.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.0.iter().map(|range| range.width()).sum()
    }

    /// The ports, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Port> {
        self.0.iter().flat_map(|range| range.iter())
    }

    /// Whether the set contains the port.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        let after = self.0.partition_point(|range| range.first() <= port);
        after > 0 && self.0[after - 1].contains(port)
    }

    /// Whether the set contains all ports of the range.
    #[must_use]
    pub fn contains_all(&self, ports: PortRange) -> bool {
        ports.iter().all(|port| self.contains(port))
    }

    /// The ports of this set that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self::from_sorted(self.iter().filter(|port| !other.contains(*port)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(Port::new(first), Port::new(last)).unwrap()
    }

    #[test]
    fn overlapping_ranges_are_rejected() {
        assert!(PortSet::new(vec![range(5, 9), range(1, 4)]).is_ok());
        let error = PortSet::new(vec![range(5, 9), range(1, 5)]).unwrap_err();
        assert_eq!(error.to_string(), "1-5 and 5-9 overlap");
        assert!(PortSet::new(vec![range(3, 3), range(3, 3)]).is_err());
        assert_eq!(
            PortSet::from_sorted([Port::new(65_534), Port::MAX]).ranges(),
            [range(65_534, 65_535)]
        );
    }

    proptest! {
        #[test]
        fn difference_matches_a_set_of_ports(
            a in proptest::collection::btree_set(0..60u16, 0..40),
            b in proptest::collection::btree_set(0..60u16, 0..40),
        ) {
            let set = |ports: &BTreeSet<u16>| PortSet::from_sorted(ports.iter().map(|&port| Port::new(port)));
            let left = set(&a).without(&set(&b));
            let expected: Vec<u16> = a.difference(&b).copied().collect();
            prop_assert_eq!(left.iter().map(Port::number).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(left.size() as usize, expected.len());
            for port in 0..60 {
                prop_assert_eq!(left.contains(Port::new(port)), expected.contains(&port));
            }
            let is_disjoint = left.ranges().windows(2).all(|pair| {
                pair[0].last().number() + 1 < pair[1].first().number()
            });
            prop_assert!(is_disjoint);
        }
    }
}
