//! The form in which what can change is stored: JSON for whole things, so that history keeps what
//! was true then.

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

/// SQLite's integers are signed; a revision that large would take longer to reach than the sun
/// has left.
pub(super) fn revision_to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn revision_from_sql(revision: i64) -> Result<Revision, StoreError> {
    understood(u64::try_from(revision)).map(Revision)
}

pub(super) fn time_from_sql(micros: i64) -> Result<Timestamp, StoreError> {
    understood(Timestamp::from_microsecond(micros))
}

/// What the schema's checks keep out can't be read either.
pub(super) fn understood<T, E: std::error::Error>(parsed: Result<T, E>) -> Result<T, StoreError> {
    parsed.map_err(|fault| StoreError::Corrupt(fault.to_string()))
}

/// The value as JSON.
pub(super) fn to_text(value: &impl Serialize) -> Result<String, StoreError> {
    understood(serde_json::to_string(value))
}

pub(super) fn hash_from(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that has not 32 bytes".into()))
}
