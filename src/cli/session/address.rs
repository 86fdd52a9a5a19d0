//! The address of a server.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::uri::Authority;

/// The address of a server, and whether the connection uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    authority: Authority,
    is_encrypted: bool,
}

/// The text is not a valid address.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a valid address: expected HOST:PORT, http://HOST:PORT or, with TLS, https://HOST:PORT"
)]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_encrypted = scheme.eq_ignore_ascii_case("https");
        if !is_encrypted && !scheme.eq_ignore_ascii_case("http") {
            return Err(AddressError);
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        match address.parse::<Authority>() {
            Ok(authority) if authority.port_u16().is_some() && !address.contains('@') => {
                Ok(Self { authority, is_encrypted })
            }
            _ => Err(AddressError),
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
    /// Host and port.
    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URI to connect to.
    pub(super) fn uri(&self) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Whether the connection uses TLS.
    pub(super) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The host name or IP address.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether requests cross the network in plaintext: no TLS and not a loopback address.
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

    fn parse(text: &str) -> Address {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn addresses_have_a_port_and_may_have_a_scheme() {
        for text in ["localhost:1", "http://localhost:1", "HTTP://localhost:1/"] {
            let address = parse(text);
            assert_eq!(
                (address.to_string(), address.uri()),
                ("localhost:1".into(), "http://localhost:1".into())
            );
        }
        let address = parse("https://[::1]:50051/");
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
    fn plaintext_is_remote_unless_the_host_is_loopback() {
        for text in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "LocalHost:1", "a.localhost:1"] {
            assert!(!parse(text).is_plaintext_remote(), "{text}");
        }
        for text in ["10.0.0.1:1", "localhost.example.com:1", "http://[2001:db8::1]:1", "a:1"] {
            assert!(parse(text).is_plaintext_remote(), "{text}");
        }
        assert!(!parse("https://10.0.0.1:1").is_plaintext_remote());
    }

    proptest! {
        #[test]
        fn printing_and_parsing_an_address_are_inverse(text in "\\PC{0,40}|(https?://)?[a-z.]{1,9}:[0-9]{1,5}/?") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(parse(&address.to_string()), address);
            }
        }
    }
}
