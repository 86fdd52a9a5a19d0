//! Findings: the results of the registration rules, with their codes and severities.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use itertools::Itertools;
use jiff::Timestamp;

use super::assignment::Record;
use super::name::PoolName;
use super::port::{PortRange, Transport};

/// The severity of a finding, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The registration is refused, whatever the request acknowledges.
    Blocker,
    /// The registration is refused unless the request acknowledges the code.
    Acknowledge,
    /// Informational.
    Note,
}

/// The rule that produced a finding.
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
    /// Reserved by IANA.
    IanaReserved,
    /// 49152-65535.
    DynamicPort,
    /// Commonly used by another service.
    CommonUse,
    /// Held by another service on another transport.
    TransportTwin,
    /// IANA has a report of unauthorized use.
    UnauthorizedUse,
    /// 32768-60999.
    EphemeralRange,
    /// 30000-32767.
    NodePortRange,
    /// 1021-1022.
    Experimental,
    /// A service name that RFC 6335 does not allow.
    InvalidServiceName,
    /// Part of a pool, but not requested through it.
    PortInPool,
    /// Requested through a pool that does not contain it.
    OutsidePool,
    /// Recently released by another service.
    CoolingDown,
    /// IANA has assigned the service name to other ports.
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

    /// The default severity, without any policy.
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

    /// Whether a finding of this severity blocks a request that acknowledges these codes.
    #[must_use]
    pub fn is_blocking(self, severity: Severity, acknowledged: &BTreeSet<Self>) -> bool {
        match severity {
            Severity::Blocker => true,
            Severity::Acknowledge => !acknowledged.contains(&self),
            Severity::Note => false,
        }
    }

    /// The name of the code.
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

/// One result of the registration rules.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub code: FindingCode,
    /// The severity under the policies of the namespace and the pool.
    pub severity: Severity,
    /// One plain sentence.
    pub message: String,
    /// The requested ports.
    pub ports: PortRange,
    /// The requested transport.
    pub transport: Transport,
    /// The evidence for the finding.
    pub evidence: Evidence,
}

/// The evidence for a finding, as far as its rule provides it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// A record.
    pub record: Option<Arc<Record>>,
    /// A pool.
    pub pool: Option<PoolName>,
    /// A port range.
    pub ports: Option<PortRange>,
    /// When the finding ends, if it ends automatically.
    pub end_time: Option<Timestamp>,
}

impl Finding {
    /// Whether the finding blocks a request that acknowledges these codes.
    #[must_use]
    pub fn is_blocking(&self, acknowledged: &BTreeSet<FindingCode>) -> bool {
        self.code.is_blocking(self.severity, acknowledged)
    }
}

/// The findings that block a request that acknowledges these codes: the blockers, or, if there are
/// none, the unacknowledged findings.
#[must_use]
pub fn blocking(findings: &[Finding], acknowledged: &BTreeSet<FindingCode>) -> Vec<Finding> {
    let blocking = findings.iter().filter(|finding| finding.is_blocking(acknowledged));
    let most_severe = blocking.clone().map(|finding| finding.severity).min();
    blocking.filter(|finding| Some(finding.severity) == most_severe).cloned().collect()
}

/// The messages of the findings, without duplicates.
#[must_use]
pub fn join_messages(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.message.as_str()).unique().join("; ")
}
