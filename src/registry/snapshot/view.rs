//! Queries on a snapshot from the view of one namespace.

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

/// The registry as one namespace sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) reference: &'a Arc<Reference>,
    pub(super) state: &'a NamespaceState,
}

/// The result of a port lookup.
#[derive(Debug)]
pub struct PortLookup<'a> {
    /// The port.
    pub port: Port,
    /// The strongest state among the records.
    pub state: State,
    /// The records: registrations, then IANA's in registry order, then common uses.
    pub records: Vec<&'a Arc<Record>>,
}

/// The result of a service lookup.
#[derive(Debug)]
pub struct ServiceLookup<'a> {
    /// Its records, those with a port first.
    pub records: Vec<&'a Arc<Record>>,
}

/// No service has this name.
#[derive(Debug, thiserror::Error)]
#[error("service {name:?} does not exist{}", nearest_hint(.nearest))]
pub struct UnknownService {
    /// The requested name.
    pub name: String,
    /// Similar existing names.
    pub nearest: Vec<String>,
}

/// The namespace has no pool with this name.
#[derive(Debug, thiserror::Error)]
#[error("pool {name} does not exist in namespace {namespace}{}", nearest_hint(.nearest))]
pub struct UnknownPool {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The requested name.
    pub name: PoolName,
    /// Similar existing names.
    pub nearest: Vec<String>,
}

impl<'a> View<'a> {
    /// The data that is the same for all namespaces.
    #[must_use]
    pub fn reference(&self) -> &'a Reference {
        self.reference
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &'a Arc<Namespace> {
        &self.state.settings
    }

    /// The number of registrations in the namespace.
    #[must_use]
    pub fn size(&self) -> usize {
        self.state.by_port.len()
    }

    /// The pools of the namespace, by name.
    #[must_use]
    pub fn pools(&self) -> impl ExactSizeIterator<Item = &'a Arc<SharedPool>> + use<'a> {
        self.state.pools.values()
    }

    /// The pool with this name.
    ///
    /// # Errors
    /// If the namespace has no such pool.
    pub fn pool(&self, name: &PoolName) -> Result<&'a Arc<SharedPool>, UnknownPool> {
        self.state.pools.get(name).ok_or_else(|| UnknownPool {
            namespace: self.namespace().name.clone(),
            name: name.clone(),
            nearest: nearest(
                name.as_str(),
                self.state.pools.keys().map(|known| KnownName::from(known.as_str())),
            ),
        })
    }

    /// The first pool that overlaps the range on the transport.
    #[must_use]
    pub fn pool_in(&self, ports: PortRange, transport: Transport) -> Option<&'a Arc<SharedPool>> {
        self.state.pool_in(ports, transport)
    }

    /// The ports that a pool has allocated to the instance of a service, by transport.
    pub fn held_by_instance(
        &self,
        pool: &PoolName,
        service_name: &str,
        instance: &str,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        self.state.of_instance(pool, &fold(service_name), instance)
    }

    /// The cool-downs of the range on the transport that have not ended at this time, by port.
    pub fn cooling_down_in(
        &self,
        ports: PortRange,
        transport: Transport,
        now: Timestamp,
    ) -> impl Iterator<Item = (Port, &'a CoolDownEntry)> + use<'a> {
        let range = (transport, ports.first())..=(transport, ports.last());
        let cooling = self.state.cooling.range(range);
        cooling
            .flat_map(|((_, port), of_port)| of_port.iter().map(|cooling| (*port, cooling)))
            .filter(move |(_, cooling)| cooling.until > now)
    }

    /// The registrations that hold the port, by transport.
    pub fn holders(
        &self,
        port: Port,
        transport: Option<Transport>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let state = self.state;
        let requested = match transport {
            _ if state.by_port.is_empty() => &[],
            Some(transport) => &Transport::ALL[transport.index()..=transport.index()],
            None => &Transport::ALL[..],
        };
        requested.iter().filter_map(move |&transport| state.holder(port, transport))
    }

    /// The registrations that overlap the range on the transport, lowest port first.
    pub fn holders_in(
        &self,
        ports: PortRange,
        transport: Transport,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let state = self.state;
        let overlapping_start = state
            .holder(ports.first(), transport)
            .filter(|record| record.ports.is_none_or(|held| held.first() < ports.first()));
        let inside = state.by_port.range((transport, ports.first())..=(transport, ports.last()));
        overlapping_start.into_iter().chain(inside.map(|(_, record)| record))
    }

    /// Looks up a port. The result may have no records.
    #[must_use]
    pub fn lookup_port(&self, port: Port, transport: Option<Transport>) -> PortLookup<'a> {
        let mut records: Vec<_> = self.holders(port, transport).collect();
        let reference: &'a Reference = self.reference;
        records.extend(reference.at(port).filter(|record| record.may_be_on(transport)));
        let state = records.iter().map(|record| record.state).min().unwrap_or(State::Unlisted);
        PortLookup { port, state, records }
    }

    /// The label of a port that is registered in the namespace.
    #[must_use]
    pub fn custom_label(&self, port: Port, transport: Option<Transport>) -> Option<Label> {
        let holder = self.holders(port, transport).next()?;
        Some(Label::of(std::iter::once(holder)))
    }

    /// Looks up a service by service name, an alias of one, or a guide's alias, title or full name.
    ///
    /// # Errors
    /// If no record has such a name on the transport.
    pub fn lookup_service(
        &self,
        name: &str,
        transport: Option<Transport>,
    ) -> Result<ServiceLookup<'a>, UnknownService> {
        let mut records: Vec<&'a Arc<Record>> = Vec::new();
        let mut seen = BTreeSet::new();
        for name in self.equivalent_names(&fold(name)) {
            let found = self.state.names.named(&name).chain(self.reference().named(&name));
            records.extend(
                found.filter(|record| record.may_be_on(transport) && seen.insert(record.uid)),
            );
        }
        if records.is_empty() {
            let known = self.reference.names().chain(self.state.names.names());
            return Err(UnknownService {
                name: name.to_owned(),
                nearest: nearest(&fold(name), known),
            });
        }
        records.sort_by_key(|record| (record.ports.is_none(), record.source()));
        Ok(ServiceLookup { records })
    }

    /// The name, the names that IANA links with it, and the service names of the guide with this
    /// alias or title, unless the guide describes the service with this name itself.
    fn equivalent_names(&self, folded: &str) -> Vec<String> {
        let mut names = vec![folded.to_owned()];
        let linked = self.reference.named(folded).flat_map(|record| record.aliases());
        names.extend(linked.map(|alias| fold(alias).into_owned()));
        if let Some(guide) = self.reference.guide_for_word(folded)
            && !guide.service_names.iter().any(|name| fold(name) == folded)
        {
            names.extend(guide.service_names.iter().map(|name| fold(name).into_owned()));
        }
        names
    }

    /// The guide for the record's service.
    #[must_use]
    pub fn guide_of(&self, record: &Record) -> Option<&'a Arc<SharedGuide>> {
        let reference: &'a Reference = self.reference;
        record.service_name.as_deref().and_then(|name| reference.guide_of(name))
    }

    /// The number of registrations that overlap the range (or have any port) on one of the
    /// transports.
    pub(in crate::registry) fn count(
        &self,
        transports: &[Transport],
        ports: Option<PortRange>,
    ) -> u32 {
        let ports = ports.unwrap_or(PortRange::ALL);
        transports.iter().map(|transport| self.state.count(*transport, ports)).sum()
    }

    /// For each transport, the registrations that overlap the range (or have any port), in list
    /// order from the first at or after the key, each with its port and transport.
    pub(in crate::registry) fn listed_from<'f>(
        &self,
        transports: &'f [Transport],
        ports: Option<PortRange>,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<
        Item = impl Iterator<Item = ((Port, Transport), &'a Arc<Record>)> + use<'a, 'f>,
    > + use<'a, 'f> {
        let (state, ports) = (self.state, ports.unwrap_or(PortRange::ALL));
        let used = transports.iter().filter(move |transport| state.has(**transport));
        used.map(move |&transport| {
            let range = state.listed_from(transport, ports, from);
            range.map(move |(port, record)| ((port, transport), record))
        })
    }

    /// The registrations of the namespace by name.
    pub(in crate::registry) fn name_index(&self) -> &'a NameIndex {
        &self.state.names
    }
}
