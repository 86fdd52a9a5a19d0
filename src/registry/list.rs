//! Lists: which records pass a filter, in an order that pages can be cut from.

use std::collections::BTreeSet;
use std::sync::Arc;

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
        let (ordinal, namespace) = match &record.origin {
            Origin::Custom(registration) => (0, Some(registration.namespace.clone())),
            Origin::Iana(columns) => (columns.ordinal, None),
            Origin::Common { ordinal } => (*ordinal, None),
        };
        Self {
            port: record.ports.map_or(Self::NO_PORT, |ports| ports.first().number().into()),
            transport: record.transport.map_or(Transport::ALL.len(), Transport::index) as u8,
            source: record.source() as u8,
            ordinal,
            namespace,
        }
    }

    /// The port of the place, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        Port::try_from(self.port).ok()
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
            && (self.assignee.is_empty() || record.assignee.to_lowercase().contains(&self.assignee))
            && self.passes_labels(record)
            && self.pool.as_ref().is_none_or(|pool| {
                let pooled = record.registration().and_then(|own| own.pooled.as_ref());
                pooled.is_some_and(|pooled| pooled.pool == *pool)
            })
    }

    fn passes_prefix(&self, record: &Record) -> bool {
        let name = record.service_name.as_deref().unwrap_or_default();
        name.to_lowercase().starts_with(&self.service_name_prefix)
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
    let mut passing = listed(snapshot, filter, from).peekable();
    let records: Vec<_> = passing.by_ref().take(size).collect();
    let next = passing.peek().map(|record| ListKey::of(record));
    drop(passing);
    Page { records, next, total: count(snapshot, filter) }
}

fn listed<'a, 'f>(
    snapshot: &'a Snapshot,
    filter: &'f Filter,
    from: Option<&'f ListKey>,
) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'f> {
    let reference = snapshot.reference().listed_from(from);
    let custom = snapshot.custom_listed_from(filter.namespace.as_ref(), from);
    itertools::merge_join_by(reference, custom, |a, b| ListKey::of(a) <= ListKey::of(b))
        .map(itertools::Either::into_inner)
        .filter(|record| filter.passes(record))
}

fn count(snapshot: &Snapshot, filter: &Filter) -> u32 {
    let reference = snapshot.reference().records().iter();
    let all = reference.chain(snapshot.custom_listed_from(filter.namespace.as_ref(), None));
    all.filter(|record| filter.passes(record)).count() as u32
}
