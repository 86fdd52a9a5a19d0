//! Lists: which records match a filter, in an order that allows stable pages.

mod custom;

use std::collections::BTreeSet;
use std::sync::Arc;

use itertools::Itertools;

use super::assignment::{Origin, Record, Source, State};
use super::name::{NamespaceName, PoolName};
use super::port::{Port, PortRange, Transport};
use super::snapshot::Snapshot;
use super::text::Labels;

/// A record's position in lists: ordered by port, transport, source and the source's own order.
/// Records without a port, and records without a transport, come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListKey {
    /// The first port; 65,536 if the record has none.
    pub port: u32,
    /// The transport's index; the number of transports if the record has none.
    pub transport: u8,
    /// The source's index.
    pub source: u8,
    /// The ordinal within IANA's registry or the common uses; 0 for registrations.
    pub ordinal: u32,
    /// The namespace of a registration.
    pub namespace: Option<NamespaceName>,
}

impl ListKey {
    const NO_PORT: u32 = 65_536;

    /// The record's position.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let position = ListPosition::of(record);
        Self {
            port: position.port,
            transport: position.transport,
            source: position.source,
            ordinal: position.ordinal,
            namespace: position.namespace.cloned(),
        }
    }

    /// The port of the position, if any.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        Port::try_from(self.port).ok()
    }

    pub(super) const fn position(&self) -> ListPosition<'_> {
        ListPosition {
            port: self.port,
            transport: self.transport,
            source: self.source,
            ordinal: self.ordinal,
            namespace: self.namespace.as_ref(),
        }
    }
}

/// A borrowed [`ListKey`], for comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListPosition<'a> {
    port: u32,
    transport: u8,
    source: u8,
    ordinal: u32,
    namespace: Option<&'a NamespaceName>,
}

impl<'a> ListPosition<'a> {
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

/// Which records to list. An empty field matches every record.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The namespace whose registrations are listed; `None` for all namespaces.
    pub namespace: Option<NamespaceName>,
    /// The sources.
    pub sources: BTreeSet<Source>,
    /// The states.
    pub states: BTreeSet<State>,
    /// The transports; `None` for records that do not state one.
    pub transports: BTreeSet<Option<Transport>>,
    /// The port range that a record must overlap.
    pub ports: Option<PortRange>,
    /// The prefix of the service name, in lower case.
    pub service_name_prefix: String,
    /// A part of the assignee, in lower case.
    pub assignee: String,
    /// The labels that a record must have.
    pub labels: Labels,
    /// The pool that allocated the ports.
    pub pool: Option<PoolName>,
}

impl Filter {
    /// Whether the record matches.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        (self.sources.is_empty() || self.sources.contains(&record.source()))
            && (self.states.is_empty() || self.states.contains(&record.state))
            && (self.transports.is_empty() || self.transports.contains(&record.transport))
            && self
                .ports
                .is_none_or(|range| record.ports.is_some_and(|ports| ports.overlaps(range)))
            && (self.service_name_prefix.is_empty() || self.matches_prefix(record))
            && (self.assignee.is_empty() || self.matches_assignee(record))
            && self.matches_labels(record)
            && self.pool.as_ref().is_none_or(|pool| {
                let pooled = record.registration().and_then(|custom| custom.pooled.as_ref());
                pooled.is_some_and(|pooled| pooled.pool == *pool)
            })
    }

    fn matches_prefix(&self, record: &Record) -> bool {
        let name = record.service_name.as_deref().unwrap_or_default();
        let prefix = &self.service_name_prefix;
        match name.as_bytes().get(..prefix.len()) {
            Some(beginning) if name.is_ascii() => beginning.eq_ignore_ascii_case(prefix.as_bytes()),
            None if name.is_ascii() => false,
            _ => name.to_lowercase().starts_with(prefix),
        }
    }

    fn matches_assignee(&self, record: &Record) -> bool {
        let (assignee, part) = (&*record.details.assignee, self.assignee.as_bytes());
        if assignee.is_ascii() {
            let mut parts = assignee.as_bytes().windows(part.len());
            return parts.any(|candidate| candidate.eq_ignore_ascii_case(part));
        }
        assignee.to_lowercase().contains(&self.assignee)
    }

    fn matches_labels(&self, record: &Record) -> bool {
        let labels = record.details.labels.pairs();
        self.labels.pairs().iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<'a> {
    /// Its records.
    pub records: Vec<&'a Arc<Record>>,
    /// Where the next page begins, if there is one.
    pub next: Option<ListKey>,
    /// The number of matching records on all pages.
    pub total: u32,
}

/// The page of at most `size` records that begins at the position `from`.
#[must_use]
pub fn page<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    size: usize,
) -> Page<'a> {
    // One more record shows whether there is another page.
    let limit = size + 1;
    let (reference, of_reference) = of_reference(snapshot, filter, from, limit);
    let (custom, of_custom) = custom::first(snapshot, filter, from, limit);
    let mut merged = reference
        .into_iter()
        .merge_by(custom, |a, b| ListPosition::of(a) <= ListPosition::of(b))
        .peekable();
    let records: Vec<_> = merged.by_ref().take(size).collect();
    let next = merged.peek().map(|record| ListKey::of(record));
    Page { records, next, total: of_reference + of_custom }
}

/// The first matching records of the reference at or after the position, and the number of all.
fn of_reference<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    limit: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    let is_requested =
        filter.sources.is_empty() || filter.sources.iter().any(|source| *source != Source::Custom);
    if !is_requested || filter.pool.is_some() || !filter.labels.pairs().is_empty() {
        return (Vec::new(), 0);
    }
    let reference = snapshot.reference();
    let matching = reference.listed_from(from).filter(|record| filter.matches(record));
    let total = reference.records().iter().filter(|record| filter.matches(record)).count();
    (matching.take(limit).collect(), total as u32)
}

#[cfg(test)]
mod tests;
