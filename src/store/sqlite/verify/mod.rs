//! Verifying a database or a backup: that its bytes are what was written, that its history leads to
//! what stands, and that what stands keeps the rules. Nothing is repaired, and nothing is written.

mod file;
mod reference;
mod replay;
mod standing;

use std::path::Path;

use jiff::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use uuid::Uuid;

use self::file::Schema;
use super::open::{MIGRATIONS, OpenError};
use super::seal::Seal;
use super::source::{Source, close};
use super::{SqliteStore, last_revision, run};
use crate::registry::assignment::Revision;
use crate::store::{Store, StoreError, error_chain};

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each check, in the order in which they were made.
    pub checks: Vec<Check>,
    /// Whether the file is a backup.
    pub is_backup: bool,
    /// The last revision, if it can be read.
    pub revision: Option<Revision>,
    /// How many assignments are registered, if they can be counted.
    pub assignments: Option<u64>,
}

/// What one check has found.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was checked, in a word or two.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What there is, or what is wrong and where.
    pub detail: String,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Right,
    /// It could not be made, or does not apply.
    Left,
    /// Something is not as it should be.
    Wrong,
}

impl Check {
    /// What was checked and what was found.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{}: {}", self.name, self.detail)
    }
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.faults().next().is_none()
    }

    /// The checks that have found something wrong.
    pub fn faults(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Wrong)
    }

    fn say(&mut self, name: &'static str, outcome: Outcome, detail: impl Into<String>) {
        self.checks.push(Check { name, outcome, detail: detail.into() });
    }

    /// Says what faults there are, or what there is.
    fn judge(&mut self, name: &'static str, faults: Faults, detail: impl Into<String>) {
        match faults.told() {
            None => self.say(name, Outcome::Right, detail),
            Some(told) => self.say(name, Outcome::Wrong, told),
        }
    }
}

/// What a check has found wrong.
#[derive(Debug, Default)]
struct Faults {
    first: Vec<String>,
    more: usize,
}

impl Faults {
    /// How many are told; the others are counted.
    const MOST_TOLD: usize = 3;

    fn of(faults: impl IntoIterator<Item = String>) -> Self {
        let mut all = Self::default();
        faults.into_iter().for_each(|fault| all.add(fault));
        all
    }

    fn add(&mut self, fault: impl Into<String>) {
        if self.first.len() < Self::MOST_TOLD {
            self.first.push(fault.into());
        } else {
            self.more += 1;
        }
    }

    /// What was read; nothing if that failed, which is a fault of the thing it was read from.
    fn take<T>(&mut self, read: Result<T, StoreError>, from: &str) -> Option<T> {
        read.map_err(|fault| self.add(format!("{from} can't be read: {}", error_chain(&fault))))
            .ok()
    }

    fn told(self) -> Option<String> {
        if self.first.is_empty() {
            return None;
        }
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        Some(self.first.join("; ") + &more)
    }
}

/// Verifies the file, as it is at one moment, whoever writes it.
///
/// # Errors
/// If there is no such file, or it can't be read. What is wrong with the file is in the report.
pub async fn verify(path: &Path, now: Timestamp) -> Result<Report, OpenError> {
    loop {
        let source = Source::of(path)?;
        let report = examine(&source, now).await?;
        if source.has_kept_still() {
            return Ok(report);
        }
    }
}

/// Verifies what the source reads: its form, and what it says.
pub(super) async fn examine(source: &Source, now: Timestamp) -> Result<Report, OpenError> {
    let (mut report, mut connection, schema) = look_at_form(source).await?;
    if let Some(schema) = schema {
        meaning(&mut connection, schema, now, &mut report).await;
    }
    close(connection).await;
    Ok(report)
}

/// Verifies what the source reads, as far as its bytes, its pages and its schema go.
pub(super) async fn examine_form(source: &Source) -> Result<Report, OpenError> {
    let (report, connection, _) = look_at_form(source).await?;
    close(connection).await;
    Ok(report)
}

/// What is found, and which schema the file has, if it is one of Portbook's.
async fn look_at_form(
    source: &Source,
) -> Result<(Report, SqliteConnection, Option<Schema>), OpenError> {
    let mut report = Report {
        checks: Vec::new(),
        is_backup: source.seal().is_of_backup(),
        revision: None,
        assignments: None,
    };
    file::seal(source, &mut report);
    let mut connection = source.open().await?;
    if !file::owner(&mut connection, &mut report).await {
        return Ok((report, connection, None));
    }
    file::pages(&mut connection, &mut report).await;
    file::links(&mut connection, &mut report).await;
    let schema = file::schema(&mut connection, &mut report).await;
    // What a backup says that is broken is of no use to anybody.
    let schema = if source.seal() == Seal::Broken { Schema::Strange } else { schema };
    report.revision = last_revision(&mut connection).await.ok();
    report.assignments = file::assignments(&mut connection).await;
    Ok((report, connection, Some(schema)))
}

const OF_MEANING: [&str; 5] = ["history", "state", "assignments", "reference data", "tables"];

/// Verifies what the tables say.
async fn meaning(
    connection: &mut SqliteConnection,
    schema: Schema,
    now: Timestamp,
    report: &mut Report,
) {
    let read = match schema {
        Schema::Current => contents(connection, now, report).await,
        Schema::Older => match upgraded(connection).await {
            Ok(mut copy) => contents(&mut copy, now, report).await,
            Err(fault) => Err(fault),
        },
        Schema::Strange => {
            for name in OF_MEANING {
                report.say(name, Outcome::Left, "not looked at");
            }
            return;
        }
    };
    if let Err(fault) = read {
        let name = if schema == Schema::Older { "upgrade" } else { "contents" };
        report.say(name, Outcome::Wrong, error_chain(&fault));
    }
}

async fn contents(
    connection: &mut SqliteConnection,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), StoreError> {
    let fresh = |fault: OpenError| StoreError::Corrupt(error_chain(&fault));
    let mut fresh = SqliteStore::in_memory().await.map_err(fresh)?;
    let beginning = fresh.load(now).await?.into_loaded().snapshot;
    let replayed = replay::replay(connection, beginning, report).await;
    standing::compare(connection, &replayed, now, report).await;
    reference::compare(connection, &mut fresh.connection, report).await;
    file::compare_parts(connection, &mut fresh.connection, report).await;
    Ok(())
}

/// A copy in memory of a database with an older schema, brought up to date as a start would.
async fn upgraded(connection: &mut SqliteConnection) -> Result<SqliteConnection, StoreError> {
    let name = format!("/portbook-{}", Uuid::now_v7());
    let options = SqliteConnectOptions::new().filename(&name).vfs("memdb");
    let mut copy = options.create_if_missing(true).disable_statement_logging().connect().await?;
    // No statement can copy a database within a transaction.
    run(connection, "rollback").await?;
    sqlx::query("vacuum into ?")
        .bind(format!("file:{name}?vfs=memdb"))
        .execute(&mut *connection)
        .await?;
    let corrupt = |fault| StoreError::Corrupt(error_chain(&fault));
    MIGRATIONS.run(&mut copy).await.map_err(corrupt)?;
    Ok(copy)
}
