//! Read-only access to a database, for backup and verification. A server may be using the file; reading
//! creates no file beside it and changes nothing.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::backup_seal::BackupSeal;
use super::execute;
use super::open::open_error;
use crate::store::OpenError;

/// A database file opened read-only.
pub(super) struct ReadOnlyDatabase {
    path: PathBuf,
    canonical: PathBuf,
    seal: BackupSeal,
    mode: ReadMode,
}

/// How to read the file. SQLite creates the index of the write-ahead log (`-shm`) beside a database
/// that it opens normally, unless a server has created it.
enum ReadMode {
    /// The file contains everything, and no process writes it. The fingerprint shows whether that
    /// remained true.
    Immutable(Fingerprint),
    /// A server uses the database, or has left its log and the index of the log.
    Shared,
    /// The log has no index. SQLite creates one for the time of the reading; the lock keeps servers
    /// away from it.
    Exclusive { _lock: File },
}

/// Inode, length and modification time of a file.
#[derive(PartialEq, Eq)]
struct Fingerprint([i64; 4]);

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        let length = metadata.len().cast_signed();
        let inode = metadata.ino().cast_signed();
        Self([inode, length, metadata.mtime(), metadata.mtime_nsec()])
    }
}

/// The suffixes of the files that belong to a database. SQLite applies them to any database of that
/// name.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-journal", "-shm"];

/// Checks that the path names a regular file: reading another one, such as a named pipe, may never end.
pub(super) fn check_is_regular(path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    match metadata.file_type() {
        found if found.is_file() => Ok(()),
        found if found.is_dir() => Err(OpenError::IsFolder(path.to_owned())),
        _ => Err(OpenError::NotAFile(path.to_owned())),
    }
}

/// The path with a suffix appended, such as `-wal` for the write-ahead log.
pub(super) fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The size of a database and its write-ahead log in bytes, 0 if it does not exist.
pub(super) fn size(database: &Path) -> u64 {
    [database, &with_suffix(database, "-wal")].into_iter().filter_map(length).sum()
}

fn length(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.len())
}

impl ReadOnlyDatabase {
    /// Determines how to read the file, and checks its seal, which reads the complete file.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => OpenError::NoFile(path.to_owned()),
            _ => OpenError::Unreadable { path: path.to_owned(), source },
        };
        let canonical = path.canonicalize().map_err(failed)?;
        let metadata = fs::metadata(&canonical).map_err(failed)?;
        check_is_regular(path, &metadata)?;
        let mut file = File::open(&canonical).map_err(failed)?;
        let seal = BackupSeal::read(&mut file).map_err(failed)?;
        let log = length(&with_suffix(&canonical, "-wal"));
        // A file with a log is being written, even if it was a backup before.
        let seal = if seal.is_of_backup() && log > Some(0) { BackupSeal::Absent } else { seal };
        let has_index = with_suffix(&canonical, "-shm").exists();
        let mode = match log {
            _ if seal.is_of_backup() => ReadMode::Immutable(Fingerprint::of(&metadata)),
            Some(_) if has_index => ReadMode::Shared,
            Some(1..) => match file.try_lock() {
                Ok(()) => ReadMode::Exclusive { _lock: file },
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            },
            _ => ReadMode::Immutable(Fingerprint::of(&metadata)),
        };
        Ok(Self { path: path.to_owned(), canonical, seal, mode })
    }

    /// The seal of the file.
    pub(super) const fn seal(&self) -> BackupSeal {
        self.seal
    }

    /// Opens the database and starts a transaction, so that all reads see the same state.
    pub(super) async fn begin(&self) -> Result<SqliteConnection, OpenError> {
        let mut connection = self.connect().await?;
        execute(&mut connection, "begin").await.map_err(|error| self.open_error(error))?;
        Ok(connection)
    }

    /// Opens the database without a transaction, for a single statement.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, OpenError> {
        let options = SqliteConnectOptions::new().read_only(true).disable_statement_logging();
        let options = match &self.mode {
            ReadMode::Immutable(_) => options.filename(&self.canonical).immutable(true),
            ReadMode::Shared => options.filename(self.uri_with_readonly_index()?),
            ReadMode::Exclusive { .. } => options.filename(&self.canonical),
        };
        options.connect().await.map_err(|error| self.open_error(error))
    }

    fn open_error(&self, error: sqlx::Error) -> OpenError {
        open_error(&self.path, error)
    }

    /// The URI that makes SQLite use the index of the log without writing to it.
    fn uri_with_readonly_index(&self) -> Result<String, OpenError> {
        let Some(name) = self.canonical.to_str() else {
            let source = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
            return Err(OpenError::Unreadable { path: self.path.clone(), source });
        };
        let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Ok(format!("file:{escaped}?readonly_shm=1"))
    }

    /// Whether the data that was read is consistent. If not, a server has started to write the file in
    /// between, and the caller must read it again.
    pub(super) fn is_unchanged(&self) -> bool {
        match &self.mode {
            ReadMode::Immutable(before) => {
                fs::metadata(&self.canonical).is_ok_and(|now| Fingerprint::of(&now) == *before)
            }
            ReadMode::Shared | ReadMode::Exclusive { .. } => true,
        }
    }
}

/// Closes a connection that has only read. A failure loses no data, so it is only logged.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "could not close a connection");
    }
}

impl Drop for ReadOnlyDatabase {
    fn drop(&mut self) {
        if let ReadMode::Exclusive { .. } = self.mode {
            // SQLite created the index for this reading; the lock is still held, so no other process
            // uses it.
            if let Err(error) = fs::remove_file(with_suffix(&self.canonical, "-shm")) {
                tracing::debug!(error = &error as &dyn std::error::Error, "no index to remove");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_includes_the_write_ahead_log() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("portbook.db");
        assert_eq!(size(&database), 0);
        fs::write(&database, [0; 100]).unwrap();
        assert_eq!(size(&database), 100);
        fs::write(with_suffix(&database, "-wal"), [0; 20]).unwrap();
        assert_eq!(size(&database), 120);
    }
}
