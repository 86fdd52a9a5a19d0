//! Reference data: compares it with the data that this version seeds into a new database.

use sqlx::sqlite::SqliteConnection;

use super::{Problems, Report};
use crate::registry::assignment::Assignment;
use crate::registry::guide::Guide;
use crate::registry::reference::Edition;
use crate::store::StoreError;
use crate::store::sqlite::load::{edition, reference};

/// The reference data of a new database.
pub(super) struct ReferenceData {
    edition: Edition,
    iana: Vec<Assignment>,
    common: Vec<Assignment>,
    guides: Vec<Guide>,
}

impl ReferenceData {
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        Ok(Self {
            edition: edition(connection).await?,
            iana: reference::iana(connection).await?,
            common: reference::common(connection).await?,
            guides: reference::guides(connection).await?,
        })
    }
}

/// Compares the reference data of the file with that of a new database.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    expected: &ReferenceData,
    report: &mut Report,
) {
    let mut problems = Problems::default();
    if let Some(found) = problems.check(edition(connection).await, "registry")
        && found != expected.edition
    {
        problems.add(format!(
            "registry gives {} as the date of IANA's records, expected {}",
            found.iana_date, expected.edition.iana_date
        ));
    }
    let found = reference::iana(connection).await;
    let iana = compare_rows(found, &expected.iana, "iana_record", &mut problems);
    let found = reference::common(connection).await;
    let common = compare_rows(found, &expected.common, "common_use", &mut problems);
    let found = reference::guides(connection).await;
    let guides = compare_rows(found, &expected.guides, "guide", &mut problems);
    let detail = format!(
        "IANA {}: records {iana}, common uses {common}, guides {guides}",
        expected.edition.iana_date
    );
    report.conclude("reference data", problems, detail);
}

/// Compares a table row by row. Returns the number of rows found.
fn compare_rows<T: PartialEq>(
    found: Result<Vec<T>, StoreError>,
    expected: &[T],
    table: &str,
    problems: &mut Problems,
) -> usize {
    let Some(found) = problems.check(found, table) else { return 0 };
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
