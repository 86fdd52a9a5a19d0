//! Commands: what somebody asks to be changed, in valid types only.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use jiff::Timestamp;

use super::assignment::{Etag, Uid};
use super::finding::FindingCode;
use super::lease::{CoolDown, Ttl};
use super::name::{NamespaceName, PoolName};
use super::namespace::Policy;
use super::port::{Port, PortRange, Transport};
use super::port_set::PortSet;
use super::service_name::ServiceName;
use super::text::{Labels, Text};

/// What somebody asks to be changed.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take ports.
    Register(Register),
    /// Take several, all or none.
    RegisterAll(Vec<Register>),
    /// Have ports of a pool.
    Ensure(Ensure),
    /// Hold ports for longer.
    Renew(Renew),
    /// Change what is said of a registration.
    Update(Update),
    /// Give ports back.
    Release(RegistrationSelector),
    /// End leases that end at this time, which has come: those that were taken together.
    Expire(Timestamp),
    /// Have a new namespace.
    CreateNamespace(CreateNamespace),
    /// Change a namespace.
    UpdateNamespace(UpdateNamespace),
    /// Be rid of a namespace.
    DeleteNamespace(DeleteNamespace),
    /// Have a new pool.
    CreatePool(CreatePool),
    /// Change a pool.
    UpdatePool(UpdatePool),
    /// Be rid of a pool.
    DeletePool(DeletePool),
}

/// What people say about a registration.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// A short description.
    pub description: Text<255>,
    /// Who it is assigned to.
    pub assignee: Text<255>,
    /// Whom to ask.
    pub contact: Text<255>,
    /// Where it is specified.
    pub reference: Text<512>,
    /// Anything more.
    pub assignment_notes: Text<2000>,
    /// Key-value pairs.
    pub labels: Labels,
}

/// Take ports.
#[derive(Clone, Debug)]
pub struct Register {
    /// Where to hold them.
    pub namespace: NamespaceName,
    /// For which service.
    pub service_name: ServiceName,
    /// Which.
    pub ports: PortRange,
    /// On which transports: at least one, each once.
    pub transports: Vec<Transport>,
    /// The pool they are part of, if they are asked for through one.
    pub pool: Option<PoolName>,
    /// For how long, if not without end.
    pub ttl: Option<Ttl>,
    /// What to say about it.
    pub details: Details,
    /// The findings that are accepted.
    pub acknowledge: BTreeSet<FindingCode>,
}

/// Have ports of a pool: those that the instance has already, or the lowest free ones.
#[derive(Clone, Debug)]
pub struct Ensure {
    /// Where.
    pub namespace: NamespaceName,
    /// Of which pool.
    pub pool: PoolName,
    /// For which service.
    pub service_name: ServiceName,
    /// For which one of several of the same service; may be empty.
    pub instance: Text<63>,
    /// How many in a row.
    pub count: NonZeroU16,
    /// On which transports, each once; on all of the pool if there is none.
    pub transports: Vec<Transport>,
    /// For how long, if not without end.
    pub ttl: Option<Ttl>,
    /// What to say about it.
    pub details: Details,
}

/// Hold ports for longer.
#[derive(Clone, Debug)]
pub struct Renew {
    /// Which.
    pub held: RegistrationSelector,
    /// For how long from now; as long as last time if nothing is said.
    pub ttl: Option<Ttl>,
}

/// Change what is said of a registration; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// The service name.
    pub service_name: Option<ServiceName>,
    /// The description.
    pub description: Option<Text<255>>,
    /// The assignee.
    pub assignee: Option<Text<255>>,
    /// The contact.
    pub contact: Option<Text<255>>,
    /// The reference.
    pub reference: Option<Text<512>>,
    /// The notes.
    pub assignment_notes: Option<Text<2000>>,
    /// The labels.
    pub labels: Option<Labels>,
}

/// Change what is said of a registration.
#[derive(Clone, Debug)]
pub struct Update {
    /// Which.
    pub uid: Uid,
    /// Only if it is in this state.
    pub etag: Option<Etag>,
    /// The changes.
    pub edits: Edits,
    /// The findings that are accepted for a new name.
    pub acknowledge: BTreeSet<FindingCode>,
}

/// Ports that are held.
#[derive(Clone, Debug)]
pub enum RegistrationSelector {
    /// Those of one registration.
    Uid {
        /// Which.
        uid: Uid,
        /// Only if it is in this state.
        etag: Option<Etag>,
    },
    /// A port, by number.
    Port {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        port: Port,
        /// On which transport; on all if none is given and one service holds them.
        transport: Option<Transport>,
    },
}

/// Have a new namespace.
#[derive(Clone, Debug)]
pub struct CreateNamespace {
    /// Its name.
    pub name: NamespaceName,
    /// A short description.
    pub description: Text<255>,
    /// Its rules.
    pub policy: Policy,
}

/// Change a namespace; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdateNamespace {
    /// Which.
    pub name: NamespaceName,
    /// Only if it is in this state.
    pub etag: Option<Etag>,
    /// The description.
    pub description: Option<Text<255>>,
    /// The rules.
    pub policy: Option<Policy>,
}

/// Be rid of a namespace.
#[derive(Clone, Debug)]
pub struct DeleteNamespace {
    /// Which.
    pub name: NamespaceName,
    /// Only if it is in this state.
    pub etag: Option<Etag>,
}

/// Have a new pool.
#[derive(Clone, Debug)]
pub struct CreatePool {
    /// Where.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: PoolName,
    /// A short description.
    pub description: Text<255>,
    /// Its runs of ports.
    pub ports: PortSet,
    /// Its transports, at least one, each once.
    pub transports: Vec<Transport>,
    /// Ports within its runs that are not part of it.
    pub excluded_ports: PortSet,
    /// How long its ports rest.
    pub cool_down: CoolDown,
    /// The findings with which its ports are given out all the same.
    pub accept: BTreeSet<FindingCode>,
}

/// Change a pool; what is `None` stays.
#[derive(Clone, Debug)]
pub struct UpdatePool {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub name: PoolName,
    /// Only if it is in this state.
    pub etag: Option<Etag>,
    /// The description.
    pub description: Option<Text<255>>,
    /// The runs of ports.
    pub ports: Option<PortSet>,
    /// The transports.
    pub transports: Option<Vec<Transport>>,
    /// Ports within its runs that are not part of it.
    pub excluded_ports: Option<PortSet>,
    /// How long its ports rest.
    pub cool_down: Option<CoolDown>,
    /// The findings with which its ports are given out all the same.
    pub accept: Option<BTreeSet<FindingCode>>,
}

/// Be rid of a pool.
#[derive(Clone, Debug)]
pub struct DeletePool {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub name: PoolName,
    /// Only if it is in this state.
    pub etag: Option<Etag>,
}
