//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::Authority;

/// Where a server is, and whether the way there is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    authority: Authority,
    is_encrypted: bool,
}

/// A text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("an address is written as host:port, http://host:port or, encrypted, https://host:port")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_encrypted = scheme.eq_ignore_ascii_case("https");
        if !is_encrypted && !scheme.eq_ignore_ascii_case("http") {
            return Err(NotAnAddress);
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        match address.parse::<Authority>() {
            Ok(authority) if authority.port_u16().is_some() && !address.contains('@') => {
                Ok(Self { authority, is_encrypted })
            }
            _ => Err(NotAnAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https://" } else { "" };
        write!(f, "{scheme}{}", self.authority)
    }
}

impl Address {
    /// The address as a client connects to it.
    pub(super) fn uri(&self) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Whether what is sent there is encrypted.
    pub(super) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The name or the address of the host.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether what is sent there can be read on the network.
    pub(super) fn is_plaintext_remote(&self) -> bool {
        let is_loopback = |host: &str| {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            let address = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
            address || name == "localhost" || name.ends_with(".localhost")
        };
        !self.is_encrypted && !is_loopback(self.host())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Address {
        text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn addresses_have_a_port_and_may_have_a_scheme() {
        for text in ["localhost:1", "http://localhost:1", "HTTP://localhost:1/"] {
            let address = read(text);
            assert_eq!(
                (address.to_string(), address.uri()),
                ("localhost:1".into(), "http://localhost:1".into())
            );
        }
        let address = read("https://[::1]:50051/");
        assert_eq!((address.to_string(), address.host()), ("https://[::1]:50051".into(), "::1"));
        assert!(address.is_encrypted());
        for text in [
            "",
            "localhost",
            "https://a",
            "a:1/b",
            "u@a:1",
            "a:99999",
            "a b:1",
            "ftp://a:1",
            "://a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_others_can_read_is_told_from_what_stays_on_the_machine() {
        for text in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "LocalHost:1", "a.localhost:1"] {
            assert!(!read(text).is_plaintext_remote(), "{text}");
        }
        for text in ["10.0.0.1:1", "localhost.example.com:1", "http://[2001:db8::1]:1", "a:1"] {
            assert!(read(text).is_plaintext_remote(), "{text}");
        }
        assert!(!read("https://10.0.0.1:1").is_plaintext_remote());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(text in "\\PC{0,40}|(https?://)?[a-z.]{1,9}:[0-9]{1,5}/?") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(read(&address.to_string()), address);
            }
        }
    }
}
