//! Putting a backup in the place of a database. However it ends, the old one or the new one stands
//! there, and the old one is put aside, not deleted.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::LockedFile;
use super::backup::is_same_file;
use super::fault::primary_code;
use super::open::{OpenError, lock};
use super::partial::{CopyError, copy, passed, sync_folder, write_failed};
use super::source::beside;
use super::verify::{examine_form, verify};
use crate::registry::assignment::Revision;

/// What SQLite keeps beside a database, and would take for a part of any other one of that name.
const COMPANIONS: [&str; 3] = ["-wal", "-journal", "-shm"];

/// A backup that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The last revision of the database.
    pub revision: Revision,
    /// How many assignments are registered in it.
    pub assignments: u64,
    /// Where the database is that stood there before, if one did.
    pub aside: Option<PathBuf>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is damaged.
    #[error("{backup} does not pass its verification, so it was not restored: {faults}")]
    Faulty {
        /// The backup.
        backup: PathBuf,
        /// What is wrong.
        faults: String,
    },
    /// A database can't be restored from itself.
    #[error("{0} is the database itself: give the name of a backup")]
    IsDatabase(PathBuf),
    /// There is a database already.
    #[error(
        "the database {0} exists already: give another --database, or --force to put the backup in \
         its place; the old one is kept beside it"
    )]
    Exists(PathBuf),
    /// Another program has it open.
    #[error("the database {0} is in use by another program: end that one first")]
    Busy(PathBuf),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The old database could not be completed.
    #[error("what was written last to the old database {path} can't be put into its file")]
    Settle {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The backup could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// Verifies the backup and puts it in the place of the database. `tell` is told how many bytes of
/// how many were copied.
///
/// # Errors
/// If it is damaged, a server has the database, a database is there that may not be replaced, or it
/// can't be written. The database that was there still is then.
pub async fn restore(
    backup: &Path,
    database: &Path,
    overwrite: bool,
    now: Timestamp,
    tell: impl FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    if is_same_file(backup, database) {
        return Err(RestoreError::IsDatabase(backup.to_owned()));
    }
    if database.is_dir() {
        return Err(OpenError::IsFolder(database.to_owned()).into());
    }
    // Held to the end: no server may open what is about to be another file.
    let old = match database.canonicalize() {
        Ok(path) => Some(LockedFile { file: lock(database)?, path }),
        Err(_) => None,
    };
    if old.is_some() && !overwrite {
        return Err(RestoreError::Exists(database.to_owned()));
    }
    let report = verify(backup, now).await?;
    let faults: Vec<_> = report.faults().map(|check| check.told()).collect();
    if !faults.is_empty() {
        let (backup, faults) = (backup.to_owned(), faults.join("; "));
        return Err(RestoreError::Faulty { backup, faults });
    }
    let target = old.as_ref().map_or(database, |old| &old.path);
    let partial = copy(backup, target, tell).await?;
    let report = passed(examine_form(&partial.source()?).await?, backup)?;
    let aside = match &old {
        Some(old) => {
            // What was locked may have been moved, and another one put in its place.
            let in_place = || {
                let busy = || RestoreError::Busy(database.to_owned());
                old.is_in_place().then_some(()).ok_or_else(busy)
            };
            in_place()?;
            partial.belong_like(&old.path)?;
            settle(&old.path).await?;
            in_place()?;
            let aside = put_aside(&old.path, now)?;
            partial.put(true)?;
            Some(aside)
        }
        None => {
            let place = Place::take(target)?;
            put_companions_aside(target, &free_name(target, now))?;
            partial.put(true)?;
            place.filled();
            None
        }
    };
    Ok(Restored {
        revision: report.revision.unwrap_or_default(),
        assignments: report.assignments.unwrap_or_default(),
        aside,
    })
}

/// The place of a database where none is: an empty file, held so that no server begins to write it
/// and takes what lies beside it for its own. Removed again, unless a database takes its place.
struct Place {
    file: LockedFile,
    is_filled: bool,
}

impl Place {
    /// Takes it, unless something stands there.
    fn take(path: &Path) -> Result<Self, RestoreError> {
        let new = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = new.map_err(|fault| match fault.kind() {
            io::ErrorKind::AlreadyExists => RestoreError::Exists(path.to_owned()),
            _ => write_failed(path, fault).into(),
        })?;
        match file.try_lock() {
            Ok(()) => {
                let file = LockedFile { path: path.to_owned(), file };
                Ok(Self { file, is_filled: false })
            }
            // A server was faster, and goes on with the file.
            Err(TryLockError::WouldBlock) => Err(RestoreError::Exists(path.to_owned())),
            Err(TryLockError::Error(fault)) => Err(write_failed(path, fault).into()),
        }
    }

    /// A database has taken it.
    fn filled(mut self) {
        self.is_filled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_filled
            && self.file.is_in_place()
            && let Err(fault) = fs::remove_file(&self.file.path)
        {
            tracing::debug!(error = &fault as &dyn std::error::Error, "left an empty file");
        }
    }
}

/// Moves all that was written to the database into its one file, so that one renaming can replace it
/// whole. A file in which SQLite finds no database is left as it is: SQLite would delete its log.
async fn settle(database: &Path) -> Result<(), RestoreError> {
    let settled = async {
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
    match settled.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(RestoreError::Busy(database.to_owned())),
        Err(source) => match primary_code(&source) {
            Some(5) => Err(RestoreError::Busy(database.to_owned())),
            Some(11 | 26) => Ok(()),
            _ => Err(RestoreError::Settle { path: database.to_owned(), source }),
        },
    }
}

/// Whether SQLite finds a database in the file, read alone, without what lies beside it.
async fn is_database(file: &Path) -> Result<bool, sqlx::Error> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let found = async {
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::query("select count(*) from sqlite_schema").execute(&mut connection).await?;
        connection.close().await
    };
    match found.await {
        Err(fault) if matches!(primary_code(&fault), Some(11 | 26)) => Ok(false),
        found => found.map(|()| true),
    }
}

/// Gives the database a second name, so that it is still there when the first one is another's.
fn put_aside(database: &Path, now: Timestamp) -> Result<PathBuf, CopyError> {
    let aside = free_name(database, now);
    fs::hard_link(database, &aside).map_err(|fault| write_failed(&aside, fault))?;
    put_companions_aside(database, &aside)?;
    sync_folder(&aside)?;
    Ok(aside)
}

fn put_companions_aside(database: &Path, aside: &Path) -> Result<(), CopyError> {
    for suffix in COMPANIONS {
        let aside = beside(aside, suffix);
        match fs::rename(beside(database, suffix), &aside) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                return Err(write_failed(&aside, fault));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `portbook.db.replaced-20261124T131041Z`, or that with a number.
fn free_name(database: &Path, now: Timestamp) -> PathBuf {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let mut name = beside(database, &format!(".replaced-{time}"));
    let mut number = 1;
    while name.symlink_metadata().is_ok() {
        number += 1;
        name = beside(database, &format!(".replaced-{time}-{number}"));
    }
    name
}
