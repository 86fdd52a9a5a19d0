//! The registry at one revision: immutable, shared, and answered from without a lock.
//!
//! A new snapshot shares all that did not change with the one before, so that making one costs
//! what changed and not what exists. Changes can be taken back too: that is how the past is
//! answered.

mod namespace_state;
mod tally;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};
use jiff::Timestamp;

pub use namespace_state::CoolDownEntry;
pub use view::{PortAnswer, ServiceAnswer, UnknownPool, UnknownService, View};

use self::namespace_state::NamespaceState;
use super::assignment::{Record, Revision, Uid};
use super::change::Change;
use super::counts::{Counts, RunningCounts};
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
    figures: RunningCounts,
    /// The leases, by when they end.
    leases: OrdSet<(Timestamp, Uid)>,
}

/// No namespace has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no namespace {name}{}", nearest_hint(.nearest))]
pub struct UnknownNamespace {
    /// What was asked for.
    pub name: NamespaceName,
    /// The nearest names there are.
    pub nearest: Vec<String>,
}

impl Snapshot {
    /// The registry with these namespaces, and nothing in them yet.
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
            figures: RunningCounts::new(),
            leases: OrdSet::new(),
        }
    }

    /// The revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// What is the same for everybody.
    #[must_use]
    pub const fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// How many records it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.reference.records().len() + self.custom.len()
    }

    /// Every registration, in no order.
    pub fn custom(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.custom.values()
    }

    /// What it holds, in figures, by source.
    #[must_use]
    pub fn counts(&self) -> [Counts; 3] {
        let [iana, common] = self.reference.counts().clone();
        [self.figures.counts(), iana, common]
    }

    /// The registry as it is seen from a namespace.
    ///
    /// # Errors
    /// If there is no such namespace.
    pub fn view(&self, name: &NamespaceName) -> Result<View<'_>, UnknownNamespace> {
        match self.namespaces.get(name) {
            Some(space) => Ok(View { reference: &self.reference, space }),
            None => Err(UnknownNamespace {
                name: name.clone(),
                nearest: nearest(
                    name.as_str(),
                    self.namespaces.keys().map(|known| KnownName::from(known.as_str())),
                ),
            }),
        }
    }

    /// The registry as it is seen from each namespace, by name, from the first after this one.
    pub fn views_after(&self, name: Option<&NamespaceName>) -> impl Iterator<Item = View<'_>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = name.map_or(Unbounded, Excluded);
        let namespaces = self.namespaces.range::<_, NamespaceName>((start, Unbounded));
        namespaces.map(|(_, space)| View { reference: &self.reference, space })
    }

    /// How many namespaces there are.
    #[must_use]
    pub fn namespace_count(&self) -> usize {
        self.namespaces.len()
    }

    /// The record with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.custom.get(&uid).or_else(|| self.reference.by_uid(uid))
    }

    /// When the next lease ends, if there is one.
    #[must_use]
    pub fn next_lease_end(&self) -> Option<Timestamp> {
        self.leases.get_min().map(|(end, _)| *end)
    }

    /// The registrations whose leases end at this time.
    pub fn leases_ending(&self, end: Timestamp) -> impl Iterator<Item = &Arc<Record>> {
        let first = (end, Uid::MIN);
        let ending = self.leases.range(first..).take_while(move |(other, _)| *other == end);
        ending.filter_map(|(_, uid)| self.custom.get(uid))
    }

    /// The snapshot after these changes, which all happened at `revision`.
    #[must_use]
    pub fn after(&self, revision: Revision, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.advance(revision, changes);
        next
    }

    /// Makes these changes, which all happened at `revision`. What is shared with nobody is changed in
    /// its place.
    pub fn advance(&mut self, revision: Revision, changes: &[Change]) {
        self.revision = revision;
        for change in changes {
            match change {
                Change::Namespace(edit) => self.replace_namespace(edit.before(), edit.after()),
                Change::Pool(edit) => self.replace_pool(edit.before(), edit.after()),
                about_a_registration => self.replace(change.before(), about_a_registration.after()),
            }
            if let (Some(before), Some(until)) = (change.before(), change.cooling_until()) {
                self.start_cool_down(before, until);
            }
        }
    }

    /// The snapshot at `revision`, from which these changes, in their order, have led to this one.
    /// Which ports rest is not taken back: nobody may have a port in the past.
    #[must_use]
    pub fn before<'c>(
        &self,
        revision: Revision,
        changes: impl DoubleEndedIterator<Item = &'c Change>,
    ) -> Self {
        let mut past = self.clone();
        past.revision = revision;
        for change in changes.rev() {
            match change {
                Change::Namespace(edit) => past.replace_namespace(edit.after(), edit.before()),
                Change::Pool(edit) => past.replace_pool(edit.after(), edit.before()),
                about_a_registration => past.replace(change.after(), about_a_registration.before()),
            }
        }
        past
    }

    /// The snapshot in which the namespace holds nothing but what is on the port. What was changed
    /// on the port can be taken back from it: the neighbours, which are not taken back, are not
    /// there to be met.
    #[must_use]
    pub fn narrowed_to(&self, name: &NamespaceName, port: Port) -> Self {
        let mut narrow = self.clone();
        if let Some(space) = self.namespaces.get(name) {
            let mut only = NamespaceState::new(Arc::clone(&space.settings));
            for record in Transport::ALL.iter().filter_map(|&of| space.holder(port, of)) {
                only.put_in(record);
            }
            narrow.namespaces.insert(name.clone(), only);
        }
        narrow
    }

    /// The snapshot with pools and registrations that a store holds.
    #[must_use]
    pub fn with(
        mut self,
        pools: impl IntoIterator<Item = Arc<SharedPool>>,
        records: impl IntoIterator<Item = Arc<Record>>,
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
        // The books are made beside the rest: a start is waited for.
        let books = std::thread::scope(|scope| {
            let books = scope.spawn(|| by_namespace.values().map(|of| NameIndex::of(of)).collect());
            for (namespace, records) in &by_namespace {
                let Some(space) = self.namespaces.get_mut(namespace) else { continue };
                for record in records {
                    space.index(record);
                }
                for record in records {
                    self.note(record);
                }
            }
            let books: Vec<NameIndex> =
                books.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            books
        });
        for ((namespace, records), book) in by_namespace.iter().zip(books) {
            if let Some(space) = self.namespaces.get_mut(namespace) {
                space.put_all(records, book);
            }
        }
        self
    }

    /// The snapshot in which the ports of these records rest until then, as a store has it.
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
        if let Some(space) = namespace.and_then(|name| self.namespaces.get_mut(name)) {
            space.start_cool_down(record, until);
        }
    }

    /// Puts one registration in the place of another, either of which may be none.
    fn replace(&mut self, old: Option<&Arc<Record>>, new: Option<&Arc<Record>>) {
        for (record, is_new) in [(old, false), (new, true)] {
            let Some((record, registration)) =
                record.and_then(|record| Some((record, record.registration()?)))
            else {
                continue;
            };
            let Some(space) = self.namespaces.get_mut(&registration.namespace) else { continue };
            if is_new {
                space.put_in(record);
                self.note(record);
            } else {
                space.take_out(record);
                self.forget(record);
            }
        }
    }

    /// Notes what is known of a registration wherever it stands.
    fn note(&mut self, record: &Arc<Record>) {
        if let Some(replaced) = self.custom.insert(record.uid, Arc::clone(record)) {
            self.figures.take(&replaced);
        }
        self.figures.put(record);
        self.leases.extend(lease_end(record));
    }

    fn forget(&mut self, record: &Record) {
        if let Some(taken) = self.custom.remove(&record.uid) {
            self.figures.take(&taken);
        }
        if let Some(lease) = lease_end(record) {
            self.leases.remove(&lease);
        }
    }

    fn replace_namespace(&mut self, old: Option<&Arc<Namespace>>, new: Option<&Arc<Namespace>>) {
        match (old, new) {
            (Some(_), Some(new)) => {
                if let Some(space) = self.namespaces.get_mut(&new.name) {
                    space.set_namespace(new);
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
        if let Some(space) = namespace.and_then(|name| self.namespaces.get_mut(name)) {
            if let Some(old) = old {
                space.take_pool(old);
            }
            if let Some(new) = new {
                space.put_pool(new);
            }
        }
    }
}

fn lease_end(record: &Record) -> Option<(Timestamp, Uid)> {
    let lease = record.registration()?.lease?;
    Some((lease.expire_time, record.uid))
}
