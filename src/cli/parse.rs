//! How people write what they ask for: ports, names, endpoints, labels, addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::Authority;

use crate::grpc::{convert, proto};
use crate::registry::assignment::Uid;
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::port::{
    Port, PortError, PortRange, PortRangeError, Transport, TransportError,
};

/// What is wrong with a word.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Range(#[from] PortRangeError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("nothing is asked for")]
    Empty,
    #[error("this is a run of ports: try portbook list --ports {0}")]
    Run(String),
    #[error("a label is written as key=value")]
    Label,
    #[error("this is no finding; these can be acknowledged: {}", acknowledgeable())]
    Finding,
    #[error("an address is written as host:port or http://host:port")]
    Address,
    #[error("the client speaks plain HTTP/2 only: write http://host:port")]
    Https,
}

fn acknowledgeable() -> String {
    let codes = FindingCode::ALL.into_iter().filter(|code| code.severity() != Severity::Blocker);
    codes.map(FindingCode::name).collect::<Vec<_>>().join(", ")
}

/// What `portbook lookup` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Port(Port, Option<Transport>),
    Name(String, Option<Transport>),
    Endpoint(String),
}

impl FromStr for What {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(WordError::Empty);
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
            return Err(WordError::Run(word.to_owned()));
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
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
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

/// Ports to register: `7421`, `7421/tcp,udp`, `7000-7010/udp`. No transport means tcp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSpec {
    pub(super) ports: PortRange,
    pub(super) transports: Vec<Transport>,
}

impl FromStr for PortSpec {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
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

/// `443` or `5000-5010`.
pub(super) fn port_range(text: &str) -> Result<PortRange, WordError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok(PortRange::new(first.parse()?, last.parse()?)?)
}

/// `key=value`; the value may be empty.
pub(super) fn label(text: &str) -> Result<(String, String), WordError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(WordError::Label),
    }
}

/// The name of a finding, in either case, with `-` or `_`.
pub(super) fn finding_code(text: &str) -> Result<proto::FindingCode, WordError> {
    let name = text.trim().to_ascii_uppercase().replace('-', "_");
    let name = name.trim_start_matches("FINDING_CODE_");
    FindingCode::named(name).map(convert::finding_code).ok_or(WordError::Finding)
}

/// `host:port` or `http://host:port`.
pub(super) fn server_address(text: &str) -> Result<Authority, WordError> {
    if text.starts_with("https://") {
        return Err(WordError::Https);
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.strip_suffix('/').unwrap_or(address);
    match address.parse::<Authority>() {
        Ok(authority) if authority.port_u16().is_some() && !address.contains('@') => Ok(authority),
        _ => Err(WordError::Address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str, transport: Option<Transport>) -> What {
        What::Name(name.into(), transport)
    }

    #[test]
    fn what_is_asked_is_told_by_its_form() {
        let port = |number, transport| What::Port(Port::new(number), transport);
        let endpoint = |text: &str| What::Endpoint(text.into());
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
            assert_eq!(text.parse::<What>().unwrap(), what, "{text}");
        }
    }

    #[test]
    fn a_run_of_ports_is_sent_to_list() {
        for text in ["5000-5010", "5000-5010/udp"] {
            let fault = text.parse::<What>().unwrap_err().to_string();
            assert!(fault.ends_with("portbook list --ports 5000-5010"), "{fault}");
        }
        for text in ["", " ", "65536", "443/icmp"] {
            assert!(text.parse::<What>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn finding_codes_are_read_in_every_spelling() {
        for text in ["IANA_ASSIGNED", "iana-assigned", "Iana_Assigned"] {
            assert_eq!(finding_code(text).unwrap(), proto::FindingCode::IanaAssigned);
        }
        let fault = finding_code("nonsense").unwrap_err().to_string();
        assert!(fault.contains("IANA_ASSIGNED") && !fault.contains("PORT_TAKEN"), "{fault}");
    }

    #[test]
    fn server_addresses_have_a_port() {
        for text in ["localhost:1", "http://localhost:1", "http://localhost:1/"] {
            assert_eq!(server_address(text).unwrap().as_str(), "localhost:1");
        }
        assert_eq!(server_address("[::1]:50051").unwrap().as_str(), "[::1]:50051");
        for text in ["", "localhost", "https://a:1", "a:1/b", "u@a:1", "a:99999", "a b:1"] {
            assert!(server_address(text).is_err(), "{text:?}");
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
            let _ = text.parse::<What>();
            let _ = text.parse::<Target>();
            let _ = text.parse::<PortSpec>();
            let _ = server_address(&text);
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
