//! What is the same for everybody: that it is what this version seeds a new database with.

use sqlx::sqlite::SqliteConnection;

use super::{Faults, Report};
use crate::store::StoreError;
use crate::store::sqlite::load::{edition, reference};

/// Compares what the file has with what a fresh one has.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    fresh: &mut SqliteConnection,
    report: &mut Report,
) {
    let mut faults = Faults::default();
    let editions = (edition(connection).await, edition(fresh).await);
    let edition = same(editions, "registry", &mut faults, |found, meant, faults| {
        if found != meant {
            faults.add(format!(
                "registry says that IANA's records are of {}, and they are of {}",
                found.iana_date, meant.iana_date
            ));
        }
        meant.iana_date
    });
    let records = (reference::iana(connection).await, reference::iana(fresh).await);
    let iana = same(records, "iana_record", &mut faults, |found, meant, faults| {
        rows(&found, &meant, "iana_record", faults)
    });
    let uses = (reference::common(connection).await, reference::common(fresh).await);
    let common = same(uses, "common_use", &mut faults, |found, meant, faults| {
        rows(&found, &meant, "common_use", faults)
    });
    let all = (reference::guides(connection).await, reference::guides(fresh).await);
    let guides = same(all, "guide", &mut faults, |found, meant, faults| {
        rows(&found, &meant, "guide", faults)
    });
    let detail = format!(
        "IANA {}: records {}, common uses {}, guides {}",
        edition.unwrap_or_default(),
        iana.unwrap_or_default(),
        common.unwrap_or_default(),
        guides.unwrap_or_default()
    );
    report.judge("reference data", faults, detail);
}

type Pair<T> = (Result<T, StoreError>, Result<T, StoreError>);

fn same<T, R>(
    (found, meant): Pair<T>,
    table: &str,
    faults: &mut Faults,
    compare: impl FnOnce(T, T, &mut Faults) -> R,
) -> Option<R> {
    let (found, meant) = (faults.take(found, table)?, faults.take(meant, "the seed")?);
    Some(compare(found, meant, faults))
}

/// Compares row by row, and says how many there are.
fn rows<T: PartialEq>(found: &[T], meant: &[T], table: &str, faults: &mut Faults) -> usize {
    if found.len() != meant.len() {
        faults.add(format!("{table} has {} rows of {}", found.len(), meant.len()));
    }
    for (place, (found, meant)) in (1..).zip(found.iter().zip(meant)) {
        if found != meant {
            faults.add(format!("{table}, row {place}: not what this version has"));
        }
    }
    found.len()
}
