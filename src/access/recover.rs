//! Recovery of access on the server machine: makes a token a valid admin without another token.

use jiff::Timestamp;

use super::secret::TokenHash;
use super::token::{Actor, Credential, Role, Secret, Token, TokenName};
use super::tokens::{TokenRefusal, Tokens};

/// A token of role admin without expiry, with a new secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// A token of that name existed and was changed.
    Existing(Token),
    /// The token is new.
    New(Token),
}

impl Tokens {
    /// The token of this name as a valid admin with this secret, whatever its current state. Does
    /// not change the tokens.
    ///
    /// # Errors
    /// If its credential is a certificate: the kind of credential never changes.
    pub fn recover(
        &self,
        name: TokenName,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Recovered, TokenRefusal> {
        let Some(old) = self.get(&name) else {
            return Ok(Recovered::New(Token { name, ..Token::first_admin(hash, now) }));
        };
        if old.credential == Credential::Certificate {
            return Err(TokenRefusal::NoSecret(name));
        }
        // A clock that was set back must not make the update time precede the creation.
        let now = now.max(old.create_time);
        Ok(Recovered::Existing(Token {
            role: Role::Admin,
            credential: Credential::Secret(Secret { hash, rotate_time: now, previous: None }),
            expire_time: None,
            creator: Actor::portbook(),
            update_time: now,
            revoke_time: None,
            ..Token::clone(old)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grants, PlainToken, PreviousSecret};
    use crate::registry::text::Text;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hash() -> TokenHash {
        PlainToken::generate().unwrap().hash()
    }

    fn revoked(name: &str) -> Token {
        let previous = Some(PreviousSecret { hash: hash(), expire_time: at(90) });
        Token {
            name: name.parse().unwrap(),
            description: Text::parse("For tests".to_owned()).unwrap(),
            role: Role::Registrar(Grants::default()),
            credential: Credential::Secret(Secret { hash: hash(), rotate_time: at(20), previous }),
            expire_time: Some(at(30)),
            create_time: at(10),
            creator: Actor("creator".into()),
            update_time: at(20),
            revoke_time: Some(at(25)),
        }
    }

    #[test]
    fn a_recovered_token_is_an_admin_with_one_secret_and_no_expiry() {
        let tokens = Tokens::from_iter([revoked("ci")]);
        let secret = PlainToken::generate().unwrap();
        let recovered = tokens.recover("ci".parse().unwrap(), secret.hash(), at(100)).unwrap();
        let expected = Token {
            role: Role::Admin,
            credential: Credential::Secret(Secret {
                hash: secret.hash(),
                rotate_time: at(100),
                previous: None,
            }),
            expire_time: None,
            creator: Actor::portbook(),
            update_time: at(100),
            revoke_time: None,
            ..revoked("ci")
        };
        assert_eq!(recovered, Recovered::Existing(expected.clone()));
        let tokens = tokens.with(expected.into());
        assert_eq!(tokens.by_secret(&secret, at(101)).unwrap().role, Role::Admin);
    }

    #[test]
    fn an_unknown_token_is_created() {
        let tokens = Tokens::from_iter([revoked("ci")]);
        let Recovered::New(token) = tokens.recover("ops".parse().unwrap(), hash(), at(5)).unwrap()
        else {
            panic!("the token exists");
        };
        assert_eq!(
            (token.name.as_str(), &token.role, token.creator),
            ("ops", &Role::Admin, Actor::portbook())
        );
        assert_eq!((token.create_time, token.expire_time), (at(5), None));
    }

    #[test]
    fn update_time_is_never_before_create_time() {
        let tokens = Tokens::from_iter([revoked("ci")]);
        let Recovered::Existing(token) =
            tokens.recover("ci".parse().unwrap(), hash(), at(5)).unwrap()
        else {
            panic!("the token is new");
        };
        assert_eq!((token.create_time, token.update_time), (at(10), at(10)));
    }

    #[test]
    fn a_certificate_token_can_not_be_recovered() {
        let certified = Token { credential: Credential::Certificate, ..revoked("ci.example.com") };
        let tokens = Tokens::from_iter([certified]);
        let refused = tokens.recover("ci.example.com".parse().unwrap(), hash(), at(100));
        assert!(matches!(refused, Err(TokenRefusal::NoSecret(_))), "{refused:?}");
    }
}
