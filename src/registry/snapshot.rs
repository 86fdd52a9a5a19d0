//! The registry at one revision: immutable, shared, and answered from without a lock.
//!
//! A new snapshot shares all that did not change with the one before, so that making one costs
//! what changed and not what exists.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use super::assignment::{NamespaceName, Record, Revision, State, Uid};
use super::change::Change;
use super::guide::SharedGuide;
use super::list::ListKey;
use super::port::{Port, PortRange, Transport};
use super::reference::{Label, Reference};
use super::service_name::fold;

/// The registry at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: Revision,
    reference: Arc<Reference>,
    namespaces: OrdMap<NamespaceName, Namespace>,
    custom: HashMap<Uid, Arc<Record>>,
}

/// The registrations of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// By transport and first port. Those of a transport never overlap, so the nearest entry at or
    /// below a port tells who holds it.
    by_port: OrdMap<(Transport, Port), Arc<Record>>,
    /// By folded service name.
    by_name: OrdMap<(String, Transport, Port), Arc<Record>>,
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
    /// The registry with these namespaces and no registrations yet.
    #[must_use]
    pub fn new(
        revision: Revision,
        reference: Arc<Reference>,
        namespaces: impl IntoIterator<Item = NamespaceName>,
    ) -> Self {
        let namespaces = namespaces.into_iter().map(|name| (name, Namespace::default())).collect();
        Self { revision, reference, namespaces, custom: HashMap::new() }
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

    /// The registry as it is seen from a namespace.
    ///
    /// # Errors
    /// If there is no such namespace.
    pub fn seen_from(&self, name: &NamespaceName) -> Result<View<'_>, UnknownNamespace> {
        match self.namespaces.get(name) {
            Some(namespace) => Ok(View { reference: &self.reference, namespace }),
            None => Err(UnknownNamespace {
                name: name.clone(),
                nearest: nearest(name.as_str(), self.namespaces.keys().map(NamespaceName::as_str)),
            }),
        }
    }

    /// The record with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.custom.get(&uid).or_else(|| self.reference.by_uid(uid))
    }

    /// The registrations of one namespace or of all, in the order of lists, from the first at or
    /// after the key.
    pub fn custom_listed_from<'a, 'f>(
        &'a self,
        namespace: Option<&'f NamespaceName>,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'f> {
        let namespaces = match namespace {
            Some(name) => itertools::Either::Left(self.namespaces.get(name).into_iter()),
            None => itertools::Either::Right(self.namespaces.values()),
        };
        itertools::kmerge_by(
            namespaces.flat_map(move |namespace| namespace.listed_from(from)),
            |a: &&Arc<Record>, b: &&Arc<Record>| ListKey::of(a) < ListKey::of(b),
        )
    }

    /// The snapshot after these changes, which all happened at `revision`.
    #[must_use]
    pub fn after(&self, revision: Revision, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        for change in changes {
            if let Some(before) = change.before() {
                next.take_out(before);
            }
            if let Some(after) = change.after() {
                next.put_in(after);
            }
        }
        next
    }

    /// The snapshot with registrations that a store holds.
    #[must_use]
    pub fn with_custom(mut self, records: impl IntoIterator<Item = Arc<Record>>) -> Self {
        for record in records {
            self.put_in(&record);
        }
        self
    }

    fn put_in(&mut self, record: &Arc<Record>) {
        if let Some((namespace, by_port, by_name)) = self.keys(record) {
            namespace.by_port.insert(by_port, Arc::clone(record));
            namespace.by_name.insert(by_name, Arc::clone(record));
            self.custom.insert(record.uid, Arc::clone(record));
        }
    }

    fn take_out(&mut self, record: &Arc<Record>) {
        if let Some((namespace, by_port, by_name)) = self.keys(record) {
            namespace.by_port.remove(&by_port);
            namespace.by_name.remove(&by_name);
            self.custom.remove(&record.uid);
        }
    }

    /// Where a registration stands in the indexes of its namespace.
    #[expect(clippy::type_complexity, reason = "the two keys of one place, named nowhere else")]
    fn keys(
        &mut self,
        record: &Record,
    ) -> Option<(&mut Namespace, (Transport, Port), (String, Transport, Port))> {
        let name = &record.registration()?.namespace;
        let (transport, first) = (record.transport?, record.ports?.first());
        let folded = record.service_name.as_deref().map(fold).unwrap_or_default().into_owned();
        let namespace = self.namespaces.entry(name.clone()).or_default();
        Some((namespace, (transport, first), (folded, transport, first)))
    }
}

impl Namespace {
    /// The registration that holds the port.
    fn holder(&self, port: Port, transport: Transport) -> Option<&Arc<Record>> {
        let ((of, _), record) = self.by_port.get_prev(&(transport, port))?;
        (*of == transport && record.is_on(port)).then_some(record)
    }

    fn named<'a>(&'a self, folded: &str) -> impl Iterator<Item = &'a Arc<Record>> {
        let first = (folded.to_owned(), Transport::Tcp, Port::ZERO);
        let last = (folded.to_owned(), Transport::Dccp, Port::MAX);
        self.by_name.range(first..=last).map(|(_, record)| record)
    }

    /// One run of records in the order of lists for each transport.
    fn listed_from<'a, 'f>(
        &'a self,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<Item = impl Iterator<Item = &'a Arc<Record>> + use<'a, 'f>> + use<'a, 'f>
    {
        // A key beyond the last port asks for records without one, which no registration is.
        let start = from.map_or(Some(Port::ZERO), ListKey::port);
        Transport::ALL.into_iter().filter_map(move |transport| {
            let run = self.by_port.range((transport, start?)..=(transport, Port::MAX));
            Some(run.map(|(_, record)| record).skip_while(move |record| {
                from.is_some_and(|from| ListKey::of(record).cmp(from) == Ordering::Less)
            }))
        })
    }
}

/// The registry as it is seen from one namespace.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    reference: &'a Arc<Reference>,
    namespace: &'a Namespace,
}

/// What is on a port.
#[derive(Debug)]
pub struct PortAnswer<'a> {
    /// The port.
    pub port: Port,
    /// The strongest state among the records.
    pub state: State,
    /// The records: registrations, then IANA's in registry order, then common uses.
    pub records: Vec<&'a Arc<Record>>,
}

/// Where a service is.
#[derive(Debug)]
pub struct ServiceAnswer<'a> {
    /// Its records, those with a port first.
    pub records: Vec<&'a Arc<Record>>,
}

/// No service has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no service {name:?}{}", nearest_hint(.nearest))]
pub struct UnknownService {
    /// What was asked for.
    pub name: String,
    /// The nearest names there are.
    pub nearest: Vec<String>,
}

fn nearest_hint(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; the nearest names are {}", nearest.join(", "))
    }
}

impl<'a> View<'a> {
    /// What is the same for everybody.
    #[must_use]
    pub fn reference(&self) -> &'a Reference {
        self.reference
    }

    /// The registrations that hold the port, by transport.
    pub fn holders(
        &self,
        port: Port,
        transport: Option<Transport>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let namespace = self.namespace;
        let asked = match transport {
            _ if namespace.by_port.is_empty() => &[],
            Some(transport) => &Transport::ALL[transport.index()..=transport.index()],
            None => &Transport::ALL[..],
        };
        asked.iter().filter_map(move |&transport| namespace.holder(port, transport))
    }

    /// The registrations that hold a port of the run on the transport, lowest first.
    pub fn holders_in(
        &self,
        ports: PortRange,
        transport: Transport,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let namespace = self.namespace;
        let reaching_in = namespace
            .holder(ports.first(), transport)
            .filter(|record| record.ports.is_none_or(|held| held.first() < ports.first()));
        let inside =
            namespace.by_port.range((transport, ports.first())..=(transport, ports.last()));
        reaching_in.into_iter().chain(inside.map(|(_, record)| record))
    }

    /// What is on this port? A port without records is an answer too.
    #[must_use]
    pub fn lookup_port(&self, port: Port, transport: Option<Transport>) -> PortAnswer<'a> {
        let mut records: Vec<_> = self.holders(port, transport).collect();
        let reference: &'a Reference = self.reference;
        records.extend(reference.at(port).filter(|record| record.may_be_on(transport)));
        let state = records.iter().map(|record| record.state).min().unwrap_or(State::Unlisted);
        PortAnswer { port, state, records }
    }

    /// What is this port called, if the namespace has its own word for it?
    #[must_use]
    pub fn own_label(&self, port: Port, transport: Option<Transport>) -> Option<Label> {
        let holder = self.holders(port, transport).next()?;
        Some(Label::of(std::iter::once(holder)))
    }

    /// Where is the service of this name? The name may be a service name, an alias of one, or a
    /// guide's alias, title or full name.
    ///
    /// # Errors
    /// If nothing goes by that name on the transport.
    pub fn lookup_service(
        &self,
        name: &str,
        transport: Option<Transport>,
    ) -> Result<ServiceAnswer<'a>, UnknownService> {
        let mut records: Vec<&'a Arc<Record>> = Vec::new();
        let mut seen = BTreeSet::new();
        for name in self.names_meant_by(&fold(name)) {
            let found = self.namespace.named(&name).chain(self.reference().named(&name));
            records.extend(
                found.filter(|record| record.may_be_on(transport) && seen.insert(record.uid)),
            );
        }
        if records.is_empty() {
            let own = self.namespace.by_name.keys().map(|(name, ..)| name.as_str());
            let known = self.reference.names().chain(own);
            return Err(UnknownService {
                name: name.to_owned(),
                nearest: nearest(&fold(name), known),
            });
        }
        records.sort_by_key(|record| (record.ports.is_none(), record.source()));
        Ok(ServiceAnswer { records })
    }

    /// The name itself, the names IANA links with it, and those of the guide that people mean by
    /// it, unless the guide speaks of that very name.
    fn names_meant_by(&self, folded: &str) -> Vec<String> {
        let mut names = vec![folded.to_owned()];
        let linked = self.reference.named(folded).flat_map(|record| record.aliases());
        names.extend(linked.map(|alias| fold(alias).into_owned()));
        if let Some(guide) = self.reference.guide_meant_by(folded)
            && !guide.service_names.iter().any(|name| fold(name) == folded)
        {
            names.extend(guide.service_names.iter().map(|name| fold(name).into_owned()));
        }
        names
    }

    /// The guide that speaks of the record's service.
    #[must_use]
    pub fn guide_of(&self, record: &Record) -> Option<&'a Arc<SharedGuide>> {
        let reference: &'a Reference = self.reference;
        record.service_name.as_deref().and_then(|name| reference.guide_of(name))
    }

    /// Every registration of the namespace, by service name.
    pub fn own(&self) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        self.namespace.by_name.values()
    }
}

/// Up to five of the known names that look like the one asked for, nearest first. None for a name
/// so long that it can't be a slip of the hand.
fn nearest<'n>(asked: &str, known: impl Iterator<Item = &'n str>) -> Vec<String> {
    const AT_MOST: usize = 5;
    const ALIKE: f64 = 0.8;
    const LONGEST: usize = 40;
    if asked.len() > LONGEST {
        return Vec::new();
    }
    let may_be_meant = |name: &&str| name.len().abs_diff(asked.len()) <= 2 + asked.len() / 2;
    let mut alike: Vec<(f64, &str)> = known
        .filter(may_be_meant)
        .map(|name| (strsim::jaro_winkler(asked, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    alike.dedup();
    alike.into_iter().take(AT_MOST).map(|(_, name)| name.to_owned()).collect()
}
