//! The tokens of a restored database: those of the database that it replaces, so that no token that was
//! revoked since the backup becomes valid again.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::open::applied_version;
use super::partial_copy::PartialCopy;
use super::{execute, token};
use crate::access::{Token, TokenName};
use crate::store::{CopyError, RestoredTokens, StoreError};

/// The first schema with the present table of tokens.
const FIRST_SCHEMA: i64 = 5;

/// Replaces the tokens in the copy of a backup with those of the old database, whose write-ahead log is
/// in its file. The copy keeps its own if the old database can't be read or is another registry, and if
/// one of them has a schema without the present table of tokens.
pub(super) async fn keep(old: &Path, copy: &PartialCopy) -> Result<RestoredTokens, CopyError> {
    let Ok(Some(old)) = read_file(old).await else { return Ok(RestoredTokens::OfBackup) };
    let mut connection = copy.connect().await?;
    let kept = replace(&mut connection, old).await.map_err(|error| copy.write_failed(error))?;
    connection.close().await.map_err(|error| copy.write_failed(error.into()))?;
    Ok(kept)
}

/// The tokens of a registry.
struct RegistryTokens {
    /// Identifies the registry.
    database_id: String,
    tokens: Vec<Token>,
}

/// The tokens of a database that no process uses, if its schema has them.
async fn read_file(file: &Path) -> Result<Option<RegistryTokens>, StoreError> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    let tokens = read(&mut connection).await?;
    connection.close().await?;
    Ok(tokens)
}

async fn read(connection: &mut SqliteConnection) -> Result<Option<RegistryTokens>, StoreError> {
    if applied_version(connection).await? < FIRST_SCHEMA {
        return Ok(None);
    }
    let database_id = sqlx::query_scalar("select database_id from registry");
    let database_id = database_id.fetch_one(&mut *connection).await?;
    Ok(Some(RegistryTokens { database_id, tokens: token::all(connection).await? }))
}

async fn replace(
    connection: &mut SqliteConnection,
    old: RegistryTokens,
) -> Result<RestoredTokens, StoreError> {
    let backup = match read(connection).await? {
        Some(backup) if backup.database_id == old.database_id => backup.tokens,
        _ => return Ok(RestoredTokens::OfBackup),
    };
    execute(connection, "begin; delete from token").await?;
    for token in &old.tokens {
        token::put(connection, token).await?;
    }
    execute(connection, "commit").await?;
    Ok(RestoredTokens::Kept { differing: differing(&old.tokens, &backup) })
}

/// The names of the tokens that only one of the lists contains, or that differ.
fn differing(one: &[Token], other: &[Token]) -> Vec<TokenName> {
    let mut states: BTreeMap<&TokenName, Vec<&Token>> = BTreeMap::new();
    for token in one.iter().chain(other) {
        states.entry(&token.name).or_default().push(token);
    }
    let is_different = |states: &Vec<&Token>| !matches!(states[..], [one, other] if one == other);
    let differing = states.into_iter().filter(|(_, states)| is_different(states));
    differing.map(|(name, _)| name.clone()).collect()
}
