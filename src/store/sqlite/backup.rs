//! Backups: a copy of a database in one sealed file, made while a server is running, or before a newer
//! Portbook changes the schema.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::backup_target;
use super::partial_copy::{PartialCopy, check_copy, copy};
use super::read_only::with_suffix;
use super::verify::{verify_database, verify_format};
use crate::store::{Backup, BackupError, CopyError};

/// Whether both paths lead to one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// See [`crate::store::Maintenance::backup`].
pub(super) async fn backup(
    database: &Path,
    target: &Path,
    overwrite: bool,
    now: Timestamp,
    report_progress: impl FnMut(u64, u64),
) -> Result<Backup, BackupError> {
    if is_same_file(database, target) {
        return Err(BackupError::IsDatabase(target.to_owned()));
    }
    backup_target::check(target)?;
    if target.symlink_metadata().is_ok() && !overwrite {
        return Err(CopyError::Exists(target.to_owned()).into());
    }
    let mut partial = copy(database, target, report_progress).await?;
    let report = verify_database(&partial.open()?, now).await.map_err(CopyError::from)?;
    let report = check_copy(report, database)?;
    let bytes = partial.seal()?;
    partial.persist(overwrite)?;
    Ok(Backup {
        revision: report.revision.unwrap_or_default(),
        assignments: report.assignments.unwrap_or_default(),
        bytes,
    })
}

/// Backs up a database in its own folder before its schema is changed. Returns the path.
pub(super) async fn before_upgrade(
    connection: &mut SqliteConnection,
    database: &Path,
    schema: i64,
) -> Result<PathBuf, CopyError> {
    let first = with_suffix(database, &format!(".schema-{schema}.backup"));
    let mut partial = PartialCopy::create(&first)?;
    partial.fill(database, connection, &mut |_, _| ()).await?;
    check_copy(verify_format(&partial.open()?).await?, database)?;
    partial.seal()?;
    let others = (2..).map(|n: u32| with_suffix(database, &format!(".schema-{schema}.{n}.backup")));
    partial.persist_at_first_free(std::iter::once(first).chain(others))
}
