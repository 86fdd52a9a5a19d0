//! Findings and verdicts as messages.

use super::{assignment, port_range, timestamp, transport};
use crate::grpc::proto;
use crate::registry::finding::{Evidence, Finding, FindingCode, Severity};
use crate::registry::reference::Reference;
use crate::registry::verdict::{Outcome, Verdict};

/// A finding.
#[must_use]
pub fn finding(reference: &Reference, finding: &Finding) -> proto::Finding {
    let Evidence { record, pool, ports, end_time } = &finding.evidence;
    let evidence_index = record.as_ref().and_then(|record| record.uid.batch_index());
    let mut evidence = record.as_ref().map(|record| assignment(reference, record));
    if let (Some(_), Some(evidence)) = (evidence_index, &mut evidence) {
        evidence.uid.clear();
    }
    proto::Finding {
        code: finding_code(finding.code).into(),
        severity: match finding.severity {
            Severity::Blocker => proto::Severity::Blocker,
            Severity::Acknowledge => proto::Severity::Acknowledge,
            Severity::Note => proto::Severity::Note,
        }
        .into(),
        message: finding.message.clone(),
        ports: Some(port_range(finding.ports)),
        transport: transport(Some(finding.transport)).into(),
        evidence,
        evidence_pool: pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        evidence_ports: ports.map(port_range),
        end_time: end_time.map(timestamp),
        evidence_index,
    }
}

/// A verdict.
#[must_use]
pub fn verdict(reference: &Reference, verdict: &Verdict) -> proto::Verdict {
    let findings = verdict.findings.iter().map(|it| finding(reference, it));
    proto::Verdict {
        ports: Some(port_range(verdict.ports)),
        outcome: match verdict.outcome {
            Outcome::Accepted => proto::Outcome::Accepted,
            Outcome::AcknowledgementRequired => proto::Outcome::AcknowledgementRequired,
            Outcome::Refused => proto::Outcome::Refused,
        }
        .into(),
        findings: findings.collect(),
        alternatives: verdict.alternatives.iter().copied().map(port_range).collect(),
    }
}

/// The code of a finding.
#[must_use]
pub const fn finding_code(code: FindingCode) -> proto::FindingCode {
    match code {
        FindingCode::PortZero => proto::FindingCode::PortZero,
        FindingCode::PortTaken => proto::FindingCode::PortTaken,
        FindingCode::SystemPort => proto::FindingCode::SystemPort,
        FindingCode::IanaAssigned => proto::FindingCode::IanaAssigned,
        FindingCode::IanaReserved => proto::FindingCode::IanaReserved,
        FindingCode::DynamicPort => proto::FindingCode::DynamicPort,
        FindingCode::CommonUse => proto::FindingCode::CommonUse,
        FindingCode::TransportTwin => proto::FindingCode::TransportTwin,
        FindingCode::UnauthorizedUse => proto::FindingCode::UnauthorizedUse,
        FindingCode::EphemeralRange => proto::FindingCode::EphemeralRange,
        FindingCode::NodePortRange => proto::FindingCode::NodePortRange,
        FindingCode::Experimental => proto::FindingCode::Experimental,
        FindingCode::InvalidServiceName => proto::FindingCode::InvalidServiceName,
        FindingCode::PortInPool => proto::FindingCode::PortInPool,
        FindingCode::OutsidePool => proto::FindingCode::OutsidePool,
        FindingCode::CoolingDown => proto::FindingCode::CoolingDown,
        FindingCode::ServiceNameElsewhere => proto::FindingCode::ServiceNameElsewhere,
    }
}
