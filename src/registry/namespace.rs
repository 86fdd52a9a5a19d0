//! Namespaces: spaces in which a port can be held once, and what they let pass.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::{Etag, Revision};
use super::finding::FindingCode;
use super::lease::CoolDown;
use super::name::NamespaceName;

/// What a namespace lets pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The findings that need no acknowledgement.
    pub accept: BTreeSet<FindingCode>,
    /// The findings that can't be acknowledged.
    pub forbid: BTreeSet<FindingCode>,
    /// How long ports rest that come from no pool.
    pub cool_down: CoolDown,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    /// A short description, or empty.
    pub description: Arc<str>,
    /// Its rules.
    pub policy: Policy,
    /// When it was created, if that is known.
    pub create_time: Option<Timestamp>,
    /// When it was last changed, if it was.
    pub update_time: Option<Timestamp>,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Namespace {
    /// Names this very state of it.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}
