//! Replacing a database with a backup. At every moment either the old or the new database is in place,
//! and the old one is renamed, not deleted.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::LockedFile;
use super::backup::is_same_file;
use super::error::primary_code;
use super::open::lock;
use super::partial_copy::{check_copy, copy, sync_folder, write_failed};
use super::read_only::{COMPANIONS, check_is_regular, with_suffix};
use super::restored_tokens;
use super::verify::{verify, verify_format};
use crate::store::{CopyError, RestoreError, RestoreOptions, Restored, RestoredTokens};

/// See [`crate::store::Maintenance::restore`].
pub(super) async fn restore(
    backup: &Path,
    database: &Path,
    options: RestoreOptions,
    now: Timestamp,
    report_progress: impl FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    if is_same_file(backup, database) {
        return Err(RestoreError::IsDatabase(backup.to_owned()));
    }
    if let Ok(metadata) = fs::metadata(database) {
        check_is_regular(database, &metadata)?;
    }
    // Locked until the end: no server may open a file that is about to be replaced.
    let old = match database.canonicalize() {
        Ok(path) => Some(LockedFile { file: lock(database)?, path }),
        Err(_) => None,
    };
    if old.is_some() && !options.overwrite {
        return Err(RestoreError::Exists(database.to_owned()));
    }
    let report = verify(backup, now).await?;
    if let Some(problems) = report.problems() {
        return Err(RestoreError::Invalid { backup: backup.to_owned(), problems });
    }
    let target = old.as_ref().map_or(database, |old| &old.path);
    let partial = copy(backup, target, report_progress).await?;
    // The locked file may have been moved, and another one put in its place.
    let check_in_place = |old: &LockedFile| {
        old.is_in_place().then_some(()).ok_or_else(|| RestoreError::Busy(database.to_owned()))
    };
    if let Some(old) = &old {
        check_in_place(old)?;
        checkpoint(&old.path).await?;
    }
    let tokens = match &old {
        Some(old) if !options.tokens_from_backup => {
            restored_tokens::keep(&old.path, &partial).await?
        }
        _ => RestoredTokens::OfBackup,
    };
    let report = check_copy(verify_format(&partial.open()?).await?, backup)?;
    let previous = match &old {
        Some(old) => {
            partial.copy_permissions_from(&old.path)?;
            check_in_place(old)?;
            let previous = link_to_free_name(&old.path, now)?;
            partial.persist(true)?;
            Some(previous)
        }
        None => {
            let placeholder = Placeholder::create(target)?;
            move_companions(target, &free_name(target, now))?;
            partial.persist(true)?;
            placeholder.replaced();
            None
        }
    };
    Ok(Restored {
        revision: report.revision.unwrap_or_default(),
        assignments: report.assignments.unwrap_or_default(),
        previous,
        tokens,
    })
}

/// A locked empty file at the path of a new database, so that no server starts to write there and
/// applies the old companion files. Dropping it removes the file, unless a database has replaced it.
struct Placeholder {
    file: LockedFile,
    is_replaced: bool,
}

impl Placeholder {
    /// Creates and locks the file. Fails if the path exists.
    fn create(path: &Path) -> Result<Self, RestoreError> {
        let new = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = new.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RestoreError::Exists(path.to_owned()),
            _ => write_failed(path, error).into(),
        })?;
        match file.try_lock() {
            Ok(()) => {
                let file = LockedFile { path: path.to_owned(), file };
                Ok(Self { file, is_replaced: false })
            }
            // A server has opened the new file in between, and continues with it.
            Err(TryLockError::WouldBlock) => Err(RestoreError::Exists(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(write_failed(path, error).into()),
        }
    }

    /// Keeps the database that has replaced the empty file.
    fn replaced(mut self) {
        self.is_replaced = true;
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        if !self.is_replaced
            && self.file.is_in_place()
            && let Err(error) = fs::remove_file(&self.file.path)
        {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "could not remove an empty file");
        }
    }
}

/// Writes the write-ahead log into the database file, so that one rename replaces the database
/// completely. Skips a file that SQLite does not recognise: SQLite would delete its log.
async fn checkpoint(database: &Path) -> Result<(), RestoreError> {
    let checkpointed = async {
        if !is_database(database).await? {
            return Ok(true);
        }
        let options = SqliteConnectOptions::new().filename(database).create_if_missing(false);
        let mut connection = options.disable_statement_logging().connect().await?;
        let (busy, ..): (i64, i64, i64) =
            sqlx::query_as("pragma wal_checkpoint(truncate)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(busy == 0)
    };
    match checkpointed.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(RestoreError::Busy(database.to_owned())),
        Err(source) => match primary_code(&source) {
            Some(5) => Err(RestoreError::Busy(database.to_owned())),
            Some(11 | 26) => Ok(()),
            _ => Err(RestoreError::Checkpoint { path: database.to_owned(), source: source.into() }),
        },
    }
}

/// Whether SQLite recognises the file as a database, ignoring its companion files.
async fn is_database(file: &Path) -> Result<bool, sqlx::Error> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let opened = async {
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::query("select count(*) from sqlite_schema").execute(&mut connection).await?;
        connection.close().await
    };
    match opened.await {
        Err(error) if matches!(primary_code(&error), Some(11 | 26)) => Ok(false),
        opened => opened.map(|()| true),
    }
}

/// Links the database to a second name, which remains when the first one is replaced. Returns it.
fn link_to_free_name(database: &Path, now: Timestamp) -> Result<PathBuf, CopyError> {
    let link = free_name(database, now);
    fs::hard_link(database, &link).map_err(|error| write_failed(&link, error))?;
    move_companions(database, &link)?;
    sync_folder(&link)?;
    Ok(link)
}

fn move_companions(database: &Path, target: &Path) -> Result<(), CopyError> {
    for suffix in COMPANIONS {
        let target = with_suffix(target, suffix);
        match fs::rename(with_suffix(database, suffix), &target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(write_failed(&target, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An unused name such as `portbook.db.replaced-20261124T131041Z`, with a number appended if needed.
fn free_name(database: &Path, now: Timestamp) -> PathBuf {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let mut name = with_suffix(database, &format!(".replaced-{time}"));
    let mut number = 1;
    while name.symlink_metadata().is_ok() {
        number += 1;
        name = with_suffix(database, &format!(".replaced-{time}-{number}"));
    }
    name
}
