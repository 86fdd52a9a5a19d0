//! The embedded store: one SQLite file, one connection, and all the SQL there is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::row::{
    AssignmentRow, ChangeRow, FindingRow, change_from, revision_from_sql, revision_to_sql,
    understood,
};
use super::{Answered, Contents, Entry, Store, StoreError};
use crate::access::{Actor, TokenHash};
use crate::registry::assignment::{
    Assignment, IanaColumns, NamespaceName, Origin, Revision, Source, State, Uid,
};
use crate::registry::guide::{Encryption, Guide};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::reference::Edition;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Tells a Portbook file from other SQLite files: "PBOK".
const APPLICATION_ID: i64 = 0x5042_4f4b;

/// A registry in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    /// Held as long as the store lives: no other server may open the same file.
    _lock: Option<File>,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder stands there.
    #[error("the database path {0} is a folder: give the path of a file")]
    IsFolder(PathBuf),
    /// There is no folder to put it in.
    #[error("the folder of the database {0} does not exist: create it first")]
    NoFolder(PathBuf),
    /// Another server has it.
    #[error(
        "the database {0} is in use by another portbook server: stop that one first, or give \
         another --database"
    )]
    InUse(PathBuf),
    /// The lock could not be taken for another reason.
    #[error("the lock file {path} of the database could not be opened")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no SQLite file.
    #[error("{0} is not a SQLite database: give the path of a Portbook database or of a new file")]
    NotSqlite(PathBuf),
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
    /// SQLite says no.
    #[error("the database {path} could not be opened")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
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
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let connection = prepare(options, path).await?;
        Ok(Self { connection, _lock: Some(lock) })
    }

    /// A new registry in memory, with IANA's registry and the guides and nothing else.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub async fn in_memory() -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new().in_memory(true);
        let connection = prepare(options, Path::new(":memory:")).await?;
        Ok(Self { connection, _lock: None })
    }

    /// Whether anybody was ever given a token.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn has_tokens(&mut self) -> Result<bool, StoreError> {
        let count = sqlx::query_scalar!("select count(*) from token")
            .fetch_one(&mut self.connection)
            .await?;
        Ok(count > 0)
    }

    /// Keeps a token's hash.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn add_token(
        &mut self,
        actor: &Actor,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (name, sha256, now) = (&*actor.0, &hash.bytes()[..], now.as_microsecond());
        sqlx::query!("insert into token (name, sha256, create_time) values (?, ?, ?)", name, sha256, now)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Moves what the write-ahead log holds into the file and closes it.
    ///
    /// # Errors
    /// If the database can't be written; nothing is lost by it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// A lock beside the file, which the system releases however the process ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    // Two names of one file have to meet at one lock.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name: OsString = real.into_os_string();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(path.to_owned())
        }
        _ => OpenError::Lock { path: lock_path.clone(), source },
    };
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens the connection, makes sure that the file is Portbook's, and brings its schema up to date.
async fn prepare(
    options: SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, OpenError> {
    let failed = |source: sqlx::Error| open_error(path, source);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    check_owner(&mut connection, path).await?;
    make_durable(&mut connection).await.map_err(failed)?;
    MIGRATIONS.run(&mut connection).await.map_err(|source| match source {
        sqlx::migrate::MigrateError::Execute(source)
        | sqlx::migrate::MigrateError::ExecuteMigration(source, _) => open_error(path, source),
        source => OpenError::Migrate { path: path.to_owned(), source },
    })?;
    Ok(connection)
}

async fn check_owner(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
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
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found = applied_version(connection).await.map_err(failed)?;
        if found > known {
            return Err(OpenError::Newer { path: path.to_owned(), found, known });
        }
        return Ok(());
    }
    if owner != 0 || tables > 0 {
        return Err(OpenError::NotPortbook(path.to_owned()));
    }
    sqlx::raw_sql("pragma application_id = 0x50424f4b").execute(connection).await.map_err(failed)?;
    Ok(())
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

/// A commit is on the disk when it returns, and readers of the file never wait for it.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let journal = SqliteJournalMode::Wal;
    let synchronous = SqliteSynchronous::Full;
    let _ = (journal, synchronous);
    sqlx::raw_sql(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; \
         pragma busy_timeout = 5000",
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn open_error(path: &Path, source: sqlx::Error) -> OpenError {
    let code = source.as_database_error().and_then(|fault| fault.code());
    let primary = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    // SQLite's result codes: PERM, READONLY, CANTOPEN, NOTADB.
    match primary {
        Some(3 | 8 | 14) => OpenError::ReadOnly(path.to_owned()),
        Some(26) => OpenError::NotSqlite(path.to_owned()),
        _ => OpenError::Database { path: path.to_owned(), source },
    }
}

impl Store for SqliteStore {
    async fn load(&mut self) -> Result<Contents, StoreError> {
        let connection = &mut self.connection;
        let registry = sqlx::query!("select database_id, iana_date, iana_sha256 from registry")
            .fetch_one(&mut *connection)
            .await?;
        let mut reference = load_iana(connection).await?;
        reference.extend(load_common(connection).await?);
        Ok(Contents {
            database_id: registry.database_id,
            edition: Edition {
                iana_date: registry.iana_date,
                iana_sha256: registry.iana_sha256,
            },
            reference,
            guides: load_guides(connection).await?,
            namespaces: load_namespaces(connection).await?,
            custom: load_custom(connection).await?,
            revision: last_revision(connection).await?,
            tokens: load_tokens(connection).await?,
        })
    }

    async fn append(&mut self, expected: Revision, entries: &[Entry]) -> Result<(), StoreError> {
        // The write lock is taken at once, so that what is read here can't change under it.
        let mut transaction = self.connection.begin_with("begin immediate").await?;
        let found = last_revision(&mut transaction).await?;
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        insert_revisions(&mut transaction, entries).await?;
        insert_changes(&mut transaction, entries).await?;
        replace_custom(&mut transaction, entries).await?;
        insert_requests(&mut transaction, entries).await?;
        Ok(transaction.commit().await?)
    }

    async fn answered(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> Result<Option<Answered>, StoreError> {
        let actor = &*actor.0;
        let Some(request) = sqlx::query!(
            "select fingerprint, revision, findings from request where actor = ? and request_id = ?",
            actor,
            request_id
        )
        .fetch_optional(&mut self.connection)
        .await?
        else {
            return Ok(None);
        };
        let changes = sqlx::query!(
            "select before, after from change where revision = ? order by position",
            request.revision
        )
        .fetch_all(&mut self.connection)
        .await?;
        let findings: Vec<FindingRow> = understood(serde_json::from_str(&request.findings))?;
        Ok(Some(Answered {
            fingerprint: hash_from(request.fingerprint)?,
            revision: revision_from_sql(request.revision)?,
            changes: changes
                .into_iter()
                .map(|row| change_from(row.before, row.after))
                .collect::<Result<_, _>>()?,
            findings: findings
                .into_iter()
                .map(FindingRow::into_finding)
                .collect::<Result<_, _>>()?,
        }))
    }
}

async fn load_iana(connection: &mut SqliteConnection) -> Result<Vec<Assignment>, StoreError> {
    let rows = sqlx::query!(
        "select ordinal, service_name, port_number, transport, description, assignee, contact, \
         registration_date, modification_date, reference, service_code, \
         unauthorized_use_reported, assignment_notes, first_port, last_port, state \
         from iana_record order by ordinal"
    )
    .fetch_all(connection)
    .await?;
    let mut shared = SharedTexts::default();
    let mut seen: HashMap<(String, String, Option<Transport>), usize> = HashMap::new();
    rows.into_iter()
        .map(|row| {
            let name = row.service_name.unwrap_or_default();
            let port_number = row.port_number.unwrap_or_default();
            let transport = transport_from(row.transport.as_deref())?;
            let with_same_key =
                seen.entry((name.clone(), port_number.clone(), transport)).or_default();
            let uid = Uid::fixed(Source::Iana, &name, &port_number, transport, *with_same_key);
            *with_same_key += 1;
            Ok(Assignment {
                uid,
                service_name: (!name.is_empty()).then(|| shared.of(Some(&name))),
                ports: ports_from(row.first_port, row.last_port)?,
                transport,
                state: state_from(&row.state)?,
                description: shared.of(row.description.as_deref()),
                assignee: shared.of(row.assignee.as_deref()),
                contact: shared.of(row.contact.as_deref()),
                reference: shared.of(row.reference.as_deref()),
                assignment_notes: shared.of(row.assignment_notes.as_deref()),
                origin: Origin::Iana(IanaColumns {
                    ordinal: understood(u32::try_from(row.ordinal))?,
                    published_as_range: port_number.contains('-'),
                    aliases: Vec::new(),
                    registration_date: shared.of(row.registration_date.as_deref()),
                    modification_date: shared.of(row.modification_date.as_deref()),
                    service_code: shared.of(row.service_code.as_deref()),
                    unauthorized_use_reported: shared.of(row.unauthorized_use_reported.as_deref()),
                }),
            })
        })
        .collect()
}

async fn load_common(connection: &mut SqliteConnection) -> Result<Vec<Assignment>, StoreError> {
    let rows = sqlx::query!(
        "select ordinal, service_name, first_port, last_port, transport, description, reference \
         from common_use order by ordinal"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let ports = ports_from(Some(row.first_port), Some(row.last_port))?;
            let transport = transport_from(Some(&row.transport))?;
            let port_number = ports.map(|ports| ports.to_string()).unwrap_or_default();
            Ok(Assignment {
                uid: Uid::fixed(Source::Common, &row.service_name, &port_number, transport, 0),
                origin: Origin::Common { ordinal: understood(u32::try_from(row.ordinal))? },
                service_name: Some(row.service_name.into()),
                ports,
                transport,
                state: State::Unlisted,
                description: row.description.into(),
                assignee: "".into(),
                contact: "".into(),
                reference: row.reference.unwrap_or_default().into(),
                assignment_notes: "".into(),
            })
        })
        .collect()
}

async fn load_guides(connection: &mut SqliteConnection) -> Result<Vec<Guide>, StoreError> {
    let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
    for row in sqlx::query!("select guide_id, alias from guide_alias order by alias")
        .fetch_all(&mut *connection)
        .await?
    {
        aliases.entry(row.guide_id).or_default().push(row.alias);
    }
    let mut services: HashMap<String, Vec<String>> = HashMap::new();
    for row in sqlx::query!("select guide_id, service_name from guide_service order by service_name")
        .fetch_all(&mut *connection)
        .await?
    {
        services.entry(row.guide_id).or_default().push(row.service_name);
    }
    let rows = sqlx::query!(
        "select guide_id, title, full_name, summary, category, encryption, use_instead \
         from guide order by guide_id"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Guide {
                aliases: aliases.remove(&row.guide_id).unwrap_or_default(),
                service_names: services.remove(&row.guide_id).unwrap_or_default(),
                id: row.guide_id.into(),
                title: row.title,
                full_name: row.full_name,
                summary: row.summary,
                category: row.category,
                encryption: encryption_from(&row.encryption)?,
                use_instead: row.use_instead.unwrap_or_default(),
            })
        })
        .collect()
}

async fn load_namespaces(
    connection: &mut SqliteConnection,
) -> Result<Vec<NamespaceName>, StoreError> {
    let names = sqlx::query_scalar!("select name from namespace order by name")
        .fetch_all(connection)
        .await?;
    names.iter().map(|name| understood(name.parse())).collect()
}

async fn load_custom(connection: &mut SqliteConnection) -> Result<Vec<Assignment>, StoreError> {
    let rows = sqlx::query!(
        r#"select uid, namespace, service_name, first_port as "first_port: u16",
           last_port as "last_port: u16", transport, description, assignee, contact, reference,
           assignment_notes, labels, create_time, update_time, revision from custom_assignment"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            AssignmentRow {
                uid: row.uid,
                namespace: row.namespace,
                service_name: row.service_name,
                first_port: row.first_port,
                last_port: row.last_port,
                transport: row.transport,
                description: row.description,
                assignee: row.assignee,
                contact: row.contact,
                reference: row.reference,
                assignment_notes: row.assignment_notes,
                labels: understood(serde_json::from_str(&row.labels))?,
                create_time: row.create_time,
                update_time: row.update_time,
                revision: row.revision,
            }
            .into_assignment()
        })
        .collect()
}

async fn load_tokens(
    connection: &mut SqliteConnection,
) -> Result<Vec<(TokenHash, Actor)>, StoreError> {
    let rows = sqlx::query!("select name, sha256 from token where revoke_time is null")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| Ok((TokenHash::new(hash_from(row.sha256)?), Actor(row.name.into()))))
        .collect()
}

async fn last_revision(connection: &mut SqliteConnection) -> Result<Revision, StoreError> {
    let last = sqlx::query_scalar!(
        r#"select coalesce(max(revision), 0) as "last!: i64" from revision"#
    )
    .fetch_one(connection)
    .await?;
    revision_from_sql(last)
}

// The inserts below take all rows of a commit as one JSON array: one round trip for each table,
// however many commands wait.

async fn insert_revisions(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let rows = to_json(entries.iter().map(|entry| {
        (
            revision_to_sql(entry.revision),
            entry.time.as_microsecond(),
            entry.actor.0.to_string(),
            entry.reason.as_str(),
        )
    }))?;
    sqlx::query!(
        "insert into revision (revision, time, actor, reason) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_changes(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let rows = to_json(entries.iter().flat_map(|entry| {
        let numbered = entry.changes.iter().enumerate();
        numbered.map(|(position, change)| ChangeRow::of(entry.revision, position, change))
    }))?;
    sqlx::query!(
        "insert into change (revision, position, kind, uid, before, after) \
         select value ->> 'revision', value ->> 'position', value ->> 'kind', value ->> 'uid', \
         value ->> 'before', value ->> 'after' from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Brings the registrations from where they were before the first entry to where they are after
/// the last: what was touched goes, and comes back in its last form if it still stands.
async fn replace_custom(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let mut last_form: HashMap<Uid, Option<AssignmentRow>> = HashMap::new();
    for change in entries.iter().flat_map(|entry| &entry.changes) {
        let standing = change.after().and_then(|record| AssignmentRow::of(record));
        last_form.insert(change.record().uid, standing);
    }
    let touched = to_json(last_form.keys().map(ToString::to_string))?;
    sqlx::query!(
        "delete from custom_assignment where uid in (select value from json_each(?))",
        touched
    )
    .execute(&mut *connection)
    .await?;
    let standing = to_json(last_form.into_values().flatten())?;
    sqlx::query!(
        "insert into custom_assignment (namespace, transport, first_port, last_port, uid, \
         service_name, description, assignee, contact, reference, assignment_notes, labels, \
         create_time, update_time, revision) \
         select value ->> 'namespace', value ->> 'transport', value ->> 'first_port', \
         value ->> 'last_port', value ->> 'uid', value ->> 'service_name', \
         value ->> 'description', value ->> 'assignee', value ->> 'contact', \
         value ->> 'reference', value ->> 'assignment_notes', value ->> 'labels', \
         value ->> 'create_time', value ->> 'update_time', value ->> 'revision' \
         from json_each(?)",
        standing
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_requests(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    // Rare beside the other rows, and its fingerprint is no text: a statement each.
    for entry in entries {
        let Some(request) = &entry.request else { continue };
        let (actor, id) = (&*entry.actor.0, &request.id);
        let (fingerprint, revision) =
            (&request.fingerprint[..], revision_to_sql(entry.revision));
        let findings = to_json(entry.findings.iter().map(FindingRow::of))?;
        sqlx::query!(
            "insert into request (actor, request_id, fingerprint, revision, findings) \
             values (?, ?, ?, ?, ?)",
            actor,
            id,
            fingerprint,
            revision,
            findings
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn to_json<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> Result<String, StoreError> {
    let rows: Vec<T> = rows.collect();
    serde_json::to_string(&rows).map_err(|fault| StoreError::Corrupt(fault.to_string()))
}

/// The same text is held once: contacts and references come again and again.
#[derive(Default)]
struct SharedTexts(std::collections::HashSet<std::sync::Arc<str>>);

impl SharedTexts {
    fn of(&mut self, text: Option<&str>) -> std::sync::Arc<str> {
        let text = text.unwrap_or_default();
        if let Some(shared) = self.0.get(text) {
            return std::sync::Arc::clone(shared);
        }
        let shared: std::sync::Arc<str> = text.into();
        self.0.insert(std::sync::Arc::clone(&shared));
        shared
    }
}

fn ports_from(first: Option<i64>, last: Option<i64>) -> Result<Option<PortRange>, StoreError> {
    let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
    let port = |number: i64| understood(u16::try_from(number)).map(Port::new);
    understood(PortRange::new(port(first)?, port(last)?)).map(Some)
}

fn transport_from(name: Option<&str>) -> Result<Option<Transport>, StoreError> {
    name.map(|name| understood(name.parse())).transpose()
}

fn state_from(name: &str) -> Result<State, StoreError> {
    match name {
        "ASSIGNED" => Ok(State::Assigned),
        "RESERVED" => Ok(State::Reserved),
        "UNASSIGNED" => Ok(State::Unassigned),
        other => Err(StoreError::Corrupt(format!("state {other:?}"))),
    }
}

fn encryption_from(name: &str) -> Result<Encryption, StoreError> {
    match name {
        "NONE" => Ok(Encryption::None),
        "STARTTLS" => Ok(Encryption::StartTls),
        "TLS" => Ok(Encryption::Tls),
        "OWN" => Ok(Encryption::Own),
        other => Err(StoreError::Corrupt(format!("encryption {other:?}"))),
    }
}

fn hash_from(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that has not 32 bytes".into()))
}
