//! The rows of registrations, namespaces, pools, changes and findings. History stores complete
//! records as JSON, as they were at the time.

mod assignment;
mod change;
mod finding;
mod settings;

pub(super) use assignment::AssignmentRow;
pub(super) use change::{ChangeRow, change_from};
pub(super) use finding::{FindingRow, findings_from};
pub(super) use settings::{NamespaceRow, PoolRow};

use jiff::Timestamp;
use serde::Serialize;

use crate::registry::assignment::Revision;
use crate::store::StoreError;

/// SQLite's integers are signed; no revision reaches their maximum.
pub(super) fn revision_to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn revision_from_sql(revision: i64) -> Result<Revision, StoreError> {
    or_corrupt(u64::try_from(revision)).map(Revision)
}

pub(super) fn time_from_sql(micros: i64) -> Result<Timestamp, StoreError> {
    or_corrupt(Timestamp::from_microsecond(micros))
}

/// Maps a parse error to `Corrupt`: the schema's checks exclude such values.
pub(super) fn or_corrupt<T, E: std::error::Error>(parsed: Result<T, E>) -> Result<T, StoreError> {
    parsed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The value as JSON.
pub(super) fn to_text(value: &impl Serialize) -> Result<String, StoreError> {
    or_corrupt(serde_json::to_string(value))
}

pub(super) fn hash_from(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that does not have 32 bytes".into()))
}
