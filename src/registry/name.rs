//! The names of namespaces and pools: 1-63 of `a-z 0-9 -`, beginning with a letter.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A text that is no such name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no name: 1-63 of a-z, 0-9 and '-' are asked for, beginning with a letter")]
pub struct NameError(String);

fn parse(text: &str) -> Result<Arc<str>, NameError> {
    let in_alphabet = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(in_alphabet)
    {
        Ok(text.into())
    } else {
        Err(NameError(text.chars().take(64).collect()))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a space in which a port can be held once.
    NamespaceName
}

name! {
    /// The name of a pool, unique in its namespace.
    PoolName
}

impl NamespaceName {
    /// The name of the namespace that always exists.
    pub const DEFAULT: &'static str = "default";
}

impl Default for NamespaceName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// Up to five of the known names that look like the one asked for, nearest first. None for a name
/// so long that it can't be a slip of the hand.
pub(super) fn nearest<'n>(asked: &str, known: impl Iterator<Item = &'n str>) -> Vec<String> {
    const AT_MOST: usize = 5;
    const ALIKE: f64 = 0.8;
    const LONGEST: usize = 40;
    if asked.len() > LONGEST {
        return Vec::new();
    }
    let may_be_meant = |name: &&str| name.len().abs_diff(asked.len()) <= 2 + asked.len() / 2;
    let mut alike: Vec<(f64, &str)> = known
        .filter(may_be_meant)
        .map(|name| (strsim::jaro_winkler(asked, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    alike.dedup();
    alike.into_iter().take(AT_MOST).map(|(_, name)| name.to_owned()).collect()
}

/// The end of a sentence that says a name is not known.
pub(super) fn nearest_hint(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; the nearest names are {}", nearest.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        for text in ["", "Prod", "1a", "a/b", "a b", "-a", &"n".repeat(64)] {
            assert!(text.parse::<NamespaceName>().is_err(), "{text}");
            assert!(text.parse::<PoolName>().is_err(), "{text}");
        }
        assert!("n".repeat(63).parse::<NamespaceName>().is_ok());
    }
}
