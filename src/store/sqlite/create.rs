//! Creating a database: it is complete in one file before it has its name, so that a start that is
//! interrupted, or a lost write-ahead log, never leaves a part of one.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::Connection;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteConnection;

use super::open::{MIGRATIONS, lock, open_error, open_failed};
use super::partial_copy::PartialCopy;
use crate::store::{CopyError, OpenError};

/// The maximum number of symbolic links to follow, as in Linux.
const MAX_LINKS: usize = 40;

/// Creates the database if there is no file at the path, or an empty one.
pub(super) async fn create_if_missing(path: &Path) -> Result<(), OpenError> {
    let target = followed(path);
    let existing = match target.metadata() {
        Ok(file) if file.len() > 0 => return Ok(()),
        // No other server creates the database in its place.
        Ok(_) => Some(lock(&target)?),
        Err(_) => None,
    };
    let failed = |error| create_failed(path, error);
    let partial = PartialCopy::create(&target).map_err(failed)?;
    let mut connection = partial.connect().await.map_err(failed)?;
    initialize(&mut connection, path).await?;
    connection.close().await.map_err(|source| open_error(path, source))?;
    match partial.persist(existing.is_some()) {
        // Another server has created it meanwhile.
        Ok(()) | Err(CopyError::Exists(_)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Marks an empty database as Portbook's, creates the tables and fills them with the seed.
pub(super) async fn initialize(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), OpenError> {
    let marked =
        sqlx::raw_sql("pragma application_id = 0x50424f4b").execute(&mut *connection).await;
    marked.map_err(|source| open_error(path, source))?;
    migrate(connection, path).await
}

/// Brings the schema up to date.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), OpenError> {
    MIGRATIONS.run(connection).await.map_err(|source| match source {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            open_error(path, source)
        }
        source => OpenError::Migrate { path: path.to_owned(), source: source.into() },
    })
}

/// The path that a chain of symbolic links leads to, also if nothing is there.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| next.clone(), |folder| folder.join(&next));
    }
    path
}

fn create_failed(path: &Path, error: CopyError) -> OpenError {
    let path = path.to_owned();
    match error {
        CopyError::Full(_) => OpenError::Full(path),
        CopyError::NoFolder(_) => OpenError::NoFolder(path),
        CopyError::Open(error) => *error,
        CopyError::Write { source, .. } => open_failed(&path, source),
        CopyError::Copy { source, .. } => OpenError::Database { path, source },
        error => OpenError::Database { path, source: error.into() },
    }
}
