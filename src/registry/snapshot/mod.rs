//! The registry at one revision: immutable, shared, and read without locks.
//!
//! A new snapshot shares all unchanged data with the previous one, so that its cost depends on the
//! size of the change and not on the size of the registry. Changes can also be reverted: this is
//! how historical queries obtain an earlier snapshot.

mod namespace_state;
mod port_counts;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};
use jiff::Timestamp;

pub use namespace_state::CoolDownEntry;
pub use view::{PortLookup, ServiceLookup, UnknownPool, UnknownService, View};

use self::namespace_state::NamespaceState;
use super::assignment::{Assignment, Record, Revision, Uid};
use super::change::Change;
use super::counts::{Counts, RunningCounts};
use super::join::Join;
use super::name::NamespaceName;
use super::name_index::NameIndex;
use super::namespace::Namespace;
use super::pool::SharedPool;
use super::port::{Port, Transport};
use super::reference::Reference;
use super::similarity::{KnownName, nearest, nearest_hint};

/// The registry at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: Revision,
    reference: Arc<Reference>,
    namespaces: OrdMap<NamespaceName, NamespaceState>,
    custom: HashMap<Uid, Arc<Record>>,
    counts: RunningCounts,
    /// The leases by expiry time.
    leases: OrdSet<(Timestamp, Uid)>,
}

/// No namespace has this name.
#[derive(Debug, thiserror::Error)]
#[error("namespace {name} does not exist{}", nearest_hint(.nearest))]
pub struct UnknownNamespace {
    /// The requested name.
    pub name: NamespaceName,
    /// Similar existing names.
    pub nearest: Vec<String>,
}

impl Snapshot {
    /// A registry with these namespaces and no registrations.
    #[must_use]
    pub fn new(
        revision: Revision,
        reference: Arc<Reference>,
        namespaces: impl IntoIterator<Item = Namespace>,
    ) -> Self {
        let namespaces = namespaces
            .into_iter()
            .map(|namespace| (namespace.name.clone(), NamespaceState::new(Arc::new(namespace))))
            .collect();
        Self {
            revision,
            reference,
            namespaces,
            custom: HashMap::new(),
            counts: RunningCounts::new(),
            leases: OrdSet::new(),
        }
    }

    /// The revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The data that is the same for all namespaces.
    #[must_use]
    pub const fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// The number of records.
    #[must_use]
    pub fn size(&self) -> usize {
        self.reference.records().len() + self.custom.len()
    }

    /// Every registration, in no particular order.
    pub fn custom(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.custom.values()
    }

    /// The record counts of each source.
    #[must_use]
    pub fn counts(&self) -> [Counts; 3] {
        let [iana, common] = self.reference.counts().clone();
        [self.counts.counts(), iana, common]
    }

    /// The view from a namespace.
    ///
    /// # Errors
    /// If the namespace does not exist.
    pub fn view(&self, name: &NamespaceName) -> Result<View<'_>, UnknownNamespace> {
        match self.namespaces.get(name) {
            Some(state) => Ok(View { reference: &self.reference, state }),
            None => Err(UnknownNamespace {
                name: name.clone(),
                nearest: nearest(
                    name.as_str(),
                    self.namespaces.keys().map(|known| KnownName::from(known.as_str())),
                ),
            }),
        }
    }

    /// The views from all namespaces with a name after this one, by name.
    pub fn views_after(&self, name: Option<&NamespaceName>) -> impl Iterator<Item = View<'_>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = name.map_or(Unbounded, Excluded);
        let namespaces = self.namespaces.range::<_, NamespaceName>((start, Unbounded));
        namespaces.map(|(_, state)| View { reference: &self.reference, state })
    }

    /// The number of namespaces.
    #[must_use]
    pub fn namespace_count(&self) -> usize {
        self.namespaces.len()
    }

    /// The record with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.custom.get(&uid).or_else(|| self.reference.by_uid(uid))
    }

    /// When the next lease expires, if there is one.
    #[must_use]
    pub fn next_lease_expiry(&self) -> Option<Timestamp> {
        self.leases.get_min().map(|(end, _)| *end)
    }

    /// The registrations whose leases expire at this time.
    pub fn leases_expiring_at(&self, end: Timestamp) -> impl Iterator<Item = &Arc<Record>> {
        let first = (end, Uid::MIN);
        let ending = self.leases.range(first..).take_while(move |(other, _)| *other == end);
        ending.filter_map(|(_, uid)| self.custom.get(uid))
    }

    /// The snapshot after these changes, all of them committed at `revision`.
    #[must_use]
    pub fn after(&self, revision: Revision, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.advance(revision, changes);
        next
    }

    /// Applies these changes, all of them committed at `revision`. Modifies in place what no other
    /// snapshot shares.
    pub fn advance(&mut self, revision: Revision, changes: &[Change]) {
        self.revision = revision;
        for change in changes {
            match change {
                Change::Namespace(edit) => self.replace_namespace(edit.before(), edit.after()),
                Change::Pool(edit) => self.replace_pool(edit.before(), edit.after()),
                of_registration => self.replace(change.before(), of_registration.after()),
            }
            if let (Some(before), Some(until)) = (change.before(), change.cooling_until()) {
                self.start_cool_down(before, until);
            }
        }
    }

    /// The snapshot at `revision`, obtained by reverting the changes that led from it to this one.
    /// Does not revert cool-downs, because no port can be allocated in an earlier snapshot. The
    /// changes must have been read from a store: caches of records and pools that another snapshot
    /// uses may depend on another reference.
    #[must_use]
    pub fn before<'c>(
        &self,
        revision: Revision,
        changes: impl DoubleEndedIterator<Item = &'c Change>,
    ) -> Self {
        let mut earlier = self.clone();
        earlier.revision = revision;
        for change in changes.rev() {
            match change {
                Change::Namespace(edit) => earlier.replace_namespace(edit.after(), edit.before()),
                Change::Pool(edit) => earlier.replace_pool(edit.after(), edit.before()),
                of_registration => earlier.replace(change.after(), of_registration.before()),
            }
        }
        earlier
    }

    /// The snapshot in which the namespace contains only the registrations on this port. Changes of
    /// these registrations can be reverted without reverting those of neighbouring ports, which
    /// might conflict otherwise.
    #[must_use]
    pub fn narrowed_to(&self, name: &NamespaceName, port: Port) -> Self {
        let mut narrow = self.clone();
        if let Some(state) = self.namespaces.get(name) {
            let mut only = NamespaceState::new(Arc::clone(&state.settings));
            for record in Transport::ALL.iter().filter_map(|&of| state.holder(port, of)) {
                only.insert(record);
            }
            narrow.namespaces.insert(name.clone(), only);
        }
        narrow
    }

    /// The snapshot with another reference.
    ///
    /// Discards the caches that depend on the reference: the encodings of registrations whose guide
    /// differs, and the ports that pools may allocate.
    #[must_use]
    pub fn with_reference(&self, reference: Arc<Reference>) -> Self {
        let mut next = self.clone();
        let names = self.reference.names_with_other_guide(&reference);
        for (namespace, state) in &self.namespaces {
            let encoded: Vec<_> = names.iter().flat_map(|name| state.names.named(name)).collect();
            if encoded.is_empty() && state.pools.is_empty() {
                continue;
            }
            let Some(next_state) = next.namespaces.get_mut(namespace) else { continue };
            next_state.renew_pools();
            for record in encoded {
                let record = Record::share(Assignment::clone(record));
                next_state.insert(&record);
                next.custom.insert(record.uid, record);
            }
        }
        next.reference = reference;
        next
    }

    /// The snapshot with the pools and registrations that a store has loaded.
    #[must_use]
    pub fn with_contents(
        mut self,
        pools: impl IntoIterator<Item = Arc<SharedPool>>,
        records: impl IntoIterator<Item = Arc<Record>>,
        join: &impl Join,
    ) -> Self {
        for pool in pools {
            self.replace_pool(None, Some(&pool));
        }
        let mut by_namespace: BTreeMap<NamespaceName, Vec<Arc<Record>>> = BTreeMap::new();
        for record in records {
            let Some(registration) = record.registration() else { continue };
            match by_namespace.get_mut(&registration.namespace) {
                Some(others) => others.push(record),
                None => drop(by_namespace.insert(registration.namespace.clone(), vec![record])),
            }
        }
        let build_indexes =
            || -> Vec<_> { by_namespace.values().map(|of| NameIndex::of(of)).collect() };
        let (indexes, ()) = join.join(build_indexes, || {
            for (namespace, records) in &by_namespace {
                let Some(state) = self.namespaces.get_mut(namespace) else { continue };
                for record in records {
                    state.index(record);
                }
                for record in records {
                    self.insert_global(record);
                }
            }
        });
        for ((namespace, records), names) in by_namespace.iter().zip(indexes) {
            if let Some(state) = self.namespaces.get_mut(namespace) {
                state.insert_all(records, names);
            }
        }
        self
    }

    /// The snapshot in which the ports of these records cool down until the given times.
    #[must_use]
    pub fn with_cooling_down(
        mut self,
        records: impl IntoIterator<Item = (Arc<Record>, Timestamp)>,
    ) -> Self {
        for (record, until) in records {
            self.start_cool_down(&record, until);
        }
        self
    }

    fn start_cool_down(&mut self, record: &Arc<Record>, until: Timestamp) {
        let namespace = record.registration().map(|registration| &registration.namespace);
        if let Some(state) = namespace.and_then(|name| self.namespaces.get_mut(name)) {
            state.start_cool_down(record, until);
        }
    }

    /// Replaces one registration by another; either may be `None`.
    fn replace(&mut self, old: Option<&Arc<Record>>, new: Option<&Arc<Record>>) {
        for (record, is_new) in [(old, false), (new, true)] {
            let Some((record, registration)) =
                record.and_then(|record| Some((record, record.registration()?)))
            else {
                continue;
            };
            let Some(state) = self.namespaces.get_mut(&registration.namespace) else { continue };
            if is_new {
                state.insert(record);
                self.insert_global(record);
            } else {
                state.remove(record);
                self.remove_global(record);
            }
        }
    }

    /// Adds a registration to the indexes that span all namespaces.
    fn insert_global(&mut self, record: &Arc<Record>) {
        if let Some(replaced) = self.custom.insert(record.uid, Arc::clone(record)) {
            self.counts.remove(&replaced);
        }
        self.counts.add(record);
        self.leases.extend(lease_key(record));
    }

    fn remove_global(&mut self, record: &Record) {
        if let Some(taken) = self.custom.remove(&record.uid) {
            self.counts.remove(&taken);
        }
        if let Some(lease) = lease_key(record) {
            self.leases.remove(&lease);
        }
    }

    fn replace_namespace(&mut self, old: Option<&Arc<Namespace>>, new: Option<&Arc<Namespace>>) {
        match (old, new) {
            (Some(_), Some(new)) => {
                if let Some(state) = self.namespaces.get_mut(&new.name) {
                    state.set_namespace(new);
                }
            }
            (None, Some(new)) => {
                self.namespaces.insert(new.name.clone(), NamespaceState::new(Arc::clone(new)));
            }
            (Some(old), None) => drop(self.namespaces.remove(&old.name)),
            (None, None) => {}
        }
    }

    fn replace_pool(&mut self, old: Option<&Arc<SharedPool>>, new: Option<&Arc<SharedPool>>) {
        let namespace = old.or(new).map(|pool| &pool.namespace);
        if let Some(state) = namespace.and_then(|name| self.namespaces.get_mut(name)) {
            if let Some(old) = old {
                state.remove_pool(old);
            }
            if let Some(new) = new {
                state.insert_pool(new);
            }
        }
    }
}

fn lease_key(record: &Record) -> Option<(Timestamp, Uid)> {
    let lease = record.registration()?.lease?;
    Some((lease.expire_time, record.uid))
}
