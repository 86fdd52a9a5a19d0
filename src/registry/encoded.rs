//! Shared values with room for their encoding.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value as snapshots share it, with room for its encoding.
///
/// The layer that speaks to clients fills the room when the value is first answered, so that each
/// is encoded once and not once per answer.
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

    /// Its encoding, made by `encode` if it is asked for the first time.
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
