//! The history of a store: each change with its time, actor and reason.

pub mod format;

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Entry, StoreError};
use crate::access::Actor;
use crate::registry::assignment::{Revision, Uid};
use crate::registry::change::{Change, ChangeKind};
use crate::registry::name::NamespaceName;
use crate::registry::port::{PortRange, Transport};
use crate::registry::service_name::fold;

/// Reads the history of a store. Readers and the writer never block each other.
pub trait History: Send + Sync {
    /// The changes that match the query, in its order, at most `limit`.
    fn changes<'h>(
        &'h self,
        query: &'h Query,
    ) -> BoxFuture<'h, Result<Vec<ChangeRecord>, StoreError>>;

    /// The last revision made at or before this time; 0 if none.
    fn revision_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// The time at which the registry was created and its history begins.
    fn beginning(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>>;
}

/// A change in the history.
#[derive(Clone, Debug)]
pub struct ChangeRecord {
    /// Its position in the history.
    pub position: ChangePosition,
    /// The time of its revision.
    pub time: Timestamp,
    /// The actor that made it.
    pub actor: Actor,
    /// The actor's reason; may be empty.
    pub reason: String,
    /// The change.
    pub change: Change,
}

/// Groups the changes of complete revisions, in order, into entries. These have no findings and no
/// request: the history does not contain them.
#[must_use]
pub fn entries(records: Vec<ChangeRecord>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for ChangeRecord { position, time, actor, reason, change } in records {
        match entries.last_mut() {
            Some(last) if last.revision == position.revision => last.changes.push(change),
            _ => entries.push(Entry {
                revision: position.revision,
                time,
                actor,
                reason,
                changes: vec![change],
                findings: Vec::new(),
                request: None,
            }),
        }
    }
    entries
}

/// A position in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangePosition {
    /// The revision.
    pub revision: Revision,
    /// The index of the change in the revision, from 0.
    pub index: u32,
}

impl ChangePosition {
    /// The position just before the first change of the revision; none for revision 0.
    #[must_use]
    pub const fn before(revision: Revision) -> Option<Self> {
        match revision.0.checked_sub(1) {
            Some(last) => Some(Self::end_of(Revision(last))),
            None => None,
        }
    }

    /// The position after the last change of the revision.
    #[must_use]
    pub const fn end_of(revision: Revision) -> Self {
        Self { revision, index: u32::MAX }
    }
}

/// Selects a part of the history.
#[derive(Clone, Debug)]
pub struct Query {
    /// Only changes after this position.
    pub after: Option<ChangePosition>,
    /// Only changes before this position.
    pub before: ChangePosition,
    /// Whether to return the newest change first.
    pub newest_first: bool,
    /// The maximum number of changes.
    pub limit: u32,
    /// The changes to return.
    pub filter: ChangeFilter,
}

/// Selects changes; an empty field matches every change.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    /// The namespace.
    pub namespace: Option<NamespaceName>,
    /// Whether changes of namespaces and pools, which have no ports, match any value of `ports`.
    pub include_settings: bool,
    /// Registrations that share a port with this range.
    pub ports: Option<PortRange>,
    /// Registrations on this transport.
    pub transport: Option<Transport>,
    /// Registrations with this name, folded, before or after the change.
    pub service: Option<String>,
    /// The registration with this uid.
    pub uid: Option<Uid>,
    /// The actor that made the change.
    pub actor: Option<String>,
    /// The kinds of change.
    pub kinds: BTreeSet<ChangeKind>,
    /// Made at or after this time.
    pub start_time: Option<Timestamp>,
    /// Made before this time.
    pub end_time: Option<Timestamp>,
}

impl ChangeFilter {
    /// Whether a change by this actor at this time matches. [`History::changes`] returns exactly the
    /// changes that match.
    #[must_use]
    pub fn matches(&self, time: Timestamp, actor: &Actor, change: &Change) -> bool {
        // Exhaustive, so that no field is ignored.
        let Self {
            namespace,
            include_settings,
            ports,
            transport,
            service,
            uid,
            actor: by,
            kinds,
            start_time,
            end_time,
        } = self;
        let record = change.record();
        let overlaps = |range: PortRange| match record {
            Some(record) => record.ports.is_some_and(|ports| ports.overlaps(range)),
            None => *include_settings,
        };
        let is_named = |service: &String| {
            let records = [change.before(), change.after()].into_iter().flatten();
            let mut names = records.filter_map(|record| record.service_name.as_deref());
            names.any(|name| fold(name) == *service)
        };
        namespace.as_ref().is_none_or(|name| change.namespace() == Some(name))
            && ports.is_none_or(overlaps)
            && transport.is_none_or(|it| record.is_some_and(|record| record.transport == Some(it)))
            && service.as_ref().is_none_or(is_named)
            && uid.is_none_or(|uid| record.is_some_and(|record| record.uid == uid))
            && by.as_ref().is_none_or(|by| *actor.0 == **by)
            && (kinds.is_empty() || kinds.contains(&change.kind()))
            && start_time.is_none_or(|start| time >= start)
            && end_time.is_none_or(|end| time < end)
    }
}
