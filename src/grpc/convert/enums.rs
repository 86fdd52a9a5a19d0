//! Enums: one table each, for the conversion in both directions.

use crate::grpc::proto;
use crate::registry::assignment::{Source, State};
use crate::registry::change::ChangeKind;
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::port::{PortClass, Transport};
use crate::registry::search::MatchReason;
use crate::registry::verdict::Outcome;

/// The matches are exhaustive: a value that is missing here fails to compile.
macro_rules! table {
    ($(#[$doc:meta])? $vis:vis $to:ident: $name:ident { $($value:ident)+ }) => {
        $(#[$doc])?
        #[must_use]
        $vis const fn $to(value: $name) -> proto::$name {
            match value {
                $($name::$value => proto::$name::$value,)+
            }
        }
    };
    ($(#[$doc:meta])? $vis:vis $to:ident, $from:ident: $name:ident { $($value:ident)+ }) => {
        table! { $(#[$doc])? $vis $to: $name { $($value)+ } }

        /// The domain value; none for UNSPECIFIED.
        #[must_use]
        pub const fn $from(value: proto::$name) -> Option<$name> {
            match value {
                proto::$name::Unspecified => None,
                $(proto::$name::$value => Some($name::$value),)+
            }
        }
    };
}

table! {
    /// The source of a record.
    pub source, source_from: Source { Custom Iana Common }
}

table! {
    /// The state of a record's ports.
    pub state, state_from: State { Assigned Reserved Unassigned Unlisted }
}

table! {
    some_transport, transport_from: Transport { Tcp Udp Sctp Dccp }
}

table! {
    /// The class of a port.
    pub port_class: PortClass { System User Dynamic }
}

table! {
    /// The kind of a change.
    pub change_kind, change_kind_from: ChangeKind {
        Registered Updated Renewed Released Expired
        NamespaceCreated NamespaceUpdated NamespaceDeleted PoolCreated PoolUpdated PoolDeleted
    }
}

table! {
    /// The severity of a finding.
    pub severity: Severity { Blocker Acknowledge Note }
}

table! {
    /// The code of a finding.
    pub finding_code, finding_code_from: FindingCode {
        PortZero PortTaken SystemPort IanaAssigned IanaReserved DynamicPort CommonUse TransportTwin
        UnauthorizedUse EphemeralRange NodePortRange Experimental InvalidServiceName PortInPool
        OutsidePool CoolingDown ServiceNameElsewhere
    }
}

table! {
    /// The outcome of a verdict.
    pub outcome: Outcome { Accepted AcknowledgementRequired Refused }
}

table! {
    /// Why a service was found.
    pub match_reason: MatchReason { ExactName Alias Port Prefix Word Substring Similar }
}

/// A transport, or UNSPECIFIED.
#[must_use]
pub const fn transport(transport: Option<Transport>) -> proto::Transport {
    match transport {
        None => proto::Transport::Unspecified,
        Some(transport) => some_transport(transport),
    }
}
