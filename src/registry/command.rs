//! Commands: what somebody asks to be changed, in valid types only.

use std::collections::BTreeSet;

use super::assignment::{Etag, NamespaceName, Uid};
use super::finding::FindingCode;
use super::port::{Port, PortRange, Transport};
use super::service_name::ServiceName;
use super::text::{Labels, Text};

/// What somebody asks to be changed.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take ports.
    Register(Register),
    /// Change what is said of a registration.
    Update(Update),
    /// Give ports back.
    Release(Release),
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
    /// What to say about it.
    pub details: Details,
    /// The findings that are accepted.
    pub acknowledge: BTreeSet<FindingCode>,
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

/// Give ports back.
#[derive(Clone, Debug)]
pub enum Release {
    /// One registration.
    Uid {
        /// Which.
        uid: Uid,
        /// Only if it is in this state.
        etag: Option<Etag>,
    },
    /// What holds a port.
    Port {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        port: Port,
        /// On which transport; on all if none is given and one service holds them.
        transport: Option<Transport>,
    },
}
