//! Findings and verdicts as messages.

use super::{assignment, finding_code, outcome, port_range, severity, timestamp, transport};
use crate::grpc::proto;
use crate::registry::finding::{Evidence, Finding};
use crate::registry::reference::Reference;
use crate::registry::verdict::Verdict;

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
        severity: severity(finding.severity).into(),
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
        outcome: outcome(verdict.outcome).into(),
        findings: findings.collect(),
        alternatives: verdict.alternatives.iter().copied().map(port_range).collect(),
    }
}
