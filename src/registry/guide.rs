//! Guides: plain-language knowledge on well-known services.

use std::sync::Arc;

use super::encoded::Encoded;

/// How traffic of a service is protected on its usual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Plain text.
    None,
    /// Plain at first, can be upgraded on the same port.
    StartTls,
    /// TLS, DTLS or QUIC from the first byte.
    Tls,
    /// The protocol's own.
    BuiltIn,
}

/// What a service is for, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guide {
    /// Its identity, lower-case.
    pub id: Arc<str>,
    /// What people call the service.
    pub title: String,
    /// The title spelled out.
    pub full_name: String,
    /// One to three sentences.
    pub summary: String,
    /// The kind of service, a lower-case word.
    pub category: String,
    /// How its traffic is protected.
    pub encryption: Encryption,
    /// What to use in its place, or empty.
    pub use_instead: String,
    /// Other words for it, lower-case, sorted.
    pub aliases: Vec<String>,
    /// The service names it speaks of, lower-case, sorted.
    pub service_names: Vec<String>,
}

/// A guide as snapshots share it.
pub type SharedGuide = Encoded<Guide>;
