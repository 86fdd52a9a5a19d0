//! The errors that all stores return. They contain no type of a database driver: the source is boxed.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::maintenance::CopyError;
use crate::registry::assignment::Revision;

/// The source of an error, of a type that only the store knows.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another program has written to a database that allows one writer, or has replaced the database
    /// with an older one.
    #[error(
        "the database is at revision {found} where {expected} was expected: another program has written to it"
    )]
    Conflict {
        /// The last revision that the writer knows.
        expected: Revision,
        /// The last revision in the store.
        found: Revision,
    },
    /// Other writers appended before each attempt, so nothing was stored.
    #[error("other servers wrote to the database before each of {attempts} attempts")]
    Contention {
        /// The number of attempts.
        attempts: u32,
    },
    /// The file is no longer at the path where it was opened: writes to it would be lost.
    #[error(
        "the database {0} was removed or replaced while the server was using it: restart the server"
    )]
    Moved(PathBuf),
    /// The disk has no space left for the write.
    #[error("the disk of the database is full: free some space on it")]
    Full(#[source] BoxError),
    /// A read or write failed.
    #[error("the database could not be read or written")]
    Database(#[source] BoxError),
    /// The stored data is invalid.
    #[error("the database contains data that Portbook did not write: {0}")]
    Corrupt(String),
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is a folder.
    #[error("the database path {0} is a folder: give the path of a file")]
    IsFolder(PathBuf),
    /// The path is a device, a named pipe or a socket.
    #[error("{0} is not a regular file: give the path of a file")]
    NotAFile(PathBuf),
    /// The file does not exist.
    #[error("the file {0} does not exist")]
    NoFile(PathBuf),
    /// The file could not be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of the database does not exist.
    #[error("the folder of the database {0} does not exist: create it first")]
    NoFolder(PathBuf),
    /// Another server has locked the file.
    #[error(
        "the database {0} is in use by another portbook server: stop that server first, or choose \
         another --database"
    )]
    InUse(PathBuf),
    /// The file could not be opened or locked for another reason.
    #[error("the database {path} could not be opened and locked")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not have the format of the store.
    #[error(
        "{path} is not a {format} database: give the path of a Portbook database or of a new file"
    )]
    WrongFormat {
        /// The file.
        path: PathBuf,
        /// The name of the expected format.
        format: &'static str,
    },
    /// The file is corrupt.
    #[error("the database {0} is damaged")]
    Damaged(PathBuf),
    /// The database is missing or empty, but its write-ahead log exists.
    #[error(
        "the database {path} is missing or empty, but its log {log} exists: put the database back, or \
         move the log away to start with a new database"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Its write-ahead log.
        log: PathBuf,
    },
    /// The database belongs to another application.
    #[error(
        "{path} is a {format} database, but not a Portbook database: give the path of a Portbook \
         database or of a new file"
    )]
    NotPortbook {
        /// The file.
        path: PathBuf,
        /// The name of its format.
        format: &'static str,
    },
    /// The database was written by a newer Portbook.
    #[error(
        "the database {path} was written by a newer Portbook (schema {found}; this version supports \
         up to {known}): use that version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version that this Portbook supports.
        known: i64,
    },
    /// The file or its folder is not writable.
    #[error("the database {0} can't be written: check the permissions of the file and its folder")]
    ReadOnly(PathBuf),
    /// The disk is full.
    #[error("the disk of the database {0} is full: free some space on it, and start again")]
    Full(PathBuf),
    /// The store returned another error.
    #[error("the database {path} could not be opened")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// The backup that precedes a schema upgrade failed.
    #[error(
        "the database {path} has the older schema {schema}, and it could not be backed up before \
         the upgrade to {known}: nothing was changed"
    )]
    Backup {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        schema: i64,
        /// The newest version that this Portbook supports.
        known: i64,
        /// Why.
        source: Box<CopyError>,
    },
    /// A migration failed.
    #[error("the schema of the database {path} could not be upgraded")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
}
