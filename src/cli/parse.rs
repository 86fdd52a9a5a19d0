//! How people write what they ask for: ports, names, endpoints, labels.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::grpc::proto;
use crate::registry::assignment::Uid;
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::port::{
    Port, PortError, PortRange, PortRangeError, Transport, TransportError,
};

/// LookupKey is wrong with a word.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Range(#[from] PortRangeError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("a revision is a number from 1 on, such as 123 or r123")]
    Revision,
    #[error("nothing is asked for")]
    Empty,
    #[error("this is a run of ports: try portbook list --ports {0}")]
    PortRange(String),
    #[error("an endpoint has no history: ask for its port")]
    Endpoint,
    #[error("a whole number from 1 on is asked for")]
    NotPositive,
    #[error("a label is written as key=value")]
    Label,
    #[error("this is no finding; these can be acknowledged: {}", acknowledgeable())]
    Finding,
}

fn acknowledgeable() -> String {
    let codes = FindingCode::ALL.into_iter().filter(|code| code.severity() != Severity::Blocker);
    codes.map(FindingCode::name).collect::<Vec<_>>().join(", ")
}

/// LookupKey `portbook lookup` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupKey {
    Port(Port, Option<Transport>),
    Name(String, Option<Transport>),
    Endpoint(String),
}

impl FromStr for LookupKey {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ArgumentError::Empty);
        }
        // An address without a port is told so by the server, which knows endpoints.
        if text.contains(':') || text.parse::<IpAddr>().is_ok() {
            return Ok(Self::Endpoint(text.to_owned()));
        }
        let (word, transport) = match text.rsplit_once('/') {
            Some((word, transport)) => (word, Some(transport)),
            None => (text, None),
        };
        if let (Ok(transport), Some(number)) =
            (word.parse(), transport.filter(|text| is_digits(text)))
        {
            return Ok(Self::Port(number.parse()?, Some(transport)));
        }
        if is_digits(word) {
            let transport = transport.map(str::parse).transpose()?;
            return Ok(Self::Port(word.parse()?, transport));
        }
        if word.split_once('-').is_some_and(|(a, b)| is_digits(a) && is_digits(b)) {
            return Err(ArgumentError::PortRange(word.to_owned()));
        }
        match transport.map(str::parse) {
            Some(Ok(transport)) => Ok(Self::Name(word.to_owned(), Some(transport))),
            // IANA has names such as `914c/g`.
            _ => Ok(Self::Name(text.to_owned(), None)),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A registration that exists, by uid or by a port that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Uid(Uid),
    Port(Port, Option<Transport>),
}

impl FromStr for Target {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        if let Ok(uid) = text.parse() {
            return Ok(Self::Uid(uid));
        }
        match text.split_once('/') {
            Some((port, transport)) => Ok(Self::Port(port.parse()?, Some(transport.parse()?))),
            None => Ok(Self::Port(text.parse()?, None)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => uid.fmt(f),
            Self::Port(port, None) => port.fmt(f),
            Self::Port(port, Some(transport)) => write!(f, "{port}/{transport}"),
        }
    }
}

/// LookupKey the history is asked of: `7450-7460/tcp`, `billing`, `billing/udp` or a uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HistorySubject {
    Uid(Uid),
    Ports(PortRange, Option<Transport>),
    Name(String, Option<Transport>),
}

impl FromStr for HistorySubject {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        if let Ok(uid) = text.parse() {
            return Ok(Self::Uid(uid));
        }
        match text.parse() {
            Ok(LookupKey::Port(port, transport)) => {
                Ok(Self::Ports(PortRange::single(port), transport))
            }
            Ok(LookupKey::Name(name, transport)) => Ok(Self::Name(name, transport)),
            Ok(LookupKey::Endpoint(_)) => Err(ArgumentError::Endpoint),
            Err(ArgumentError::PortRange(ports)) => {
                let transport = text.trim().split_once('/').map(|(_, word)| word.parse());
                Ok(Self::Ports(port_range(&ports)?, transport.transpose()?))
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Ports to register: `7421`, `7421/tcp,udp`, `7000-7010/udp`. No transport means tcp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSpec {
    pub(super) ports: PortRange,
    pub(super) transports: Vec<Transport>,
}

impl FromStr for PortSpec {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let (ports, transports) = text.split_once('/').unwrap_or((text, "tcp"));
        let transports = transports.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { ports: port_range(ports)?, transports })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transports: Vec<_> = self.transports.iter().copied().map(Transport::name).collect();
        write!(f, "{}/{}", self.ports, transports.join(","))
    }
}

/// `123` or `r123`.
pub(super) fn revision(text: &str) -> Result<u64, ArgumentError> {
    let digits = text.strip_prefix(['r', 'R']).unwrap_or(text);
    let number = is_digits(digits).then(|| digits.parse().ok()).flatten();
    number.filter(|number| *number > 0).ok_or(ArgumentError::Revision)
}

/// `443` or `5000-5010`.
pub(super) fn port_range(text: &str) -> Result<PortRange, ArgumentError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok(PortRange::new(first.parse()?, last.parse()?)?)
}

/// A list that is given as a whole, in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> List<T> {
    /// Its items.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().copied()
    }
}

/// Items with commas between them; `none`, or nothing, for an empty list.
fn list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, ArgumentError>,
) -> Result<List<T>, ArgumentError> {
    if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("none") {
        return Ok(List::default());
    }
    text.split(',').map(|word| item(word.trim())).collect::<Result<_, _>>().map(List)
}

/// `8110,8120-8125` or `none`.
pub(super) fn port_ranges(text: &str) -> Result<List<PortRange>, ArgumentError> {
    list(text, port_range)
}

/// `IANA_ASSIGNED,DYNAMIC_PORT` or `none`.
pub(super) fn finding_codes(text: &str) -> Result<List<proto::FindingCode>, ArgumentError> {
    list(text, finding_code)
}

/// A place in a row, from 1.
pub(super) fn positive(text: &str) -> Result<usize, ArgumentError> {
    text.parse().ok().filter(|&place| place > 0).ok_or(ArgumentError::NotPositive)
}

/// `key=value`; the value may be empty.
pub(super) fn label(text: &str) -> Result<(String, String), ArgumentError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ArgumentError::Label),
    }
}

/// The name of a finding, in either case, with `-` or `_`.
pub(super) fn finding_code(text: &str) -> Result<proto::FindingCode, ArgumentError> {
    let name = text.trim().to_ascii_uppercase().replace('-', "_");
    let name = name.trim_start_matches("FINDING_CODE_");
    proto::FindingCode::from_str_name(&format!("FINDING_CODE_{name}"))
        .filter(|code| *code != proto::FindingCode::Unspecified)
        .ok_or(ArgumentError::Finding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str, transport: Option<Transport>) -> LookupKey {
        LookupKey::Name(name.into(), transport)
    }

    #[test]
    fn what_is_asked_is_told_by_its_form() {
        let port = |number, transport| LookupKey::Port(Port::new(number), transport);
        let endpoint = |text: &str| LookupKey::Endpoint(text.into());
        for (text, what) in [
            ("443", port(443, None)),
            ("0", port(0, None)),
            ("443/TCP", port(443, Some(Transport::Tcp))),
            ("https", name("https", None)),
            ("domain/udp", name("domain", Some(Transport::Udp))),
            ("914c/g", name("914c/g", None)),
            ("914c/g/tcp", name("914c/g", Some(Transport::Tcp))),
            ("EtherNet/IP-1", name("EtherNet/IP-1", None)),
            ("802-11-iapp", name("802-11-iapp", None)),
            ("Remote Desktop", name("Remote Desktop", None)),
            (":22", endpoint(":22")),
            ("[::1]:443", endpoint("[::1]:443")),
            ("10.0.0.1:53/udp", endpoint("10.0.0.1:53/udp")),
            ("https://example.com", endpoint("https://example.com")),
        ] {
            assert_eq!(text.parse::<LookupKey>().unwrap(), what, "{text}");
        }
    }

    #[test]
    fn a_run_of_ports_is_sent_to_list() {
        for text in ["5000-5010", "5000-5010/udp"] {
            let fault = text.parse::<LookupKey>().unwrap_err().to_string();
            assert!(fault.ends_with("portbook list --ports 5000-5010"), "{fault}");
        }
        for text in ["", " ", "65536", "443/icmp"] {
            assert!(text.parse::<LookupKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_history_is_asked_of_ports_names_and_uids() {
        let ports = |first, last, transport| {
            let ports = PortRange::new(Port::new(first), Port::new(last)).unwrap();
            HistorySubject::Ports(ports, transport)
        };
        for (text, subject) in [
            ("7450", ports(7450, 7450, None)),
            ("7450/udp", ports(7450, 7450, Some(Transport::Udp))),
            ("7450-7460", ports(7450, 7460, None)),
            ("7450-7460/TCP", ports(7450, 7460, Some(Transport::Tcp))),
            ("billing", HistorySubject::Name("billing".into(), None)),
            ("billing/udp", HistorySubject::Name("billing".into(), Some(Transport::Udp))),
        ] {
            assert_eq!(text.parse::<HistorySubject>().unwrap(), subject, "{text}");
        }
        let uid = "0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e";
        assert_eq!(
            uid.parse::<HistorySubject>().unwrap(),
            HistorySubject::Uid(uid.parse().unwrap())
        );
        for text in ["", "7460-7450", "7450-70000", "7450-7460/icmp", "10.0.0.1:22"] {
            assert!(text.parse::<HistorySubject>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn finding_codes_are_read_in_every_spelling() {
        for text in ["IANA_ASSIGNED", "iana-assigned", "Iana_Assigned"] {
            assert_eq!(finding_code(text).unwrap(), proto::FindingCode::IanaAssigned);
        }
        assert_eq!(finding_code("cooling-down").unwrap(), proto::FindingCode::CoolingDown);
        assert!(finding_code("unspecified").is_err());
        let fault = finding_code("nonsense").unwrap_err().to_string();
        assert!(fault.contains("IANA_ASSIGNED") && !fault.contains("PORT_TAKEN"), "{fault}");
    }

    #[test]
    fn lists_are_given_as_a_whole_and_can_be_empty() {
        for text in ["", "none", "None"] {
            assert_eq!(port_ranges(text).unwrap().iter().count(), 0, "{text:?}");
            assert_eq!(finding_codes(text).unwrap().iter().count(), 0, "{text:?}");
        }
        let printed: Vec<_> =
            port_ranges("8110, 8120-8125").unwrap().iter().map(|of| of.to_string()).collect();
        assert_eq!(printed, ["8110", "8120-8125"]);
        for text in ["8110,", "8125-8120", "none,8110", "x"] {
            assert!(port_ranges(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn labels_are_split_at_the_first_equals_sign() {
        assert_eq!(label("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(label("a=").unwrap(), ("a".into(), String::new()));
        assert!(label("a").is_err() && label("=b").is_err());
    }

    #[test]
    fn ports_without_a_transport_are_for_tcp() {
        let spec: PortSpec = "7421".parse().unwrap();
        assert_eq!(spec.to_string(), "7421/tcp");
        for text in ["", "7421/", "7421/tcp,", "7421/icmp", "7-", "-7", "10-7", "65536", "7421 "] {
            assert!(text.parse::<PortSpec>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<LookupKey>();
            let _ = text.parse::<Target>();
            let _ = text.parse::<HistorySubject>();
            let _ = text.parse::<PortSpec>();
            let _ = port_ranges(&text);
            let _ = finding_codes(&text);
        }

        #[test]
        fn printed_ports_parse_back(
            ends: (u16, u16),
            chosen in proptest::sample::subsequence(Transport::ALL.to_vec(), 1..=4),
        ) {
            let (first, last) = (ends.0.min(ends.1), ends.0.max(ends.1));
            let ports = PortRange::new(Port::new(first), Port::new(last)).unwrap();
            let target = Target::Port(ports.first(), chosen.first().copied());
            prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            let spec = PortSpec { ports, transports: chosen };
            prop_assert_eq!(spec.to_string().parse::<PortSpec>().unwrap(), spec);
        }
    }
}
