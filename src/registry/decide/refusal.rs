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
    /// No such namespace.
    #[error(transparent)]
    UnknownNamespace(#[from] UnknownNamespace),
    /// No such pool.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// No such record.
    #[error("there is no assignment {0}")]
    UnknownUid(Uid),
    /// Nobody holds the port.
    #[error(
        "nothing is registered on {port}{} in namespace {namespace}",
        transport.map(|transport| format!("/{transport}")).unwrap_or_default()
    )]
    NotRegistered {
        /// Where.
        namespace: NamespaceName,
        /// Which port.
        port: Port,
        /// On which transport, if one was given.
        transport: Option<Transport>,
    },
    /// The record can't be changed.
    #[error("assignment {uid} is {}: only CUSTOM ones can be changed or released", source.name())]
    NotCustom {
        /// Which.
        uid: Uid,
        /// Where it comes from.
        r#source: Source,
    },
    /// It is no longer in the state that the caller knows.
    #[error("{of} has changed since that etag was read: it is {current} now")]
    EtagMismatch {
        /// What, in words.
        of: String,
        /// Which, if it is an assignment.
        uid: Option<Uid>,
        /// The present state.
        current: Etag,
    },
    /// Several services hold the port.
    #[error("{port} is held by different services ({}): say which transport", .holders.join(", "))]
    TransportAmbiguous {
        /// Which port.
        port: Port,
        /// `service/transport` of each.
        holders: Vec<String>,
    },
    /// The port is held together with others.
    #[error(
        "{port} is one of a run of ports that were registered together ({}): to speak of all of \
         them, give the uid",
        .holders.iter().filter_map(|record| record.ports).unique().join(", ")
    )]
    PartOfRange {
        /// Which port.
        port: Port,
        /// What holds it.
        holders: Vec<Arc<Record>>,
    },
    /// The rules say no: blockers, or else findings to be acknowledged.
    #[error("{}", join_messages(.findings))]
    Findings {
        /// Where.
        namespace: NamespaceName,
        /// What they found.
        findings: Vec<Finding>,
    },
    /// The record has no lease.
    #[error("assignment {0} is held without end: it has no lease to renew")]
    NoLease(Uid),
    /// What a pool gave keeps its name.
    #[error(
        "assignment {uid} was given by pool {pool} to a service of that name: release it and ensure \
         one for the other service"
    )]
    NameKeptByPool {
        /// Which.
        uid: Uid,
        /// By which pool.
        pool: PoolName,
    },
    /// There is such a namespace.
    #[error("there is a namespace {0} already")]
    NamespaceExists(NamespaceName),
    /// The namespace can't go.
    #[error("the namespace {0} always exists: it can't be deleted")]
    NamespacePermanent(NamespaceName),
    /// Something stands in the namespace.
    #[error(
        "namespace {name} is not empty (assignments: {assignments}, pools: {pools}): release and \
         delete what is in it first"
    )]
    NamespaceNotEmpty {
        /// Which.
        name: NamespaceName,
        /// How many assignments.
        assignments: usize,
        /// How many pools.
        pools: usize,
    },
    /// There is such a pool.
    #[error("there is a pool {name} in namespace {namespace} already")]
    PoolExists {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: PoolName,
    },
    /// Ports come from the pool, or from what would be taken from it.
    #[error(
        "what comes from pool {} would not be part of it any more (assignments: {count}, the first \
         of them {}): release it first", .pool.name, holder(.first)
    )]
    PoolNotEmpty {
        /// The pool.
        pool: Arc<SharedPool>,
        /// How many.
        count: usize,
        /// The first.
        first: Arc<Record>,
    },
    /// The pool would have nothing to give.
    #[error("all ports of the pool are excluded: it would have nothing to give")]
    PoolEmpty,
    /// The pool would meet another.
    #[error("{ports}/{transport} is part of pool {}: pools can't overlap", .other.name)]
    PoolOverlapsPool {
        /// Where they meet.
        ports: PortRange,
        /// On which transport.
        transport: Transport,
        /// The other.
        other: Arc<SharedPool>,
    },
    /// The pool would meet what does not come from it.
    #[error(
        "{} does not come from the pool: exclude its ports, or release it first", holder(.0)
    )]
    PoolOverlapsAssignment(Arc<Record>),
    /// The pool gives no ports on the transport.
    #[error("pool {} gives no {transport} ports", .pool.name)]
    TransportOutsidePool {
        /// The pool.
        pool: Arc<SharedPool>,
        /// The transport.
        transport: Transport,
    },
    /// The pool has fewer ports than that.
    #[error("{count} ports in a row are asked for, and pool {} has {size}", .pool.name)]
    CountTooLarge {
        /// How many were asked for.
        count: u32,
        /// How many there are.
        size: u32,
        /// The pool.
        pool: Arc<SharedPool>,
    },
    /// The pool has no such run of ports left.
    #[error("{0}")]
    PoolExhausted(Box<Exhausted>),
    /// The instance has something else of the pool.
    #[error(
        "this instance holds {} of the pool already: ask for as many on the same transports, \
         release them first, or name another instance",
        .0.iter().map(|record| holder(record)).join(", ")
    )]
    EnsuredOtherwise(Vec<Arc<Record>>),
    /// One of several commands is refused.
    #[error("requests[{index}]: {refusal}")]
    InBatch {
        /// Which, from 0.
        index: usize,
        /// Why.
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

/// A pool that has nothing more to give.
#[derive(Debug)]
pub struct Exhausted {
    /// The pool.
    pub pool: Arc<SharedPool>,
    /// How many ports in a row were asked for.
    pub count: u32,
    /// How much of it is used.
    pub usage: Usage,
    /// Those whose leases end next.
    pub next_leases: Vec<Arc<Record>>,
    /// When the next port has rested long enough.
    pub next_cool_down_end: Option<Timestamp>,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Usage { size, held, cooling, skipped, free } = self.usage;
        let name = &self.pool.name;
        write!(f, "pool {name} has ")?;
        match (self.count, free) {
            (1, _) => write!(f, "no free port left")?,
            (count, _) => write!(f, "no {count} free ports in a row left")?,
        }
        write!(f, ": of {size}, {held} are held, {cooling} rest, {skipped} are skipped")?;
        match self
            .next_leases
            .first()
            .and_then(|record| Some((record, record.registration()?.lease?)))
        {
            Some((record, lease)) => {
                let end = lease.expire_time;
                write!(f, "; the next lease to end is that of {} at {end:.0}", holder(record))
            }
            None => Ok(()),
        }
    }
}
