//! Backup, restoration and verification of a database.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{BoxError, OpenError, Store};
use crate::access::TokenName;
use crate::registry::assignment::Revision;

/// A store with backup, restoration and verification. None of them requires an open store; a server may
/// use the database during a backup or a verification.
pub trait Maintenance: Store {
    /// Writes a verified, consistent backup of the database to a file. `report_progress` receives the
    /// number of bytes copied and the total.
    ///
    /// # Errors
    /// If the database can't be read or the backup can't be written. No file remains then.
    fn backup(
        database: &Path,
        target: &Path,
        overwrite: bool,
        now: Timestamp,
        report_progress: impl FnMut(u64, u64),
    ) -> impl Future<Output = Result<Backup, BackupError>>;

    /// Verifies a backup and replaces the database with it. `report_progress` receives the number of
    /// bytes copied and the total. The tokens of the replaced database stay as they are, unless it can't
    /// be read or `options` requests those of the backup.
    ///
    /// # Errors
    /// If the backup is damaged, a server uses the database, the database exists and `overwrite` is not
    /// set, or it can't be written. An existing database is then unchanged.
    fn restore(
        backup: &Path,
        database: &Path,
        options: RestoreOptions,
        now: Timestamp,
        report_progress: impl FnMut(u64, u64),
    ) -> impl Future<Output = Result<Restored, RestoreError>>;

    /// Verifies a database or a backup: that its bytes are unchanged, that replaying its history results
    /// in the current state, and that the state satisfies the rules. Changes and repairs nothing.
    ///
    /// # Errors
    /// If it does not exist or can't be read. Problems of its content are in the report.
    fn verify(database: &Path, now: Timestamp) -> impl Future<Output = Result<Report, OpenError>>;

    /// A shell command that recovers data from a damaged database without a backup. `quoted` is the
    /// path of the database, quoted for the shell.
    fn recovery_command(quoted: &str) -> String;
}

/// A backup that was written.
#[derive(Clone, Copy, Debug)]
pub struct Backup {
    /// The last revision in it.
    pub revision: Revision,
    /// How many assignments are registered in it.
    pub assignments: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// Why no backup was written.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is the database.
    #[error("{0} is the database itself: give the name of another file")]
    IsDatabase(PathBuf),
    /// The target belongs to a database, such as its write-ahead log.
    #[error("{target} belongs to the database {database}: give the name of another file")]
    BelongsToDatabase {
        /// The target.
        target: PathBuf,
        /// The database.
        database: PathBuf,
    },
    /// The target is another database, which may be in use.
    #[error("{0} is a database and not a backup: give the name of another file")]
    IsAnotherDatabase(PathBuf),
    /// The database could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// Why a database could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// The folder of the target does not exist.
    #[error("the folder of {0} does not exist: create it first")]
    NoFolder(PathBuf),
    /// The target exists, and overwriting was not requested.
    #[error("{0} already exists: give another name, or --force to replace it")]
    Exists(PathBuf),
    /// The disk is full.
    #[error("the disk of {0} is full: free some space on it")]
    Full(PathBuf),
    /// The store can't write the copy.
    #[error("{path} can't be written")]
    Copy {
        /// The target.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// The file can't be written.
    #[error("{path} can't be written")]
    Write {
        /// The target.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy failed its verification.
    #[error("the copy of {from} failed its verification, so it was removed: {problems}")]
    Invalid {
        /// The copied database.
        from: PathBuf,
        /// The failed checks.
        problems: String,
    },
}

impl From<OpenError> for CopyError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// How to restore a backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    /// Whether to replace an existing database.
    pub overwrite: bool,
    /// Whether to use the tokens of the backup, as they were then.
    pub tokens_from_backup: bool,
}

/// The tokens of a restored database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoredTokens {
    /// Those of the replaced database.
    Kept {
        /// The names of those that the backup does not have, or has in another state, in order.
        differing: Vec<TokenName>,
    },
    /// Those of the backup: tokens that were revoked or rotated since are valid again.
    OfBackup,
}

/// A backup that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The last revision of the database.
    pub revision: Revision,
    /// How many assignments are registered in it.
    pub assignments: u64,
    /// The new path of the previous database, if there was one.
    pub previous: Option<PathBuf>,
    /// Its tokens.
    pub tokens: RestoredTokens,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup failed its verification.
    #[error("{backup} failed its verification, so it was not restored: {problems}")]
    Invalid {
        /// The backup.
        backup: PathBuf,
        /// The failed checks.
        problems: String,
    },
    /// A database can't be restored from itself.
    #[error("{0} is the database itself: give the name of a backup")]
    IsDatabase(PathBuf),
    /// The database exists, and overwriting was not requested.
    #[error(
        "the database {0} already exists: give another --database, or --force to replace it; the old \
         database is kept under another name"
    )]
    Exists(PathBuf),
    /// Another program has the database open.
    #[error("the database {0} is in use by another program: stop that program first")]
    Busy(PathBuf),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The checkpoint of the old database failed.
    #[error("the write-ahead log of the old database {path} can't be written into its file")]
    Checkpoint {
        /// The database.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// The backup could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// The result of a verification.
#[derive(Clone, Debug)]
pub struct Report {
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// Whether the file is a backup.
    pub is_backup: bool,
    /// The last revision, if it can be read.
    pub revision: Option<Revision>,
    /// How many assignments are registered, if they can be counted.
    pub assignments: Option<u64>,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub struct Check {
    /// A short name of the check.
    pub name: &'static str,
    /// Whether it passed.
    pub outcome: Outcome,
    /// A summary of the checked data, or the problems and their places.
    pub detail: String,
}

/// Whether a check passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The check found no problem.
    Passed,
    /// The check was not possible, or does not apply.
    Skipped,
    /// The check found a problem.
    Failed,
}

impl Report {
    /// Whether no check failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed_checks().next().is_none()
    }

    /// The checks that failed.
    pub fn failed_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed)
    }

    /// The failed checks as one line of text, if there are any.
    #[must_use]
    pub fn problems(&self) -> Option<String> {
        let failed = self.failed_checks().map(|check| format!("{}: {}", check.name, check.detail));
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}
