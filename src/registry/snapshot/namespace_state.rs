//! The current state of one namespace, with its indexes.

use std::borrow::Cow;
use std::sync::Arc;

use imbl::OrdMap;
use jiff::Timestamp;

use super::port_counts::PortCounts;
use crate::registry::assignment::Record;
use crate::registry::list::{ListKey, ListPosition};
use crate::registry::name::PoolName;
use crate::registry::name_index::NameIndex;
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::service_name::fold;

/// The current state of one namespace.
#[derive(Clone, Debug)]
pub(super) struct NamespaceState {
    pub(super) settings: Arc<Namespace>,
    /// By transport and first port. Port ranges of a transport never overlap, so the nearest entry
    /// at or below a port shows whether the port is held.
    pub(super) by_port: OrdMap<(Transport, Port), Arc<Record>>,
    /// By folded service name.
    pub(super) names: NameIndex,
    counts: PortCounts,
    /// Allocated ports, by pool, folded service name and instance.
    by_instance: OrdMap<(PoolName, String, Arc<str>, Transport), Arc<Record>>,
    pub(super) pools: OrdMap<PoolName, Arc<SharedPool>>,
    /// By transport and first port of each range. Pools never overlap on a transport.
    pool_ranges: OrdMap<(Transport, Port), (PortRange, Arc<SharedPool>)>,
    /// By transport and port: the services that released the port and the end of each cool-down.
    /// Entries are not removed when they expire, but replaced by later releases.
    pub(super) cooling: OrdMap<(Transport, Port), Vec<CoolDownEntry>>,
}

/// The maximum number of cool-downs of one port. The ones that end last are retained.
const MAX_COOLING_DOWN: usize = 4;

/// The cool-down of a port after one service released it.
#[derive(Clone, Debug)]
pub struct CoolDownEntry {
    /// When it ends.
    pub until: Timestamp,
    /// The released record, of whose range the port was a part.
    pub record: Arc<Record>,
}

impl NamespaceState {
    /// An empty namespace.
    pub(super) fn new(settings: Arc<Namespace>) -> Self {
        Self {
            settings,
            by_port: OrdMap::new(),
            names: NameIndex::default(),
            counts: PortCounts::new(),
            by_instance: OrdMap::new(),
            pools: OrdMap::new(),
            pool_ranges: OrdMap::new(),
            cooling: OrdMap::new(),
        }
    }

    pub(super) fn insert(&mut self, record: &Arc<Record>) {
        self.names.insert(record);
        self.index(record);
    }

    /// Inserts many records, with their prebuilt name index.
    pub(super) fn insert_all(&mut self, records: &[Arc<Record>], names: NameIndex) {
        if self.names.is_empty() {
            self.names = names;
        } else {
            for record in records {
                self.names.insert(record);
            }
        }
    }

    /// Inserts the record into all indexes but the name index.
    pub(super) fn index(&mut self, record: &Arc<Record>) {
        let Some(keys) = Keys::of(record) else { return };
        if let Some(replaced) = self.by_port.insert(keys.port, Arc::clone(record)) {
            self.counts.remove(&replaced);
        }
        self.counts.add(record);
        if let Some(key) = keys.instance {
            self.by_instance.insert(key, Arc::clone(record));
        }
    }

    pub(super) fn remove(&mut self, record: &Record) {
        let Some(keys) = Keys::of(record) else { return };
        self.names.remove(record);
        if let Some(taken) = self.by_port.remove(&keys.port) {
            self.counts.remove(&taken);
        }
        if let Some(key) = keys.instance {
            self.by_instance.remove(&key);
        }
    }

    /// Starts the cool-down of the record's ports.
    pub(super) fn start_cool_down(&mut self, record: &Arc<Record>, until: Timestamp) {
        let (Some(transport), Some(ports)) = (record.transport, record.ports) else { return };
        for port in ports.iter() {
            let cooling = self.cooling.entry((transport, port)).or_default();
            let name =
                |record: &Record| record.service_name.as_deref().map(fold).map(Cow::into_owned);
            let same_service = cooling.iter_mut().find(|other| name(&other.record) == name(record));
            match same_service {
                Some(other) if other.until >= until => {}
                Some(other) => *other = CoolDownEntry { until, record: Arc::clone(record) },
                None => cooling.push(CoolDownEntry { until, record: Arc::clone(record) }),
            }
            if cooling.len() > MAX_COOLING_DOWN {
                let soonest = cooling.iter().enumerate().min_by_key(|(_, other)| other.until);
                if let Some((index, _)) = soonest {
                    cooling.remove(index);
                }
            }
        }
    }

    pub(super) fn insert_pool(&mut self, pool: &Arc<SharedPool>) {
        self.pools.insert(pool.name.clone(), Arc::clone(pool));
        for &transport in &pool.transports {
            for range in pool.member_ports().ranges() {
                self.pool_ranges.insert((transport, range.first()), (*range, Arc::clone(pool)));
            }
        }
    }

    pub(super) fn remove_pool(&mut self, pool: &SharedPool) {
        self.pools.remove(&pool.name);
        for &transport in &pool.transports {
            for range in pool.member_ports().ranges() {
                self.pool_ranges.remove(&(transport, range.first()));
            }
        }
    }

    /// Replaces the settings. Renews the pools if the policy changed, because the ports that they may
    /// allocate depend on it.
    pub(super) fn set_namespace(&mut self, settings: &Arc<Namespace>) {
        let is_same_policy = self.settings.policy == settings.policy;
        self.settings = Arc::clone(settings);
        if !is_same_policy {
            self.renew_pools();
        }
    }

    /// Discards which ports the pools may allocate.
    pub(super) fn renew_pools(&mut self) {
        let pools: Vec<_> = self.pools.values().cloned().collect();
        for pool in pools {
            self.insert_pool(&SharedPool::share(Pool::clone(&pool)));
        }
    }

    /// The registration that holds the port.
    pub(super) fn holder(&self, port: Port, transport: Transport) -> Option<&Arc<Record>> {
        let ((of, _), record) = self.by_port.get_prev(&(transport, port))?;
        (*of == transport && record.is_on(port)).then_some(record)
    }

    /// The first pool that overlaps the range.
    pub(super) fn pool_in(
        &self,
        ports: PortRange,
        transport: Transport,
    ) -> Option<&Arc<SharedPool>> {
        // Ranges of a transport do not overlap, so the nearest one at or below the first port is
        // the only one that can begin below it and still overlap.
        let below = self.pool_ranges.get_prev(&(transport, ports.first()));
        let overlapping_start =
            below.filter(|((of, _), (range, _))| *of == transport && range.overlaps(ports));
        let inside = || {
            self.pool_ranges.range((transport, ports.first())..=(transport, ports.last())).next()
        };
        overlapping_start.or_else(inside).map(|(_, (_, pool))| pool)
    }

    pub(super) fn of_instance(
        &self,
        pool: &PoolName,
        folded: &str,
        instance: &str,
    ) -> impl Iterator<Item = &Arc<Record>> + use<'_> {
        let key = |transport| (pool.clone(), folded.to_owned(), instance.into(), transport);
        self.by_instance.range(key(Transport::Tcp)..=key(Transport::Dccp)).map(|(_, record)| record)
    }

    /// Whether the transport has registrations.
    pub(super) const fn has(&self, transport: Transport) -> bool {
        self.counts.has(transport)
    }

    /// The number of registrations of the transport that overlap the range.
    pub(super) fn count(&self, transport: Transport, ports: PortRange) -> u32 {
        let first = ports.first();
        let overlapping_start = self
            .holder(first, transport)
            .is_some_and(|record| record.ports.is_some_and(|held| held.first() < first));
        let begin_on = self.counts.in_range(ports, transport, |part| {
            self.by_port.range((transport, part.first())..=(transport, part.last())).count() as u32
        });
        begin_on + u32::from(overlapping_start)
    }

    /// The registrations of the transport that overlap the range, in list order, from the first at
    /// or after the key.
    pub(super) fn listed_from<'a, 'f>(
        &'a self,
        transport: Transport,
        ports: PortRange,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<Item = (Port, &'a Arc<Record>)> + use<'a, 'f> {
        let overlapping_start =
            || self.holder(ports.first(), transport).and_then(|record| record.ports);
        let begins = match ports.first() {
            Port::ZERO => Port::ZERO,
            first => overlapping_start().map_or(first, PortRange::first),
        };
        // A key beyond the last port selects records without a port, and every registration has
        // one.
        let start = from.map_or(Some(begins), |from| Some(from.port()?.max(begins)));
        let range = start
            .filter(|start| *start <= ports.last())
            .map(|start| self.by_port.range((transport, start)..=(transport, ports.last())));
        let is_before = move |port: Port, record: &Record| {
            from.is_some_and(|from| {
                from.port() == Some(port) && ListPosition::of(record) < from.position()
            })
        };
        let listed = range.into_iter().flatten().map(|((_, port), record)| (*port, record));
        listed.skip_while(move |(port, record)| is_before(*port, record))
    }
}

/// The keys of a registration in the indexes.
struct Keys {
    port: (Transport, Port),
    instance: Option<(PoolName, String, Arc<str>, Transport)>,
}

impl Keys {
    fn of(record: &Record) -> Option<Self> {
        let (transport, first) = (record.transport?, record.ports?.first());
        let instance = record.registration()?.pooled.as_ref().and_then(|pooled| {
            let instance = Arc::clone(pooled.instance.as_ref()?);
            let folded = record.service_name.as_deref().map(fold).unwrap_or_default();
            Some((pooled.pool.clone(), folded.into_owned(), instance, transport))
        });
        Some(Self { port: (transport, first), instance })
    }
}
