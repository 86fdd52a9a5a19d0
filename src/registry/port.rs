//! Port numbers, port ranges, port classes and transports (RFC 6335, sections 3 and 6).

use std::fmt;
use std::str::FromStr;

/// A port number, 0-65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(u16);

impl Port {
    /// The lowest port number, which is reserved.
    pub const ZERO: Self = Self(0);
    /// The highest port number.
    pub const MAX: Self = Self(u16::MAX);

    /// The port with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The number as an index into a table of all ports.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The class of the port.
    #[must_use]
    pub const fn class(self) -> PortClass {
        match self.0 {
            0..=1023 => PortClass::System,
            1024..=49151 => PortClass::User,
            49152.. => PortClass::Dynamic,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a valid port number.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a valid port number: expected 0-65535")]
pub struct PortError(String);

impl TryFrom<u32> for Port {
    type Error = PortError;

    fn try_from(number: u32) -> Result<Self, PortError> {
        u16::try_from(number).map(Self).map_err(|_| PortError(number.to_string()))
    }
}

impl FromStr for Port {
    type Err = PortError;

    /// Accepts digits only: no sign, no space.
    fn from_str(text: &str) -> Result<Self, PortError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PortError(text.to_owned()));
        }
        text.parse().map(Self).map_err(|_| PortError(text.to_owned()))
    }
}

/// A range of port numbers, both ends included; a single port has equal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: Port,
    last: Port,
}

/// A port range whose last port is below its first.
#[derive(Debug, thiserror::Error)]
#[error("the port range {first}-{last} is reversed: its last port is below its first")]
pub struct PortRangeError {
    first: Port,
    last: Port,
}

impl PortRange {
    /// The range of all ports.
    pub const ALL: Self = Self { first: Port::ZERO, last: Port::MAX };

    /// The range from `first` to `last`.
    ///
    /// # Errors
    /// If `last` is below `first`.
    pub fn new(first: Port, last: Port) -> Result<Self, PortRangeError> {
        if last < first {
            return Err(PortRangeError { first, last });
        }
        Ok(Self { first, last })
    }

    /// The range of one port.
    #[must_use]
    pub const fn single(port: Port) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> Port {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> Port {
        self.last
    }

    /// The number of ports, 1-65536.
    #[must_use]
    pub fn width(self) -> u32 {
        u32::from(self.last.0) - u32::from(self.first.0) + 1
    }

    /// Whether the range contains the port.
    #[must_use]
    pub fn contains(self, port: Port) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether the two ranges share a port.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ports, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Port> {
        (self.first.0..=self.last.0).map(Port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The three classes of port numbers (RFC 6335, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortClass {
    /// 0-1023.
    System,
    /// 1024-49151.
    User,
    /// 49152-65535.
    Dynamic,
}

/// A transport protocol that carries port numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
    /// RFC 4340.
    Dccp,
}

impl Transport {
    /// Every transport, in the order in which responses list them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp];

    /// The name, as in IANA's registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        }
    }

    /// The position in [`Transport::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is not a transport.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a transport: expected tcp, udp, sctp or dccp")]
pub struct TransportError(String);

impl FromStr for Transport {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        Self::ALL
            .into_iter()
            .find(|transport| transport.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| TransportError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_change_at_1024_and_49152() {
        let class = |number| Port::new(number).class();
        assert_eq!(class(0), PortClass::System);
        assert_eq!(class(1023), PortClass::System);
        assert_eq!(class(1024), PortClass::User);
        assert_eq!(class(49151), PortClass::User);
        assert_eq!(class(49152), PortClass::Dynamic);
        assert_eq!(class(65535), PortClass::Dynamic);
    }

    #[test]
    fn only_ascii_digits_parse_as_a_port() {
        for text in ["", "-1", "+80", " 80", "65536", "8o", "80/tcp", "٨٠"] {
            assert!(text.parse::<Port>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_ports_parse_back(number: u16) {
            let port = Port::new(number);
            prop_assert_eq!(port.to_string().parse::<Port>().unwrap(), port);
        }

        #[test]
        fn ranges_overlap_if_they_share_a_port(a: (u16, u16), b: (u16, u16)) {
            let range = |(x, y): (u16, u16)| {
                PortRange::new(Port::new(x.min(y)), Port::new(x.max(y))).unwrap()
            };
            let (a, b) = (range(a), range(b));
            prop_assert_eq!(a.overlaps(b), a.iter().any(|port| b.contains(port)));
            prop_assert_eq!(a.iter().count(), a.width() as usize);
        }
    }
}
