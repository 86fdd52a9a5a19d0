//! The format of the history, the same in every store: each change contains the complete records before
//! and after it as JSON, and each outcome of a request its findings. A store may use the same JSON for
//! its current state.
//!
//! Fields may be added, with a default for JSON without them. No field is ever renamed or removed.

mod assignment;
mod change;
mod finding;
mod interner;
mod settings;

pub(in crate::store) use assignment::AssignmentJson;
pub use change::{ChangeRow, decode_change};
pub use finding::{decode_findings, encode_findings};
pub use interner::TextInterner;
pub(in crate::store) use settings::{NamespaceJson, PoolJson};

use jiff::Timestamp;
use serde::Serialize;

use crate::registry::assignment::Revision;
use crate::store::StoreError;

/// The revision as a signed integer, as databases have no unsigned ones. No revision reaches the
/// maximum.
pub(in crate::store) fn revision_to_integer(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(in crate::store) fn revision_from_integer(revision: i64) -> Result<Revision, StoreError> {
    or_corrupt(u64::try_from(revision)).map(Revision)
}

pub(in crate::store) fn time_from_micros(micros: i64) -> Result<Timestamp, StoreError> {
    or_corrupt(Timestamp::from_microsecond(micros))
}

/// Maps a parse error to `Corrupt`: the schema's checks exclude such values.
pub(in crate::store) fn or_corrupt<T, E: std::error::Error>(
    parsed: Result<T, E>,
) -> Result<T, StoreError> {
    parsed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The value as JSON.
pub(in crate::store) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    or_corrupt(serde_json::to_string(value))
}

pub(in crate::store) fn hash_from(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that does not have 32 bytes".into()))
}
