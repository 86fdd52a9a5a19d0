//! What a file is, apart from what it says: its seal, its pages, the links between its tables, and its
//! schema.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnection;

use super::{Faults, Outcome, Report};
use crate::store::sqlite::fault::primary_code;
use crate::store::sqlite::open::{APPLICATION_ID, MIGRATIONS, newest_schema};
use crate::store::sqlite::seal::Seal;
use crate::store::sqlite::source::Source;
use crate::store::{StoreError, error_chain};

/// Which schema a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// This version's.
    Current,
    /// An older version's.
    Older,
    /// A newer version's, or nobody's.
    Strange,
}

/// Whether all bytes are as they were written, as far as that can be told.
pub(super) fn seal(source: &Source, report: &mut Report) {
    let (outcome, detail) = match source.seal() {
        Seal::None => (Outcome::Left, "none: only backups have one"),
        Seal::Whole => (Outcome::Right, "SHA-256, of a backup: every byte is as it was written"),
        Seal::Broken => {
            (Outcome::Wrong, "the bytes of this backup are not those that were written")
        }
        Seal::Strange => (
            Outcome::Wrong,
            "the end of the file is neither the end of a page nor a checksum: it was cut short, or \
             something was written behind it",
        ),
    };
    report.say("checksum", outcome, detail);
}

/// Whether it is a database of Portbook's; if not, there is nothing more to look at.
pub(super) async fn owner(connection: &mut SqliteConnection, report: &mut Report) -> bool {
    let owner: Result<i64, _> =
        sqlx::query_scalar("pragma application_id").fetch_one(connection).await;
    let fault = match owner {
        Ok(APPLICATION_ID) => return true,
        Ok(_) => "a SQLite database, but not one of Portbook's".to_owned(),
        Err(fault) if primary_code(&fault) == Some(26) => "not a SQLite database".to_owned(),
        Err(fault) => error_chain(&fault),
    };
    report.say("pages", Outcome::Wrong, fault);
    false
}

/// Whether the pages fit together, and each row the rules of its table.
pub(super) async fn pages(connection: &mut SqliteConnection, report: &mut Report) {
    let found: Result<Vec<String>, _> =
        sqlx::query_scalar("pragma integrity_check").fetch_all(&mut *connection).await;
    let faults =
        found.map_or_else(|fault| Faults::of([error_chain(&fault)]), |lines| of_pages(&lines));
    let count: Result<i64, _> = sqlx::query_scalar("pragma page_count").fetch_one(connection).await;
    report.judge("pages", faults, format!("{} pages that fit together", count.unwrap_or_default()));
}

/// What SQLite finds wrong; only where it says that all is right, nothing is.
fn of_pages(lines: &[String]) -> Faults {
    match lines {
        [line] if line == "ok" => Faults::default(),
        [] => Faults::of(["SQLite has not come to look at them".to_owned()]),
        lines => Faults::of(lines.iter().map(|line| line.replace('\n', ", "))),
    }
}

/// Whether each row that another one speaks of is there.
pub(super) async fn links(connection: &mut SqliteConnection, report: &mut Report) {
    type Link = (Option<String>, Option<i64>, Option<String>, i64);
    let mut faults = Faults::default();
    let broken: Result<Vec<Link>, _> =
        sqlx::query_as("pragma foreign_key_check").fetch_all(connection).await;
    match broken {
        Ok(broken) => {
            for (table, _, parent, _) in broken {
                let name = |table: Option<String>| table.unwrap_or_else(|| "?".into());
                faults.add(format!(
                    "a row of {} speaks of one of {} that is not there",
                    name(table),
                    name(parent)
                ));
            }
        }
        Err(fault) => faults.add(error_chain(&fault)),
    }
    report.judge("links", faults, "every row that is spoken of is there");
}

/// Whether the migrations that the file has had are those of this version.
pub(super) async fn schema(connection: &mut SqliteConnection, report: &mut Report) -> Schema {
    let mut faults = Faults::default();
    let applied: Result<Vec<(i64, bool, Vec<u8>)>, _> =
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version")
            .fetch_all(connection)
            .await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(fault) => {
            report.say("schema", Outcome::Wrong, error_chain(&fault));
            return Schema::Strange;
        }
    };
    let mut known = MIGRATIONS.iter();
    for (version, is_done, checksum) in &applied {
        match known.next() {
            Some(migration) if migration.version == *version => {
                if *migration.checksum != checksum[..] {
                    faults.add(format!("migration {version} is not the one that is known here"));
                } else if !is_done {
                    faults.add(format!("migration {version} was not done to its end"));
                }
            }
            Some(migration) => {
                faults.add(format!("migration {} is missing", migration.version));
                break;
            }
            None => {
                faults.add(format!(
                    "schema {version} is newer than this Portbook, which knows up to {}: use that \
                     version",
                    newest_schema()
                ));
                break;
            }
        }
    }
    let last = applied.last().map_or(0, |(version, ..)| *version);
    let schema = match (faults.first.is_empty(), last == newest_schema()) {
        (false, _) => Schema::Strange,
        (true, true) => Schema::Current,
        (true, false) => Schema::Older,
    };
    let detail = match schema {
        Schema::Older => format!(
            "{last}, older than this Portbook's {}: the next start brings it up to date, and what \
             follows was looked at in a copy that is",
            newest_schema()
        ),
        _ => format!("{last}, that of this Portbook"),
    };
    report.judge("schema", faults, detail);
    schema
}

/// How many assignments are registered, if they can be counted.
pub(super) async fn assignments(connection: &mut SqliteConnection) -> Option<u64> {
    let count = sqlx::query_scalar!("select count(*) from custom_assignment")
        .fetch_one(connection)
        .await
        .ok()?;
    u64::try_from(count).ok()
}

/// Whether the file has the tables, indexes and triggers that a fresh one has: without a trigger,
/// a rule is not kept.
pub(super) async fn compare_parts(
    connection: &mut SqliteConnection,
    fresh: &mut SqliteConnection,
    report: &mut Report,
) {
    let mut faults = Faults::default();
    let found = faults.take(parts(connection).await, "the list of tables").unwrap_or_default();
    let meant = faults.take(parts(fresh).await, "the seed").unwrap_or_default();
    for (name, statement) in &found {
        match meant.get(name) {
            Some(meant) if meant == statement => {}
            Some(_) => faults.add(format!("the {name} is not the one this version has")),
            None => faults.add(format!("the {name} is not one this version has")),
        }
    }
    for name in meant.keys().filter(|name| !found.contains_key(*name)) {
        faults.add(format!("the {name} is missing"));
    }
    report.judge("tables", faults, format!("{} tables, indexes and triggers", found.len()));
}

/// What makes each of them, without what versions of SQLite write differently when they change it.
async fn parts(connection: &mut SqliteConnection) -> Result<BTreeMap<String, String>, StoreError> {
    // Those that SQLite makes by itself have no statement. Litestream keeps two tables of its own in
    // what it replicates, which nobody else looks at.
    let parts: Vec<(String, String)> = sqlx::query_as(
        "select type || ' ' || name, sql from sqlite_schema where sql is not null \
         and name not like 'sqlite\\_%' escape '\\' \
         and name not like '\\_litestream\\_%' escape '\\'",
    )
    .fetch_all(connection)
    .await?;
    let plain = |sql: String| sql.replace(|c: char| c.is_whitespace() || c == '"', "");
    Ok(parts.into_iter().map(|(name, sql)| (name, plain(sql))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sqlite_calls_right_is() {
        let told = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
            of_pages(&lines).told()
        };
        assert_eq!(told(&["ok"]), None);
        for strange in [&[][..], &[""], &["ok", "ok"], &["Page 3: never used"]] {
            assert!(told(strange).is_some(), "{strange:?}");
        }
    }
}
