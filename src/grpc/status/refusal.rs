//! How the refusal of a command looks to clients.

use std::collections::BTreeSet;

use itertools::Itertools;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::proto::ErrorReason;
use super::{DOMAIN, MAX_VIOLATIONS, details, shorten};
use crate::grpc::convert;
use crate::registry::assignment::Record;
use crate::registry::decide::{Exhausted, Refusal};
use crate::registry::finding::{Finding, FindingCode, Severity};
use crate::registry::name::NamespaceName;
use crate::registry::pool::SharedPool;
use crate::registry::port::Transport;

/// A status before it is one.
pub(super) struct Answer {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl From<Answer> for Status {
    fn from(Answer { code, message, details }: Answer) -> Self {
        Self::with_error_details(code, message, details)
    }
}

/// The answer to a refused command. `prefix` is the path of the message that was refused, with its
/// dot, if it was part of another.
pub(super) fn refused(message: &str, refusal: Refusal, prefix: &str) -> Answer {
    match refusal {
        Refusal::InBatch { index, refusal } => {
            let mut answer = refused(message, *refusal, &format!("requests[{index}]."));
            if let Some(info) = answer.details.error_info().cloned() {
                let mut metadata = info.metadata;
                metadata.insert("index".into(), index.to_string());
                answer.details.set_error_info(info.reason, DOMAIN, metadata);
            }
            answer
        }
        Refusal::Findings { namespace, findings } => found(message, &namespace, &findings, prefix),
        other => {
            let (code, reason, facts) = told(&other);
            let mut answer =
                Answer { code, message: shorten(message), details: details(reason, facts) };
            let bad_field = match other {
                Refusal::CountTooLarge { .. } => Some("count"),
                Refusal::PoolEmpty => Some("pool.excluded_ports"),
                _ => None,
            };
            if let Some(field) = bad_field {
                answer.details.add_bad_request_violation(field, message);
            }
            answer
        }
    }
}

type Facts = Vec<(&'static str, String)>;

/// The code, the reason and the facts of a refusal that is about one thing.
fn told(refusal: &Refusal) -> (Code, ErrorReason, Facts) {
    let not_now = Code::FailedPrecondition;
    match refusal {
        Refusal::UnknownNamespace(unknown) => {
            let nearest = unknown.nearest.join(",");
            let facts = vec![("namespace", unknown.name.to_string()), ("nearest", nearest)];
            (Code::NotFound, ErrorReason::NamespaceNotFound, facts)
        }
        Refusal::UnknownPool(unknown) => {
            let facts = vec![
                ("namespace", unknown.namespace.to_string()),
                ("pool", unknown.name.to_string()),
                ("nearest", unknown.nearest.join(",")),
            ];
            (Code::NotFound, ErrorReason::PoolNotFound, facts)
        }
        Refusal::UnknownUid(uid) => {
            (Code::NotFound, ErrorReason::AssignmentNotFound, vec![("uid", uid.to_string())])
        }
        Refusal::NotRegistered { namespace, port, transport } => {
            let facts = vec![
                ("namespace", namespace.to_string()),
                ("port", port.to_string()),
                ("transport", transport.map(|of| of.to_string()).unwrap_or_default()),
            ];
            (Code::NotFound, ErrorReason::AssignmentNotFound, facts)
        }
        Refusal::NotCustom { uid, source } => {
            let facts = vec![("uid", uid.to_string()), ("source", source.name().to_owned())];
            (not_now, ErrorReason::NotCustom, facts)
        }
        Refusal::EtagMismatch { uid, current, .. } => {
            let uid = uid.map(|uid| uid.to_string()).unwrap_or_default();
            let facts = vec![("uid", uid), ("etag", current.to_string())];
            (Code::Aborted, ErrorReason::EtagMismatch, facts)
        }
        Refusal::TransportAmbiguous { holders, .. } => {
            (not_now, ErrorReason::TransportAmbiguous, vec![("holders", holders.join(","))])
        }
        Refusal::PartOfRange { holders, .. } => {
            let uids = holders.iter().map(|record| record.uid).join(",");
            (not_now, ErrorReason::PartOfRange, vec![("uids", uids)])
        }
        Refusal::NoLease(uid) => (not_now, ErrorReason::NoLease, vec![("uid", uid.to_string())]),
        Refusal::NameKeptByPool { uid, pool } => {
            let facts = vec![("uid", uid.to_string()), ("pool", pool.to_string())];
            (not_now, ErrorReason::NameKeptByPool, facts)
        }
        about_settings => told_of_settings(about_settings),
    }
}

fn told_of_settings(refusal: &Refusal) -> (Code, ErrorReason, Facts) {
    let not_now = Code::FailedPrecondition;
    match refusal {
        Refusal::NamespaceExists(name) => {
            let facts = vec![("namespace", name.to_string())];
            (Code::AlreadyExists, ErrorReason::NamespaceAlreadyExists, facts)
        }
        Refusal::NamespacePermanent(name) => {
            let facts = vec![("namespace", name.to_string())];
            (not_now, ErrorReason::NamespacePermanent, facts)
        }
        Refusal::NamespaceNotEmpty { name, assignments, pools } => {
            let facts = vec![
                ("namespace", name.to_string()),
                ("assignments", assignments.to_string()),
                ("pools", pools.to_string()),
            ];
            (not_now, ErrorReason::NamespaceNotEmpty, facts)
        }
        Refusal::PoolExists { namespace, name } => {
            let facts = vec![("namespace", namespace.to_string()), ("pool", name.to_string())];
            (Code::AlreadyExists, ErrorReason::PoolAlreadyExists, facts)
        }
        Refusal::PoolNotEmpty { pool, count, first } => {
            let count = [("assignments", count.to_string())];
            let facts = named(pool).into_iter().chain(count).chain(holder(first)).collect();
            (not_now, ErrorReason::PoolNotEmpty, facts)
        }
        Refusal::PoolOverlapsPool { ports, transport, other } => {
            let place = [("ports", ports.to_string()), ("transport", transport.to_string())];
            let facts = named(other).into_iter().chain(place).collect();
            (not_now, ErrorReason::PoolOverlap, facts)
        }
        Refusal::PoolOverlapsAssignment(record) => {
            (not_now, ErrorReason::PoolOverlap, holder(record))
        }
        Refusal::TransportOutsidePool { pool, .. } => {
            (not_now, ErrorReason::OutsidePool, named(pool).into())
        }
        Refusal::CountTooLarge { pool, .. } => {
            (Code::InvalidArgument, ErrorReason::InvalidField, named(pool).into())
        }
        Refusal::PoolExhausted(exhausted) => {
            (Code::ResourceExhausted, ErrorReason::PoolExhausted, figures(exhausted))
        }
        Refusal::EnsuredOtherwise(held) => {
            let ports = held.iter().filter_map(|record| record.ports).unique().join(",");
            let transports =
                held.iter().filter_map(|record| record.transport).map(Transport::name).join(",");
            let uids = held.iter().map(|record| record.uid).join(",");
            let facts = vec![("ports", ports), ("transports", transports), ("uids", uids)];
            (not_now, ErrorReason::EnsuredOtherwise, facts)
        }
        Refusal::PoolEmpty
        // What is told elsewhere.
        | Refusal::UnknownNamespace(_)
        | Refusal::UnknownPool(_)
        | Refusal::UnknownUid(_)
        | Refusal::NotRegistered { .. }
        | Refusal::NotCustom { .. }
        | Refusal::EtagMismatch { .. }
        | Refusal::TransportAmbiguous { .. }
        | Refusal::PartOfRange { .. }
        | Refusal::Findings { .. }
        | Refusal::NoLease(_)
        | Refusal::NameKeptByPool { .. }
        | Refusal::InBatch { .. } => (Code::InvalidArgument, ErrorReason::InvalidField, Vec::new()),
    }
}

fn named(pool: &SharedPool) -> [(&'static str, String); 2] {
    [("namespace", pool.namespace.to_string()), ("pool", pool.name.to_string())]
}

fn figures(exhausted: &Exhausted) -> Facts {
    let usage = exhausted.usage;
    let leases = exhausted.next_leases.iter().filter_map(|record| {
        let lease = record.registration()?.lease?;
        let name = record.service_name.as_deref().unwrap_or_default();
        Some(format!("{} {}/{} {name}", lease.expire_time, record.ports?, record.transport?))
    });
    let rested = exhausted.next_cool_down_end.map(|time| time.to_string()).unwrap_or_default();
    let figures = [
        ("size", usage.size.to_string()),
        ("held", usage.held.to_string()),
        ("cooling", usage.cooling.to_string()),
        ("skipped", usage.skipped.to_string()),
        ("next_expire_times", leases.collect::<Vec<_>>().join(",")),
        ("next_cool_down_end_time", rested),
    ];
    named(&exhausted.pool).into_iter().chain(figures).collect()
}

/// Who holds ports, and where.
fn holder(record: &Record) -> Facts {
    let registration = record.registration();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    vec![
        ("namespace", text(registration.map(|registration| registration.namespace.as_str()))),
        ("ports", record.ports.map(|ports| ports.to_string()).unwrap_or_default()),
        ("transport", text(record.transport.map(Transport::name))),
        ("holder", text(record.service_name.as_deref())),
        ("holder_uid", record.uid.to_string()),
        ("holder_assignee", record.assignee.to_string()),
        ("holder_contact", record.contact.to_string()),
    ]
}

/// What the rules found. The first of the heaviest gives the reason.
fn found(message: &str, namespace: &NamespaceName, findings: &[Finding], prefix: &str) -> Answer {
    let Some(first) = findings.first() else {
        return Answer {
            code: Code::FailedPrecondition,
            message: shorten(message),
            details: details(ErrorReason::AcknowledgementRequired, []),
        };
    };
    let (code, reason) = match (first.code, first.severity) {
        (FindingCode::InvalidServiceName, _) => {
            (Code::InvalidArgument, ErrorReason::InvalidServiceName)
        }
        (FindingCode::PortZero, _) => (Code::InvalidArgument, ErrorReason::PortZero),
        (FindingCode::PortTaken, _) => (Code::AlreadyExists, ErrorReason::PortTaken),
        (FindingCode::PortInPool, _) => (Code::FailedPrecondition, ErrorReason::PortInPool),
        (FindingCode::OutsidePool, _) => (Code::FailedPrecondition, ErrorReason::OutsidePool),
        (_, Severity::Blocker) => (Code::FailedPrecondition, ErrorReason::ForbiddenByPolicy),
        _ => (Code::FailedPrecondition, ErrorReason::AcknowledgementRequired),
    };
    let record = first.evidence.record.as_deref();
    let pool = first.evidence.pool.as_ref().map(ToString::to_string).unwrap_or_default();
    let facts = match (reason, record) {
        (ErrorReason::PortTaken, Some(record)) => holder(record),
        _ => vec![
            ("namespace", namespace.to_string()),
            ("pool", pool),
            ("codes", codes(findings)),
            (
                "holder",
                record
                    .and_then(|record| record.service_name.as_deref())
                    .unwrap_or_default()
                    .to_owned(),
            ),
        ],
    };
    let mut details = details(reason, facts);
    match code {
        Code::InvalidArgument => {
            let field = if reason == ErrorReason::PortZero { "ports" } else { "service_name" };
            details.add_bad_request_violation(format!("{prefix}{field}"), &first.message);
        }
        Code::FailedPrecondition => {
            for finding in findings.iter().take(MAX_VIOLATIONS) {
                details.add_precondition_failure_violation(
                    finding.code.name(),
                    format!("{}/{}", finding.ports, finding.transport),
                    shorten(&finding.message),
                );
            }
        }
        _ => {}
    }
    let message = match reason {
        ErrorReason::AcknowledgementRequired => {
            let codes = codes(findings).replace(',', ", ");
            format!("{message}; to take it all the same, acknowledge {codes}")
        }
        ErrorReason::ForbiddenByPolicy => {
            format!("{message}; the policy of namespace {namespace} forbids it")
        }
        _ => message.to_owned(),
    };
    Answer { code, message: shorten(&message), details }
}

/// The codes of the findings, as `acknowledge` takes them, comma-separated.
fn codes(findings: &[Finding]) -> String {
    let codes: BTreeSet<FindingCode> = findings.iter().map(|finding| finding.code).collect();
    codes.into_iter().map(|code| convert::finding_code(code).as_str_name()).join(",")
}
