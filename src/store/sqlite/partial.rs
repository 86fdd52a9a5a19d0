//! A copy of a database that is made beside the place it is meant for, and put there whole or not at
//! all. What becomes of no copy is removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use tempfile::NamedTempFile;

use super::fault::primary_code;
use super::open::OpenError;
use super::seal::Seal;
use super::source::{Source, close};
use super::verify::Report;

/// How often is said how far a copy has come.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Why a database could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// What is to be copied can't be opened.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// There is no folder to put the copy in.
    #[error("the folder of {0} does not exist: create it first")]
    NoFolder(PathBuf),
    /// Something stands where the copy is to be.
    #[error("{0} exists already: give another name, or --force to put a new one in its place")]
    Exists(PathBuf),
    /// The disk is full.
    #[error("there is no space for {0} on its disk")]
    Full(PathBuf),
    /// SQLite can't copy.
    #[error("{path} can't be written")]
    Copy {
        /// Where the copy was to be.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The file can't be written.
    #[error("{path} can't be written")]
    Write {
        /// Where the copy was to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy is not what a database should be.
    #[error(
        "what was copied of {from} does not pass its verification, so it was not kept: {faults}"
    )]
    Faulty {
        /// What was copied.
        from: PathBuf,
        /// What is wrong.
        faults: String,
    },
}

impl From<OpenError> for CopyError {
    fn from(fault: OpenError) -> Self {
        Self::Open(Box::new(fault))
    }
}

/// A copy that is not in its place yet.
#[derive(Debug)]
pub(super) struct Partial {
    file: NamedTempFile,
    target: PathBuf,
}

/// Copies the database as it is at one moment, whoever writes it.
///
/// `tell` is told how many bytes of how many were copied.
pub(super) async fn copy(
    from: &Path,
    target: &Path,
    mut tell: impl FnMut(u64, u64),
) -> Result<Partial, CopyError> {
    loop {
        let source = Source::of(from)?;
        let mut connection = source.connect().await?;
        let partial = Partial::beside(target)?;
        partial.fill(from, &mut connection, &mut tell).await?;
        close(connection).await;
        if source.has_kept_still() {
            return Ok(partial);
        }
    }
}

impl Partial {
    /// An empty file in the folder of the target, which nobody else may read: a database holds the
    /// hashes of tokens.
    pub(super) fn beside(target: &Path) -> Result<Self, CopyError> {
        let target = std::path::absolute(target).map_err(|fault| write_failed(target, fault))?;
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
            .map_err(|fault| write_failed(&target, fault))?;
        Ok(Self { file, target })
    }

    /// Copies all that the connection reads at one moment.
    pub(super) async fn fill(
        &self,
        from: &Path,
        connection: &mut SqliteConnection,
        tell: &mut impl FnMut(u64, u64),
    ) -> Result<(), CopyError> {
        let failed = |source: sqlx::Error| match primary_code(&source) {
            Some(11) => OpenError::Damaged(from.to_owned()).into(),
            Some(13) => CopyError::Full(self.target.clone()),
            Some(26) => OpenError::NotSqlite(from.to_owned()).into(),
            _ => CopyError::Copy { path: self.target.clone(), source },
        };
        let Some(path) = self.file.path().to_str() else {
            let fault = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
            return Err(write_failed(&self.target, fault));
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
            match tokio::time::timeout(TELL_EVERY, &mut copying).await {
                Ok(copied) => return copied.map(drop).map_err(failed),
                Err(_) => {
                    let done = self.file.as_file().metadata().map_or(0, |metadata| metadata.len());
                    tell(done, size.unsigned_abs());
                }
            }
        }
    }

    /// It, to be verified.
    pub(super) fn source(&self) -> Result<Source, CopyError> {
        Ok(Source::of(self.file.path())?)
    }

    /// Seals it as a backup, and says how long that makes it.
    pub(super) fn seal(&mut self) -> Result<u64, CopyError> {
        let file = self.file.as_file_mut();
        let sealed = Seal::put_on(file).and_then(|()| Ok(file.metadata()?.len()));
        sealed.map_err(|fault| write_failed(&self.target, fault))
    }

    /// Lets whoever may use the other file use this one in its place.
    pub(super) fn belong_like(&self, other: &Path) -> Result<(), CopyError> {
        let failed = |fault| write_failed(&self.target, fault);
        let (own, other) = (self.file.as_file(), fs::metadata(other).map_err(failed)?);
        let is = own.metadata().map_err(failed)?;
        if (is.uid(), is.gid()) != (other.uid(), other.gid()) {
            std::os::unix::fs::fchown(own, Some(other.uid()), Some(other.gid())).map_err(failed)?;
        }
        own.set_permissions(other.permissions()).map_err(failed)
    }

    /// Puts it in its place, in that of what stands there only if it may. On the disk when this
    /// returns.
    pub(super) fn put(self, overwrite: bool) -> Result<(), CopyError> {
        let target = self.target.clone();
        self.file.as_file().sync_all().map_err(|fault| write_failed(&target, fault))?;
        let put = if overwrite {
            self.file.persist(&target)
        } else {
            self.file.persist_noclobber(&target)
        };
        put.map_err(|fault| write_failed(&target, fault.error))?;
        sync_folder(&target)
    }

    /// Puts it where the first of these names is free, and says where that is.
    pub(super) fn put_at_first_free(
        mut self,
        names: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf, CopyError> {
        self.file.as_file().sync_all().map_err(|fault| write_failed(&self.target, fault))?;
        for name in names {
            match self.file.persist_noclobber(&name) {
                Ok(_) => {
                    sync_folder(&name)?;
                    return Ok(name);
                }
                Err(fault) if fault.error.kind() == io::ErrorKind::AlreadyExists => {
                    self.file = fault.file;
                }
                Err(fault) => return Err(write_failed(&name, fault.error)),
            }
        }
        Err(CopyError::Exists(self.target))
    }
}

/// What was found in a copy, if nothing is wrong with it.
pub(super) fn passed(report: Report, from: &Path) -> Result<Report, CopyError> {
    let faults: Vec<_> = report.faults().map(|check| check.told()).collect();
    if faults.is_empty() {
        return Ok(report);
    }
    Err(CopyError::Faulty { from: from.to_owned(), faults: faults.join("; ") })
}

/// Puts on the disk which files the folder of this one has.
pub(super) fn sync_folder(path: &Path) -> Result<(), CopyError> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|fault| write_failed(path, fault))
}

pub(super) fn write_failed(path: &Path, source: io::Error) -> CopyError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists(path),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CopyError::Full(path),
        _ => CopyError::Write { path, source },
    }
}
