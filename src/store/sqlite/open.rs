//! Opening a database: checks that the file is Portbook's, locks it against other servers, and brings
//! its schema up to date.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::backup_seal::BackupSeal;
use super::create::{create_if_missing, initialize, migrate};
use super::error::{is_full, primary_code};
use super::history::SqliteHistory;
use super::{LockedFile, SqliteStore, backup, execute, read_only};
use crate::store::OpenError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// The name of the format in messages.
pub(super) const FORMAT: &str = "SQLite";

/// Identifies a Portbook file among SQLite files: "PBOK".
pub(super) const APPLICATION_ID: i64 = 0x5042_4f4b;

impl SqliteStore {
    /// Opens the file and locks it against other servers. A new file is created and seeded.
    pub(super) async fn open_file(path: &Path) -> Result<Self, OpenError> {
        let metadata = path.metadata().ok();
        if let Some(metadata) = &metadata {
            read_only::check_is_regular(path, metadata)?;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(OpenError::NoFolder(path.to_owned()));
        }
        // SQLite would delete the log of a missing database and create an empty one.
        let is_missing = metadata.is_none_or(|file| file.len() == 0);
        let log = read_only::with_suffix(path, "-wal");
        if is_missing && log.metadata().is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::Missing { path: path.to_owned(), log });
        }
        create_if_missing(path).await?;
        let mut file = lock(path)?;
        // A served backup is not a backup any more: its seal would guarantee that the file has not
        // changed.
        BackupSeal::remove(&mut file).map_err(|source| open_failed(path, source))?;
        // The canonical path, because SQLite interprets names such as `:memory:`.
        let canonical = path.canonicalize().map_err(|source| open_failed(path, source))?;
        let options = SqliteConnectOptions::new().filename(&canonical);
        let history = Some(SqliteHistory::new(&options));
        let connection = prepare(options, path).await?;
        Ok(Self { connection, file: Some(LockedFile { path: canonical, file }), history })
    }

    /// A new registry in memory that contains only the seed: IANA's registry and the guides.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub async fn in_memory() -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        let path = Path::new(":memory:");
        let connecting = options.disable_statement_logging().connect().await;
        let mut connection = connecting.map_err(|source| open_error(path, source))?;
        initialize(&mut connection, path).await?;
        Ok(Self { connection, file: None, history: None })
    }
}

/// Locks the file itself, so that two paths to one file conflict. This lock is independent of
/// SQLite's locks, and the system releases it however the process ends.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| open_failed(path, source);
    let mut options = File::options();
    // A new file is readable only by its owner, because it contains the hashes of tokens.
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

pub(super) fn open_failed(path: &Path, source: io::Error) -> OpenError {
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

/// Opens the connection, checks that the file is Portbook's, and brings its schema up to date.
async fn prepare(
    options: SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, OpenError> {
    let failed = |source: sqlx::Error| open_error(path, source);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let schema = check_owner(&mut connection, path).await?;
    back_up_before_upgrade(&mut connection, path, schema).await?;
    make_durable(&mut connection).await.map_err(failed)?;
    migrate(&mut connection, path).await?;
    checkpoint(&mut connection).await;
    Ok(connection)
}

/// Copies the write-ahead log into the file, as far as no reader needs it: what is in the file survives
/// the loss of the log. A failure, as on a full disk, loses nothing: the log still has everything.
pub(super) async fn checkpoint(connection: &mut SqliteConnection) {
    if let Err(error) = execute(connection, "pragma wal_checkpoint(passive)").await {
        tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
    }
}

/// Checks that the file is Portbook's and not of a newer version. Returns its schema version.
async fn check_owner(connection: &mut SqliteConnection, path: &Path) -> Result<i64, OpenError> {
    let failed = |source: sqlx::Error| open_error(path, source);
    let owner: i64 = sqlx::query_scalar("pragma application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if owner != APPLICATION_ID {
        return Err(OpenError::NotPortbook { path: path.to_owned(), format: FORMAT });
    }
    let (found, known) = (applied_version(connection).await.map_err(failed)?, newest_schema());
    match found {
        // Its tables were in a log that is lost: it is not a new database.
        0 => Err(OpenError::Damaged(path.to_owned())),
        found if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        found => Ok(found),
    }
}

/// The newest schema version that this Portbook supports.
pub(super) fn newest_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Backs up a database whose schema is about to be changed, unless it was never written to.
async fn back_up_before_upgrade(
    connection: &mut SqliteConnection,
    path: &Path,
    schema: i64,
) -> Result<(), OpenError> {
    let known = newest_schema();
    if schema == known {
        return Ok(());
    }
    let is_used: bool = sqlx::query_scalar(
        "select exists (select 1 from token) or exists (select 1 from revision)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|source| open_error(path, source))?;
    if !is_used {
        return Ok(());
    }
    let canonical = path.canonicalize().map_err(|source| open_failed(path, source))?;
    match backup::before_upgrade(connection, &canonical, schema).await {
        Ok(backup) => {
            tracing::info!(
                backup = %backup.display(), schema, known,
                "the database has an older schema: it was backed up and is being upgraded"
            );
            Ok(())
        }
        Err(source) => {
            let (path, source) = (path.to_owned(), Box::new(source));
            Err(OpenError::Backup { path, schema, known, source })
        }
    }
}

/// The newest migration that was applied to the file, 0 if none.
pub(super) async fn applied_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
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

/// A commit is on the disk when it returns, and readers never wait for a writer. Temporary data stays
/// in memory, because the folder for temporary files may not be writable.
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
        Some(26) => OpenError::WrongFormat { path: path.to_owned(), format: FORMAT },
        _ => OpenError::Database { path: path.to_owned(), source: source.into() },
    }
}
