//! Backups: a copy of a database in one sealed file, made while a server goes on writing, or before a
//! newer Portbook changes the schema.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::open::OpenError;
use super::partial::{CopyError, Partial, copy, passed};
use super::source::beside;
use super::verify::{examine, examine_form};
use crate::registry::assignment::Revision;

/// A backup that was made.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    /// The last revision in it.
    pub revision: Revision,
    /// How many assignments are registered in it.
    pub assignments: u64,
    /// How long the file is.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database can't be its own backup.
    #[error("{0} is the database itself: give the name of another file")]
    IsDatabase(PathBuf),
    /// It could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// Whether both names are of one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    place(one).is_some_and(|place_of_one| Some(place_of_one) == place(other))
}

/// Backs the database up as it is at one moment, whoever writes it. `tell` is told how many bytes of
/// how many were copied.
///
/// # Errors
/// If it can't be read or the backup can't be written. Nothing is left behind then.
pub async fn backup(
    database: &Path,
    target: &Path,
    overwrite: bool,
    now: Timestamp,
    tell: impl FnMut(u64, u64),
) -> Result<Saved, BackupError> {
    if is_same_file(database, target) {
        return Err(BackupError::IsDatabase(target.to_owned()));
    }
    if target.is_dir() {
        return Err(CopyError::from(OpenError::IsFolder(target.to_owned())).into());
    }
    if target.symlink_metadata().is_ok() && !overwrite {
        return Err(CopyError::Exists(target.to_owned()).into());
    }
    let mut partial = copy(database, target, tell).await?;
    let report =
        passed(examine(&partial.source()?, now).await.map_err(CopyError::from)?, database)?;
    let bytes = partial.seal()?;
    partial.put(overwrite)?;
    Ok(Saved {
        revision: report.revision.unwrap_or_default(),
        assignments: report.assignments.unwrap_or_default(),
        bytes,
    })
}

/// Backs a database up beside itself, before its schema is changed, and says where.
pub(super) async fn before_upgrade(
    connection: &mut SqliteConnection,
    database: &Path,
    schema: i64,
) -> Result<PathBuf, CopyError> {
    let first = beside(database, &format!(".schema-{schema}.backup"));
    let mut partial = Partial::beside(&first)?;
    partial.fill(database, connection, &mut |_, _| ()).await?;
    passed(examine_form(&partial.source()?).await?, database)?;
    partial.seal()?;
    let others = (2..).map(|n: u32| beside(database, &format!(".schema-{schema}.{n}.backup")));
    partial.put_at_first_free(std::iter::once(first).chain(others))
}
