//! The secrets of tokens, and their hashes. Only the hashes are stored.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The secret of a token in plaintext. Never stored, never logged.
#[derive(Clone)]
pub struct PlainToken(String);

/// A text that is not a valid secret.
#[derive(Debug, thiserror::Error)]
#[error("a token has {MIN_LENGTH}-{MAX_LENGTH} visible ASCII characters")]
pub struct TokenFormatError;

/// The prefix of generated secrets, so that people and scanners recognize them.
pub(super) const SECRET_PREFIX: &str = "pbk_";
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 256;

impl PlainToken {
    /// Generates a secret of 256 random bits.
    ///
    /// # Errors
    /// If the operating system can't provide random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{SECRET_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits))))
    }

    /// Parses a secret.
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

    /// The hash to store. A secret is random, so an unsalted hash can't be reversed.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(&self.0).into())
    }

    /// The secret in plaintext, to show to its holder once or to send to a server.
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

/// The SHA-256 of a secret.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// Compares in constant time.
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

    /// The bytes of the hash.
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
    fn secrets_are_not_printed() {
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
    fn texts_that_no_header_can_contain_are_rejected() {
        for text in
            ["", "short", "has a space in it, so", "pbk_zürich_is_not_ascii", &"x".repeat(257)]
        {
            assert!(PlainToken::parse(text).is_err(), "{text:?}");
        }
    }
}
