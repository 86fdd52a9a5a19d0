//! What stands in one namespace, and the indexes it is found by.

use std::borrow::Cow;
use std::sync::Arc;

use imbl::OrdMap;
use jiff::Timestamp;

use super::tally::Tally;
use crate::registry::assignment::Record;
use crate::registry::list::{ListKey, Place};
use crate::registry::name::PoolName;
use crate::registry::name_index::NameIndex;
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::service_name::fold;

/// What stands in one namespace.
#[derive(Clone, Debug)]
pub(super) struct NamespaceState {
    pub(super) settings: Arc<Namespace>,
    /// By transport and first port. Those of a transport never overlap, so the nearest entry at or
    /// below a port tells who holds it.
    pub(super) by_port: OrdMap<(Transport, Port), Arc<Record>>,
    /// By folded service name.
    pub(super) book: NameIndex,
    tally: Tally,
    /// What pools gave, by pool, folded service name and instance.
    by_instance: OrdMap<(PoolName, String, Arc<str>, Transport), Arc<Record>>,
    pub(super) pools: OrdMap<PoolName, Arc<SharedPool>>,
    /// By transport and first port of each run. Pools never overlap on a transport.
    pool_runs: OrdMap<(Transport, Port), (PortRange, Arc<SharedPool>)>,
    /// By transport and port: which services gave the port back, and until when it rests from each.
    /// What has rested long enough stays until the port is given back again and again.
    pub(super) resting: OrdMap<(Transport, Port), Vec<CoolDownEntry>>,
}

/// From how many services a port rests at the most: those that rest longest.
const MAX_COOLING_DOWN: usize = 4;

/// That a port rests.
#[derive(Clone, Debug)]
pub struct CoolDownEntry {
    /// Until when.
    pub until: Timestamp,
    /// What it was part of.
    pub record: Arc<Record>,
}

impl NamespaceState {
    /// An empty namespace.
    pub(super) fn new(settings: Arc<Namespace>) -> Self {
        Self {
            settings,
            by_port: OrdMap::new(),
            book: NameIndex::default(),
            tally: Tally::new(),
            by_instance: OrdMap::new(),
            pools: OrdMap::new(),
            pool_runs: OrdMap::new(),
            resting: OrdMap::new(),
        }
    }

    pub(super) fn put_in(&mut self, record: &Arc<Record>) {
        self.book.put(record);
        self.index(record);
    }

    /// Puts in many at once, and the book of them.
    pub(super) fn put_all(&mut self, records: &[Arc<Record>], book: NameIndex) {
        if self.book.is_empty() {
            self.book = book;
        } else {
            for record in records {
                self.book.put(record);
            }
        }
    }

    /// Puts in the record, but not into the book.
    pub(super) fn index(&mut self, record: &Arc<Record>) {
        let Some(keys) = Keys::of(record) else { return };
        if let Some(replaced) = self.by_port.insert(keys.port, Arc::clone(record)) {
            self.tally.take(&replaced);
        }
        self.tally.put(record);
        if let Some(key) = keys.instance {
            self.by_instance.insert(key, Arc::clone(record));
        }
    }

    pub(super) fn take_out(&mut self, record: &Record) {
        let Some(keys) = Keys::of(record) else { return };
        self.book.take(record);
        if let Some(taken) = self.by_port.remove(&keys.port) {
            self.tally.take(&taken);
        }
        if let Some(key) = keys.instance {
            self.by_instance.remove(&key);
        }
    }

    /// Notes that the ports of a record rest.
    pub(super) fn start_cool_down(&mut self, record: &Arc<Record>, until: Timestamp) {
        let (Some(transport), Some(ports)) = (record.transport, record.ports) else { return };
        for port in ports.iter() {
            let resting = self.resting.entry((transport, port)).or_default();
            let name =
                |record: &Record| record.service_name.as_deref().map(fold).map(Cow::into_owned);
            let of_it = resting.iter_mut().find(|other| name(&other.record) == name(record));
            match of_it {
                Some(other) if other.until >= until => {}
                Some(other) => *other = CoolDownEntry { until, record: Arc::clone(record) },
                None => resting.push(CoolDownEntry { until, record: Arc::clone(record) }),
            }
            if resting.len() > MAX_COOLING_DOWN {
                let soonest = resting.iter().enumerate().min_by_key(|(_, other)| other.until);
                if let Some((place, _)) = soonest {
                    resting.remove(place);
                }
            }
        }
    }

    pub(super) fn put_pool(&mut self, pool: &Arc<SharedPool>) {
        self.pools.insert(pool.name.clone(), Arc::clone(pool));
        for &transport in &pool.transports {
            for run in pool.member_ports().ranges() {
                self.pool_runs.insert((transport, run.first()), (*run, Arc::clone(pool)));
            }
        }
    }

    pub(super) fn take_pool(&mut self, pool: &SharedPool) {
        self.pools.remove(&pool.name);
        for &transport in &pool.transports {
            for run in pool.member_ports().ranges() {
                self.pool_runs.remove(&(transport, run.first()));
            }
        }
    }

    /// Takes over other settings. What pools may give follows from them, and is to be found anew.
    pub(super) fn set_namespace(&mut self, settings: &Arc<Namespace>) {
        let is_same_policy = self.settings.policy == settings.policy;
        self.settings = Arc::clone(settings);
        if is_same_policy {
            return;
        }
        let pools: Vec<_> = self.pools.values().cloned().collect();
        for pool in pools {
            self.put_pool(&SharedPool::share(Pool::clone(&pool)));
        }
    }

    /// The registration that holds the port.
    pub(super) fn holder(&self, port: Port, transport: Transport) -> Option<&Arc<Record>> {
        let ((of, _), record) = self.by_port.get_prev(&(transport, port))?;
        (*of == transport && record.is_on(port)).then_some(record)
    }

    /// The first pool that has a port of the run.
    pub(super) fn pool_in(
        &self,
        ports: PortRange,
        transport: Transport,
    ) -> Option<&Arc<SharedPool>> {
        // Runs of a transport do not overlap, so the one nearest below the last port is the only
        // one that can begin below the first port and still reach in.
        let below = self.pool_runs.get_prev(&(transport, ports.first()));
        let reaching_in =
            below.filter(|((of, _), (run, _))| *of == transport && run.overlaps(ports));
        let inside =
            || self.pool_runs.range((transport, ports.first())..=(transport, ports.last())).next();
        reaching_in.or_else(inside).map(|(_, (_, pool))| pool)
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

    /// Whether there are registrations of the transport.
    pub(super) const fn has(&self, transport: Transport) -> bool {
        self.tally.has(transport)
    }

    /// How many registrations of the transport have a port of the run.
    pub(super) fn count(&self, transport: Transport, ports: PortRange) -> u32 {
        let first = ports.first();
        let reaching_in = self
            .holder(first, transport)
            .is_some_and(|record| record.ports.is_some_and(|held| held.first() < first));
        let begin_on = self.tally.on(ports, transport, |part| {
            self.by_port.range((transport, part.first())..=(transport, part.last())).count() as u32
        });
        begin_on + u32::from(reaching_in)
    }

    /// The registrations of the transport that have a port of the run, from the first that is at or
    /// after the key in the order of lists.
    pub(super) fn listed_from<'a, 'f>(
        &'a self,
        transport: Transport,
        ports: PortRange,
        from: Option<&'f ListKey>,
    ) -> impl Iterator<Item = (Port, &'a Arc<Record>)> + use<'a, 'f> {
        let reaching_in = || self.holder(ports.first(), transport).and_then(|record| record.ports);
        let begins = match ports.first() {
            Port::ZERO => Port::ZERO,
            first => reaching_in().map_or(first, PortRange::first),
        };
        // A key beyond the last port asks for records without one, which no registration is.
        let start = from.map_or(Some(begins), |from| Some(from.port()?.max(begins)));
        let run = start
            .filter(|start| *start <= ports.last())
            .map(|start| self.by_port.range((transport, start)..=(transport, ports.last())));
        let is_before = move |port: Port, record: &Record| {
            from.is_some_and(|from| from.port() == Some(port) && Place::of(record) < from.place())
        };
        let listed = run.into_iter().flatten().map(|((_, port), record)| (*port, record));
        listed.skip_while(move |(port, record)| is_before(*port, record))
    }
}

/// Where a registration stands in the indexes.
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
