//! Names of namespaces and pools: 1-63 of `a-z 0-9 -`, beginning with a letter.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A text that is not a valid name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a valid name: expected 1-63 of a-z, 0-9 and '-', beginning with a letter")]
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
    /// The name of a namespace.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_other_characters_are_rejected() {
        for text in ["", "Prod", "1a", "a/b", "a b", "-a", &"n".repeat(64)] {
            assert!(text.parse::<NamespaceName>().is_err(), "{text}");
            assert!(text.parse::<PoolName>().is_err(), "{text}");
        }
        assert!("n".repeat(63).parse::<NamespaceName>().is_ok());
    }
}
