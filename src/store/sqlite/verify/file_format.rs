//! Checks of the file format, independent of the content: the seal, the pages, the foreign keys and the
//! schema.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnection;

use super::{Problems, describe};
use crate::store::sqlite::backup_seal::BackupSeal;
use crate::store::sqlite::error::primary_code;
use crate::store::sqlite::open::{APPLICATION_ID, MIGRATIONS, newest_schema};
use crate::store::sqlite::read_only::ReadOnlyDatabase;
use crate::store::{Outcome, Report, StoreError};

/// Which schema a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// That of this version.
    Current,
    /// That of an older version.
    Older,
    /// That of a newer version, or an invalid one.
    Unsupported,
}

/// Checks that all bytes are unchanged, if the file has a seal.
pub(super) fn seal(database: &ReadOnlyDatabase, report: &mut Report) {
    let (outcome, detail) = match database.seal() {
        BackupSeal::Absent => (Outcome::Skipped, "none: only backups have one"),
        BackupSeal::Valid => (Outcome::Passed, "SHA-256 of a backup: every byte is unchanged"),
        BackupSeal::Mismatch => {
            (Outcome::Failed, "the content of this backup does not match its SHA-256")
        }
        BackupSeal::Malformed => (
            Outcome::Failed,
            "the file ends neither at the end of a page nor in a checksum: it was truncated, or data \
             was appended to it",
        ),
    };
    report.add("checksum", outcome, detail);
}

/// Checks that the file is a Portbook database. If it is not, no other check is possible.
pub(super) async fn owner(connection: &mut SqliteConnection, report: &mut Report) -> bool {
    let owner: Result<i64, _> =
        sqlx::query_scalar("pragma application_id").fetch_one(connection).await;
    let problem = match owner {
        Ok(APPLICATION_ID) => return true,
        Ok(_) => "a SQLite database, but not a Portbook database".to_owned(),
        Err(error) if primary_code(&error) == Some(26) => "not a SQLite database".to_owned(),
        Err(error) => describe(&error),
    };
    report.add("pages", Outcome::Failed, problem);
    false
}

/// Runs SQLite's integrity check on the pages and the constraints of the tables.
pub(super) async fn pages(connection: &mut SqliteConnection, report: &mut Report) {
    let result: Result<Vec<String>, _> =
        sqlx::query_scalar("pragma integrity_check").fetch_all(&mut *connection).await;
    let problems = result
        .map_or_else(|error| Problems::of([describe(&error)]), |lines| integrity_problems(&lines));
    let count: Result<i64, _> = sqlx::query_scalar("pragma page_count").fetch_one(connection).await;
    report.conclude("pages", problems, format!("{} consistent pages", count.unwrap_or_default()));
}

/// The problems in the result of SQLite's integrity check. Anything but a single "ok" is a problem.
fn integrity_problems(lines: &[String]) -> Problems {
    match lines {
        [line] if line == "ok" => Problems::default(),
        [] => Problems::of(["SQLite's integrity check gave no result".to_owned()]),
        lines => Problems::of(lines.iter().map(|line| line.replace('\n', ", "))),
    }
}

/// Checks that every referenced row exists.
pub(super) async fn links(connection: &mut SqliteConnection, report: &mut Report) {
    type Link = (Option<String>, Option<i64>, Option<String>, i64);
    let mut problems = Problems::default();
    let violations: Result<Vec<Link>, _> =
        sqlx::query_as("pragma foreign_key_check").fetch_all(connection).await;
    match violations {
        Ok(violations) => {
            for (table, _, parent, _) in violations {
                let name = |table: Option<String>| table.unwrap_or_else(|| "?".into());
                problems.add(format!(
                    "a row of {} refers to a row of {} that does not exist",
                    name(table),
                    name(parent)
                ));
            }
        }
        Err(error) => problems.add(describe(&error)),
    }
    report.conclude("links", problems, "every referenced row exists");
}

/// Checks that the applied migrations are those of this version.
pub(super) async fn schema(connection: &mut SqliteConnection, report: &mut Report) -> Schema {
    let mut problems = Problems::default();
    let applied: Result<Vec<(i64, bool, Vec<u8>)>, _> =
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version")
            .fetch_all(connection)
            .await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => {
            report.add("schema", Outcome::Failed, describe(&error));
            return Schema::Unsupported;
        }
    };
    let mut known = MIGRATIONS.iter();
    for (version, is_done, checksum) in &applied {
        match known.next() {
            Some(migration) if migration.version == *version => {
                if *migration.checksum != checksum[..] {
                    problems.add(format!("migration {version} differs from that of this version"));
                } else if !is_done {
                    problems.add(format!("migration {version} was not completed"));
                }
            }
            Some(migration) => {
                problems.add(format!("migration {} is missing", migration.version));
                break;
            }
            None => {
                problems.add(format!(
                    "schema {version} is newer than this Portbook, which supports up to {}: use that \
                     version",
                    newest_schema()
                ));
                break;
            }
        }
    }
    let last = applied.last().map_or(0, |(version, ..)| *version);
    let schema = match (problems.first.is_empty(), last == newest_schema()) {
        (false, _) => Schema::Unsupported,
        (true, true) => Schema::Current,
        (true, false) => Schema::Older,
    };
    let detail = match schema {
        Schema::Older => format!(
            "{last}, older than this Portbook's {}: the next start upgrades it; the following checks \
             were made on an upgraded copy",
            newest_schema()
        ),
        _ => format!("{last}, that of this Portbook"),
    };
    report.conclude("schema", problems, detail);
    schema
}

/// The number of registered assignments, if they can be counted.
pub(super) async fn assignments(connection: &mut SqliteConnection) -> Option<u64> {
    let count = sqlx::query_scalar!("select count(*) from custom_assignment")
        .fetch_one(connection)
        .await
        .ok()?;
    u64::try_from(count).ok()
}

/// Checks that the file has the tables, indexes and triggers of a new database: a rule whose trigger is
/// missing is not enforced.
pub(super) async fn compare_schema_objects(
    connection: &mut SqliteConnection,
    expected: &SchemaObjects,
    report: &mut Report,
) {
    let mut problems = Problems::default();
    let found = problems.check(schema_objects(connection).await, "the list of tables");
    let found = found.unwrap_or_default();
    for (name, statement) in &found {
        match expected.get(name) {
            Some(expected) if expected == statement => {}
            Some(_) => problems.add(format!("the {name} differs from that of this version")),
            None => problems.add(format!("the {name} does not exist in this version")),
        }
    }
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        problems.add(format!("the {name} is missing"));
    }
    report.conclude("tables", problems, format!("{} tables, indexes and triggers", found.len()));
}

/// The statement that creates each table, index and trigger, by name, without the whitespace and quotes
/// that differ between versions of SQLite.
pub(super) type SchemaObjects = BTreeMap<String, String>;

pub(super) async fn schema_objects(
    connection: &mut SqliteConnection,
) -> Result<SchemaObjects, StoreError> {
    // Objects that SQLite creates automatically have no statement. Litestream stores two tables in a
    // database that it replicates.
    let objects: Vec<(String, String)> = sqlx::query_as(
        "select type || ' ' || name, sql from sqlite_schema where sql is not null \
         and name not like 'sqlite\\_%' escape '\\' \
         and name not like '\\_litestream\\_%' escape '\\'",
    )
    .fetch_all(connection)
    .await?;
    let normalized = |sql: String| sql.replace(|c: char| c.is_whitespace() || c == '"', "");
    Ok(objects.into_iter().map(|(name, sql)| (name, normalized(sql))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrity_check_passes_only_with_a_single_ok() {
        let problems = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
            integrity_problems(&lines).into_text()
        };
        assert_eq!(problems(&["ok"]), None);
        for result in [&[][..], &[""], &["ok", "ok"], &["Page 3: never used"]] {
            assert!(problems(result).is_some(), "{result:?}");
        }
    }
}
