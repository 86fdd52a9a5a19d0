//! Pools: ports of a namespace that are given out by number.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::assignment::{Etag, Revision};
use super::finding::FindingCode;
use super::lease::CoolDown;
use super::name::{NamespaceName, PoolName};
use super::port::{PortRange, Transport};
use super::port_set::PortSet;

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Where it is.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: PoolName,
    /// A short description, or empty.
    pub description: Arc<str>,
    /// Its runs of ports.
    pub ports: PortSet,
    /// The transports it gives ports for, in the order of [`Transport::ALL`].
    pub transports: Vec<Transport>,
    /// Ports within its runs that are not part of it.
    pub excluded_ports: PortSet,
    /// How long its ports rest.
    pub cool_down: CoolDown,
    /// The findings with which its ports are given out all the same.
    pub accept: BTreeSet<FindingCode>,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Pool {
    /// Names this very state of it.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}

/// A pool as snapshots share it, with what follows from it.
#[derive(Clone)]
pub struct SharedPool {
    pool: Pool,
    member_ports: PortSet,
    allocatable: OnceLock<PortSet>,
}

impl SharedPool {
    /// Shares the pool.
    #[must_use]
    pub fn share(pool: Pool) -> Arc<Self> {
        let member_ports = pool.ports.without(&pool.excluded_ports);
        Arc::new(Self { pool, member_ports, allocatable: OnceLock::new() })
    }

    /// Its ports: those of its runs that are not excluded.
    #[must_use]
    pub const fn member_ports(&self) -> &PortSet {
        &self.member_ports
    }

    /// Its ports against which nothing speaks, found out by `find` if it is asked for the first
    /// time.
    pub fn allocatable_ports(&self, find: impl FnOnce() -> PortSet) -> &PortSet {
        self.allocatable.get_or_init(find)
    }

    /// Whether all ports of the run are its own, on the transport.
    #[must_use]
    pub fn contains(&self, ports: PortRange, transport: Transport) -> bool {
        self.transports.contains(&transport) && self.member_ports.contains_all(ports)
    }
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl Deref for SharedPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}
