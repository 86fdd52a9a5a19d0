//! Findings: what the rules of registration can have to say, and what they have found.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use itertools::Itertools;
use jiff::Timestamp;

use super::assignment::Record;
use super::name::PoolName;
use super::port::{PortRange, Transport};

/// How much a finding weighs, heaviest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Refused, whatever the request says.
    Blocker,
    /// Refused unless the request acknowledges the code.
    Acknowledge,
    /// Worth knowing.
    Note,
}

/// The rule that a finding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingCode {
    /// Port 0.
    PortZero,
    /// Held by another assignment of the namespace.
    PortTaken,
    /// 1-1023.
    SystemPort,
    /// Assigned by IANA to another service.
    IanaAssigned,
    /// Kept back by IANA.
    IanaReserved,
    /// 49152-65535.
    DynamicPort,
    /// Commonly used by another service.
    CommonUse,
    /// Held by another service on another transport.
    TransportTwin,
    /// Known to be used without authorization.
    UnauthorizedUse,
    /// 32768-60999.
    EphemeralRange,
    /// 30000-32767.
    NodePortRange,
    /// 1021-1022.
    Experimental,
    /// A name that RFC 6335 does not allow.
    InvalidServiceName,
    /// Part of a pool that it was not asked for through.
    PortInPool,
    /// No part of the pool that it was asked for through.
    OutsidePool,
    /// Given back a short while ago by another service.
    CoolingDown,
    /// IANA has the name for other ports.
    ServiceNameElsewhere,
}

impl FindingCode {
    /// Every code, in the order in which findings are reported.
    pub const ALL: [Self; 17] = [
        Self::InvalidServiceName,
        Self::PortZero,
        Self::PortTaken,
        Self::PortInPool,
        Self::OutsidePool,
        Self::CoolingDown,
        Self::SystemPort,
        Self::IanaAssigned,
        Self::IanaReserved,
        Self::DynamicPort,
        Self::ServiceNameElsewhere,
        Self::CommonUse,
        Self::TransportTwin,
        Self::UnauthorizedUse,
        Self::EphemeralRange,
        Self::NodePortRange,
        Self::Experimental,
    ];

    /// How much it weighs by itself.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::InvalidServiceName
            | Self::PortZero
            | Self::PortTaken
            | Self::PortInPool
            | Self::OutsidePool => Severity::Blocker,
            Self::CoolingDown
            | Self::SystemPort
            | Self::IanaAssigned
            | Self::IanaReserved
            | Self::DynamicPort
            | Self::ServiceNameElsewhere => Severity::Acknowledge,
            Self::CommonUse
            | Self::TransportTwin
            | Self::UnauthorizedUse
            | Self::EphemeralRange
            | Self::NodePortRange
            | Self::Experimental => Severity::Note,
        }
    }

    /// Whether it stands in the way, weighing that much, of a request that acknowledges these codes.
    #[must_use]
    pub fn is_blocking(self, severity: Severity, acknowledged: &BTreeSet<Self>) -> bool {
        match severity {
            Severity::Blocker => true,
            Severity::Acknowledge => !acknowledged.contains(&self),
            Severity::Note => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PortZero => "PORT_ZERO",
            Self::PortTaken => "PORT_TAKEN",
            Self::SystemPort => "SYSTEM_PORT",
            Self::IanaAssigned => "IANA_ASSIGNED",
            Self::IanaReserved => "IANA_RESERVED",
            Self::DynamicPort => "DYNAMIC_PORT",
            Self::CommonUse => "COMMON_USE",
            Self::TransportTwin => "TRANSPORT_TWIN",
            Self::UnauthorizedUse => "UNAUTHORIZED_USE",
            Self::EphemeralRange => "EPHEMERAL_RANGE",
            Self::NodePortRange => "NODE_PORT_RANGE",
            Self::Experimental => "EXPERIMENTAL",
            Self::InvalidServiceName => "INVALID_SERVICE_NAME",
            Self::PortInPool => "PORT_IN_POOL",
            Self::OutsidePool => "OUTSIDE_POOL",
            Self::CoolingDown => "COOLING_DOWN",
            Self::ServiceNameElsewhere => "SERVICE_NAME_ELSEWHERE",
        }
    }

    /// The code with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that the rules have to say.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub code: FindingCode,
    /// How much it weighs where it was found.
    pub severity: Severity,
    /// One plain sentence.
    pub message: String,
    /// The ports asked for.
    pub ports: PortRange,
    /// The transport asked for.
    pub transport: Transport,
    /// What it comes from.
    pub evidence: Evidence,
}

/// What a finding comes from, as far as its rule needs it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// A record.
    pub record: Option<Arc<Record>>,
    /// A pool.
    pub pool: Option<PoolName>,
    /// A run of ports.
    pub ports: Option<PortRange>,
    /// Until when it holds, if it ends by itself.
    pub end_time: Option<Timestamp>,
}

impl Finding {
    /// Whether it stands in the way of a request that acknowledges these codes.
    #[must_use]
    pub fn is_blocking(&self, acknowledged: &BTreeSet<FindingCode>) -> bool {
        self.code.is_blocking(self.severity, acknowledged)
    }
}

/// What stands in the way of a request that acknowledges these codes: the blockers, or else what is
/// not acknowledged.
#[must_use]
pub fn blocking(findings: &[Finding], acknowledged: &BTreeSet<FindingCode>) -> Vec<Finding> {
    let in_the_way = findings.iter().filter(|finding| finding.is_blocking(acknowledged));
    let heaviest = in_the_way.clone().map(|finding| finding.severity).min();
    in_the_way.filter(|finding| Some(finding.severity) == heaviest).cloned().collect()
}

/// What the findings say, each sentence once.
#[must_use]
pub fn join_messages(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.message.as_str()).unique().join("; ")
}
