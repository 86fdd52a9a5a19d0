//! A way back in for whoever has the machine: a token made good again without a token.

use jiff::Timestamp;

use super::secret::TokenHash;
use super::token::{Actor, Credential, Role, Secret, Token, TokenName};
use super::tokens::{TokenRefusal, Tokens};

/// A token of role admin that does not end, with a new secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There was one of that name.
    Existing(Token),
    /// There was none.
    New(Token),
}

impl Tokens {
    /// What a token becomes that is recovered with this secret, whatever it was. Nothing is changed
    /// by it.
    ///
    /// # Errors
    /// If it is known by a certificate: how a token is known never changes.
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
        // Clocks go back, tokens do not.
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

    fn lost(name: &str) -> Token {
        let previous = Some(PreviousSecret { hash: hash(), expire_time: at(90) });
        Token {
            name: name.parse().unwrap(),
            description: Text::parse("Of the tests".to_owned()).unwrap(),
            role: Role::Registrar(Grants::default()),
            credential: Credential::Secret(Secret { hash: hash(), rotate_time: at(20), previous }),
            expire_time: Some(at(30)),
            create_time: at(10),
            creator: Actor("somebody".into()),
            update_time: at(20),
            revoke_time: Some(at(25)),
        }
    }

    #[test]
    fn whatever_it_was_it_is_an_admin_with_one_secret_and_no_end() {
        let tokens = Tokens::from_iter([lost("ci")]);
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
            ..lost("ci")
        };
        assert_eq!(recovered, Recovered::Existing(expected.clone()));
        let tokens = tokens.with(expected.into());
        assert_eq!(tokens.by_secret(&secret, at(101)).unwrap().role, Role::Admin);
    }

    #[test]
    fn one_that_is_not_there_is_made_and_the_others_stay() {
        let tokens = Tokens::from_iter([lost("ci")]);
        let Recovered::New(made) = tokens.recover("ops".parse().unwrap(), hash(), at(5)).unwrap()
        else {
            panic!("there was none");
        };
        assert_eq!(
            (made.name.as_str(), &made.role, made.creator),
            ("ops", &Role::Admin, Actor::portbook())
        );
        assert_eq!((made.create_time, made.expire_time), (at(5), None));
    }

    #[test]
    fn a_clock_that_went_back_does_not_change_it_before_it_was_made() {
        let tokens = Tokens::from_iter([lost("ci")]);
        let Recovered::Existing(token) =
            tokens.recover("ci".parse().unwrap(), hash(), at(5)).unwrap()
        else {
            panic!("there was one");
        };
        assert_eq!((token.create_time, token.update_time), (at(10), at(10)));
    }

    #[test]
    fn a_token_of_certificates_stays_one() {
        let certified = Token { credential: Credential::Certificate, ..lost("ci.example.com") };
        let tokens = Tokens::from_iter([certified]);
        let refused = tokens.recover("ci.example.com".parse().unwrap(), hash(), at(100));
        assert!(matches!(refused, Err(TokenRefusal::NoSecret(_))), "{refused:?}");
    }
}
