//! Cells: ports and transports as people write them.

use crate::cli::parse::{ArgumentError, port_range};
use crate::registry::port::{PortRange, Transport};

/// The ports of a cell, each with the transports that it names: `9100`, `9100–9105`, `9100/tcp`,
/// `9100, 9105`.
pub(super) fn ports(cell: &str) -> Result<Vec<(PortRange, Vec<Transport>)>, ArgumentError> {
    let cell =
        cell.replace(['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}'], "-");
    let ends: Vec<_> = cell.split('-').map(str::trim).collect();
    let cell = ends.join("-");
    let mut all: Vec<(PortRange, Vec<Transport>)> = Vec::new();
    for word in cell.split(|c: char| ",;&+".contains(c) || c.is_whitespace()) {
        if word.is_empty() || word.eq_ignore_ascii_case("and") {
            continue;
        }
        // Of `53/tcp,udp` the last word goes with the port before it.
        if let (Ok(also), Some((_, named))) = (word.parse(), all.last_mut())
            && !named.is_empty()
        {
            named.push(also);
            continue;
        }
        let (ports, named) = word.split_once('/').unwrap_or((word, ""));
        all.push((port_range(ports)?, transports(named)?));
    }
    if all.is_empty() { Err(ArgumentError::Empty) } else { Ok(all) }
}

/// The transports of a cell, in any spelling: `TCP/UDP`, `tcp and udp`, `both`. May be none.
pub(super) fn transports(cell: &str) -> Result<Vec<Transport>, ArgumentError> {
    let mut all = Vec::new();
    let words = cell.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "and" | "or" => {}
            "both" => all.extend([Transport::Tcp, Transport::Udp]),
            word => all.push(word.parse()?),
        }
    }
    let mut seen = Vec::new();
    all.retain(|transport| {
        let is_new = !seen.contains(transport);
        seen.push(*transport);
        is_new
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use itertools::Itertools;
    use proptest::prelude::*;

    use super::*;

    fn told(cell: &str) -> String {
        let all = ports(cell).unwrap_or_else(|fault| panic!("{cell}: {fault}"));
        all.iter().map(|(ports, of)| format!("{ports}/{}", of.iter().join(","))).join(" ")
    }

    #[test]
    fn ports_are_read_as_people_write_them() {
        for (cell, expected) in [
            ("9100", "9100/"),
            (" 9100 ", "9100/"),
            ("9100-9105", "9100-9105/"),
            ("9100–9105", "9100-9105/"),
            ("9100 — 9105", "9100-9105/"),
            ("9100/tcp", "9100/tcp"),
            ("9100-9105/UDP", "9100-9105/udp"),
            ("53/tcp,udp", "53/tcp,udp"),
            ("53/tcp/udp", "53/tcp,udp"),
            ("53/tcp, 54/udp", "53/tcp 54/udp"),
            ("9100, 9105", "9100/ 9105/"),
            ("9100 9105;9107 and 9108", "9100/ 9105/ 9107/ 9108/"),
        ] {
            assert_eq!(told(cell), expected, "{cell}");
        }
        for cell in
            ["", "-", ",", "n/a", "70000", "9105-9100", "9100-", "9100-2-3", "tcp", "9100/x"]
        {
            assert!(ports(cell).is_err(), "{cell:?}");
        }
    }

    #[test]
    fn transports_are_read_as_people_write_them() {
        for (cell, expected) in [
            ("", ""),
            ("TCP", "tcp"),
            ("tcp/udp", "tcp,udp"),
            ("TCP, UDP", "tcp,udp"),
            ("UDP & TCP", "udp,tcp"),
            ("tcp and udp", "tcp,udp"),
            ("both", "tcp,udp"),
            ("TCP TCP", "tcp"),
            ("SCTP", "sctp"),
        ] {
            assert_eq!(transports(cell).unwrap().iter().join(","), expected, "{cell}");
        }
        for cell in ["http", "TCP (TLS)", "any", "6"] {
            assert!(transports(cell).is_err(), "{cell:?}");
        }
    }

    proptest! {
        #[test]
        fn no_cell_makes_it_panic(cell in "\\PC{0,30}|[0-9 ,;/–-]{0,20}") {
            let _ = ports(&cell);
            let _ = transports(&cell);
        }
    }
}
