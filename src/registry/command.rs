//! Commands: requested changes, in valid types only.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use jiff::Timestamp;

use super::assignment::{Etag, Uid};
use super::details::DetailEdits;
use super::finding::FindingCode;
use super::lease::{CoolDown, Ttl};
use super::name::{NamespaceName, PoolName};
use super::namespace::Policy;
use super::port::{Port, PortRange, Transport};
use super::port_set::PortSet;
use super::service_name::ServiceName;
use super::text::Text;

/// A requested change.
#[derive(Clone, Debug)]
pub enum Command {
    /// Register ports.
    Register(Register),
    /// Register several, all or none.
    RegisterAll(Vec<Register>),
    /// Allocate ports of a pool.
    Ensure(Ensure),
    /// Renew a lease.
    Renew(Renew),
    /// Update the fields of a registration.
    Update(Update),
    /// Release ports.
    Release(RegistrationSelector),
    /// End the leases that expire at this time, which has passed, of one earlier command.
    Expire(Timestamp),
    /// Create a namespace.
    CreateNamespace(CreateNamespace),
    /// Update a namespace.
    UpdateNamespace(UpdateNamespace),
    /// Delete a namespace.
    DeleteNamespace(DeleteNamespace),
    /// Create a pool.
    CreatePool(CreatePool),
    /// Update a pool.
    UpdatePool(UpdatePool),
    /// Delete a pool.
    DeletePool(DeletePool),
}

/// Register ports.
#[derive(Clone, Debug)]
pub struct Register {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The service name.
    pub service_name: ServiceName,
    /// The ports.
    pub ports: PortRange,
    /// The transports: at least one, each once.
    pub transports: Vec<Transport>,
    /// The pool through which the ports are requested, if any.
    pub pool: Option<PoolName>,
    /// The duration of the lease; none for a registration that does not expire.
    pub ttl: Option<Ttl>,
    /// The descriptive fields.
    pub details: DetailEdits,
    /// The acknowledged findings.
    pub acknowledge: BTreeSet<FindingCode>,
}

/// Return the ports of a pool that the instance holds, or allocate the lowest free ones.
#[derive(Clone, Debug)]
pub struct Ensure {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The pool.
    pub pool: PoolName,
    /// The service name.
    pub service_name: ServiceName,
    /// Distinguishes several instances of the same service; may be empty.
    pub instance: Text<63>,
    /// The number of consecutive ports.
    pub count: NonZeroU16,
    /// The transports, each once; if there are none, all transports of the pool.
    pub transports: Vec<Transport>,
    /// The duration of the lease; none for a registration that does not expire.
    pub ttl: Option<Ttl>,
    /// The descriptive fields.
    pub details: DetailEdits,
}

/// Renew a lease.
#[derive(Clone, Debug)]
pub struct Renew {
    /// The registrations.
    pub selector: RegistrationSelector,
    /// The duration from now; by default the duration that was requested last.
    pub ttl: Option<Ttl>,
}

/// Update the fields of a registration.
#[derive(Clone, Debug)]
pub struct Update {
    /// The uid.
    pub uid: Uid,
    /// If present, the etag that must be current.
    pub etag: Option<Etag>,
    /// The new service name, if it changes.
    pub service_name: Option<ServiceName>,
    /// The new values of the descriptive fields.
    pub details: DetailEdits,
    /// The findings of a new service name that are acknowledged.
    pub acknowledge: BTreeSet<FindingCode>,
}

/// Selects registrations.
#[derive(Clone, Debug)]
pub enum RegistrationSelector {
    /// By uid.
    Uid {
        /// The uid.
        uid: Uid,
        /// If present, the etag that must be current.
        etag: Option<Etag>,
    },
    /// By port number.
    Port {
        /// The namespace.
        namespace: NamespaceName,
        /// The port.
        port: Port,
        /// The transport; if there is none, all transports, which one service must hold.
        transport: Option<Transport>,
    },
}

/// Create a namespace.
#[derive(Clone, Debug)]
pub struct CreateNamespace {
    /// The name.
    pub name: NamespaceName,
    /// A short description.
    pub description: Text<255>,
    /// The policy.
    pub policy: Policy,
}

/// Update a namespace; `None` leaves a field unchanged.
#[derive(Clone, Debug)]
pub struct UpdateNamespace {
    /// The name.
    pub name: NamespaceName,
    /// If present, the etag that must be current.
    pub etag: Option<Etag>,
    /// The description.
    pub description: Option<Text<255>>,
    /// The policy.
    pub policy: Option<Policy>,
}

/// Delete a namespace.
#[derive(Clone, Debug)]
pub struct DeleteNamespace {
    /// The name.
    pub name: NamespaceName,
    /// If present, the etag that must be current.
    pub etag: Option<Etag>,
}

/// Create a pool.
#[derive(Clone, Debug)]
pub struct CreatePool {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The name.
    pub name: PoolName,
    /// A short description.
    pub description: Text<255>,
    /// The port ranges.
    pub ports: PortSet,
    /// The transports, at least one, each once.
    pub transports: Vec<Transport>,
    /// Ports within the ranges that are not part of the pool.
    pub excluded_ports: PortSet,
    /// The cool-down of its ports.
    pub cool_down: CoolDown,
    /// Findings despite which its ports are allocated.
    pub accept: BTreeSet<FindingCode>,
}

/// Update a pool; `None` leaves a field unchanged.
#[derive(Clone, Debug)]
pub struct UpdatePool {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The name.
    pub name: PoolName,
    /// If present, the etag that must be current.
    pub etag: Option<Etag>,
    /// The description.
    pub description: Option<Text<255>>,
    /// The port ranges.
    pub ports: Option<PortSet>,
    /// The transports.
    pub transports: Option<Vec<Transport>>,
    /// Ports within the ranges that are not part of the pool.
    pub excluded_ports: Option<PortSet>,
    /// The cool-down of its ports.
    pub cool_down: Option<CoolDown>,
    /// Findings despite which its ports are allocated.
    pub accept: Option<BTreeSet<FindingCode>>,
}

/// Delete a pool.
#[derive(Clone, Debug)]
pub struct DeletePool {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The name.
    pub name: PoolName,
    /// If present, the etag that must be current.
    pub etag: Option<Etag>,
}
