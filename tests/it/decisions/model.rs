//! A naive model of the registry: everything in plain lists, every rule by trying each port.
//!
//! It does not use snapshots, indexes or findings. `decide` must return what the model returns.

use std::collections::{BTreeMap, BTreeSet};

use portbook::registry::assignment::{Assignment, Source, State, Uid};
use portbook::registry::finding::FindingCode;
use portbook::registry::port::Transport;

/// Seconds since the start of the test.
pub type Seconds = i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationSelector {
    pub uid: Uid,
    pub namespace: String,
    pub name: String,
    pub first: u16,
    pub last: u16,
    pub transport: Transport,
    pub pool: Option<String>,
    pub instance: Option<String>,
    /// When it was allocated.
    pub since: Seconds,
    /// The duration of the lease, and its expiry.
    pub lease: Option<(Seconds, Seconds)>,
}

impl RegistrationSelector {
    fn is_on(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    pub accept: BTreeSet<FindingCode>,
    pub forbid: BTreeSet<FindingCode>,
    pub cool_down: Seconds,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub ports: BTreeSet<u16>,
    pub transports: BTreeSet<Transport>,
    pub accept: BTreeSet<FindingCode>,
    pub cool_down: Seconds,
    /// When it was last changed.
    pub changed: Seconds,
}

impl Pool {
    fn has(&self, port: u16, transport: Transport) -> bool {
        self.ports.contains(&port) && self.transports.contains(&transport)
    }
}

/// The key of a cool-down: namespace, port, transport.
pub type Place = (String, u16, Transport);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub now: Seconds,
    pub namespaces: BTreeMap<String, Policy>,
    pub pools: BTreeMap<(String, String), Pool>,
    pub held: Vec<RegistrationSelector>,
    /// The former holder, and the end of the cool-down.
    pub cooling_down: BTreeMap<Place, BTreeMap<String, Seconds>>,
}

/// A requested registration.
#[derive(Clone, Debug)]
pub struct PortRequest {
    pub namespace: String,
    pub name: String,
    pub first: u16,
    pub width: u16,
    pub transports: Vec<Transport>,
    pub pool: Option<String>,
    pub ttl: Option<Seconds>,
    pub acknowledges: bool,
}

/// The findings for a port on a transport, from a scan of all IANA records.
pub fn iana(records: &[Assignment], port: u16, transport: Transport) -> BTreeSet<FindingCode> {
    let width = |record: &Assignment| record.ports.map_or(0, |ports| ports.width());
    let here = |record: &&Assignment| {
        record.source() == Source::Iana
            && record.ports.is_some_and(|ports| {
                ports.first().number() <= port && port <= ports.last().number()
            })
    };
    let all: Vec<_> = records.iter().filter(here).collect();
    let says_best = |record: &&&Assignment| {
        all.iter().all(|other| {
            width(other) >= width(record)
                || record.transport.is_some() && record.transport != other.transport
        })
    };
    let states = all
        .iter()
        .filter(says_best)
        .filter(|record| record.transport.is_none_or(|own| own == transport))
        .map(|record| record.state);
    states
        .filter_map(|state| match state {
            State::Assigned => Some(FindingCode::IanaAssigned),
            State::Reserved => Some(FindingCode::IanaReserved),
            _ => None,
        })
        .collect()
}

impl Model {
    pub fn new() -> Self {
        let policy = Policy { cool_down: 24 * 60 * 60, ..Policy::default() };
        Self {
            now: 0,
            namespaces: [("default".to_owned(), policy)].into(),
            pools: BTreeMap::new(),
            held: Vec::new(),
            cooling_down: BTreeMap::new(),
        }
    }

    fn holder(
        &self,
        namespace: &str,
        port: u16,
        transport: Transport,
    ) -> Option<&RegistrationSelector> {
        self.held.iter().find(|held| {
            held.namespace == namespace && held.transport == transport && held.is_on(port)
        })
    }

    fn pool_of(&self, namespace: &str, port: u16, transport: Transport) -> Option<&str> {
        let mut own = self.pools.iter().filter(|((space, _), _)| space == namespace);
        own.find(|(_, pool)| pool.has(port, transport)).map(|((_, name), _)| name.as_str())
    }

    /// The findings of a request; `None` if it is blocked.
    fn findings(&self, request: &PortRequest, iana: &Iana) -> Option<BTreeSet<FindingCode>> {
        let mut found = BTreeSet::new();
        for &transport in &request.transports {
            for port in request.first..request.first + request.width {
                if self.holder(&request.namespace, port, transport).is_some()
                    || self.pool_of(&request.namespace, port, transport) != request.pool.as_deref()
                {
                    return None;
                }
                let position = (request.namespace.clone(), port, transport);
                let former_holders = self.cooling_down.get(&position);
                if former_holders.is_some_and(|former_holders| {
                    former_holders.keys().any(|former_holder| *former_holder != request.name)
                }) {
                    found.insert(FindingCode::CoolingDown);
                }
                found.extend(iana(port, transport));
                let twin = Transport::ALL.into_iter().filter(|other| *other != transport);
                let mut twins =
                    twin.filter_map(|other| self.holder(&request.namespace, port, other));
                if twins.any(|held| held.name != request.name) {
                    found.insert(FindingCode::TransportTwin);
                }
            }
        }
        Some(found)
    }

    /// Whether a request is granted.
    pub fn passes(&self, request: &PortRequest, iana: &Iana) -> bool {
        let Some(policy) = self.namespaces.get(&request.namespace) else { return false };
        let pool = request
            .pool
            .as_ref()
            .map(|name| self.pools.get(&(request.namespace.clone(), name.clone())));
        let pool = match pool {
            Some(None) => return false,
            pool => pool.flatten(),
        };
        let Some(found) = self.findings(request, iana) else { return false };
        found.into_iter().all(|code| {
            let is_note = code == FindingCode::TransportTwin;
            let by_pool = pool.is_some_and(|pool| pool.accept.contains(&code));
            !policy.forbid.contains(&code)
                && (is_note || by_pool || policy.accept.contains(&code) || request.acknowledges)
        })
    }

    /// Registers the request under these uids.
    pub fn register(
        &mut self,
        request: &PortRequest,
        instance: Option<&str>,
        uids: &mut dyn Iterator<Item = Uid>,
    ) {
        for (&transport, uid) in request.transports.iter().zip(uids) {
            self.held.push(RegistrationSelector {
                uid,
                namespace: request.namespace.clone(),
                name: request.name.clone(),
                first: request.first,
                last: request.first + request.width - 1,
                transport,
                pool: request.pool.clone(),
                instance: instance.map(str::to_owned),
                since: self.now,
                lease: request.ttl.map(|ttl| (ttl, self.now + ttl)),
            });
        }
    }

    /// The lowest port at which a pool has enough consecutive free ports.
    pub fn lowest(&self, request: &PortRequest, iana: &Iana) -> Option<u16> {
        let pool = &self.pools[&(request.namespace.clone(), request.pool.clone()?)];
        pool.ports.iter().copied().find(|&first| {
            let mut range = first..first + request.width;
            let requested = PortRequest { first, acknowledges: false, ..request.clone() };
            range.clone().all(|port| pool.ports.contains(&port))
                // A port that is held on any transport is not free.
                && !range.any(|port| {
                    pool.transports.iter().any(|of| self.holder(&request.namespace, port, *of).is_some())
                })
                && self.passes(&requested, iana)
        })
    }

    /// Releases a registration.
    pub fn release(&mut self, uid: Uid) {
        let Some(at) = self.held.iter().position(|held| held.uid == uid) else { return };
        let held = self.held.remove(at);
        let pool = held.pool.map(|pool| &self.pools[&(held.namespace.clone(), pool)]);
        let cool_down =
            pool.map_or(self.namespaces[&held.namespace].cool_down, |pool| pool.cool_down);
        if cool_down == 0 {
            return;
        }
        let until = self.now + cool_down;
        for port in held.first..=held.last {
            let position = (held.namespace.clone(), port, held.transport);
            let cool_downs =
                self.cooling_down.entry(position).or_default().entry(held.name.clone());
            let cool_downs = cool_downs.or_insert(until);
            *cool_downs = until.max(*cool_downs);
        }
    }

    /// Advances the time: leases expire, and cool-downs end.
    pub fn pass_time(&mut self, seconds: Seconds) {
        self.now += seconds;
        let ended =
            |held: &&RegistrationSelector| held.lease.is_some_and(|(_, end)| end <= self.now);
        let mut ended: Vec<_> =
            self.held.iter().filter(ended).map(|held| (held.lease, held.uid)).collect();
        ended.sort_unstable_by_key(|(lease, uid)| (lease.map(|(_, end)| end), *uid));
        for (_, uid) in ended {
            self.release(uid);
        }
        let now = self.now;
        self.cooling_down.retain(|_, former_holders| {
            former_holders.retain(|_, until| *until > now);
            !former_holders.is_empty()
        });
    }

    /// Whether a pool is valid: it has ports, and no other service or pool has them.
    pub fn is_valid_pool(&self, namespace: &str, name: &str, pool: &Pool) -> bool {
        let is_foreign = |held: &&RegistrationSelector| {
            held.namespace == namespace && held.pool.as_deref() != Some(name)
        };
        let own_stay = self.held.iter().all(|held| {
            held.namespace != namespace
                || held.pool.as_deref() != Some(name)
                || (held.first..=held.last).all(|port| pool.has(port, held.transport))
        });
        !pool.ports.is_empty()
            && own_stay
            && !self.pools.iter().any(|((space, other), their)| {
                space == namespace
                    && other != name
                    && !their.ports.is_disjoint(&pool.ports)
                    && !their.transports.is_disjoint(&pool.transports)
            })
            && !self
                .held
                .iter()
                .filter(is_foreign)
                .any(|held| (held.first..=held.last).any(|port| pool.has(port, held.transport)))
    }
}

/// Returns IANA's findings for a port on a transport.
pub type Iana<'a> = dyn Fn(u16, Transport) -> BTreeSet<FindingCode> + 'a;
