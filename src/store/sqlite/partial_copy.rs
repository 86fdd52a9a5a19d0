//! A copy of a database, written to a temporary file beside its target and renamed when it is
//! complete. An incomplete copy is removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use tempfile::NamedTempFile;

use super::backup_seal::BackupSeal;
use super::error::primary_code;
use super::open::FORMAT;
use super::read_only::{ReadOnlyDatabase, close};
use crate::store::{CopyError, OpenError, Report, StoreError};

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A copy in a temporary file.
#[derive(Debug)]
pub(super) struct PartialCopy {
    file: NamedTempFile,
    target: PathBuf,
}

/// Writes a consistent copy of the database, which a server may be writing. `report_progress` receives
/// the number of bytes copied and the total.
pub(super) async fn copy(
    from: &Path,
    target: &Path,
    mut report_progress: impl FnMut(u64, u64),
) -> Result<PartialCopy, CopyError> {
    loop {
        let database = ReadOnlyDatabase::open(from)?;
        let mut connection = database.connect().await?;
        let partial = PartialCopy::create(target)?;
        partial.fill(from, &mut connection, &mut report_progress).await?;
        close(connection).await;
        if database.is_unchanged() {
            return Ok(partial);
        }
    }
}

impl PartialCopy {
    /// An empty file in the folder of the target. Only its owner may read it, because a database
    /// contains the hashes of tokens.
    pub(super) fn create(target: &Path) -> Result<Self, CopyError> {
        let target = std::path::absolute(target).map_err(|error| write_failed(target, error))?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(OpenError::IsFolder(target).into());
        };
        if !folder.is_dir() {
            return Err(CopyError::NoFolder(target));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        let file = tempfile::Builder::new()
            .prefix(&hidden)
            .suffix(".partial")
            .tempfile_in(folder)
            .map_err(|error| write_failed(&target, error))?;
        Ok(Self { file, target })
    }

    /// Copies the database that the connection reads, in one transaction.
    pub(super) async fn fill(
        &self,
        from: &Path,
        connection: &mut SqliteConnection,
        report_progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), CopyError> {
        let failed = |source: sqlx::Error| match primary_code(&source) {
            Some(11) => OpenError::Damaged(from.to_owned()).into(),
            Some(13) => CopyError::Full(self.target.clone()),
            Some(26) => OpenError::WrongFormat { path: from.to_owned(), format: FORMAT }.into(),
            _ => CopyError::Copy { path: self.target.clone(), source: source.into() },
        };
        let Some(path) = self.file.path().to_str() else {
            let error = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
            return Err(write_failed(&self.target, error));
        };
        let size: i64 = sqlx::query_scalar(
            "select page_count * page_size from pragma_page_count, pragma_page_size",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
        let copying = sqlx::query("vacuum into ?").bind(path).execute(connection);
        tokio::pin!(copying);
        loop {
            match tokio::time::timeout(PROGRESS_INTERVAL, &mut copying).await {
                Ok(copied) => return copied.map(drop).map_err(failed),
                Err(_) => {
                    let done = self.file.as_file().metadata().map_or(0, |metadata| metadata.len());
                    report_progress(done, size.unsigned_abs());
                }
            }
        }
    }

    /// Opens the copy to change it.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, CopyError> {
        let options = SqliteConnectOptions::new().filename(self.file.path());
        // The copy is not in use, and flushed to the disk before it is.
        let options = options
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off);
        let opened = options.disable_statement_logging().connect().await;
        opened.map_err(|error| self.write_failed(error.into()))
    }

    /// The error of a write to the copy.
    pub(super) fn write_failed(&self, error: StoreError) -> CopyError {
        match error {
            StoreError::Full(_) => CopyError::Full(self.target.clone()),
            error => CopyError::Copy { path: self.target.clone(), source: error.into() },
        }
    }

    /// Opens the copy read-only, for verification.
    pub(super) fn open(&self) -> Result<ReadOnlyDatabase, CopyError> {
        Ok(ReadOnlyDatabase::open(self.file.path())?)
    }

    /// Appends the seal of a backup. Returns the size of the file.
    pub(super) fn seal(&mut self) -> Result<u64, CopyError> {
        let file = self.file.as_file_mut();
        let sealed = BackupSeal::append(file).and_then(|()| Ok(file.metadata()?.len()));
        sealed.map_err(|error| write_failed(&self.target, error))
    }

    /// Sets owner, group and mode to those of the other file.
    pub(super) fn copy_permissions_from(&self, other: &Path) -> Result<(), CopyError> {
        let failed = |error| write_failed(&self.target, error);
        let (file, other) = (self.file.as_file(), fs::metadata(other).map_err(failed)?);
        let current = file.metadata().map_err(failed)?;
        if (current.uid(), current.gid()) != (other.uid(), other.gid()) {
            std::os::unix::fs::fchown(file, Some(other.uid()), Some(other.gid()))
                .map_err(failed)?;
        }
        file.set_permissions(other.permissions()).map_err(failed)
    }

    /// Renames the copy to its target. It is on the disk when this returns.
    pub(super) fn persist(self, overwrite: bool) -> Result<(), CopyError> {
        let target = self.target.clone();
        self.file.as_file().sync_all().map_err(|error| write_failed(&target, error))?;
        let persisted = if overwrite {
            self.file.persist(&target)
        } else {
            self.file.persist_noclobber(&target)
        };
        persisted.map_err(|error| write_failed(&target, error.error))?;
        sync_folder(&target)
    }

    /// Renames the copy to the first of these names that is free. Returns it.
    pub(super) fn persist_at_first_free(
        mut self,
        names: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf, CopyError> {
        self.file.as_file().sync_all().map_err(|error| write_failed(&self.target, error))?;
        for name in names {
            match self.file.persist_noclobber(&name) {
                Ok(_) => {
                    sync_folder(&name)?;
                    return Ok(name);
                }
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    self.file = error.file;
                }
                Err(error) => return Err(write_failed(&name, error.error)),
            }
        }
        Err(CopyError::Exists(self.target))
    }
}

/// Returns the report if every check passed.
pub(super) fn check_copy(report: Report, from: &Path) -> Result<Report, CopyError> {
    match report.problems() {
        None => Ok(report),
        Some(problems) => Err(CopyError::Invalid { from: from.to_owned(), problems }),
    }
}

/// Flushes the folder of the file to the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), CopyError> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| write_failed(path, error))
}

pub(super) fn write_failed(path: &Path, source: io::Error) -> CopyError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists(path),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CopyError::Full(path),
        _ => CopyError::Write { path, source },
    }
}
