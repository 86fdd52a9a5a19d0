//! All tokens: whose a secret or a certificate is, and what comes of a change of one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::secret::{PlainToken, TokenHash};
use super::token::{Actor, Credential, Overlap, PreviousSecret, Role, Secret, Token, TokenName};
use crate::registry::text::Text;

/// All tokens there are or were.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_name: BTreeMap<TokenName, Arc<Token>>,
    /// Whose the secrets are that begin with this part of a hash. The time that a search takes may
    /// tell whether there is such a part, which is no help in finding a secret that has it.
    by_hash: HashMap<u64, Vec<TokenName>>,
}

/// Why nobody is known by what a call brings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token has that secret, or it is no longer taken.
    #[error("the token is not one of this registry's, or is no longer valid")]
    Unknown,
    /// It has ended.
    #[error("the token ended at {0}: ask an admin for another")]
    Expired(Timestamp),
}

/// A change of the tokens.
#[derive(Clone, Debug)]
pub enum TokenCommand {
    /// Make one.
    Create(CreateToken),
    /// Change what one may do.
    Update(UpdateToken),
    /// Give one a new secret.
    Rotate {
        /// Which.
        name: TokenName,
        /// What is stored of its secret.
        hash: TokenHash,
        /// How long the one before it is taken as well.
        overlap: Overlap,
    },
    /// End one.
    Revoke(TokenName),
}

/// Make a token.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// Its name.
    pub name: TokenName,
    /// A short description.
    pub description: Text<255>,
    /// What its holder may do.
    pub role: Role,
    /// What is stored of its secret; none if it is known by a certificate.
    pub hash: Option<TokenHash>,
    /// When it ends, if it does by itself.
    pub expire_time: Option<Timestamp>,
}

/// Change a token; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateToken {
    /// Which.
    pub name: TokenName,
    /// The description.
    pub description: Option<Text<255>>,
    /// What its holder may do.
    pub role: Option<Role>,
    /// When it ends.
    pub expire_time: Option<Option<Timestamp>>,
}

/// Why a token is not changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// There is none of that name.
    #[error("there is no token {0}")]
    NotFound(TokenName),
    /// There is or was one of that name.
    #[error("there is or was a token {0}: names of tokens are not given again, choose another")]
    AlreadyExists(TokenName),
    /// It was revoked.
    #[error("the token {0} was revoked, which is for good: make another")]
    Revoked(TokenName),
    /// It is known by a certificate.
    #[error("the token {0} is known by a certificate and has no secret to rotate")]
    NoSecret(TokenName),
    /// Nobody would be left.
    #[error(
        "{0} is the last token of role admin that has a secret and does not end by itself: make another \
         one first"
    )]
    LastAdmin(TokenName),
    /// It would have ended already.
    #[error("the end is not to come: {0} has passed")]
    ExpiryInPast(Timestamp),
}

impl Tokens {
    /// Whose secret this is.
    ///
    /// # Errors
    /// If it is nobody's, or that token is no longer valid.
    pub fn by_secret(&self, secret: &PlainToken, now: Timestamp) -> Result<&Arc<Token>, AuthError> {
        let hash = secret.hash();
        let candidates = self.by_hash.get(&prefix(hash)).into_iter().flatten();
        let mut candidates = candidates.filter_map(|name| self.by_name.get(name));
        let found = candidates.find(|token| is_secret_of(token, hash, now));
        valid(found.ok_or(AuthError::Unknown)?, now)
    }

    /// Who is known by a certificate with one of these names.
    ///
    /// # Errors
    /// If nobody is, or that token is no longer valid.
    pub fn by_certificate<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
        now: Timestamp,
    ) -> Result<&Arc<Token>, AuthError> {
        let tokens = names.into_iter().filter_map(|name| self.by_name.get(&name.parse().ok()?));
        let mut known = tokens.filter(|token| token.credential == Credential::Certificate);
        valid(known.next().ok_or(AuthError::Unknown)?, now)
    }

    /// The token by which somebody acts, as it is now.
    ///
    /// # Errors
    /// If it is no longer valid.
    pub fn by_actor(&self, actor: &Actor, now: Timestamp) -> Result<&Arc<Token>, AuthError> {
        valid(self.by_name.get(&TokenName::of(actor)).ok_or(AuthError::Unknown)?, now)
    }

    /// The token of this name.
    #[must_use]
    pub fn get(&self, name: &TokenName) -> Option<&Arc<Token>> {
        self.by_name.get(name)
    }

    /// Whether nobody was ever given one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.by_name.values()
    }

    /// What a command makes of its token. Nothing is changed by it.
    ///
    /// # Errors
    /// If it can't be done.
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

    /// These with this one in place of the one of its name.
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
        // In the history that is the server itself.
        let is_ours = name.actor() == Actor::portbook();
        if is_ours || self.by_name.contains_key(&name) {
            return Err(TokenRefusal::AlreadyExists(name));
        }
        let to_come = still_to_come(expire_time, now)?;
        let secret = |hash| Credential::Secret(Secret { hash, rotate_time: now, previous: None });
        Ok(Token {
            name,
            description,
            role,
            credential: hash.map_or(Credential::Certificate, secret),
            expire_time: to_come,
            create_time: now,
            creator: by.clone(),
            update_time: now,
            revoke_time: None,
        })
    }

    fn update(&self, update: UpdateToken, now: Timestamp) -> Result<Token, TokenRefusal> {
        let UpdateToken { name, description, role, expire_time } = update;
        let old = self.standing(&name)?;
        let expire_time = match expire_time {
            Some(asked) => still_to_come(asked, now)?,
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
        self.keep_an_admin(old, &new)?;
        Ok(Token { update_time: now.max(old.create_time), ..new })
    }

    fn rotate(
        &self,
        name: &TokenName,
        hash: TokenHash,
        overlap: Overlap,
        now: Timestamp,
    ) -> Result<Token, TokenRefusal> {
        let old = self.standing(name)?;
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
        let old = self.standing(name)?;
        let new = Token {
            revoke_time: Some(now),
            update_time: now.max(old.create_time),
            ..Token::clone(old)
        };
        self.keep_an_admin(old, &new)?;
        Ok(new)
    }

    /// A token that was not revoked.
    fn standing(&self, name: &TokenName) -> Result<&Arc<Token>, TokenRefusal> {
        match self.by_name.get(name) {
            None => Err(TokenRefusal::NotFound(name.clone())),
            Some(token) if token.revoke_time.is_some() => Err(TokenRefusal::Revoked(name.clone())),
            Some(token) => Ok(token),
        }
    }

    fn keep_an_admin(&self, old: &Token, new: &Token) -> Result<(), TokenRefusal> {
        let others = self.by_name.values().filter(|token| token.name != old.name);
        if !is_lasting_admin(old)
            || is_lasting_admin(new)
            || others.into_iter().any(|it| is_lasting_admin(it))
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

fn still_to_come(
    end: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, TokenRefusal> {
    match end {
        Some(end) if end <= now => Err(TokenRefusal::ExpiryInPast(end)),
        end => Ok(end),
    }
}

/// An admin that is there whatever the certificates of the server become.
fn is_lasting_admin(token: &Token) -> bool {
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

    struct Story(Tokens);

    impl Story {
        fn new(admin: &PlainToken) -> Self {
            Self(Tokens::from_iter([Token::first_admin(admin.hash(), at(0))]))
        }

        fn tell(&mut self, now: i64, command: TokenCommand) -> Result<(), TokenRefusal> {
            let token = self.0.decide(command, &Actor("admin".into()), at(now))?;
            self.0 = self.0.with(token.into());
            Ok(())
        }

        fn whose(&self, secret: &PlainToken, now: i64) -> Result<&str, AuthError> {
            self.0.by_secret(secret, at(now)).map(|token| token.name.as_str())
        }
    }

    fn secrets<const N: usize>() -> [PlainToken; N] {
        std::array::from_fn(|_| PlainToken::generate().unwrap())
    }

    #[test]
    fn a_secret_is_taken_until_its_token_ends() {
        let [admin, ci, stranger] = secrets();
        let mut story = Story::new(&admin);
        story.tell(1, create("ci", Role::Viewer, Some(&ci), Some(10))).unwrap();
        assert_eq!(story.whose(&ci, 9), Ok("ci"));
        assert_eq!(story.whose(&ci, 10), Err(AuthError::Expired(at(10))));
        assert_eq!(story.whose(&stranger, 9), Err(AuthError::Unknown));
        story.tell(5, TokenCommand::Revoke(name("ci"))).unwrap();
        assert_eq!(story.whose(&ci, 6), Err(AuthError::Unknown));
        assert_eq!(story.whose(&admin, 6), Ok("admin"));
    }

    #[test]
    fn a_rotated_secret_is_taken_for_its_overlap() {
        let [admin, first, second, third] = secrets();
        let mut story = Story::new(&admin);
        story.tell(0, create("ci", Role::Viewer, Some(&first), None)).unwrap();
        let rotate = |secret: &PlainToken, seconds| TokenCommand::Rotate {
            name: name("ci"),
            hash: secret.hash(),
            overlap: overlap(seconds),
        };
        story.tell(100, rotate(&second, 50)).unwrap();
        assert_eq!((story.whose(&first, 149), story.whose(&second, 149)), (Ok("ci"), Ok("ci")));
        assert_eq!(story.whose(&first, 150), Err(AuthError::Unknown));
        story.tell(120, rotate(&third, 0)).unwrap();
        for gone in [&first, &second] {
            assert_eq!(story.whose(gone, 121), Err(AuthError::Unknown));
        }
        assert_eq!(story.whose(&third, 121), Ok("ci"));
    }

    #[test]
    fn a_certificate_stands_for_a_token_of_certificates_alone() {
        let [admin] = secrets();
        let mut story = Story::new(&admin);
        story.tell(0, create("ci.example.com", Role::Viewer, None, None)).unwrap();
        let by = |names: &[&'static str]| {
            story.0.by_certificate(names.iter().copied(), at(1)).map(|token| token.name.to_string())
        };
        assert_eq!(by(&["other", "ci.example.com"]), Ok("ci.example.com".to_owned()));
        assert_eq!(by(&["admin"]), Err(AuthError::Unknown));
        assert_eq!(by(&[]), Err(AuthError::Unknown));
    }

    #[test]
    fn names_are_given_once_and_an_admin_is_left() {
        let [admin, other] = secrets();
        let mut story = Story::new(&admin);
        let revoke = |of: &str| TokenCommand::Revoke(name(of));
        let last = story.tell(1, revoke("admin"));
        assert!(matches!(last, Err(TokenRefusal::LastAdmin(_))), "{last:?}");
        story.tell(2, create("ops", Role::Admin, Some(&other), Some(99))).unwrap();
        // One that ends by itself would leave nobody.
        assert!(matches!(story.tell(3, revoke("admin")), Err(TokenRefusal::LastAdmin(_))));
        let forever = UpdateToken {
            name: name("ops"),
            description: None,
            role: None,
            expire_time: Some(None),
        };
        story.tell(4, TokenCommand::Update(forever.clone())).unwrap();
        story.tell(5, revoke("admin")).unwrap();
        let lower = UpdateToken { role: Some(Role::Viewer), ..forever };
        assert!(matches!(
            story.tell(6, TokenCommand::Update(lower)),
            Err(TokenRefusal::LastAdmin(_))
        ));
        assert!(matches!(story.tell(7, revoke("admin")), Err(TokenRefusal::Revoked(_))));
        assert!(matches!(story.tell(7, revoke("nobody")), Err(TokenRefusal::NotFound(_))));
        let again = create("admin", Role::Admin, Some(&admin), None);
        assert!(matches!(story.tell(8, again), Err(TokenRefusal::AlreadyExists(_))));
        let ours = create("portbook", Role::Viewer, Some(&admin), None);
        assert!(matches!(story.tell(8, ours), Err(TokenRefusal::AlreadyExists(_))));
        let late = create("late", Role::Viewer, Some(&admin), Some(8));
        assert!(matches!(story.tell(8, late), Err(TokenRefusal::ExpiryInPast(_))));
    }
}
