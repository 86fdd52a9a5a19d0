//! The rows of tokens.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use crate::access::{Actor, Credential, Grants, PreviousSecret, Role, Secret, Token, TokenHash};
use crate::registry::text::Text;
use crate::store::StoreError;
use crate::store::history::format::{hash_from, or_corrupt, time_from_micros};

/// All tokens by name, including expired and revoked ones.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Token>, StoreError> {
    let rows = sqlx::query_as!(
        TokenRow,
        "select name, description, role, grants, sha256, rotate_time, former_sha256, \
         former_expire_time, expire_time, create_time, creator, update_time, revoke_time \
         from token order by name"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(TokenRow::into_token).collect()
}

/// Stores a token and replaces the one with the same name.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    token: &Token,
) -> Result<(), StoreError> {
    let row = TokenRow::new(token)?;
    sqlx::query!(
        "insert into token (name, description, role, grants, sha256, rotate_time, former_sha256, \
         former_expire_time, expire_time, create_time, creator, update_time, revoke_time) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         on conflict (name) do update set description = excluded.description, \
         role = excluded.role, grants = excluded.grants, sha256 = excluded.sha256, \
         rotate_time = excluded.rotate_time, former_sha256 = excluded.former_sha256, \
         former_expire_time = excluded.former_expire_time, expire_time = excluded.expire_time, \
         creator = excluded.creator, update_time = excluded.update_time, \
         revoke_time = excluded.revoke_time",
        row.name,
        row.description,
        row.role,
        row.grants,
        row.sha256,
        row.rotate_time,
        row.former_sha256,
        row.former_expire_time,
        row.expire_time,
        row.create_time,
        row.creator,
        row.update_time,
        row.revoke_time
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct TokenRow {
    name: String,
    description: String,
    role: String,
    grants: String,
    sha256: Option<Vec<u8>>,
    rotate_time: Option<i64>,
    former_sha256: Option<Vec<u8>>,
    former_expire_time: Option<i64>,
    expire_time: Option<i64>,
    create_time: i64,
    creator: String,
    update_time: i64,
    revoke_time: Option<i64>,
}

impl TokenRow {
    fn new(token: &Token) -> Result<Self, StoreError> {
        let secret = match &token.credential {
            Credential::Secret(secret) => Some(secret),
            Credential::Certificate => None,
        };
        let former = secret.and_then(|secret| secret.previous.as_ref());
        let bytes = |hash: TokenHash| hash.bytes().to_vec();
        let micros = |time: Timestamp| time.as_microsecond();
        Ok(Self {
            name: token.name.to_string(),
            description: token.description.as_str().to_owned(),
            role: token.role.name().to_uppercase(),
            grants: grants_to_json(&token.role)?,
            sha256: secret.map(|secret| bytes(secret.hash)),
            rotate_time: secret.map(|secret| micros(secret.rotate_time)),
            former_sha256: former.map(|former| bytes(former.hash)),
            former_expire_time: former.map(|former| micros(former.expire_time)),
            expire_time: token.expire_time.map(micros),
            create_time: micros(token.create_time),
            creator: token.creator.0.to_string(),
            update_time: micros(token.update_time),
            revoke_time: token.revoke_time.map(micros),
        })
    }

    fn into_token(self) -> Result<Token, StoreError> {
        let role = match self.role.as_str() {
            "ADMIN" => Role::Admin,
            "REGISTRAR" => Role::Registrar(grants_from_json(&self.grants)?),
            "VIEWER" => Role::Viewer,
            other => return Err(StoreError::Corrupt(format!("role {other:?}"))),
        };
        let incomplete = || StoreError::Corrupt("a token with an incomplete secret".into());
        let previous = match (self.former_sha256, self.former_expire_time) {
            (Some(hash), Some(end)) => Some(PreviousSecret {
                hash: TokenHash::new(hash_from(hash)?),
                expire_time: time_from_micros(end)?,
            }),
            (None, None) => None,
            _ => return Err(incomplete()),
        };
        let credential = match (self.sha256, self.rotate_time) {
            (Some(hash), Some(made)) => Credential::Secret(Secret {
                hash: TokenHash::new(hash_from(hash)?),
                rotate_time: time_from_micros(made)?,
                previous,
            }),
            (None, None) if previous.is_none() => Credential::Certificate,
            _ => return Err(incomplete()),
        };
        Ok(Token {
            name: or_corrupt(self.name.parse())?,
            description: or_corrupt(Text::parse(self.description))?,
            role,
            credential,
            expire_time: self.expire_time.map(time_from_micros).transpose()?,
            create_time: time_from_micros(self.create_time)?,
            creator: Actor(self.creator.into()),
            update_time: time_from_micros(self.update_time)?,
            revoke_time: self.revoke_time.map(time_from_micros).transpose()?,
        })
    }
}

fn grants_to_json(role: &Role) -> Result<String, StoreError> {
    let grants = match role {
        Role::Registrar(grants) => grants.clone(),
        Role::Viewer | Role::Admin => Grants::default(),
    };
    let names: BTreeMap<_, Vec<_>> = grants
        .0
        .iter()
        .map(|(namespace, pools)| {
            (namespace.as_str(), pools.iter().map(|pool| pool.as_str()).collect())
        })
        .collect();
    or_corrupt(serde_json::to_string(&names))
}

fn grants_from_json(json: &str) -> Result<Grants, StoreError> {
    let names: BTreeMap<String, Vec<String>> = or_corrupt(serde_json::from_str(json))?;
    let mut grants = BTreeMap::new();
    for (namespace, pools) in names {
        let pools = pools.iter().map(|pool| or_corrupt(pool.parse()));
        grants.insert(or_corrupt(namespace.parse())?, pools.collect::<Result<BTreeSet<_>, _>>()?);
    }
    Ok(Grants(grants.into()))
}
