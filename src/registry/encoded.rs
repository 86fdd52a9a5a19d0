//! Shared values that cache their encoding.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value shared between snapshots, with a cache for its encoding.
///
/// The gRPC layer fills the cache when it first sends the value, so that each value is encoded once
/// and not once per response.
#[derive(Debug)]
pub struct Encoded<T> {
    value: T,
    encoding: OnceLock<Box<[u8]>>,
}

impl<T> Encoded<T> {
    /// Shares the value.
    #[must_use]
    pub fn share(value: T) -> Arc<Self> {
        Arc::new(Self { value, encoding: OnceLock::new() })
    }

    /// The encoding, computed by `encode` on first use.
    pub fn encoding(&self, encode: impl FnOnce(&T) -> Vec<u8>) -> &[u8] {
        self.encoding.get_or_init(|| encode(&self.value).into_boxed_slice())
    }
}

impl<T> Deref for Encoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
