//! Namespaces: scopes in which a port can be held once, and their policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::{Etag, Revision};
use super::finding::FindingCode;
use super::lease::CoolDown;
use super::name::NamespaceName;

/// The policy of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Findings that need no acknowledgement.
    pub accept: BTreeSet<FindingCode>,
    /// Findings that can't be acknowledged.
    pub forbid: BTreeSet<FindingCode>,
    /// The cool-down of ports outside pools.
    pub cool_down: CoolDown,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The name.
    pub name: NamespaceName,
    /// A short description, or empty.
    pub description: Arc<str>,
    /// The policy.
    pub policy: Policy,
    /// When the namespace was created, if that is known.
    pub create_time: Option<Timestamp>,
    /// When the namespace was last changed, if it was.
    pub update_time: Option<Timestamp>,
    /// The revision of the last change.
    pub revision: Revision,
}

impl Namespace {
    /// Identifies the current state of the namespace.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}
