//! Guides: plain-language information about well-known services.

use std::sync::Arc;

use super::encoded::Encoded;

/// How the traffic of a service is protected on its usual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Plaintext.
    None,
    /// Plaintext at first; can be upgraded to TLS on the same port.
    StartTls,
    /// TLS, DTLS or QUIC from the first byte.
    Tls,
    /// Encryption that is part of the protocol, as in SSH.
    BuiltIn,
}

/// A plain-language description of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guide {
    /// The identifier, lower-case.
    pub id: Arc<str>,
    /// The common name of the service.
    pub title: String,
    /// The title spelled out.
    pub full_name: String,
    /// One to three sentences.
    pub summary: String,
    /// The kind of service, a lower-case word.
    pub category: String,
    /// How the traffic is protected.
    pub encryption: Encryption,
    /// The recommended replacement, or empty.
    pub use_instead: String,
    /// Other common names, lower-case, sorted.
    pub aliases: Vec<String>,
    /// The service names that the guide describes, lower-case, sorted.
    pub service_names: Vec<String>,
}

/// A guide, shared between snapshots.
pub type SharedGuide = Encoded<Guide>;
