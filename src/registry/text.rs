//! Free text: bounded, and without control characters, so that it can't break a terminal, a log
//! line or a table.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Text of at most `MAX` bytes without control characters. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<const MAX: usize>(String);

/// Why a text is not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Too many bytes.
    #[error("has {length} bytes: at most {max} are allowed")]
    TooLong {
        /// The length.
        length: usize,
        /// The maximum length.
        max: usize,
    },
    /// A control character.
    #[error("contains the control character {0:?}, which is not allowed")]
    Control(char),
}

impl<const MAX: usize> Text<MAX> {
    /// Checks the text against the limits.
    ///
    /// # Errors
    /// If it is longer than `MAX` bytes or contains a control character.
    pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_text(&text, MAX)?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as shared text.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        self.0.as_str().into()
    }
}

/// Checks a text against the limits.
pub(super) fn check_text(text: &str, max: usize) -> Result<(), TextError> {
    if text.len() > max {
        return Err(TextError::TooLong { length: text.len(), max });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(control) => Err(TextError::Control(control)),
        None => Ok(()),
    }
}

/// Key-value pairs of a registration: at most 32, keys of 1-63 of `a-z 0-9 - _ . /` that begin
/// with a letter, values of at most 255 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

/// Why labels are not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Too many pairs.
    #[error("{0} labels: at most {max} are allowed", max = Labels::MAX_PAIRS)]
    TooMany(usize),
    /// A key that is not valid.
    #[error(
        "the label key {0:?} is not 1-63 of a-z, 0-9, '-', '_', '.' and '/', beginning with a letter"
    )]
    Key(String),
    /// A value that is not valid.
    #[error("the value of label {key:?} is not valid")]
    Value {
        /// The key of the value.
        key: String,
        /// Why it is not valid.
        source: TextError,
    },
}

impl Labels {
    /// The maximum number of pairs.
    pub const MAX_PAIRS: usize = 32;
    const MAX_KEY: usize = 63;

    /// Checks the pairs against the limits.
    ///
    /// # Errors
    /// If there are too many, or a key or a value is not valid.
    pub fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, LabelsError> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        if pairs.len() > Self::MAX_PAIRS {
            return Err(LabelsError::TooMany(pairs.len()));
        }
        for (key, value) in &pairs {
            if !Self::is_key(key) {
                return Err(LabelsError::Key(key.clone()));
            }
            Text::<255>::parse(value.as_str())
                .map_err(|source| LabelsError::Value { key: key.clone(), source })?;
        }
        Ok(Self(pairs))
    }

    /// The pairs, by key.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn is_key(key: &str) -> bool {
        key.len() <= Self::MAX_KEY
            && key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./".contains(&byte)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_long_texts_are_rejected() {
        assert_eq!(Text::<5>::parse("abcdef"), Err(TextError::TooLong { length: 6, max: 5 }));
        for text in ["\0", "a\n", "\u{1b}[31m", "\u{7f}", "\u{9b}"] {
            assert!(matches!(Text::<50>::parse(text), Err(TextError::Control(_))), "{text:?}");
        }
        assert_eq!(Text::<6>::parse("Zürich").map_err(|_| ()), Err(()));
        assert_eq!(Text::<7>::parse("Zürich").unwrap().as_str(), "Zürich");
    }

    #[test]
    fn invalid_labels_are_rejected() {
        let one = |key: &str, value: &str| Labels::parse([(key.to_owned(), value.to_owned())]);
        assert!(one("team/owner", "billing").is_ok());
        for key in ["", "Team", "1st", "a b", &"k".repeat(64)] {
            assert!(matches!(one(key, "x"), Err(LabelsError::Key(_))), "{key:?}");
        }
        assert!(matches!(one("k", &"v".repeat(256)), Err(LabelsError::Value { .. })));
        assert!(matches!(one("k", "\0"), Err(LabelsError::Value { .. })));
        let many = (0..33).map(|n| (format!("k{n}"), String::new()));
        assert_eq!(Labels::parse(many), Err(LabelsError::TooMany(33)));
    }
}
