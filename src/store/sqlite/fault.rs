//! What SQLite's result codes mean: <https://sqlite.org/rescode.html>.

use crate::store::StoreError;

const FULL: u32 = 13;
/// The index of the write-ahead log can't grow: it is a file of its own, 32 KiB large at first.
const IOERR_SHMSIZE: u32 = 4874;

impl From<sqlx::Error> for StoreError {
    fn from(fault: sqlx::Error) -> Self {
        if is_full(&fault) { Self::Full(fault) } else { Self::Database(fault) }
    }
}

/// Whether there was no space on the disk.
pub(super) fn is_full(fault: &sqlx::Error) -> bool {
    matches!(code(fault), Some(FULL | IOERR_SHMSIZE))
}

/// The result code without what it says beyond its kind.
pub(super) fn primary_code(fault: &sqlx::Error) -> Option<u32> {
    code(fault).map(|code| code & 0xff)
}

/// The extended result code.
fn code(fault: &sqlx::Error) -> Option<u32> {
    fault.as_database_error()?.code()?.parse().ok()
}
