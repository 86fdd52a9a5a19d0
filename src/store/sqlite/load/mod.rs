//! Reads the complete contents when a server starts.

pub(super) mod custom;
pub(super) mod reference;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::{last_revision, token};
use crate::registry::reference::Edition;
use crate::store::history::format::{revision_to_integer, time_from_micros};
use crate::store::{Contents, StoreError};

pub(super) async fn contents(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Contents, StoreError> {
    let database_id =
        sqlx::query_scalar!("select database_id from registry").fetch_one(&mut *connection).await?;
    let edition = edition(connection).await?;
    let mut reference = reference::iana(connection).await?;
    reference.extend(reference::common(connection).await?);
    let revision = last_revision(connection).await?;
    let number = revision_to_integer(revision);
    let last_time = sqlx::query_scalar!("select time from revision where revision = ?", number)
        .fetch_optional(&mut *connection)
        .await?;
    Ok(Contents {
        database_id,
        edition,
        reference,
        guides: reference::guides(connection).await?,
        namespaces: custom::namespaces(connection).await?,
        pools: custom::pools(connection).await?,
        custom: custom::assignments(connection).await?,
        cooling_down: custom::cooling_down(connection, now).await?,
        revision,
        last_time: last_time.map(time_from_micros).transpose()?,
        tokens: token::all(connection).await?,
    })
}

/// The edition of IANA's registry.
pub(super) async fn edition(connection: &mut SqliteConnection) -> Result<Edition, StoreError> {
    let edition = sqlx::query_as!(Edition, "select iana_date, iana_sha256 from registry");
    Ok(edition.fetch_one(connection).await?)
}
