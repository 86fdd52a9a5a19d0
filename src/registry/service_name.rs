//! Service names: the rule for new ones (RFC 6335, section 5.1), and how names are compared.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A service name that may be registered.
///
/// Compared ignoring case by [`fold`], shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName(Arc<str>);

/// What is wrong with a service name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceNameError {
    /// Nothing there.
    #[error("the service name is empty: 1-15 characters are asked for")]
    Empty,
    /// Too many characters.
    #[error("the service name has {0} characters: at most 15 are allowed (RFC 6335, section 5.1)")]
    TooLong(usize),
    /// A character outside of `A-Z a-z 0-9 -`.
    #[error(
        "the service name has {0:?} in it: only A-Z, a-z, 0-9 and '-' are allowed (RFC 6335, section 5.1)"
    )]
    Character(char),
    /// Digits and hyphens alone.
    #[error("the service name has no letter: at least one is asked for (RFC 6335, section 5.1)")]
    NoLetter,
    /// A hyphen at an end, or two together.
    #[error(
        "the service name has '-' at an end or two together, which is not allowed (RFC 6335, section 5.1)"
    )]
    Hyphen,
}

impl ServiceName {
    /// The longest name, in characters.
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
        if let Some(stranger) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(ServiceNameError::Character(stranger));
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

/// The form in which names are compared: lower case, words joined by single hyphens whether they
/// were written with spaces, underscores or hyphens. Most names are in that form already.
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
    fn each_rule_of_rfc_6335_is_kept() {
        let fault = |text: &str| text.parse::<ServiceName>().unwrap_err();
        assert_eq!(fault(""), ServiceNameError::Empty);
        assert_eq!(fault("abcdefghijklmnop"), ServiceNameError::TooLong(16));
        assert_eq!(fault("whois++"), ServiceNameError::Character('+'));
        assert_eq!(fault("bücher"), ServiceNameError::Character('ü'));
        assert_eq!(fault("80-443"), ServiceNameError::NoLetter);
        for text in ["-a", "a-", "a--b"] {
            assert_eq!(fault(text), ServiceNameError::Hyphen, "{text}");
        }
        for text in ["a", "0a", "Billing-api", "abcdefghijklmno"] {
            assert_eq!(text.parse::<ServiceName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn folding_joins_what_people_write_apart() {
        assert_eq!(fold("Remote  Desktop"), "remote-desktop");
        assert_eq!(fold("remote_desktop"), "remote-desktop");
        assert_eq!(fold(" MS-WBT-Server "), "ms-wbt-server");
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(name in ".{0,40}") {
            let once = fold(&name).into_owned();
            prop_assert_eq!(&fold(&once), &once);
        }
    }
}
