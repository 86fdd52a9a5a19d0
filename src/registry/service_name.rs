//! Service names: the rule for new names (RFC 6335, section 5.1), and the comparison of names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A service name that may be registered.
///
/// Names are compared in the form returned by [`fold`] and shown as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName(Arc<str>);

/// Why a text is not a valid service name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceNameError {
    /// The text is empty.
    #[error("the service name is empty: expected 1-15 characters")]
    Empty,
    /// Too many characters.
    #[error("the service name has {0} characters: at most 15 are allowed (RFC 6335, section 5.1)")]
    TooLong(usize),
    /// A character outside of `A-Z a-z 0-9 -`.
    #[error(
        "the service name contains {0:?}: only A-Z, a-z, 0-9 and '-' are allowed (RFC 6335, section 5.1)"
    )]
    Character(char),
    /// Only digits and hyphens.
    #[error("the service name has no letter: at least one is required (RFC 6335, section 5.1)")]
    NoLetter,
    /// A leading, trailing or double hyphen.
    #[error(
        "the service name has a leading, trailing or double '-', which is not allowed (RFC 6335, section 5.1)"
    )]
    Hyphen,
}

impl ServiceName {
    /// The maximum length, in characters.
    pub const MAX_LENGTH: usize = 15;

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(text: &str) -> Result<Self, ServiceNameError> {
        let length = text.chars().count();
        if length == 0 {
            return Err(ServiceNameError::Empty);
        }
        if let Some(invalid) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(ServiceNameError::Character(invalid));
        }
        if length > Self::MAX_LENGTH {
            return Err(ServiceNameError::TooLong(length));
        }
        if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return Err(ServiceNameError::Hyphen);
        }
        if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            return Err(ServiceNameError::NoLetter);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form in which names are compared: lower case, with words joined by single hyphens whether
/// they were written with spaces, underscores or hyphens. Most names already have this form.
#[must_use]
pub fn fold(name: &str) -> Cow<'_, str> {
    if is_folded(name) {
        return Cow::Borrowed(name);
    }
    let mut folded = String::with_capacity(name.len());
    for word in name.split([' ', '-', '_', '\t']).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push('-');
        }
        folded.extend(word.chars().flat_map(char::to_lowercase));
    }
    Cow::Owned(folded)
}

fn is_folded(name: &str) -> bool {
    // A hyphen may only stand between two other characters.
    let mut after_hyphen = true;
    for byte in name.bytes() {
        let is_hyphen = byte == b'-';
        let is_plain =
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+./*".contains(&byte);
        if !(is_plain || is_hyphen && !after_hyphen) {
            return false;
        }
        after_hyphen = is_hyphen;
    }
    !after_hyphen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn violations_of_rfc_6335_are_rejected() {
        let error = |text: &str| text.parse::<ServiceName>().unwrap_err();
        assert_eq!(error(""), ServiceNameError::Empty);
        assert_eq!(error("abcdefghijklmnop"), ServiceNameError::TooLong(16));
        assert_eq!(error("whois++"), ServiceNameError::Character('+'));
        assert_eq!(error("bücher"), ServiceNameError::Character('ü'));
        assert_eq!(error("80-443"), ServiceNameError::NoLetter);
        for text in ["-a", "a-", "a--b"] {
            assert_eq!(error(text), ServiceNameError::Hyphen, "{text}");
        }
        for text in ["a", "0a", "Billing-api", "abcdefghijklmno"] {
            assert_eq!(text.parse::<ServiceName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn folding_joins_words_with_hyphens() {
        assert_eq!(fold("Remote  Desktop"), "remote-desktop");
        assert_eq!(fold("remote_desktop"), "remote-desktop");
        assert_eq!(fold(" MS-WBT-Server "), "ms-wbt-server");
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(name in ".{0,40}") {
            let once = fold(&name).into_owned();
            prop_assert_eq!(&fold(&once), &once);
        }
    }
}
