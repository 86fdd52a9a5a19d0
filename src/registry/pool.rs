//! Pools: port ranges of a namespace from which ports are allocated.

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
    /// The namespace.
    pub namespace: NamespaceName,
    /// The name.
    pub name: PoolName,
    /// A short description, or empty.
    pub description: Arc<str>,
    /// The port ranges.
    pub ports: PortSet,
    /// The transports, in the order of [`Transport::ALL`].
    pub transports: Vec<Transport>,
    /// Ports within the ranges that are not part of the pool.
    pub excluded_ports: PortSet,
    /// The cool-down of its ports.
    pub cool_down: CoolDown,
    /// Findings despite which its ports are allocated.
    pub accept: BTreeSet<FindingCode>,
    /// When the pool was created.
    pub create_time: Timestamp,
    /// When the pool was last changed.
    pub update_time: Timestamp,
    /// The revision of the last change.
    pub revision: Revision,
}

impl Pool {
    /// Identifies the current state of the pool.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}

/// A pool, shared between snapshots, with derived data.
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

    /// The ports of its ranges that are not excluded.
    #[must_use]
    pub const fn member_ports(&self) -> &PortSet {
        &self.member_ports
    }

    /// The ports that no rule excludes from allocation, computed by `find` on first use.
    pub fn allocatable_ports(&self, find: impl FnOnce() -> PortSet) -> &PortSet {
        self.allocatable.get_or_init(find)
    }

    /// Whether the pool contains all ports of the range, on the transport.
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
