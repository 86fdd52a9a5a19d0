//! History, to be read: what was changed, by whom, when and why.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::StoreError;
use crate::access::Actor;
use crate::registry::assignment::{Revision, Uid};
use crate::registry::change::{Change, ChangeKind};
use crate::registry::name::NamespaceName;
use crate::registry::port::{PortRange, Transport};
use crate::registry::service_name::fold;

/// The history of a store. Whoever reads it neither waits for the writer nor keeps it waiting.
pub trait History: Send + Sync {
    /// The changes that pass, in the order asked for, at most as many as asked for.
    fn changes<'h>(
        &'h self,
        query: &'h Query,
    ) -> BoxFuture<'h, Result<Vec<ChangeRecord>, StoreError>>;

    /// The last revision that was made at this time or before it.
    fn revision_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// When the registry was made, and its history begins.
    fn beginning(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>>;
}

/// A change of the past.
#[derive(Clone, Debug)]
pub struct ChangeRecord {
    /// Where it stands.
    pub place: ChangePosition,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Why; may be empty.
    pub reason: String,
    /// What.
    pub change: Change,
}

/// A place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangePosition {
    /// The revision.
    pub revision: Revision,
    /// The place in it, from 0.
    pub position: u32,
}

impl ChangePosition {
    /// Before everything at the revision.
    #[must_use]
    pub const fn before(revision: Revision) -> Option<Self> {
        match revision.0.checked_sub(1) {
            Some(last) => Some(Self::end_of(Revision(last))),
            None => None,
        }
    }

    /// After everything at the revision.
    #[must_use]
    pub const fn end_of(revision: Revision) -> Self {
        Self { revision, position: u32::MAX }
    }
}

/// Which part of the history is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Only what stands behind this place.
    pub after: Option<ChangePosition>,
    /// Only what stands before this place.
    pub before: ChangePosition,
    /// Whether the newest comes first.
    pub newest_first: bool,
    /// The most changes.
    pub limit: u32,
    /// Which changes.
    pub filter: ChangeFilter,
}

/// Which changes to tell; what is empty lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    /// Where they happened.
    pub namespace: Option<NamespaceName>,
    /// Whether changes of namespaces and pools pass whatever is asked of the ports.
    pub with_settings: bool,
    /// Only those of registrations that share a port with the run.
    pub ports: Option<PortRange>,
    /// Only those of registrations on the transport.
    pub transport: Option<Transport>,
    /// Only those of registrations that had or have this name, folded.
    pub service: Option<String>,
    /// Only those of this registration.
    pub uid: Option<Uid>,
    /// Who made them.
    pub actor: Option<String>,
    /// Of which kinds.
    pub kinds: BTreeSet<ChangeKind>,
    /// Made at this time or later.
    pub start_time: Option<Timestamp>,
    /// Made before this time.
    pub end_time: Option<Timestamp>,
}

impl ChangeFilter {
    /// Whether a change of a registration passes what a watch can ask for: its namespace, its ports and
    /// what it is called. Nothing else is looked at.
    #[must_use]
    pub fn passes(&self, change: &Change) -> bool {
        let record = change.record();
        let ports = record.and_then(|record| record.ports);
        let is_named = |service: &String| {
            let names = [change.before(), change.after()].into_iter().flatten();
            let mut names = names.filter_map(|record| record.service_name.as_deref());
            names.any(|name| fold(name) == *service)
        };
        self.namespace.as_ref().is_none_or(|name| change.namespace() == Some(name))
            && self.ports.is_none_or(|run| ports.is_some_and(|ports| ports.overlaps(run)))
            && self.service.as_ref().is_none_or(is_named)
    }
}
