//! What is answered from a snapshot, as it is seen from one namespace.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::namespace_state::{CoolDownEntry, NamespaceState};
use crate::registry::assignment::{Record, State};
use crate::registry::guide::SharedGuide;
use crate::registry::list::ListKey;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::name_index::NameIndex;
use crate::registry::namespace::Namespace;
use crate::registry::pool::SharedPool;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::reference::{Label, Reference};
use crate::registry::service_name::fold;
use crate::registry::similarity::{KnownName, nearest, nearest_hint};

/// The registry as it is seen from one namespace.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) reference: &'a Arc<Reference>,
    pub(super) space: &'a NamespaceState,
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

/// The namespace has no such pool.
#[derive(Debug, thiserror::Error)]
#[error("there is no pool {name} in namespace {namespace}{}", nearest_hint(.nearest))]
pub struct UnknownPool {
    /// Where it was looked for.
    pub namespace: NamespaceName,
    /// What was asked for.
    pub name: PoolName,
    /// The nearest names there are.
    pub nearest: Vec<String>,
}

impl<'a> View<'a> {
    /// What is the same for everybody.
    #[must_use]
    pub fn reference(&self) -> &'a Reference {
        self.reference
    }

    /// The namespace it is seen from.
    #[must_use]
    pub fn namespace(&self) -> &'a Arc<Namespace> {
        &self.space.settings
    }

    /// How many registrations the namespace holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.space.by_port.len()
    }

    /// The pools of the namespace, by name.
    #[must_use]
    pub fn pools(&self) -> impl ExactSizeIterator<Item = &'a Arc<SharedPool>> + use<'a> {
        self.space.pools.values()
    }

    /// The pool of this name.
    ///
    /// # Errors
    /// If the namespace has none.
    pub fn pool(&self, name: &PoolName) -> Result<&'a Arc<SharedPool>, UnknownPool> {
        self.space.pools.get(name).ok_or_else(|| UnknownPool {
            namespace: self.namespace().name.clone(),
            name: name.clone(),
            nearest: nearest(
                name.as_str(),
                self.space.pools.keys().map(|known| KnownName::from(known.as_str())),
            ),
        })
    }

    /// The first pool that has a port of the run on the transport.
    #[must_use]
    pub fn pool_in(&self, ports: PortRange, transport: Transport) -> Option<&'a Arc<SharedPool>> {
        self.space.pool_in(ports, transport)
    }

    /// What the instance of a service has of a pool, by transport.
    pub fn held_by_instance(
        &self,
        pool: &PoolName,
        service_name: &str,
        instance: &str,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        self.space.of_instance(pool, &fold(service_name), instance)
    }

    /// What rests on the ports of the run on the transport at that time, lowest port first.
    pub fn cooling_down_in(
        &self,
        ports: PortRange,
        transport: Transport,
        now: Timestamp,
    ) -> impl Iterator<Item = (Port, &'a CoolDownEntry)> + use<'a> {
        let run = (transport, ports.first())..=(transport, ports.last());
        let resting = self.space.resting.range(run);
        resting
            .flat_map(|((_, port), of_port)| of_port.iter().map(|resting| (*port, resting)))
            .filter(move |(_, resting)| resting.until > now)
    }

    /// The registrations that hold the port, by transport.
    pub fn holders(
        &self,
        port: Port,
        transport: Option<Transport>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let space = self.space;
        let asked = match transport {
            _ if space.by_port.is_empty() => &[],
            Some(transport) => &Transport::ALL[transport.index()..=transport.index()],
            None => &Transport::ALL[..],
        };
        asked.iter().filter_map(move |&transport| space.holder(port, transport))
    }

    /// The registrations that hold a port of the run on the transport, lowest first.
    pub fn holders_in(
        &self,
        ports: PortRange,
        transport: Transport,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let space = self.space;
        let reaching_in = space
            .holder(ports.first(), transport)
            .filter(|record| record.ports.is_none_or(|held| held.first() < ports.first()));
        let inside = space.by_port.range((transport, ports.first())..=(transport, ports.last()));
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
    pub fn custom_label(&self, port: Port, transport: Option<Transport>) -> Option<Label> {
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
            let found = self.space.book.named(&name).chain(self.reference().named(&name));
            records.extend(
                found.filter(|record| record.may_be_on(transport) && seen.insert(record.uid)),
            );
        }
        if records.is_empty() {
            let known = self.reference.names().chain(self.space.book.names());
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

    /// How many registrations have a port of the run, or any, on one of the transports.
    pub(in crate::registry) fn count(
        &self,
        transports: &[Transport],
        ports: Option<PortRange>,
    ) -> u32 {
        let ports = ports.unwrap_or(PortRange::ALL);
        transports.iter().map(|transport| self.space.count(*transport, ports)).sum()
    }

    /// For each of the transports the registrations that have a port of the run, or any, in the order
    /// of lists, from the first at or after the key, each with its port and transport.
    pub(in crate::registry) fn listed_from<'f>(
        &self,
        transports: &'f [Transport],
        ports: Option<PortRange>,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<
        Item = impl Iterator<Item = ((Port, Transport), &'a Arc<Record>)> + use<'a, 'f>,
    > + use<'a, 'f> {
        let (space, ports) = (self.space, ports.unwrap_or(PortRange::ALL));
        let there = transports.iter().filter(move |transport| space.has(**transport));
        there.map(move |&transport| {
            let run = space.listed_from(transport, ports, from);
            run.map(move |(port, record)| ((port, transport), record))
        })
    }

    /// The registrations of the namespace by name.
    pub(in crate::registry) fn book(&self) -> &'a NameIndex {
        &self.space.book
    }
}
