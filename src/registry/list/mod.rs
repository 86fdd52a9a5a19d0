//! Lists: which records pass a filter, in an order that pages can be cut from.

mod custom;

use std::collections::BTreeSet;
use std::sync::Arc;

use itertools::Itertools;

use super::assignment::{Origin, Record, Source, State};
use super::name::{NamespaceName, PoolName};
use super::port::{Port, PortRange, Transport};
use super::snapshot::Snapshot;
use super::text::Labels;

/// A record's place in lists: by port, then transport, then source, then the source's own order.
/// Records without a port, and then those without a transport, come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListKey {
    /// The first port, or one more than any port has.
    pub port: u32,
    /// The transport's place, or one more than any transport has.
    pub transport: u8,
    /// The source's place.
    pub source: u8,
    /// IANA's or the common uses' own order; 0 for registrations.
    pub ordinal: u32,
    /// The namespace of a registration.
    pub namespace: Option<NamespaceName>,
}

impl ListKey {
    const NO_PORT: u32 = 65_536;

    /// The record's place.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let place = Place::of(record);
        Self {
            port: place.port,
            transport: place.transport,
            source: place.source,
            ordinal: place.ordinal,
            namespace: place.namespace.cloned(),
        }
    }

    /// The port of the place, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        Port::try_from(self.port).ok()
    }

    pub(super) const fn place(&self) -> Place<'_> {
        Place {
            port: self.port,
            transport: self.transport,
            source: self.source,
            ordinal: self.ordinal,
            namespace: self.namespace.as_ref(),
        }
    }
}

/// A [`ListKey`] that owns nothing, to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    port: u32,
    transport: u8,
    source: u8,
    ordinal: u32,
    namespace: Option<&'a NamespaceName>,
}

impl<'a> Place<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        let (ordinal, namespace) = match &record.origin {
            Origin::Custom(registration) => (0, Some(&registration.namespace)),
            Origin::Iana(columns) => (columns.ordinal, None),
            Origin::Common { ordinal } => (*ordinal, None),
        };
        let port = |ports: PortRange| ports.first().number().into();
        Self {
            port: record.ports.map_or(ListKey::NO_PORT, port),
            transport: record.transport.map_or(Transport::ALL.len(), Transport::index) as u8,
            source: record.source() as u8,
            ordinal,
            namespace,
        }
    }
}

/// Which records to list; what is empty lets everything pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The namespace whose registrations are seen; none for all of them.
    pub namespace: Option<NamespaceName>,
    /// The sources.
    pub sources: BTreeSet<Source>,
    /// The states.
    pub states: BTreeSet<State>,
    /// The transports; `None` for records that do not say theirs.
    pub transports: BTreeSet<Option<Transport>>,
    /// The run of ports to share a port with.
    pub ports: Option<PortRange>,
    /// How the service name begins, in lower case.
    pub service_name_prefix: String,
    /// Part of the assignee, in lower case.
    pub assignee: String,
    /// Labels to have.
    pub labels: Labels,
    /// The pool that the ports come from.
    pub pool: Option<PoolName>,
}

impl Filter {
    /// Whether the record passes.
    #[must_use]
    pub fn passes(&self, record: &Record) -> bool {
        (self.sources.is_empty() || self.sources.contains(&record.source()))
            && (self.states.is_empty() || self.states.contains(&record.state))
            && (self.transports.is_empty() || self.transports.contains(&record.transport))
            && self.ports.is_none_or(|run| record.ports.is_some_and(|ports| ports.overlaps(run)))
            && (self.service_name_prefix.is_empty() || self.passes_prefix(record))
            && (self.assignee.is_empty() || self.passes_assignee(record))
            && self.passes_labels(record)
            && self.pool.as_ref().is_none_or(|pool| {
                let pooled = record.registration().and_then(|own| own.pooled.as_ref());
                pooled.is_some_and(|pooled| pooled.pool == *pool)
            })
    }

    fn passes_prefix(&self, record: &Record) -> bool {
        let name = record.service_name.as_deref().unwrap_or_default();
        let prefix = &self.service_name_prefix;
        match name.as_bytes().get(..prefix.len()) {
            Some(beginning) if name.is_ascii() => beginning.eq_ignore_ascii_case(prefix.as_bytes()),
            None if name.is_ascii() => false,
            _ => name.to_lowercase().starts_with(prefix),
        }
    }

    fn passes_assignee(&self, record: &Record) -> bool {
        let (assignee, part) = (&*record.assignee, self.assignee.as_bytes());
        if assignee.is_ascii() {
            let mut parts = assignee.as_bytes().windows(part.len());
            return parts.any(|of_it| of_it.eq_ignore_ascii_case(part));
        }
        assignee.to_lowercase().contains(&self.assignee)
    }

    fn passes_labels(&self, record: &Record) -> bool {
        self.labels.pairs().is_empty()
            || record.registration().is_some_and(|registration| {
                let has = registration.labels.pairs();
                self.labels.pairs().iter().all(|(key, value)| has.get(key) == Some(value))
            })
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<'a> {
    /// Its records.
    pub records: Vec<&'a Arc<Record>>,
    /// Where the next page begins, if there is one.
    pub next: Option<ListKey>,
    /// How many records pass the filter, on all pages.
    pub total: u32,
}

/// The page of at most `size` records from the place `from` on.
#[must_use]
pub fn page<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    size: usize,
) -> Page<'a> {
    // One more tells whether there is another page.
    let most = size + 1;
    let (reference, of_reference) = of_reference(snapshot, filter, from, most);
    let (own, of_own) = custom::first(snapshot, filter, from, most);
    let mut merged =
        reference.into_iter().merge_by(own, |a, b| Place::of(a) <= Place::of(b)).peekable();
    let records: Vec<_> = merged.by_ref().take(size).collect();
    let next = merged.peek().map(|record| ListKey::of(record));
    Page { records, next, total: of_reference + of_own }
}

/// Of the reference's records that pass, the first from the place on, and how many there are.
fn of_reference<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    most: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    let is_asked =
        filter.sources.is_empty() || filter.sources.iter().any(|source| *source != Source::Custom);
    if !is_asked || filter.pool.is_some() || !filter.labels.pairs().is_empty() {
        return (Vec::new(), 0);
    }
    let reference = snapshot.reference();
    let passing = reference.listed_from(from).filter(|record| filter.passes(record));
    let total = reference.records().iter().filter(|record| filter.passes(record)).count();
    (passing.take(most).collect(), total as u32)
}

#[cfg(test)]
mod tests;
