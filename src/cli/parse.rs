//! Parsers of command-line arguments: ports, names, endpoints, labels, finding codes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::output::enum_names;
use crate::grpc::proto;
use crate::registry::assignment::Uid;
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::port::{
    Port, PortError, PortRange, PortRangeError, Transport, TransportError,
};

/// Why an argument is not valid.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Range(#[from] PortRangeError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("not a valid revision: expected a number of at least 1, such as 123 or r123")]
    Revision,
    #[error("the value is empty")]
    Empty,
    #[error("expected a single port, not a port range: use portbook list --ports {0}")]
    PortRange(String),
    #[error("endpoints have no history: specify the port instead")]
    Endpoint,
    #[error("expected a whole number of at least 1")]
    NotPositive,
    #[error("not a valid label: expected KEY=VALUE")]
    Label,
    #[error("not a finding code that can be acknowledged: expected one of {}", acknowledgeable())]
    Finding,
}

fn acknowledgeable() -> String {
    let codes = FindingCode::ALL.into_iter().filter(|code| code.severity() != Severity::Blocker);
    codes.map(FindingCode::name).collect::<Vec<_>>().join(", ")
}

/// An argument of `portbook lookup`.
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
        // The server parses endpoints and reports an address without a port.
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

/// An existing registration, selected by uid or by one of its ports.
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

/// The argument of `portbook history`: `7450-7460/tcp`, `billing`, `billing/udp` or a uid.
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
            Err(error) => Err(error),
        }
    }
}

/// Ports to register: `7421`, `7421/tcp,udp`, `7000-7010/udp`. The default transport is tcp.
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

/// A list in one argument, such as `8110,8120-8125`.
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

/// Parses comma-separated items; `none` or an empty text is the empty list.
fn list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, ArgumentError>,
) -> Result<List<T>, ArgumentError> {
    if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("none") {
        return Ok(List::default());
    }
    text.split(',').map(|text| item(text.trim())).collect::<Result<_, _>>().map(List)
}

/// `8110,8120-8125` or `none`.
pub(super) fn port_ranges(text: &str) -> Result<List<PortRange>, ArgumentError> {
    list(text, port_range)
}

/// `IANA_ASSIGNED,DYNAMIC_PORT` or `none`.
pub(super) fn finding_codes(text: &str) -> Result<List<proto::FindingCode>, ArgumentError> {
    list(text, finding_code)
}

/// A whole number of at least 1.
pub(super) fn positive(text: &str) -> Result<usize, ArgumentError> {
    text.parse().ok().filter(|&number| number > 0).ok_or(ArgumentError::NotPositive)
}

/// `key=value`; the value may be empty.
pub(super) fn label(text: &str) -> Result<(String, String), ArgumentError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ArgumentError::Label),
    }
}

/// A finding code in upper or lower case, with `-` or `_`.
pub(super) fn finding_code(text: &str) -> Result<proto::FindingCode, ArgumentError> {
    enum_names::parse(text).ok_or(ArgumentError::Finding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str, transport: Option<Transport>) -> LookupKey {
        LookupKey::Name(name.into(), transport)
    }

    #[test]
    fn lookup_keys_are_ports_names_or_endpoints() {
        let port = |number, transport| LookupKey::Port(Port::new(number), transport);
        let endpoint = |text: &str| LookupKey::Endpoint(text.into());
        for (text, key) in [
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
            assert_eq!(text.parse::<LookupKey>().unwrap(), key, "{text}");
        }
    }

    #[test]
    fn port_range_lookup_error_suggests_list() {
        for text in ["5000-5010", "5000-5010/udp"] {
            let error = text.parse::<LookupKey>().unwrap_err().to_string();
            assert!(error.ends_with("portbook list --ports 5000-5010"), "{error}");
        }
        for text in ["", " ", "65536", "443/icmp"] {
            assert!(text.parse::<LookupKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn history_subjects_are_ports_names_or_uids() {
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
    fn finding_codes_ignore_case_and_separator() {
        for text in ["IANA_ASSIGNED", "iana-assigned", "Iana_Assigned"] {
            assert_eq!(finding_code(text).unwrap(), proto::FindingCode::IanaAssigned);
        }
        assert_eq!(finding_code("cooling-down").unwrap(), proto::FindingCode::CoolingDown);
        assert!(finding_code("unspecified").is_err());
        let error = finding_code("nonsense").unwrap_err().to_string();
        assert!(error.contains("IANA_ASSIGNED") && !error.contains("PORT_TAKEN"), "{error}");
    }

    #[test]
    fn lists_are_comma_separated_and_may_be_empty() {
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
    fn default_transport_is_tcp() {
        let spec: PortSpec = "7421".parse().unwrap();
        assert_eq!(spec.to_string(), "7421/tcp");
        for text in ["", "7421/", "7421/tcp,", "7421/icmp", "7-", "-7", "10-7", "65536", "7421 "] {
            assert!(text.parse::<PortSpec>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<LookupKey>();
            let _ = text.parse::<Target>();
            let _ = text.parse::<HistorySubject>();
            let _ = text.parse::<PortSpec>();
            let _ = port_ranges(&text);
            let _ = finding_codes(&text);
        }

        #[test]
        fn printing_and_parsing_ports_are_inverse(
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
