//! Finds the ports in a line: the line consists of a port, or contains addresses and fields with
//! ports.

use std::net::{Ipv4Addr, Ipv6Addr};

use memchr::memchr2_iter;

use crate::registry::port::{Port, Transport};

/// A port in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The offset after the port, where its label is inserted.
    pub(super) end: usize,
    pub(super) port: Port,
    pub(super) transport: Option<Transport>,
}

/// A line that consists of a port: `443`, `443/tcp` or `tcp/443`. The port is absent if the number
/// is larger than 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) port: Option<(Port, Option<Transport>)>,
}

/// Parses a line that consists of a port.
pub(super) fn key(line: &[u8]) -> Option<Key> {
    let line = line.trim_ascii();
    // Skip most other lines early.
    if !line.last().is_some_and(u8::is_ascii_alphanumeric) || line.len() > 32 {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?;
    let (number, transport) = match text.split_once('/') {
        Some((word, number)) if is_digits(number) => (number, Some(word.parse().ok()?)),
        Some((number, word)) => (number, Some(word.parse().ok()?)),
        None => (text, None),
    };
    is_digits(number).then(|| Key { port: number.parse().ok().map(|port| (port, transport)) })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Adds the ports of a log line, in order.
///
/// A transport directly after a port (`10.0.0.1:53/udp`) has precedence over the transport of the
/// line (`proto=udp`).
pub(super) fn marks(line: &[u8], found: &mut Vec<Mark>) {
    let from = found.len();
    let mut line_transport = None;
    for at in memchr2_iter(b':', b'=', line) {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let is_port = if line[at] == b':' {
            ends_in_address(before)
        } else {
            let word = keyword(before);
            if line_transport.is_none() && word.eq_ignore_ascii_case(b"proto") {
                line_transport = leading_transport(after).map(|(transport, _)| transport);
            }
            PORT_KEYWORDS.iter().any(|name| word.eq_ignore_ascii_case(name))
        };
        let Some((port, width)) = is_port.then(|| leading_port(after)).flatten() else {
            continue;
        };
        let suffix = after[width..].strip_prefix(b"/").and_then(leading_transport);
        let end = at + 1 + width + suffix.map_or(0, |(_, width)| width + 1);
        found.push(Mark { end, port, transport: suffix.map(|(transport, _)| transport) });
    }
    for mark in &mut found[from..] {
        mark.transport = mark.transport.or(line_transport);
    }
}

const PORT_KEYWORDS: [&[u8]; 5] = [b"dpt", b"spt", b"dport", b"sport", b"port"];

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The keyword at the end of the text.
fn keyword(text: &[u8]) -> &[u8] {
    let start = text.iter().rposition(|&byte| !is_word(byte)).map_or(0, |index| index + 1);
    &text[start..]
}

/// The port number at the start of the text, and its length in bytes.
fn leading_port(text: &[u8]) -> Option<(Port, usize)> {
    let width = text.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let port = std::str::from_utf8(&text[..width]).ok()?.parse().ok()?;
    match text[width..] {
        // Not a port: `10.0.0.1:80.5`, `10.0.0.1:12:30:00`.
        [b'.' | b':', next, ..] if next.is_ascii_digit() => None,
        [next, ..] if next.is_ascii_alphanumeric() || next == b'_' => None,
        _ => Some((port, width)),
    }
}

/// The transport at the start of the text, and its length in bytes.
fn leading_transport(text: &[u8]) -> Option<(Transport, usize)> {
    let width = text.iter().take(5).take_while(|&&byte| is_word(byte)).count();
    let transport = std::str::from_utf8(&text[..width]).ok()?.parse().ok()?;
    Some((transport, width))
}

fn ends_in_address(text: &[u8]) -> bool {
    match text.last() {
        Some(b']') => ends_in_ipv6(&text[..text.len() - 1]),
        Some(byte) if byte.is_ascii_digit() => ends_in_ipv4(text),
        _ => false,
    }
}

fn ends_in_ipv4(text: &[u8]) -> bool {
    const LONGEST: usize = "255.255.255.255".len();
    let is_part = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let width = text.iter().rev().take(LONGEST + 1).take_while(is_part).count();
    let (before, address) = text.split_at(text.len() - width);
    // `v1.2.3.4:5` is a version, not an address.
    let is_separate =
        !before.last().is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_separate && std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv4Addr>().is_ok())
}

/// Whether the text ends in an opening bracket and an IPv6 address.
fn ends_in_ipv6(text: &[u8]) -> bool {
    const LONGEST: usize = 64;
    let tail = &text[text.len().saturating_sub(LONGEST)..];
    let inside = tail.iter().rposition(|&byte| byte == b'[').map(|open| &tail[open + 1..]);
    let Some(Ok(inside)) = inside.map(std::str::from_utf8) else {
        return false;
    };
    let address = inside.split_once('%').map_or(inside, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The line with port and transport inserted at each mark.
    fn marked(line: &str) -> String {
        let mut found = Vec::new();
        marks(line.as_bytes(), &mut found);
        let mut text = String::new();
        let mut from = 0;
        for Mark { end, port, transport } in found {
            let transport = transport.map_or("", Transport::name);
            text = format!("{text}{}({port}{transport})", &line[from..end]);
            from = end;
        }
        text + &line[from..]
    }

    #[test]
    fn keys_are_complete_lines() {
        let of = |number, transport| Some(Key { port: Some((Port::new(number), transport)) });
        for (line, expected) in [
            ("443", of(443, None)),
            (" 443\t", of(443, None)),
            ("443/tcp", of(443, Some(Transport::Tcp))),
            ("UDP/53", of(53, Some(Transport::Udp))),
            ("0", of(0, None)),
            ("70000", Some(Key { port: None })),
            ("70000/tcp", Some(Key { port: None })),
            ("99999999999999999999", Some(Key { port: None })),
            ("", None),
            ("https", None),
            ("443/icmp", None),
            ("443/", None),
            ("/443", None),
            ("443 tcp", None),
            ("-1", None),
        ] {
            assert_eq!(key(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(key(b"\xff\x80443"), None);
    }

    #[test]
    fn addresses_and_fields_with_ports_are_marked() {
        for (line, expected) in [
            ("a 10.0.0.1:443 b", "a 10.0.0.1:443(443) b"),
            ("10.0.0.1:53/udp,", "10.0.0.1:53/udp(53udp),"),
            ("10.0.0.1:53/UDP", "10.0.0.1:53/UDP(53udp)"),
            ("10.0.0.1:80/index", "10.0.0.1:80(80)/index"),
            ("10.0.0.1:80/tcpdump", "10.0.0.1:80(80)/tcpdump"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443(443)"),
            ("[fe80::1%eth0]:22.", "[fe80::1%eth0]:22(22)."),
            ("[::ffff:10.0.0.1]:22", "[::ffff:10.0.0.1]:22(22)"),
            ("::ffff:10.0.0.1:22", "::ffff:10.0.0.1:22(22)"),
            ("src:10.0.0.1:5->10.0.0.2:6", "src:10.0.0.1:5(5)->10.0.0.2:6(6)"),
            ("/10.0.0.1:0", "/10.0.0.1:0(0)"),
            ("PROTO=TCP SPT=51000 DPT=443 X", "PROTO=TCP SPT=51000(51000tcp) DPT=443(443tcp) X"),
            ("dport=53 sport=1 proto=udp", "dport=53(53udp) sport=1(1udp) proto=udp"),
            ("proto=udp Port=53/tcp", "proto=udp Port=53/tcp(53tcp)"),
            ("port=65535", "port=65535(65535)"),
        ] {
            assert_eq!(marked(line), expected);
        }
    }

    #[test]
    fn other_numbers_are_not_marked() {
        for line in [
            "10.0.0.1:70000",
            "10.0.0.1:443a",
            "10.0.0.1:12:30:00",
            "10.0.0.1:1.5",
            "v1.2.3.4:80",
            "1.2.3.4.5:80",
            "300.1.1.1:80",
            "12:30:00",
            "db.example.com:5432",
            "2001:db8::1:443",
            "[::g]:80",
            "[]:80",
            "]:80",
            "transport=6",
            "src_port=80",
            "port=",
            "port=x",
            "port = 80",
            ":80",
            "=80",
            "10.0.0.1:",
        ] {
            assert_eq!(marked(line), line);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_marks_are_in_order(line: Vec<u8>) {
            let _ = key(&line);
            let mut found = Vec::new();
            marks(&line, &mut found);
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].end));
            prop_assert!(found.iter().all(|mark| mark.end <= line.len()));
        }

        #[test]
        fn every_address_with_a_port_is_found(v4: Ipv4Addr, v6: Ipv6Addr, port: u16, noise in "[ a-z(),;<>\"']{0,8}") {
            for address in [v4.to_string(), format!("[{v6}]")] {
                let line = format!("{noise} {address}:{port} {noise}");
                prop_assert_eq!(marked(&line), format!("{noise} {address}:{port}({port}) {noise}"));
            }
        }
    }
}
