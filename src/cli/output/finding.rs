//! What the rules say, in words and for programs.

use itertools::Itertools;
use serde_json::{Value, json};

use super::record::{self, text, timestamp};
use super::resource::range_objects;
use super::{clean, enum_names, table};
use crate::grpc::proto;

/// What was decided: `accepted`, `acknowledgement required`, `refused`.
pub(in crate::cli) fn outcome(verdict: &proto::Verdict) -> String {
    enum_names::outcome(verdict.outcome).unwrap_or("-").replace('_', " ").to_lowercase()
}

/// `note EPHEMERAL_RANGE 40000/tcp: …`, of a port that was taken.
pub(in crate::cli) fn line_with_ports(finding: &proto::Finding) -> String {
    let weight = match finding.severity() {
        proto::Severity::Acknowledge => "acknowledged",
        proto::Severity::Unspecified | proto::Severity::Blocker | proto::Severity::Note => "note",
    };
    let ports = table::ports(finding.ports);
    let transport = enum_names::transport(finding.transport).unwrap_or_else(|| "-".into());
    clean(&format!("{weight} {} {ports}/{transport}: {}", code(finding), finding.message))
}

/// `blocker PORT_TAKEN: …`, of a port that is asked about; `acknowledged` has the codes that the
/// question acknowledges.
pub(in crate::cli) fn line(finding: &proto::Finding, acknowledged: &[i32]) -> String {
    let weight = match finding.severity() {
        proto::Severity::Blocker => "blocker",
        proto::Severity::Acknowledge if acknowledged.contains(&finding.code) => "acknowledged",
        proto::Severity::Acknowledge => "acknowledge",
        proto::Severity::Note => "note",
        proto::Severity::Unspecified => "-",
    };
    clean(&format!("{weight} {}: {}", code(finding), finding.message))
}

/// The name of the rule.
pub(in crate::cli) fn code(finding: &proto::Finding) -> &'static str {
    enum_names::finding_code(finding.code).unwrap_or("-")
}

/// What stands behind a finding, as far as its sentence does not say it.
pub(in crate::cli) fn evidence(finding: &proto::Finding) -> Option<String> {
    let held = finding.evidence.as_ref().filter(|record| record.source() == proto::Source::Custom);
    let fact = |name: &str, value: &str| {
        let is_news = !value.is_empty() && !finding.message.contains(value);
        is_news.then(|| format!("{name}: {value}"))
    };
    let of_holder = held.map(|record| {
        // What was given back has no lease any more.
        let lease = record.expire_time.filter(|_| finding.end_time.is_none());
        let lease = lease.map(table::time).unwrap_or_default();
        [
            fact("service", &record.service_name),
            fact("assignee", &record.assignee),
            fact("contact", &record.contact),
            fact("lease until", &lease),
            fact("uid", &record.uid),
        ]
    });
    let pool_ports = finding.evidence_ports.filter(|_| !finding.evidence_pool.is_empty());
    let of_finding = [
        fact("pool", &finding.evidence_pool),
        pool_ports.and_then(|ports| fact("ports", &table::ports(Some(ports)))),
        finding.end_time.and_then(|end| fact("until", &table::time(end))),
    ];
    let facts = of_holder.into_iter().flatten().chain(of_finding).flatten().join(" · ");
    (!facts.is_empty()).then(|| clean(&facts))
}

/// The codes that would have to be acknowledged for the verdicts to be accepted, each once.
pub(in crate::cli) fn codes_to_acknowledge<'a>(
    verdicts: impl IntoIterator<Item = &'a proto::Verdict>,
) -> String {
    let findings = verdicts.into_iter().flat_map(|verdict| &verdict.findings);
    let heavy = findings.filter(|finding| finding.severity() == proto::Severity::Acknowledge);
    heavy.map(code).unique().join(",")
}

/// The finding as an object, in the order of the API.
pub(in crate::cli) fn object(finding: &proto::Finding) -> Value {
    let run = |ports: Option<proto::PortRange>| range_objects(ports.as_slice()).pop();
    json!({
        "code": enum_names::finding_code(finding.code),
        "severity": enum_names::severity(finding.severity),
        "message": text(&finding.message),
        "ports": run(finding.ports),
        "transport": enum_names::transport(finding.transport),
        "evidence": finding.evidence.as_ref().map(record::object),
        "evidence_pool": text(&finding.evidence_pool),
        "evidence_ports": run(finding.evidence_ports),
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
    fn evidence_says_what_the_sentence_does_not() {
        let finding = taken_by("team payments");
        assert_eq!(evidence(&finding).unwrap(), "contact: a@example.com · uid: 0197");
        let finding = proto::Finding {
            end_time: Some(prost_types::Timestamp::default()),
            ..taken_by("someone\u{1b}")
        };
        assert_eq!(
            evidence(&finding).unwrap(),
            "assignee: someone\u{fffd} · contact: a@example.com · uid: 0197 · \
             until: 1970-01-01T00:00:00Z"
        );
        let iana = proto::Assignment {
            source: proto::Source::Iana.into(),
            assignee: "somebody in 1993".into(),
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
    fn a_code_that_is_acknowledged_is_told_as_such() {
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
