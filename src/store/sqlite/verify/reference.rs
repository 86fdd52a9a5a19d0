//! Reference data: compares it with the data that this version seeds into a new database.

use sqlx::sqlite::SqliteConnection;

use super::{Problems, Report};
use crate::store::StoreError;
use crate::store::sqlite::load::{edition, reference};

/// Compares the reference data of the file with that of a new database.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    seeded: &mut SqliteConnection,
    report: &mut Report,
) {
    let mut problems = Problems::default();
    let editions = (edition(connection).await, edition(seeded).await);
    let edition =
        compare_table(editions, "registry", &mut problems, |found, expected, problems| {
            if found != expected {
                problems.add(format!(
                    "registry gives {} as the date of IANA's records, expected {}",
                    found.iana_date, expected.iana_date
                ));
            }
            expected.iana_date
        });
    let records = (reference::iana(connection).await, reference::iana(seeded).await);
    let iana = compare_table(records, "iana_record", &mut problems, |found, expected, problems| {
        compare_rows(&found, &expected, "iana_record", problems)
    });
    let uses = (reference::common(connection).await, reference::common(seeded).await);
    let common = compare_table(uses, "common_use", &mut problems, |found, expected, problems| {
        compare_rows(&found, &expected, "common_use", problems)
    });
    let all = (reference::guides(connection).await, reference::guides(seeded).await);
    let guides = compare_table(all, "guide", &mut problems, |found, expected, problems| {
        compare_rows(&found, &expected, "guide", problems)
    });
    let detail = format!(
        "IANA {}: records {}, common uses {}, guides {}",
        edition.unwrap_or_default(),
        iana.unwrap_or_default(),
        common.unwrap_or_default(),
        guides.unwrap_or_default()
    );
    report.conclude("reference data", problems, detail);
}

type Pair<T> = (Result<T, StoreError>, Result<T, StoreError>);

fn compare_table<T, R>(
    (found, expected): Pair<T>,
    table: &str,
    problems: &mut Problems,
    compare: impl FnOnce(T, T, &mut Problems) -> R,
) -> Option<R> {
    let (found, expected) = (problems.check(found, table)?, problems.check(expected, "the seed")?);
    Some(compare(found, expected, problems))
}

/// Compares two tables row by row. Returns the number of rows found.
fn compare_rows<T: PartialEq>(
    found: &[T],
    expected: &[T],
    table: &str,
    problems: &mut Problems,
) -> usize {
    if found.len() != expected.len() {
        problems.add(format!("{table} has {} rows, expected {}", found.len(), expected.len()));
    }
    for (number, (found, expected)) in (1..).zip(found.iter().zip(expected)) {
        if found != expected {
            problems.add(format!("{table}, row {number}: differs from the row in this version"));
        }
    }
    found.len()
}
