//! The secrets by which tokens are known, and their hashes, which alone are stored.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A token as its holder knows it. Never stored, never logged.
#[derive(Clone)]
pub struct PlainToken(String);

/// A text that can't be a token.
#[derive(Debug, thiserror::Error)]
#[error("a token has {MIN_LENGTH}-{MAX_LENGTH} visible ASCII characters")]
pub struct TokenFormatError;

/// How the secrets made here begin, so that people and scanners know one when they see it.
pub(super) const SECRET_PREFIX: &str = "pbk_";
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 256;

impl PlainToken {
    /// A new token of 256 random bits.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{SECRET_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits))))
    }

    /// A token that somebody chose.
    ///
    /// # Errors
    /// If it is too short, too long, or can't be sent in a header.
    pub fn parse(text: &str) -> Result<Self, TokenFormatError> {
        let is_sendable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_sendable && (MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenFormatError)
        }
    }

    /// What is stored of it. A token is random, so a plain hash can't be turned back.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(&self.0).into())
    }

    /// The secret itself, to be shown to its holder once or sent to a server.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainToken")
    }
}

/// What is stored of a token: its SHA-256.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// Takes the same time wherever two hashes differ.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl TokenHash {
    /// The hash with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let token = PlainToken::generate().unwrap();
        assert_eq!(format!("{token:?} {:?}", token.hash()), "PlainToken TokenHash");
    }

    #[test]
    fn generated_tokens_differ_and_parse() {
        let (a, b) = (PlainToken::generate().unwrap(), PlainToken::generate().unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(PlainToken::parse(a.reveal()).unwrap().hash(), a.hash());
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for text in
            ["", "short", "has a space in it, so", "pbk_zürich_is_not_ascii", &"x".repeat(257)]
        {
            assert!(PlainToken::parse(text).is_err(), "{text:?}");
        }
    }
}
