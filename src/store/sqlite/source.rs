//! A database that is only read: to back it up, or to verify it. Beside a server or without one,
//! nothing is created by it and nothing changes.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::open::{OpenError, open_error};
use super::run;
use super::seal::Seal;

/// A database file that is only read.
pub(super) struct Source {
    path: PathBuf,
    real: PathBuf,
    seal: Seal,
    way: Way,
}

/// How the file has to be read. A reader that SQLite takes for one of many puts files of its own
/// beside the database; only a server, or what one has left, gives it what it needs.
enum Way {
    /// The file alone has everything, and nobody writes it. Whether that stayed so is told by how
    /// the file was before.
    Still(Stamp),
    /// A server has it, or has left its log and the index of it.
    Shared,
    /// It has a log without an index, which is made for the reading. No server may meet it.
    Alone { _lock: File },
}

#[derive(PartialEq, Eq)]
struct Stamp([i64; 4]);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let length = metadata.len().cast_signed();
        let inode = metadata.ino().cast_signed();
        Self([inode, length, metadata.mtime(), metadata.mtime_nsec()])
    }
}

/// The name of a file that SQLite keeps beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// How many bytes a database has on the disk, with its log; none if it is not there.
#[must_use]
pub fn size(database: &Path) -> u64 {
    [database, &beside(database, "-wal")].into_iter().filter_map(length).sum()
}

fn length(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.len())
}

impl Source {
    /// Finds out how the file is to be read. Its seal is read with it, and so all of it.
    pub(super) fn of(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => OpenError::NoFile(path.to_owned()),
            _ => OpenError::Unreadable { path: path.to_owned(), source },
        };
        let real = path.canonicalize().map_err(failed)?;
        let metadata = fs::metadata(&real).map_err(failed)?;
        if metadata.is_dir() {
            return Err(OpenError::IsFolder(path.to_owned()));
        }
        let mut file = File::open(&real).map_err(failed)?;
        let seal = Seal::of(&mut file).map_err(failed)?;
        let log = length(&beside(&real, "-wal"));
        // What has a log is written, whatever it began as.
        let seal = if seal.is_of_backup() && log > Some(0) { Seal::None } else { seal };
        let has_index = beside(&real, "-shm").exists();
        let way = match log {
            _ if seal.is_of_backup() => Way::Still(Stamp::of(&metadata)),
            Some(_) if has_index => Way::Shared,
            Some(1..) => match file.try_lock() {
                Ok(()) => Way::Alone { _lock: file },
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            },
            _ => Way::Still(Stamp::of(&metadata)),
        };
        Ok(Self { path: path.to_owned(), real, seal, way })
    }

    /// What stands behind its pages.
    pub(super) const fn seal(&self) -> Seal {
        self.seal
    }

    /// Opens it, within a transaction: all that is read is of one moment.
    pub(super) async fn open(&self) -> Result<SqliteConnection, OpenError> {
        let mut connection = self.connect().await?;
        run(&mut connection, "begin").await.map_err(|fault| self.failed(fault))?;
        Ok(connection)
    }

    /// Opens it, for a statement that reads all it reads at one moment by itself.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, OpenError> {
        let options = SqliteConnectOptions::new().read_only(true).disable_statement_logging();
        let options = match &self.way {
            Way::Still(_) => options.filename(&self.real).immutable(true),
            Way::Shared => options.filename(self.without_writing_the_index()?),
            Way::Alone { .. } => options.filename(&self.real),
        };
        options.connect().await.map_err(|fault| self.failed(fault))
    }

    fn failed(&self, fault: sqlx::Error) -> OpenError {
        open_error(&self.path, fault)
    }

    /// The name that tells SQLite to take the index as it is.
    fn without_writing_the_index(&self) -> Result<String, OpenError> {
        let Some(name) = self.real.to_str() else {
            let source = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
            return Err(OpenError::Unreadable { path: self.path.clone(), source });
        };
        let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Ok(format!("file:{escaped}?readonly_shm=1"))
    }

    /// Whether what was read is what stood there. If not, a server has begun to write the file
    /// meanwhile, and it is to be read again.
    pub(super) fn has_kept_still(&self) -> bool {
        match &self.way {
            Way::Still(before) => {
                fs::metadata(&self.real).is_ok_and(|now| Stamp::of(&now) == *before)
            }
            Way::Shared | Way::Alone { .. } => true,
        }
    }
}

/// Closes a connection that has only read. Nothing is lost where it does not close as it should.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(fault) = connection.close().await {
        tracing::debug!(error = &fault as &dyn std::error::Error, "not closed");
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Way::Alone { .. } = self.way {
            // Made by the reading; the lock is still held, so nobody else uses it.
            if let Err(fault) = fs::remove_file(beside(&self.real, "-shm")) {
                tracing::debug!(error = &fault as &dyn std::error::Error, "no index to remove");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_holds_back_in_its_log_counts() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("portbook.db");
        assert_eq!(size(&database), 0);
        fs::write(&database, [0; 100]).unwrap();
        assert_eq!(size(&database), 100);
        fs::write(beside(&database, "-wal"), [0; 20]).unwrap();
        assert_eq!(size(&database), 120);
    }
}
