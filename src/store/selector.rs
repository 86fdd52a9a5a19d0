//! Selects the store of a database: the only file outside the folder of a store that uses its types.

use super::OpenError;
use super::sqlite::SqliteStore;

/// The store of a database given by its path.
pub type DatabaseStore = SqliteStore;

/// A new registry in memory that contains only the seed: IANA's registry and the guides.
///
/// # Errors
/// If there is not enough memory.
pub async fn in_memory() -> Result<DatabaseStore, OpenError> {
    DatabaseStore::in_memory().await
}
