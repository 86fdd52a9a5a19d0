//! Verification of a database or a backup: that its bytes are unchanged, that replaying its history
//! results in the current state, and that the current state satisfies the rules. Verification is
//! read-only and repairs nothing.

mod current_state;
mod file_format;
mod reference;
mod replay;

use std::error::Error;
use std::path::Path;

use jiff::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use uuid::Uuid;

use self::file_format::{Schema, SchemaObjects};
use self::reference::ReferenceData;
use super::backup_seal::BackupSeal;
use super::error::primary_code;
use super::open::MIGRATIONS;
use super::read_only::{ReadOnlyDatabase, close};
use super::{SqliteStore, execute, last_revision};
use crate::registry::snapshot::Snapshot;
use crate::store::{Check, OpenError, Outcome, Report, Store, StoreError, error_chain};

impl Report {
    fn add(&mut self, name: &'static str, outcome: Outcome, detail: impl Into<String>) {
        self.checks.push(Check { name, outcome, detail: detail.into() });
    }

    /// Adds a check: failed with these problems, or passed with this detail if there are none.
    fn conclude(&mut self, name: &'static str, problems: Problems, detail: impl Into<String>) {
        match problems.into_text() {
            None => self.add(name, Outcome::Passed, detail),
            Some(problems) => self.add(name, Outcome::Failed, problems),
        }
    }
}

/// The problems that a check has found.
#[derive(Debug, Default)]
struct Problems {
    first: Vec<String>,
    more: usize,
}

impl Problems {
    /// How many problems are listed; the others are counted.
    const MAX_LISTED: usize = 3;

    fn of(problems: impl IntoIterator<Item = String>) -> Self {
        let mut all = Self::default();
        problems.into_iter().for_each(|problem| all.add(problem));
        all
    }

    fn add(&mut self, problem: impl Into<String>) {
        if self.first.len() < Self::MAX_LISTED {
            self.first.push(problem.into());
        } else {
            self.more += 1;
        }
    }

    /// The value that was read. An error becomes a problem of the place it was read from.
    fn check<T>(&mut self, result: Result<T, StoreError>, from: &str) -> Option<T> {
        result.map_err(|error| self.add(format!("{from} can't be read: {}", describe(&error)))).ok()
    }

    fn into_text(self) -> Option<String> {
        if self.first.is_empty() {
            return None;
        }
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        Some(self.first.join("; ") + &more)
    }
}

/// See [`crate::store::Maintenance::verify`].
pub(super) async fn verify(path: &Path, now: Timestamp) -> Result<Report, OpenError> {
    Verifier::default().verify(path, now).await
}

/// Verifies the format and the content of the database.
pub(super) async fn verify_database(
    database: &ReadOnlyDatabase,
    now: Timestamp,
) -> Result<Report, OpenError> {
    Verifier::default().verify_database(database, now).await
}

/// Verifies one file after another. It compares all with the contents of one new database, which take
/// longer to create than a file takes to verify.
#[derive(Default)]
pub struct Verifier {
    new_database: Option<NewDatabase>,
}

/// The contents of a new database.
struct NewDatabase {
    snapshot: Snapshot,
    reference: ReferenceData,
    schema: SchemaObjects,
}

impl Verifier {
    /// Verifies a consistent state of the file, which a server may be writing.
    ///
    /// # Errors
    /// If the file does not exist or can't be read. Problems of its content are in the report.
    pub async fn verify(&mut self, path: &Path, now: Timestamp) -> Result<Report, OpenError> {
        loop {
            let database = ReadOnlyDatabase::open(path)?;
            let report = self.verify_database(&database, now).await?;
            if database.is_unchanged() {
                return Ok(report);
            }
        }
    }

    async fn verify_database(
        &mut self,
        database: &ReadOnlyDatabase,
        now: Timestamp,
    ) -> Result<Report, OpenError> {
        let (mut report, mut connection, schema) = check_format(database).await?;
        if let Some(schema) = schema {
            self.check_content(&mut connection, schema, now, &mut report).await;
        }
        close(connection).await;
        Ok(report)
    }

    /// The contents to compare with, which are created when they are first needed.
    async fn new_database(&mut self) -> Result<&NewDatabase, StoreError> {
        let database = match self.new_database.take() {
            Some(database) => database,
            None => {
                let corrupt = |error: OpenError| StoreError::Corrupt(error_chain(&error));
                let mut store = SqliteStore::in_memory().await.map_err(corrupt)?;
                let snapshot = store.load(Timestamp::UNIX_EPOCH).await?.into_loaded().snapshot;
                let reference = ReferenceData::read(&mut store.connection).await?;
                let schema = file_format::schema_objects(&mut store.connection).await?;
                NewDatabase { snapshot, reference, schema }
            }
        };
        Ok(self.new_database.insert(database))
    }
}

/// Verifies only the format of the database: its bytes, its pages and its schema.
pub(super) async fn verify_format(database: &ReadOnlyDatabase) -> Result<Report, OpenError> {
    let (report, connection, _) = check_format(database).await?;
    close(connection).await;
    Ok(report)
}

/// The report on the format, and the schema of the file if it is a Portbook database.
async fn check_format(
    database: &ReadOnlyDatabase,
) -> Result<(Report, SqliteConnection, Option<Schema>), OpenError> {
    let mut report = Report {
        checks: Vec::new(),
        is_backup: database.seal().is_of_backup(),
        revision: None,
        assignments: None,
    };
    file_format::seal(database, &mut report);
    let mut connection = database.begin().await?;
    if !file_format::owner(&mut connection, &mut report).await {
        return Ok((report, connection, None));
    }
    file_format::pages(&mut connection, &mut report).await;
    file_format::links(&mut connection, &mut report).await;
    let schema = file_format::schema(&mut connection, &mut report).await;
    // The content of a backup with a wrong checksum can't be trusted.
    let schema = if database.seal() == BackupSeal::Mismatch { Schema::Unsupported } else { schema };
    report.revision = last_revision(&mut connection).await.ok();
    report.assignments = file_format::assignments(&mut connection).await;
    Ok((report, connection, Some(schema)))
}

/// The chain of errors, or a plain sentence in place of SQLite's error on damaged pages.
fn describe(error: &(dyn Error + 'static)) -> String {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    // SQLite's result code CORRUPT.
    let is_corrupt = causes.any(|cause| cause.downcast_ref().and_then(primary_code) == Some(11));
    if is_corrupt { "damaged pages (SQLITE_CORRUPT)".into() } else { error_chain(error) }
}

const CONTENT_CHECKS: [&str; 5] = ["history", "state", "assignments", "reference data", "tables"];

impl Verifier {
    /// Verifies the content of the tables.
    async fn check_content(
        &mut self,
        connection: &mut SqliteConnection,
        schema: Schema,
        now: Timestamp,
        report: &mut Report,
    ) {
        let checked = match schema {
            Schema::Current => self.compare_content(connection, now, report).await,
            Schema::Older => match upgraded_copy(connection).await {
                Ok(mut copy) => self.compare_content(&mut copy, now, report).await,
                Err(error) => Err(error),
            },
            Schema::Unsupported => {
                for name in CONTENT_CHECKS {
                    report.add(name, Outcome::Skipped, "not checked");
                }
                return;
            }
        };
        if let Err(error) = checked {
            let name = if schema == Schema::Older { "upgrade" } else { "contents" };
            report.add(name, Outcome::Failed, describe(&error));
        }
    }

    async fn compare_content(
        &mut self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let NewDatabase { snapshot, reference, schema } = self.new_database().await?;
        let replayed = replay::replay(connection, snapshot.clone(), report).await;
        current_state::compare(connection, &replayed, now, report).await;
        reference::compare(connection, reference, report).await;
        file_format::compare_schema_objects(connection, schema, report).await;
        Ok(())
    }
}

/// A copy in memory of a database with an older schema, upgraded as a start of the server would.
async fn upgraded_copy(connection: &mut SqliteConnection) -> Result<SqliteConnection, StoreError> {
    let name = format!("/portbook-{}", Uuid::new_v4());
    let options = SqliteConnectOptions::new().filename(&name).vfs("memdb");
    let mut copy = options.create_if_missing(true).disable_statement_logging().connect().await?;
    // SQLite can't copy a database within a transaction.
    execute(connection, "rollback").await?;
    sqlx::query("vacuum into ?")
        .bind(format!("file:{name}?vfs=memdb"))
        .execute(&mut *connection)
        .await?;
    let corrupt = |error| StoreError::Corrupt(error_chain(&error));
    MIGRATIONS.run(&mut copy).await.map_err(corrupt)?;
    Ok(copy)
}
