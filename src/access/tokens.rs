//! All tokens: authentication by secret or certificate, and changes of tokens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::secret::{PlainToken, TokenHash};
use super::token::{Actor, Credential, Overlap, PreviousSecret, Role, Secret, Token, TokenName};
use crate::registry::text::Text;

/// All tokens, including revoked and expired ones.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_name: BTreeMap<TokenName, Arc<Token>>,
    /// Tokens by the prefix of the hashes of their secrets. The time of a search may reveal whether
    /// a prefix exists, which does not help to find a secret with that hash.
    by_hash: HashMap<u64, Vec<TokenName>>,
}

/// Why a call is not authenticated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No valid token has that credential.
    #[error("the token is unknown to this registry, or no longer valid")]
    Unknown,
    /// The token has expired.
    #[error("the token expired at {0}: ask an admin for another")]
    Expired(Timestamp),
}

/// A command that changes a token.
#[derive(Clone, Debug)]
pub enum TokenCommand {
    /// Create a token.
    Create(CreateToken),
    /// Update a token.
    Update(UpdateToken),
    /// Replace the secret of a token.
    Rotate {
        /// The name.
        name: TokenName,
        /// The hash of the new secret.
        hash: TokenHash,
        /// How long the previous secret remains valid.
        overlap: Overlap,
    },
    /// Revoke a token.
    Revoke(TokenName),
}

/// Create a token.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// The name.
    pub name: TokenName,
    /// A short description.
    pub description: Text<255>,
    /// The role.
    pub role: Role,
    /// The hash of the secret; none if the credential is a certificate.
    pub hash: Option<TokenHash>,
    /// When it expires, if it does.
    pub expire_time: Option<Timestamp>,
}

/// Update a token; `None` leaves a field unchanged.
#[derive(Clone, Debug)]
pub struct UpdateToken {
    /// The name.
    pub name: TokenName,
    /// The description.
    pub description: Option<Text<255>>,
    /// The role.
    pub role: Option<Role>,
    /// When it expires.
    pub expire_time: Option<Option<Timestamp>>,
}

/// Why a token command is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// No token has that name.
    #[error("token {0} does not exist")]
    NotFound(TokenName),
    /// A token has or had that name.
    #[error("token {0} exists or existed: token names are never reused, choose another")]
    AlreadyExists(TokenName),
    /// The token was revoked.
    #[error("token {0} was revoked, which is permanent: create another")]
    Revoked(TokenName),
    /// The credential is a certificate.
    #[error("the credential of token {0} is a certificate: it has no secret to rotate")]
    NoSecret(TokenName),
    /// No permanent admin would remain.
    #[error(
        "{0} is the last token of role admin that has a secret and does not expire: create another \
         one first"
    )]
    LastAdmin(TokenName),
    /// The expiry time has passed.
    #[error("the expiry time {0} is in the past")]
    ExpiryInPast(Timestamp),
}

impl Tokens {
    /// The token with this secret.
    ///
    /// # Errors
    /// If there is none, or it is no longer valid.
    pub fn by_secret(&self, secret: &PlainToken, now: Timestamp) -> Result<&Arc<Token>, AuthError> {
        let hash = secret.hash();
        let candidates = self.by_hash.get(&prefix(hash)).into_iter().flatten();
        let mut candidates = candidates.filter_map(|name| self.by_name.get(name));
        let token = candidates.find(|token| is_secret_of(token, hash, now));
        valid(token.ok_or(AuthError::Unknown)?, now)
    }

    /// The token for a certificate with one of these names.
    ///
    /// # Errors
    /// If there is none, or it is no longer valid.
    pub fn by_certificate<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
        now: Timestamp,
    ) -> Result<&Arc<Token>, AuthError> {
        let tokens = names.into_iter().filter_map(|name| self.by_name.get(&name.parse().ok()?));
        let mut certificate_tokens =
            tokens.filter(|token| token.credential == Credential::Certificate);
        valid(certificate_tokens.next().ok_or(AuthError::Unknown)?, now)
    }

    /// The current state of the actor's token.
    ///
    /// # Errors
    /// If the token is no longer valid.
    pub fn by_actor(&self, actor: &Actor, now: Timestamp) -> Result<&Arc<Token>, AuthError> {
        valid(self.by_name.get(&TokenName::of(actor)).ok_or(AuthError::Unknown)?, now)
    }

    /// The token with this name.
    #[must_use]
    pub fn get(&self, name: &TokenName) -> Option<&Arc<Token>> {
        self.by_name.get(name)
    }

    /// Whether no token was ever created.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All tokens, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.by_name.values()
    }

    /// The token after the command. Does not change the tokens.
    ///
    /// # Errors
    /// If the command is refused.
    pub fn decide(
        &self,
        command: TokenCommand,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Token, TokenRefusal> {
        match command {
            TokenCommand::Create(create) => self.create(create, by, now),
            TokenCommand::Update(update) => self.update(update, now),
            TokenCommand::Rotate { name, hash, overlap } => self.rotate(&name, hash, overlap, now),
            TokenCommand::Revoke(name) => self.revoke(&name, now),
        }
    }

    /// The tokens with this one added or replaced by name.
    #[must_use]
    pub fn with(&self, token: Arc<Token>) -> Self {
        let mut tokens = self.by_name.clone();
        tokens.insert(token.name.clone(), token);
        tokens.into_values().collect()
    }

    fn create(
        &self,
        create: CreateToken,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Token, TokenRefusal> {
        let CreateToken { name, description, role, hash, expire_time } = create;
        // In the history this name refers to the server itself.
        let is_reserved = name.actor() == Actor::portbook();
        if is_reserved || self.by_name.contains_key(&name) {
            return Err(TokenRefusal::AlreadyExists(name));
        }
        let expire_time = require_future(expire_time, now)?;
        let secret = |hash| Credential::Secret(Secret { hash, rotate_time: now, previous: None });
        Ok(Token {
            name,
            description,
            role,
            credential: hash.map_or(Credential::Certificate, secret),
            expire_time,
            create_time: now,
            creator: by.clone(),
            update_time: now,
            revoke_time: None,
        })
    }

    fn update(&self, update: UpdateToken, now: Timestamp) -> Result<Token, TokenRefusal> {
        let UpdateToken { name, description, role, expire_time } = update;
        let old = self.not_revoked(&name)?;
        let expire_time = match expire_time {
            Some(requested) => require_future(requested, now)?,
            None => old.expire_time,
        };
        let new = Token {
            description: description.unwrap_or_else(|| old.description.clone()),
            role: role.unwrap_or_else(|| old.role.clone()),
            expire_time,
            ..Token::clone(old)
        };
        if new == **old {
            return Ok(new);
        }
        self.require_permanent_admin(old, &new)?;
        Ok(Token { update_time: now.max(old.create_time), ..new })
    }

    fn rotate(
        &self,
        name: &TokenName,
        hash: TokenHash,
        overlap: Overlap,
        now: Timestamp,
    ) -> Result<Token, TokenRefusal> {
        let old = self.not_revoked(name)?;
        let Credential::Secret(secret) = &old.credential else {
            return Err(TokenRefusal::NoSecret(name.clone()));
        };
        let overlaps = overlap.as_micros() > 0;
        let previous = PreviousSecret { hash: secret.hash, expire_time: overlap.after(now) };
        let previous = overlaps.then_some(previous);
        let credential = Credential::Secret(Secret { hash, rotate_time: now, previous });
        Ok(Token { credential, update_time: now.max(old.create_time), ..Token::clone(old) })
    }

    fn revoke(&self, name: &TokenName, now: Timestamp) -> Result<Token, TokenRefusal> {
        let old = self.not_revoked(name)?;
        let new = Token {
            revoke_time: Some(now),
            update_time: now.max(old.create_time),
            ..Token::clone(old)
        };
        self.require_permanent_admin(old, &new)?;
        Ok(new)
    }

    /// The token with this name, if it was not revoked.
    fn not_revoked(&self, name: &TokenName) -> Result<&Arc<Token>, TokenRefusal> {
        match self.by_name.get(name) {
            None => Err(TokenRefusal::NotFound(name.clone())),
            Some(token) if token.revoke_time.is_some() => Err(TokenRefusal::Revoked(name.clone())),
            Some(token) => Ok(token),
        }
    }

    fn require_permanent_admin(&self, old: &Token, new: &Token) -> Result<(), TokenRefusal> {
        let others = self.by_name.values().filter(|token| token.name != old.name);
        if !is_permanent_admin(old)
            || is_permanent_admin(new)
            || others.into_iter().any(|it| is_permanent_admin(it))
        {
            Ok(())
        } else {
            Err(TokenRefusal::LastAdmin(old.name.clone()))
        }
    }
}

impl<T: Into<Arc<Token>>> FromIterator<T> for Tokens {
    fn from_iter<I: IntoIterator<Item = T>>(tokens: I) -> Self {
        let mut all = Self::default();
        for token in tokens {
            let token: Arc<Token> = token.into();
            if let Credential::Secret(secret) = &token.credential {
                let previous = secret.previous.as_ref().map(|previous| previous.hash);
                for hash in [Some(secret.hash), previous].into_iter().flatten() {
                    all.by_hash.entry(prefix(hash)).or_default().push(token.name.clone());
                }
            }
            all.by_name.insert(token.name.clone(), token);
        }
        all
    }
}

fn prefix(hash: TokenHash) -> u64 {
    hash.bytes().iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

fn is_secret_of(token: &Token, hash: TokenHash, now: Timestamp) -> bool {
    let Credential::Secret(secret) = &token.credential else { return false };
    let is_former = |previous: &PreviousSecret| previous.hash == hash && now < previous.expire_time;
    secret.hash == hash || secret.previous.as_ref().is_some_and(is_former)
}

fn valid(token: &Arc<Token>, now: Timestamp) -> Result<&Arc<Token>, AuthError> {
    match token.expire_time {
        _ if token.revoke_time.is_some() => Err(AuthError::Unknown),
        Some(end) if end <= now => Err(AuthError::Expired(end)),
        _ => Ok(token),
    }
}

fn require_future(
    end: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, TokenRefusal> {
    match end {
        Some(end) if end <= now => Err(TokenRefusal::ExpiryInPast(end)),
        end => Ok(end),
    }
}

/// Whether the token is an admin that remains valid independently of time and certificates.
fn is_permanent_admin(token: &Token) -> bool {
    token.role == Role::Admin
        && token.revoke_time.is_none()
        && token.expire_time.is_none()
        && token.credential != Credential::Certificate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::lease::BoundedDuration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn name(text: &str) -> TokenName {
        text.parse().unwrap()
    }

    fn overlap(seconds: i64) -> Overlap {
        BoundedDuration::from_micros(seconds * 1_000_000).unwrap()
    }

    fn create(of: &str, role: Role, secret: Option<&PlainToken>, end: Option<i64>) -> TokenCommand {
        TokenCommand::Create(CreateToken {
            name: name(of),
            description: Text::default(),
            role,
            hash: secret.map(PlainToken::hash),
            expire_time: end.map(at),
        })
    }

    struct Scenario(Tokens);

    impl Scenario {
        fn new(admin: &PlainToken) -> Self {
            Self(Tokens::from_iter([Token::first_admin(admin.hash(), at(0))]))
        }

        fn apply(&mut self, now: i64, command: TokenCommand) -> Result<(), TokenRefusal> {
            let token = self.0.decide(command, &Actor("admin".into()), at(now))?;
            self.0 = self.0.with(token.into());
            Ok(())
        }

        fn authenticate(&self, secret: &PlainToken, now: i64) -> Result<&str, AuthError> {
            self.0.by_secret(secret, at(now)).map(|token| token.name.as_str())
        }
    }

    fn secrets<const N: usize>() -> [PlainToken; N] {
        std::array::from_fn(|_| PlainToken::generate().unwrap())
    }

    #[test]
    fn a_secret_is_valid_until_its_token_expires() {
        let [admin, ci, stranger] = secrets();
        let mut tokens = Scenario::new(&admin);
        tokens.apply(1, create("ci", Role::Viewer, Some(&ci), Some(10))).unwrap();
        assert_eq!(tokens.authenticate(&ci, 9), Ok("ci"));
        assert_eq!(tokens.authenticate(&ci, 10), Err(AuthError::Expired(at(10))));
        assert_eq!(tokens.authenticate(&stranger, 9), Err(AuthError::Unknown));
        tokens.apply(5, TokenCommand::Revoke(name("ci"))).unwrap();
        assert_eq!(tokens.authenticate(&ci, 6), Err(AuthError::Unknown));
        assert_eq!(tokens.authenticate(&admin, 6), Ok("admin"));
    }

    #[test]
    fn a_rotated_secret_remains_valid_for_the_overlap() {
        let [admin, first, second, third] = secrets();
        let mut tokens = Scenario::new(&admin);
        tokens.apply(0, create("ci", Role::Viewer, Some(&first), None)).unwrap();
        let rotate = |secret: &PlainToken, seconds| TokenCommand::Rotate {
            name: name("ci"),
            hash: secret.hash(),
            overlap: overlap(seconds),
        };
        tokens.apply(100, rotate(&second, 50)).unwrap();
        assert_eq!(
            (tokens.authenticate(&first, 149), tokens.authenticate(&second, 149)),
            (Ok("ci"), Ok("ci"))
        );
        assert_eq!(tokens.authenticate(&first, 150), Err(AuthError::Unknown));
        tokens.apply(120, rotate(&third, 0)).unwrap();
        for replaced in [&first, &second] {
            assert_eq!(tokens.authenticate(replaced, 121), Err(AuthError::Unknown));
        }
        assert_eq!(tokens.authenticate(&third, 121), Ok("ci"));
    }

    #[test]
    fn certificates_authenticate_only_certificate_tokens() {
        let [admin] = secrets();
        let mut tokens = Scenario::new(&admin);
        tokens.apply(0, create("ci.example.com", Role::Viewer, None, None)).unwrap();
        let by = |names: &[&'static str]| {
            tokens
                .0
                .by_certificate(names.iter().copied(), at(1))
                .map(|token| token.name.to_string())
        };
        assert_eq!(by(&["other", "ci.example.com"]), Ok("ci.example.com".to_owned()));
        assert_eq!(by(&["admin"]), Err(AuthError::Unknown));
        assert_eq!(by(&[]), Err(AuthError::Unknown));
    }

    #[test]
    fn names_are_never_reused_and_an_admin_remains() {
        let [admin, other] = secrets();
        let mut tokens = Scenario::new(&admin);
        let revoke = |of: &str| TokenCommand::Revoke(name(of));
        let last = tokens.apply(1, revoke("admin"));
        assert!(matches!(last, Err(TokenRefusal::LastAdmin(_))), "{last:?}");
        tokens.apply(2, create("ops", Role::Admin, Some(&other), Some(99))).unwrap();
        // An admin that expires is not permanent.
        assert!(matches!(tokens.apply(3, revoke("admin")), Err(TokenRefusal::LastAdmin(_))));
        let without_expiry = UpdateToken {
            name: name("ops"),
            description: None,
            role: None,
            expire_time: Some(None),
        };
        tokens.apply(4, TokenCommand::Update(without_expiry.clone())).unwrap();
        tokens.apply(5, revoke("admin")).unwrap();
        let lower = UpdateToken { role: Some(Role::Viewer), ..without_expiry };
        assert!(matches!(
            tokens.apply(6, TokenCommand::Update(lower)),
            Err(TokenRefusal::LastAdmin(_))
        ));
        assert!(matches!(tokens.apply(7, revoke("admin")), Err(TokenRefusal::Revoked(_))));
        assert!(matches!(tokens.apply(7, revoke("unknown")), Err(TokenRefusal::NotFound(_))));
        let again = create("admin", Role::Admin, Some(&admin), None);
        assert!(matches!(tokens.apply(8, again), Err(TokenRefusal::AlreadyExists(_))));
        let reserved = create("portbook", Role::Viewer, Some(&admin), None);
        assert!(matches!(tokens.apply(8, reserved), Err(TokenRefusal::AlreadyExists(_))));
        let late = create("late", Role::Viewer, Some(&admin), Some(8));
        assert!(matches!(tokens.apply(8, late), Err(TokenRefusal::ExpiryInPast(_))));
    }
}
