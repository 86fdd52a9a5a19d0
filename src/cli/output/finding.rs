//! Findings and verdicts as text and JSON.

use itertools::Itertools;
use serde_json::{Value, json};

use super::lists::range_objects;
use super::record::{self, text, timestamp};
use super::{clean, enum_names, table};
use crate::grpc::proto;

/// The outcome of a verdict: `accepted`, `acknowledgement required`, `refused`.
pub(in crate::cli) fn outcome(verdict: &proto::Verdict) -> String {
    enum_names::phrase(verdict.outcome())
}

/// A finding of a registered port, with its ports: `note EPHEMERAL_RANGE 40000/tcp: …`.
pub(in crate::cli) fn line_with_ports(finding: &proto::Finding) -> String {
    let severity = match finding.severity() {
        proto::Severity::Acknowledge => "acknowledged",
        proto::Severity::Unspecified | proto::Severity::Blocker | proto::Severity::Note => "note",
    };
    let ports = table::ports(finding.ports);
    let transport = enum_names::phrase(finding.transport());
    clean(&format!("{severity} {} {ports}/{transport}: {}", code(finding), finding.message))
}

/// A finding of a checked port: `blocker PORT_TAKEN: …`. `acknowledged` contains the codes that
/// the request acknowledges.
pub(in crate::cli) fn line(finding: &proto::Finding, acknowledged: &[i32]) -> String {
    let severity = match finding.severity() {
        proto::Severity::Blocker => "blocker",
        proto::Severity::Acknowledge if acknowledged.contains(&finding.code) => "acknowledged",
        proto::Severity::Acknowledge => "acknowledge",
        proto::Severity::Note => "note",
        proto::Severity::Unspecified => "-",
    };
    clean(&format!("{severity} {}: {}", code(finding), finding.message))
}

/// The name of the finding's code.
pub(in crate::cli) fn code(finding: &proto::Finding) -> &'static str {
    enum_names::name(finding.code()).unwrap_or("-")
}

/// The evidence of a finding: the facts that its message does not contain.
pub(in crate::cli) fn evidence(finding: &proto::Finding) -> Option<String> {
    let held = finding.evidence.as_ref().filter(|record| record.source() == proto::Source::Custom);
    let fact = |name: &str, value: &str| {
        let is_new = !value.is_empty() && !finding.message.contains(value);
        is_new.then(|| format!("{name}: {value}"))
    };
    let of_holder = held.map(|record| {
        // A released port has no lease.
        let lease = record.expire_time.filter(|_| finding.end_time.is_none());
        let lease = lease.map(table::time).unwrap_or_default();
        [
            fact("service", &record.service_name),
            fact("assignee", &record.assignee),
            fact("contact", &record.contact),
            fact("lease expires", &lease),
            fact("uid", &record.uid),
        ]
    });
    let pool_ports = finding.evidence_ports.filter(|_| !finding.evidence_pool.is_empty());
    let of_finding = [
        fact("pool", &finding.evidence_pool),
        pool_ports.and_then(|ports| fact("ports", &table::ports(Some(ports)))),
        finding.end_time.and_then(|end| fact("ends", &table::time(end))),
    ];
    let facts = of_holder.into_iter().flatten().chain(of_finding).flatten().join(" · ");
    (!facts.is_empty()).then(|| clean(&facts))
}

/// The codes that have to be acknowledged for the verdicts to be accepted, each once.
pub(in crate::cli) fn codes_to_acknowledge<'a>(
    verdicts: impl IntoIterator<Item = &'a proto::Verdict>,
) -> String {
    let findings = verdicts.into_iter().flat_map(|verdict| &verdict.findings);
    let acknowledgeable =
        findings.filter(|finding| finding.severity() == proto::Severity::Acknowledge);
    acknowledgeable.map(code).unique().join(",")
}

/// The finding as a JSON object, in the field order of the API.
pub(in crate::cli) fn object(finding: &proto::Finding) -> Value {
    let range = |ports: Option<proto::PortRange>| range_objects(ports.as_slice()).pop();
    json!({
        "code": enum_names::name(finding.code()),
        "severity": enum_names::name(finding.severity()),
        "message": text(&finding.message),
        "ports": range(finding.ports),
        "transport": enum_names::transport(finding.transport()),
        "evidence": finding.evidence.as_ref().map(record::object),
        "evidence_pool": text(&finding.evidence_pool),
        "evidence_ports": range(finding.evidence_ports),
        "end_time": timestamp(finding.end_time),
        "evidence_index": finding.evidence_index,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_by(assignee: &str) -> proto::Finding {
        let holder = proto::Assignment {
            source: proto::Source::Custom.into(),
            service_name: "billing".into(),
            assignee: assignee.into(),
            contact: "a@example.com".into(),
            uid: "0197".into(),
            ..proto::Assignment::default()
        };
        proto::Finding {
            code: proto::FindingCode::PortTaken.into(),
            severity: proto::Severity::Blocker.into(),
            message: "7450/tcp is held by billing (assignee: team payments)".into(),
            evidence: Some(holder),
            ..proto::Finding::default()
        }
    }

    #[test]
    fn evidence_contains_only_facts_that_the_message_does_not() {
        let finding = taken_by("team payments");
        assert_eq!(evidence(&finding).unwrap(), "contact: a@example.com · uid: 0197");
        let finding = proto::Finding {
            end_time: Some(prost_types::Timestamp::default()),
            ..taken_by("someone\u{1b}")
        };
        assert_eq!(
            evidence(&finding).unwrap(),
            "assignee: someone\u{fffd} · contact: a@example.com · uid: 0197 · \
             ends: 1970-01-01T00:00:00Z"
        );
        let iana = proto::Assignment {
            source: proto::Source::Iana.into(),
            assignee: "Jane Doe".into(),
            ..proto::Assignment::default()
        };
        let finding = proto::Finding { evidence: Some(iana), ..proto::Finding::default() };
        assert_eq!(evidence(&finding), None);
        let pool = proto::Finding {
            message: "7450/tcp is part of the pool web".into(),
            evidence_pool: "web".into(),
            evidence_ports: Some(proto::PortRange { first: Some(7400), last: Some(7499) }),
            ..proto::Finding::default()
        };
        assert_eq!(evidence(&pool).unwrap(), "ports: 7400-7499");
    }

    #[test]
    fn an_acknowledged_code_is_shown_as_acknowledged() {
        let finding = proto::Finding {
            code: proto::FindingCode::SystemPort.into(),
            severity: proto::Severity::Acknowledge.into(),
            message: "low".into(),
            ..proto::Finding::default()
        };
        assert_eq!(line(&finding, &[]), "acknowledge SYSTEM_PORT: low");
        assert_eq!(line(&finding, &[finding.code]), "acknowledged SYSTEM_PORT: low");
        let verdict =
            proto::Verdict { findings: vec![finding.clone(), finding], ..Default::default() };
        assert_eq!(codes_to_acknowledge([&verdict]), "SYSTEM_PORT");
        assert_eq!(
            codes_to_acknowledge([&proto::Verdict { findings: vec![taken_by("")], ..verdict }]),
            ""
        );
    }
}
