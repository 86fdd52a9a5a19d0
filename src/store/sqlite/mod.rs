//! The embedded store: one SQLite file, one connection, and all the SQL there is.

mod append;
mod load;
mod open;
mod row;

use std::fs::File;

use jiff::Timestamp;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

pub use open::OpenError;

use self::row::{FindingRow, change_from, hash_from, revision_from_sql, understood};
use super::{Answered, Contents, Entry, Store, StoreError};
use crate::access::{Actor, TokenHash};
use crate::registry::assignment::Revision;

/// A registry in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    /// Held as long as the store lives: no other server may open the same file.
    _lock: Option<File>,
}

impl SqliteStore {
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
        sqlx::query!(
            "insert into token (name, sha256, create_time) values (?, ?, ?)",
            name,
            sha256,
            now
        )
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

impl Store for SqliteStore {
    async fn load(&mut self) -> Result<Contents, StoreError> {
        load::contents(&mut self.connection).await
    }

    async fn append(&mut self, expected: Revision, entries: &[Entry]) -> Result<(), StoreError> {
        // The write lock is taken at once, so that what is read here can't change under it.
        let mut transaction = self.connection.begin_with("begin immediate").await?;
        let found = last_revision(&mut transaction).await?;
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        append::entries(&mut transaction, entries).await?;
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

async fn last_revision(connection: &mut SqliteConnection) -> Result<Revision, StoreError> {
    let last =
        sqlx::query_scalar!(r#"select coalesce(max(revision), 0) as "last!: i64" from revision"#)
            .fetch_one(connection)
            .await?;
    revision_from_sql(last)
}
