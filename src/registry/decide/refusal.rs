//! Why commands are refused.

use std::sync::Arc;

use itertools::Itertools;
use jiff::Timestamp;

use crate::registry::assignment::{Etag, Record, Source, Uid};
use crate::registry::finding::{Finding, join_messages};
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::pool::SharedPool;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::snapshot::{UnknownNamespace, UnknownPool};
use crate::registry::usage::Usage;

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The namespace does not exist.
    #[error(transparent)]
    UnknownNamespace(#[from] UnknownNamespace),
    /// The pool does not exist.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// The record does not exist.
    #[error("assignment {0} does not exist")]
    UnknownUid(Uid),
    /// The port is not registered.
    #[error(
        "nothing is registered on {port}{} in namespace {namespace}",
        transport.map(|transport| format!("/{transport}")).unwrap_or_default()
    )]
    NotRegistered {
        /// The namespace.
        namespace: NamespaceName,
        /// The port.
        port: Port,
        /// The transport, if one was named.
        transport: Option<Transport>,
    },
    /// The record can't be changed.
    #[error("assignment {uid} is {}: only CUSTOM ones can be changed or released", source.name())]
    NotCustom {
        /// The uid.
        uid: Uid,
        /// The source of the record.
        r#source: Source,
    },
    /// The resource is no longer in the state that the caller expects.
    #[error("{resource} has changed since that etag was read: the current etag is {current}")]
    EtagMismatch {
        /// A description of the resource.
        resource: String,
        /// The uid, if it is an assignment.
        uid: Option<Uid>,
        /// The current etag.
        current: Etag,
    },
    /// Several services hold the port.
    #[error("{port} is held by different services ({}): name the transport", .holders.join(", "))]
    TransportAmbiguous {
        /// The port.
        port: Port,
        /// `service/transport` of each.
        holders: Vec<String>,
    },
    /// The port is held together with others.
    #[error(
        "{port} is part of a port range that was registered together ({}): to select the range, \
         use its uid",
        .holders.iter().filter_map(|record| record.ports).unique().join(", ")
    )]
    PartOfRange {
        /// The port.
        port: Port,
        /// The registrations of the range.
        holders: Vec<Arc<Record>>,
    },
    /// Findings block the command: blockers, or else findings to be acknowledged.
    #[error("{}", join_messages(.findings))]
    Findings {
        /// The namespace.
        namespace: NamespaceName,
        /// The findings.
        findings: Vec<Finding>,
    },
    /// The record has no lease.
    #[error("assignment {0} does not expire: it has no lease to renew")]
    NoLease(Uid),
    /// Ports that a pool allocated can't be renamed.
    #[error(
        "assignment {uid} was allocated by pool {pool} to a service of that name: release it and \
         ensure one for the other service"
    )]
    NameKeptByPool {
        /// The uid.
        uid: Uid,
        /// The pool.
        pool: PoolName,
    },
    /// The namespace already exists.
    #[error("namespace {0} already exists")]
    NamespaceExists(NamespaceName),
    /// The namespace can't be deleted.
    #[error("namespace {0} always exists: it can't be deleted")]
    NamespacePermanent(NamespaceName),
    /// The namespace is not empty.
    #[error(
        "namespace {name} is not empty (assignments: {assignments}, pools: {pools}): release and \
         delete what is in it first"
    )]
    NamespaceNotEmpty {
        /// The name.
        name: NamespaceName,
        /// The number of assignments.
        assignments: usize,
        /// The number of pools.
        pools: usize,
    },
    /// The pool already exists.
    #[error("pool {name} already exists in namespace {namespace}")]
    PoolExists {
        /// The namespace.
        namespace: NamespaceName,
        /// The name.
        name: PoolName,
    },
    /// Registrations come from the pool, or from the part that would be removed from it.
    #[error(
        "assignments from pool {} would no longer be part of it (assignments: {count}, the first \
         of which is {}): release them first", .pool.name, holder(.first)
    )]
    PoolNotEmpty {
        /// The pool.
        pool: Arc<SharedPool>,
        /// The number of these assignments.
        count: usize,
        /// The first.
        first: Arc<Record>,
    },
    /// The pool would have no ports.
    #[error("all ports of the pool are excluded: it would have no ports to allocate")]
    PoolEmpty,
    /// The pool would overlap another.
    #[error("{ports}/{transport} is part of pool {}: pools can't overlap", .other.name)]
    PoolOverlapsPool {
        /// The overlap.
        ports: PortRange,
        /// The transport.
        transport: Transport,
        /// The other.
        other: Arc<SharedPool>,
    },
    /// The pool would overlap a registration from outside it.
    #[error(
        "{} does not come from the pool: exclude its ports, or release it first", holder(.0)
    )]
    PoolOverlapsAssignment(Arc<Record>),
    /// The pool does not have the transport.
    #[error("pool {} has no {transport} ports", .pool.name)]
    TransportOutsidePool {
        /// The pool.
        pool: Arc<SharedPool>,
        /// The transport.
        transport: Transport,
    },
    /// The pool has fewer ports than requested.
    #[error("{count} consecutive ports are requested, but pool {} has {size}", .pool.name)]
    CountTooLarge {
        /// The requested number.
        count: u32,
        /// The size of the pool.
        size: u32,
        /// The pool.
        pool: Arc<SharedPool>,
    },
    /// The pool has no free port range of this size.
    #[error("{0}")]
    PoolExhausted(Box<Exhausted>),
    /// The instance holds other ports of the pool than requested.
    #[error(
        "this instance already holds {} of the pool: request as many on the same transports, \
         release them first, or name another instance",
        .0.iter().map(|record| holder(record)).join(", ")
    )]
    EnsuredOtherwise(Vec<Arc<Record>>),
    /// One command of a batch is refused.
    #[error("requests[{index}]: {refusal}")]
    InBatch {
        /// The index in the batch, from 0.
        index: usize,
        /// The reason.
        refusal: Box<Refusal>,
    },
}

/// `7450/tcp (billing)`.
fn holder(record: &Record) -> String {
    let ports = record.ports.map(|ports| ports.to_string()).unwrap_or_default();
    let transport = record.transport.map(Transport::name).unwrap_or_default();
    let name = record.service_name.as_deref().unwrap_or_default();
    format!("{ports}/{transport} ({name})")
}

/// A pool without a free port range of the requested size.
#[derive(Debug)]
pub struct Exhausted {
    /// The pool.
    pub pool: Arc<SharedPool>,
    /// The requested number of consecutive ports.
    pub count: u32,
    /// The usage of the pool.
    pub usage: Usage,
    /// The registrations whose leases expire next.
    pub next_leases: Vec<Arc<Record>>,
    /// When the next cool-down ends.
    pub next_cool_down_end: Option<Timestamp>,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Usage { size, held, cooling, skipped, free } = self.usage;
        let name = &self.pool.name;
        write!(f, "pool {name} has ")?;
        match (self.count, free) {
            (1, _) => write!(f, "no free port left")?,
            (count, _) => write!(f, "no {count} consecutive free ports left")?,
        }
        write!(
            f,
            ": of {size}, {held} are held, {cooling} are cooling down, {skipped} are skipped"
        )?;
        match self
            .next_leases
            .first()
            .and_then(|record| Some((record, record.registration()?.lease?)))
        {
            Some((record, lease)) => {
                let end = lease.expire_time;
                write!(f, "; the next lease to expire is that of {} at {end:.0}", holder(record))
            }
            None => Ok(()),
        }
    }
}
