//! SQLite's result codes: <https://sqlite.org/rescode.html>.

use crate::store::StoreError;

const FULL: u32 = 13;
/// The index of the write-ahead log, a separate file, can't grow.
const IOERR_SHMSIZE: u32 = 4874;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_full(&error) { Self::Full(error.into()) } else { Self::Database(error.into()) }
    }
}

/// Whether the disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(FULL | IOERR_SHMSIZE))
}

/// The primary result code: the low byte of the extended one.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    code(error).map(|code| code & 0xff)
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}
