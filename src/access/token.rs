//! Tokens: the callers, their roles and their credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::secret::{SECRET_PREFIX, TokenHash};
use crate::registry::lease::BoundedDuration;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::text::Text;

/// The author of a change: the name of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(pub Arc<str>);

impl Actor {
    /// The server itself, which expires leases and creates the first token.
    #[must_use]
    pub fn portbook() -> Self {
        Self("portbook".into())
    }
}

/// The name of a token: 1-253 visible ASCII characters, like the names in certificates. A text with
/// the prefix of secrets is rejected, because it is probably a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(Arc<str>);

/// A text that is not a valid name of a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenNameError {
    /// It looks like a secret.
    #[error("begins with {SECRET_PREFIX} like a secret: expected the name of a token")]
    Secret,
    /// It is empty or too long, or contains other characters.
    #[error("{0:?} is not a valid name of a token: expected 1-253 visible ASCII characters")]
    Other(String),
}

impl TokenName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the actor's token.
    pub(super) fn of(actor: &Actor) -> Self {
        Self(Arc::clone(&actor.0))
    }

    /// The holder of the token, as the history names them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor(Arc::clone(&self.0))
    }
}

impl FromStr for TokenName {
    type Err = TokenNameError;

    fn from_str(text: &str) -> Result<Self, TokenNameError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.starts_with(SECRET_PREFIX) {
            Err(TokenNameError::Secret)
        } else if (1..=253).contains(&text.len()) && is_visible {
            Ok(Self(text.into()))
        } else {
            Err(TokenNameError::Other(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The role of a token. Each role includes the permissions of the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// May read.
    Viewer,
    /// May register ports within its grants.
    Registrar(Grants),
    /// May do everything.
    Admin,
}

impl Role {
    /// The grants, if the role is limited to them.
    #[must_use]
    pub const fn grants(&self) -> Option<&Grants> {
        match self {
            Self::Registrar(grants) => Some(grants),
            Self::Viewer | Self::Admin => None,
        }
    }

    /// The name of the role, as in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Registrar(_) => "registrar",
            Self::Admin => "admin",
        }
    }
}

/// Where a registrar may register: in a complete namespace, or in some pools of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub Arc<BTreeMap<NamespaceName, BTreeSet<PoolName>>>);

/// In the form of the command line: `prod,staging/apps`.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes = self.0.iter().flat_map(|(namespace, pools)| {
            let namespace_grant = pools.is_empty().then(|| namespace.to_string());
            namespace_grant
                .into_iter()
                .chain(pools.iter().map(move |pool| format!("{namespace}/{pool}")))
        });
        f.write_str(&scopes.collect::<Vec<_>>().join(","))
    }
}

impl Grants {
    /// Whether they allow registering and releasing ports of this namespace in this pool, or, without
    /// a pool, outside its pools.
    #[must_use]
    pub fn allow(&self, namespace: &NamespaceName, pool: Option<&PoolName>) -> bool {
        self.0
            .get(namespace)
            .is_some_and(|pools| pools.is_empty() || pool.is_some_and(|pool| pools.contains(pool)))
    }

    /// Whether they include the namespace or one of its pools.
    #[must_use]
    pub fn has_namespace(&self, namespace: &NamespaceName) -> bool {
        self.0.contains_key(namespace)
    }
}

/// How long the previous secret remains valid after a rotation: 0 seconds - 30 days.
pub type Overlap = BoundedDuration<0, { 30 * 24 * 60 * 60 }>;

/// How the holder of a token is authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By a secret.
    Secret(Secret),
    /// By a client certificate with the token's name.
    Certificate,
}

/// A secret, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The hash of the secret.
    pub hash: TokenHash,
    /// When it was created.
    pub rotate_time: Timestamp,
    /// The previous secret, if it is still valid.
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The hash of the secret.
    pub hash: TokenHash,
    /// When it expires.
    pub expire_time: Timestamp,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name, which is never reused.
    pub name: TokenName,
    /// A short description.
    pub description: Text<255>,
    /// The role.
    pub role: Role,
    /// How its holder is known.
    pub credential: Credential,
    /// When the token expires, if it does.
    pub expire_time: Option<Timestamp>,
    /// When it was created.
    pub create_time: Timestamp,
    /// Who created it.
    pub creator: Actor,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// When it was revoked, if it was.
    pub revoke_time: Option<Timestamp>,
}

impl Token {
    /// The first token of a new database.
    #[must_use]
    pub fn first_admin(hash: TokenHash, now: Timestamp) -> Self {
        Self {
            name: TokenName("admin".into()),
            description: Text::default(),
            role: Role::Admin,
            credential: Credential::Secret(Secret { hash, rotate_time: now, previous: None }),
            expire_time: None,
            create_time: now,
            creator: Actor::portbook(),
            update_time: now,
            revoke_time: None,
        }
    }

    /// Whether the token has expired.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|end| end <= now)
    }

    /// Whether the token is neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoke_time.is_none() && !self.has_expired(now)
    }
}
