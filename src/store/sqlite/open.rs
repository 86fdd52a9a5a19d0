//! Opening a database: whose file it is, that nobody else serves it, and that its schema is up to
//! date.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::fault::{is_full, primary_code};
use super::history::SqliteHistory;
use super::partial::CopyError;
use super::seal::Seal;
use super::{LockedFile, SqliteStore, backup, source};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// Tells a Portbook file from other SQLite files: "PBOK".
pub(super) const APPLICATION_ID: i64 = 0x5042_4f4b;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder stands there.
    #[error("the database path {0} is a folder: give the path of a file")]
    IsFolder(PathBuf),
    /// There is nothing to be read.
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    /// The file could not be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no folder to put it in.
    #[error("the folder of the database {0} does not exist: create it first")]
    NoFolder(PathBuf),
    /// Another server has it.
    #[error(
        "the database {0} is in use by another portbook server: stop that one first, or give \
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
    /// It is no SQLite file.
    #[error("{0} is not a SQLite database: give the path of a Portbook database or of a new file")]
    NotSqlite(PathBuf),
    /// Its pages contradict each other.
    #[error("the database {0} is damaged")]
    Damaged(PathBuf),
    /// Its log is there, and it is not.
    #[error(
        "the database {0} is gone or empty, but its log {0}-wal is there: put the database back, or \
         move the log away to begin with a new one"
    )]
    Gone(PathBuf),
    /// It is a SQLite file of something else.
    #[error(
        "{0} is a SQLite database, but not one of Portbook's: give the path of a Portbook \
         database or of a new file"
    )]
    NotPortbook(PathBuf),
    /// It was written by a newer Portbook.
    #[error(
        "the database {path} was written by a newer Portbook (schema {found}, this one knows up to \
         {known}): use that version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// It can't be written.
    #[error("the database {0} can't be written: check the permissions of the file and its folder")]
    ReadOnly(PathBuf),
    /// There is no space for it.
    #[error("the disk of the database {0} is full: free some space on it, and start again")]
    Full(PathBuf),
    /// SQLite says no.
    #[error("the database {path} could not be opened")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// It could not be backed up, which comes before its schema is changed.
    #[error(
        "the database {path} has the older schema {schema}, and it could not be backed up before an \
         upgrade to {known}: nothing was changed"
    )]
    Backup {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        schema: i64,
        /// The newest one known here.
        known: i64,
        /// Why.
        source: Box<CopyError>,
    },
    /// The schema could not be brought up to date.
    #[error("the schema of the database {path} could not be brought up to date")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

impl SqliteStore {
    /// Opens the file, creating and seeding it if it is not there, and keeps every other server
    /// off it.
    ///
    /// # Errors
    /// If it can't be used; the error says why and what to do.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() {
            return Err(OpenError::IsFolder(path.to_owned()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(OpenError::NoFolder(path.to_owned()));
        }
        // SQLite would delete the log of a database that is gone, and begin anew.
        let is_gone = path.metadata().map_or(true, |file| file.len() == 0);
        let log = source::beside(path, "-wal").metadata();
        if is_gone && log.is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::Gone(path.to_owned()));
        }
        let mut file = lock(path)?;
        // It begins as a backup and is none from now on: its seal would be taken for a promise that
        // nothing is written to it.
        Seal::take_off(&mut file).map_err(|source| open_failed(path, source))?;
        // In full, for SQLite has a meaning of its own for names such as `:memory:`.
        let real = path.canonicalize().map_err(|source| open_failed(path, source))?;
        let options = SqliteConnectOptions::new().filename(&real);
        let history = Some(SqliteHistory::of(&options));
        let connection = prepare(options, path).await?;
        Ok(Self { connection, file: Some(LockedFile { path: real, file }), history })
    }

    /// A new registry in memory, with IANA's registry and the guides and nothing else.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub async fn in_memory() -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        let connection = prepare(options, Path::new(":memory:")).await?;
        Ok(Self { connection, file: None, history: None })
    }
}

/// A lock on the file itself, so that two names of one file meet at it. It is of another kind than
/// SQLite's own locks, and the system releases it however the process ends.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| open_failed(path, source);
    let mut options = File::options();
    // A new one is its owner's alone: it has the hashes of tokens.
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn open_failed(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(path.to_owned())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::Full(path.to_owned())
        }
        _ => OpenError::Lock { path: path.to_owned(), source },
    }
}

/// Opens the connection, makes sure that the file is Portbook's, and brings its schema up to date.
async fn prepare(
    options: SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, OpenError> {
    let failed = |source: sqlx::Error| open_error(path, source);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let schema = check_owner(&mut connection, path).await?;
    keep_what_was(&mut connection, path, schema).await?;
    make_durable(&mut connection).await.map_err(failed)?;
    MIGRATIONS.run(&mut connection).await.map_err(|source| match source {
        sqlx::migrate::MigrateError::Execute(source)
        | sqlx::migrate::MigrateError::ExecuteMigration(source, _) => open_error(path, source),
        source => OpenError::Migrate { path: path.to_owned(), source },
    })?;
    Ok(connection)
}

/// That the file is Portbook's, and no newer one's; the schema it has, 0 if it is new.
async fn check_owner(connection: &mut SqliteConnection, path: &Path) -> Result<i64, OpenError> {
    let failed = |source: sqlx::Error| open_error(path, source);
    let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let owner: i64 = sqlx::query_scalar("pragma application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if owner == APPLICATION_ID {
        let (found, known) = (applied_version(connection).await.map_err(failed)?, newest_schema());
        if found > known {
            return Err(OpenError::Newer { path: path.to_owned(), found, known });
        }
        return Ok(found);
    }
    if owner != 0 || tables > 0 {
        return Err(OpenError::NotPortbook(path.to_owned()));
    }
    sqlx::raw_sql("pragma application_id = 0x50424f4b")
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(0)
}

/// The newest schema that is known here.
pub(super) fn newest_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Backs up a database whose schema is about to be changed, unless nobody has used it yet.
async fn keep_what_was(
    connection: &mut SqliteConnection,
    path: &Path,
    schema: i64,
) -> Result<(), OpenError> {
    let known = newest_schema();
    if schema == 0 || schema == known {
        return Ok(());
    }
    let is_used: bool = sqlx::query_scalar(
        "select exists (select 1 from token) or exists (select 1 from revision)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|fault| open_error(path, fault))?;
    if !is_used {
        return Ok(());
    }
    let real = path.canonicalize().map_err(|source| open_failed(path, source))?;
    match backup::before_upgrade(connection, &real, schema).await {
        Ok(backup) => {
            tracing::info!(
                backup = %backup.display(), schema, known,
                "the database has an older schema: it was backed up, and is brought up to date"
            );
            Ok(())
        }
        Err(source) => {
            let (path, source) = (path.to_owned(), Box::new(source));
            Err(OpenError::Backup { path, schema, known, source })
        }
    }
}

/// The newest migration that the file has, 0 for a new file.
async fn applied_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let has_table: bool = sqlx::query_scalar(
        "select exists (select 1 from sqlite_schema where name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !has_table {
        return Ok(0);
    }
    sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations")
        .fetch_one(connection)
        .await
}

/// A commit is on the disk when it returns, and readers of the file never wait for it. No other
/// folder is needed, which may be one that can't be written.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; \
         pragma busy_timeout = 5000; pragma temp_store = memory",
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn open_error(path: &Path, source: sqlx::Error) -> OpenError {
    // SQLite's result codes: PERM, READONLY, CANTOPEN, CORRUPT, NOTADB.
    match primary_code(&source) {
        _ if is_full(&source) => OpenError::Full(path.to_owned()),
        Some(3 | 8 | 14) => OpenError::ReadOnly(path.to_owned()),
        Some(11) => OpenError::Damaged(path.to_owned()),
        Some(26) => OpenError::NotSqlite(path.to_owned()),
        _ => OpenError::Database { path: path.to_owned(), source },
    }
}
