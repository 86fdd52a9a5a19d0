//! Tokens: what is known of those who may call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::secret::{SECRET_PREFIX, TokenHash};
use crate::registry::lease::BoundedDuration;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::text::Text;

/// Who acts: the name of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(pub Arc<str>);

impl Actor {
    /// The server itself: it ends leases, and makes the first token.
    #[must_use]
    pub fn portbook() -> Self {
        Self("portbook".into())
    }
}

/// The name of a token: 1-253 visible ASCII characters, as those of certificates are. What begins as
/// a secret does is none: it was written in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(Arc<str>);

/// A text that is no name of a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenNameError {
    /// It looks like a secret.
    #[error("begins with {SECRET_PREFIX}, as secrets do: the name of a token is asked for")]
    Secret,
    /// It is too long, or has other characters.
    #[error("{0:?} is no name of a token: 1-253 visible ASCII characters are asked for")]
    Other(String),
}

impl TokenName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the token that this actor has.
    pub(super) fn of(actor: &Actor) -> Self {
        Self(Arc::clone(&actor.0))
    }

    /// Whoever has this token, as the history names them.
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

/// What the holder of a token may do; each role may do what the one before it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Registers ports where it is granted.
    Registrar(Grants),
    /// Everything.
    Admin,
}

impl Role {
    /// Where it may register, if it may not everywhere.
    #[must_use]
    pub const fn grants(&self) -> Option<&Grants> {
        match self {
            Self::Registrar(grants) => Some(grants),
            Self::Viewer | Self::Admin => None,
        }
    }

    /// Its name, as the API has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Registrar(_) => "registrar",
            Self::Admin => "admin",
        }
    }
}

/// Where a registrar may register: namespaces, and of each the pools, or all of it if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub Arc<BTreeMap<NamespaceName, BTreeSet<PoolName>>>);

/// As the command line takes them: `prod,staging/apps`.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.0.iter().flat_map(|(namespace, pools)| {
            let whole = pools.is_empty().then(|| namespace.to_string());
            whole.into_iter().chain(pools.iter().map(move |pool| format!("{namespace}/{pool}")))
        });
        f.write_str(&places.collect::<Vec<_>>().join(","))
    }
}

impl Grants {
    /// Whether they let somebody take or give back ports of this namespace that come from this pool,
    /// or from none.
    #[must_use]
    pub fn cover(&self, namespace: &NamespaceName, pool: Option<&PoolName>) -> bool {
        self.0
            .get(namespace)
            .is_some_and(|pools| pools.is_empty() || pool.is_some_and(|pool| pools.contains(pool)))
    }

    /// Whether they has_namespace into the namespace at all.
    #[must_use]
    pub fn has_namespace(&self, namespace: &NamespaceName) -> bool {
        self.0.contains_key(namespace)
    }
}

/// How long a secret is taken beside the one that comes after it: 0 seconds - 30 days.
pub type Overlap = BoundedDuration<0, { 30 * 24 * 60 * 60 }>;

/// How the holder of a token is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By a secret.
    Secret(Secret),
    /// By a client certificate with the token's name.
    Certificate,
}

/// A secret, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What is stored of it.
    pub hash: TokenHash,
    /// When it was made.
    pub rotate_time: Timestamp,
    /// The one before it, if that is still taken.
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// What is stored of it.
    pub hash: TokenHash,
    /// Until when it is taken.
    pub expire_time: Timestamp,
}

/// What is known of somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name, which no other token ever has.
    pub name: TokenName,
    /// A short description.
    pub description: Text<255>,
    /// What its holder may do.
    pub role: Role,
    /// How its holder is known.
    pub credential: Credential,
    /// When it ends, if it does by itself.
    pub expire_time: Option<Timestamp>,
    /// When it was made.
    pub create_time: Timestamp,
    /// Who made it.
    pub creator: Actor,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// When it was revoked, if it was.
    pub revoke_time: Option<Timestamp>,
}

impl Token {
    /// The token that a new database begins with.
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

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|end| end <= now)
    }

    /// Whether a call with it may be heard.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoke_time.is_none() && !self.has_expired(now)
    }
}
