//! Cells: ports and transports in the spellings that people use.

use crate::cli::parse::{ArgumentError, port_range};
use crate::registry::port::{PortRange, Transport};

/// Parses the ports of a cell, each with its own transports, if any: `9100`, `9100–9105`,
/// `9100/tcp`, `9100, 9105`.
pub(super) fn ports(cell: &str) -> Result<Vec<(PortRange, Vec<Transport>)>, ArgumentError> {
    let cell =
        cell.replace(['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}'], "-");
    let bounds: Vec<_> = cell.split('-').map(str::trim).collect();
    let cell = bounds.join("-");
    let mut all: Vec<(PortRange, Vec<Transport>)> = Vec::new();
    for word in cell.split(|c: char| ",;&+".contains(c) || c.is_whitespace()) {
        if word.is_empty() || word.eq_ignore_ascii_case("and") {
            continue;
        }
        // In `53/tcp,udp`, the last word is a transport of the previous port.
        if let (Ok(transport), Some((_, transports))) = (word.parse(), all.last_mut())
            && !transports.is_empty()
        {
            transports.push(transport);
            continue;
        }
        let (ports, suffix) = word.split_once('/').unwrap_or((word, ""));
        all.push((port_range(ports)?, transports(suffix)?));
    }
    if all.is_empty() { Err(ArgumentError::Empty) } else { Ok(all) }
}

/// Parses the transports of a cell: `TCP/UDP`, `tcp and udp`, `both`. May be empty.
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

    fn printed(cell: &str) -> String {
        let all = ports(cell).unwrap_or_else(|error| panic!("{cell}: {error}"));
        all.iter().map(|(ports, of)| format!("{ports}/{}", of.iter().join(","))).join(" ")
    }

    #[test]
    fn ports_are_parsed_in_common_spellings() {
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
            assert_eq!(printed(cell), expected, "{cell}");
        }
        for cell in
            ["", "-", ",", "n/a", "70000", "9105-9100", "9100-", "9100-2-3", "tcp", "9100/x"]
        {
            assert!(ports(cell).is_err(), "{cell:?}");
        }
    }

    #[test]
    fn transports_are_parsed_in_common_spellings() {
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
        fn parsing_never_panics(cell in "\\PC{0,30}|[0-9 ,;/–-]{0,20}") {
            let _ = ports(&cell);
            let _ = transports(&cell);
        }
    }
}
