//! Endpoints as people write them: `32.23.55.21:80`, `[2001:db8::1]:443`,
//! `db.example.com:postgresql`, `:22`, `10.0.0.1:53/udp`, `https://example.com`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::port::{Port, Transport};

/// A parsed endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host, if there is one.
    pub host: Option<Host>,
    /// The transport, if one is named.
    pub transport: Option<Transport>,
    /// The port, by number or by name.
    pub port: PortRef,
}

/// The host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address and an optional zone (RFC 4007, section 11).
    Ipv6(Ipv6Addr, Option<String>),
    /// A name.
    Name(String),
}

/// The port part of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// By number.
    Number(Port),
    /// By the name of the service that is registered on it.
    Service(String),
    /// By the scheme of a URI, which refers to the publicly assigned port of that service.
    Scheme(String),
}

/// Why a text is not a valid endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text is empty.
    #[error("the endpoint is empty: expected an address and port such as 192.0.2.1:443")]
    Empty,
    /// Too many bytes.
    #[error("the endpoint has {0} bytes: at most {max} are allowed", max = Endpoint::MAX_LENGTH)]
    TooLong(usize),
    /// White space or a control character.
    #[error("the endpoint contains {0:?}, which is not allowed")]
    Character(char),
    /// No port, and no scheme that would name one.
    #[error("the endpoint {0:?} has no port: add one, such as {0}:443")]
    NoPort(String),
    /// An IPv6 address without brackets, so that the port is ambiguous.
    #[error("the IPv6 address in {0:?} needs brackets, such as [2001:db8::1]:443")]
    NoBrackets(String),
    /// An unmatched bracket, or text between the bracket and the port.
    #[error("the brackets in {0:?} are not valid: expected a form such as [2001:db8::1]:443")]
    Brackets(String),
    /// A host that is neither an address nor a name.
    #[error("{0:?} is neither an address nor a host name")]
    Host(String),
    /// A number above 65535.
    #[error("{0:?} is not a valid port number: expected 0-65535")]
    Port(String),
    /// A word after `/` that is not a transport.
    #[error("{0:?} is not a transport: expected tcp, udp, sctp or dccp")]
    Transport(String),
    /// A scheme that violates RFC 3986, section 3.1.
    #[error("{0:?} is not a URI scheme")]
    Scheme(String),
}

impl Endpoint {
    /// The maximum length of an endpoint, in bytes.
    pub const MAX_LENGTH: usize = 512;
    /// The maximum length of a service name in an endpoint, in bytes.
    pub const MAX_NAME: usize = 128;
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(EndpointError::TooLong(text.len()));
        }
        if let Some(invalid) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(EndpointError::Character(invalid));
        }
        match text.split_once("://") {
            Some((scheme, rest)) => parse_uri(scheme, rest),
            None => parse_plain(text),
        }
    }
}

/// `https://user@example.com:8443/path`: the scheme names a service, or a transport.
fn parse_uri(scheme: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err(EndpointError::Scheme(scheme.to_owned()));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let transport: Option<Transport> = scheme.parse().ok();
    let (host, port) = split_port(authority)?;
    let port = match (port, transport) {
        (Some(port), _) => parse_port(port)?,
        (None, None) => PortRef::Scheme(scheme.to_ascii_lowercase()),
        (None, Some(_)) => return Err(EndpointError::NoPort(format!("{scheme}://{authority}"))),
    };
    // A zone in a URI is written with an escaped percent sign (RFC 6874).
    let host = host.replacen("%25", "%", 1);
    Ok(Endpoint { host: parse_host(&host)?, transport, port })
}

/// `address:port` or `address:port/transport`.
fn parse_plain(text: &str) -> Result<Endpoint, EndpointError> {
    let (address, transport) = match text.rsplit_once('/') {
        Some((address, transport)) => {
            let transport =
                transport.parse().map_err(|_| EndpointError::Transport(transport.to_owned()))?;
            (address, Some(transport))
        }
        None => (text, None),
    };
    let (host, port) = split_port(address)?;
    let port = port.ok_or_else(|| EndpointError::NoPort(address.to_owned()))?;
    Ok(Endpoint { host: parse_host(host)?, transport, port: parse_port(port)? })
}

/// Splits at the colon before the port. An IPv6 address with a port must be in brackets.
fn split_port(address: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if address.starts_with('[') {
        let brackets = || EndpointError::Brackets(address.to_owned());
        let end = address.find(']').ok_or_else(brackets)?;
        let (host, rest) = address.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some("") => Err(EndpointError::NoPort(host.to_owned())),
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(brackets()),
        };
    }
    match address.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(EndpointError::NoBrackets(address.to_owned())),
        Some((host, "")) => Err(EndpointError::NoPort(host.to_owned())),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((address, None)),
    }
}

fn parse_port(text: &str) -> Result<PortRef, EndpointError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse().map_err(|_| EndpointError::Port(text.to_owned()))?;
        return Ok(PortRef::Number(port));
    }
    // A service name contains a letter (RFC 6335, section 5.1): a text without one is a number.
    if text.len() > Endpoint::MAX_NAME || !text.contains(char::is_alphabetic) {
        return Err(EndpointError::Port(text.chars().take(Endpoint::MAX_NAME).collect()));
    }
    Ok(PortRef::Service(text.to_owned()))
}

fn parse_host(text: &str) -> Result<Option<Host>, EndpointError> {
    if text.is_empty() || text == "*" {
        return Ok(None);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_ipv6(inner).map(Some).ok_or_else(|| EndpointError::Host(text.to_owned()));
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(Host::Ipv4(address)));
    }
    if is_host_name(text) {
        return Ok(Some(Host::Name(text.to_owned())));
    }
    Err(EndpointError::Host(text.to_owned()))
}

fn parse_ipv6(text: &str) -> Option<Host> {
    let (address, zone) = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let is_zone = |zone: &str| {
        !zone.is_empty()
            && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if zone.is_some_and(|zone| !is_zone(zone)) {
        return None;
    }
    Some(Host::Ipv6(address.parse().ok()?, zone.map(str::to_owned)))
}

/// A DNS name (RFC 1123, section 2.1), also in its international form. Underscores are allowed
/// because real networks use them. An all-numeric last label is not: it belongs to an address.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_none_or(is_number)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address, None) => address.fmt(f),
            Self::Ipv6(address, Some(zone)) => write!(f, "{address}%{zone}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let PortRef::Scheme(scheme) = &self.port {
            write!(f, "{scheme}://")?;
        }
        match &self.host {
            Some(Host::Ipv6(address, Some(zone))) if matches!(self.port, PortRef::Scheme(_)) => {
                write!(f, "[{address}%25{zone}]")?;
            }
            Some(host @ Host::Ipv6(..)) => write!(f, "[{host}]")?,
            Some(host) => host.fmt(f)?,
            None => {}
        }
        match &self.port {
            PortRef::Number(port) => write!(f, ":{port}")?,
            PortRef::Service(name) => write!(f, ":{name}")?,
            PortRef::Scheme(_) => {}
        }
        match self.transport {
            Some(transport) => write!(f, "/{transport}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Endpoint {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn number(port: u16) -> PortRef {
        PortRef::Number(Port::new(port))
    }

    #[test]
    fn all_documented_forms_are_parsed() {
        let forms = [
            ("32.23.55.21:80", "32.23.55.21", None, number(80)),
            ("[2001:db8::1]:443", "2001:db8::1", None, number(443)),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", None, number(22)),
            (
                "db.example.com:postgresql",
                "db.example.com",
                None,
                PortRef::Service("postgresql".into()),
            ),
            (":22", "", None, number(22)),
            ("*:22", "", None, number(22)),
            ("10.0.0.1:53/udp", "10.0.0.1", Some(Transport::Udp), number(53)),
            ("https://example.com", "example.com", None, PortRef::Scheme("https".into())),
            ("HTTPS://u:p@example.com:8443/a:b?c#d", "example.com", None, number(8443)),
            ("ssh://git@[2001:db8::1]/x", "2001:db8::1", None, PortRef::Scheme("ssh".into())),
            ("udp://10.0.0.1:514", "10.0.0.1", Some(Transport::Udp), number(514)),
            ("localhost:0", "localhost", None, number(0)),
            ("http://[fe80::1%25en0]:8080/", "fe80::1%en0", None, number(8080)),
            ("[fe80::1%25]:22", "fe80::1%25", None, number(22)),
        ];
        for (text, host, transport, port) in forms {
            let endpoint = parse(text);
            assert_eq!(
                endpoint.host.map(|host| host.to_string()).unwrap_or_default(),
                host,
                "{text}"
            );
            assert_eq!(endpoint.transport, transport, "{text}");
            assert_eq!(endpoint.port, port, "{text}");
        }
    }

    #[test]
    fn each_kind_of_invalid_endpoint_has_its_error() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(error("  "), EndpointError::Empty);
        assert_eq!(error(&"a".repeat(513)), EndpointError::TooLong(513));
        assert_eq!(error("a b:80"), EndpointError::Character(' '));
        assert_eq!(error("10.0.0.1"), EndpointError::NoPort("10.0.0.1".into()));
        assert_eq!(error("10.0.0.1:"), EndpointError::NoPort("10.0.0.1".into()));
        assert_eq!(error("udp://10.0.0.1"), EndpointError::NoPort("udp://10.0.0.1".into()));
        assert_eq!(error("2001:db8::1:443"), EndpointError::NoBrackets("2001:db8::1:443".into()));
        assert_eq!(error("[::1:80"), EndpointError::Brackets("[::1:80".into()));
        assert_eq!(error("[::1]80"), EndpointError::Brackets("[::1]80".into()));
        assert_eq!(error("[::g]:80"), EndpointError::Host("[::g]".into()));
        assert_eq!(error("300.1.1.1:80"), EndpointError::Host("300.1.1.1".into()));
        assert_eq!(error("a..b:80"), EndpointError::Host("a..b".into()));
        assert_eq!(error("10.0.0.1:65536"), EndpointError::Port("65536".into()));
        assert_eq!(error("10.0.0.1:80/icmp"), EndpointError::Transport("icmp".into()));
        assert_eq!(error("1x://a"), EndpointError::Scheme("1x".into()));
    }

    proptest! {
        #[test]
        fn the_parser_never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Endpoint>();
        }

        #[test]
        fn printed_endpoints_parse_back(text in "[a-z]{2,5}://([a-z]{1,5}|\\[::1%25[a-z0-9]{1,4}\\])|(\\[[0-9a-f:]{2,12}(%[a-z0-9]{1,4})?\\]|[a-z0-9.-]{0,12}):([0-9]{1,5}|[a-z][a-z0-9-]{0,8})(/(tcp|udp|sctp|dccp))?") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            }
        }
    }
}
