//! The statuses of refused commands.

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

/// The parts of a status.
pub(super) struct StatusParts {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl From<StatusParts> for Status {
    fn from(StatusParts { code, message, details }: StatusParts) -> Self {
        Self::with_error_details(code, message, details)
    }
}

/// The status of a refused command. `prefix` is the path of the refused message with a trailing dot, if
/// it is nested in a request.
pub(super) fn refused(message: &str, refusal: Refusal, prefix: &str) -> StatusParts {
    match refusal {
        Refusal::InBatch { index, refusal } => {
            let mut parts = refused(message, *refusal, &format!("requests[{index}]."));
            if let Some(info) = parts.details.error_info().cloned() {
                let mut metadata = info.metadata;
                metadata.insert("index".into(), index.to_string());
                parts.details.set_error_info(info.reason, DOMAIN, metadata);
            }
            parts
        }
        Refusal::Findings { namespace, findings } => {
            refused_by_rules(message, &namespace, &findings, prefix)
        }
        other => {
            let (code, reason, metadata) = refused_by_state(&other);
            let mut parts =
                StatusParts { code, message: shorten(message), details: details(reason, metadata) };
            let invalid_field = match other {
                Refusal::CountTooLarge { .. } => Some("count"),
                Refusal::PoolEmpty => Some("pool.excluded_ports"),
                _ => None,
            };
            if let Some(field) = invalid_field {
                parts.details.add_bad_request_violation(field, message);
            }
            parts
        }
    }
}

type Metadata = Vec<(&'static str, String)>;

/// The code, the reason and the metadata of a refusal that the current state causes.
fn refused_by_state(refusal: &Refusal) -> (Code, ErrorReason, Metadata) {
    let not_now = Code::FailedPrecondition;
    match refusal {
        Refusal::UnknownNamespace(unknown) => {
            let nearest = unknown.nearest.join(",");
            let metadata = vec![("namespace", unknown.name.to_string()), ("nearest", nearest)];
            (Code::NotFound, ErrorReason::NamespaceNotFound, metadata)
        }
        Refusal::UnknownPool(unknown) => {
            let metadata = vec![
                ("namespace", unknown.namespace.to_string()),
                ("pool", unknown.name.to_string()),
                ("nearest", unknown.nearest.join(",")),
            ];
            (Code::NotFound, ErrorReason::PoolNotFound, metadata)
        }
        Refusal::UnknownUid(uid) => {
            (Code::NotFound, ErrorReason::AssignmentNotFound, vec![("uid", uid.to_string())])
        }
        Refusal::NotRegistered { namespace, port, transport } => {
            let metadata = vec![
                ("namespace", namespace.to_string()),
                ("port", port.to_string()),
                ("transport", transport.map(|of| of.to_string()).unwrap_or_default()),
            ];
            (Code::NotFound, ErrorReason::AssignmentNotFound, metadata)
        }
        Refusal::NotCustom { uid, source } => {
            let metadata = vec![("uid", uid.to_string()), ("source", source.name().to_owned())];
            (not_now, ErrorReason::NotCustom, metadata)
        }
        Refusal::EtagMismatch { uid, current, .. } => {
            let uid = uid.map(|uid| uid.to_string()).unwrap_or_default();
            let metadata = vec![("uid", uid), ("etag", current.to_string())];
            (Code::Aborted, ErrorReason::EtagMismatch, metadata)
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
            let metadata = vec![("uid", uid.to_string()), ("pool", pool.to_string())];
            (not_now, ErrorReason::NameKeptByPool, metadata)
        }
        other => refused_settings(other),
    }
}

/// The same for namespaces and pools.
fn refused_settings(refusal: &Refusal) -> (Code, ErrorReason, Metadata) {
    let not_now = Code::FailedPrecondition;
    match refusal {
        Refusal::NamespaceExists(name) => {
            let metadata = vec![("namespace", name.to_string())];
            (Code::AlreadyExists, ErrorReason::NamespaceAlreadyExists, metadata)
        }
        Refusal::NamespacePermanent(name) => {
            let metadata = vec![("namespace", name.to_string())];
            (not_now, ErrorReason::NamespacePermanent, metadata)
        }
        Refusal::NamespaceNotEmpty { name, assignments, pools } => {
            let metadata = vec![
                ("namespace", name.to_string()),
                ("assignments", assignments.to_string()),
                ("pools", pools.to_string()),
            ];
            (not_now, ErrorReason::NamespaceNotEmpty, metadata)
        }
        Refusal::PoolExists { namespace, name } => {
            let metadata = vec![("namespace", namespace.to_string()), ("pool", name.to_string())];
            (Code::AlreadyExists, ErrorReason::PoolAlreadyExists, metadata)
        }
        Refusal::PoolNotEmpty { pool, count, first } => {
            let count = [("assignments", count.to_string())];
            let metadata = pool_name(pool).into_iter().chain(count).chain(holder(first)).collect();
            (not_now, ErrorReason::PoolNotEmpty, metadata)
        }
        Refusal::PoolOverlapsPool { ports, transport, other } => {
            let overlap = [("ports", ports.to_string()), ("transport", transport.to_string())];
            let metadata = pool_name(other).into_iter().chain(overlap).collect();
            (not_now, ErrorReason::PoolOverlap, metadata)
        }
        Refusal::PoolOverlapsAssignment(record) => {
            (not_now, ErrorReason::PoolOverlap, holder(record))
        }
        Refusal::TransportOutsidePool { pool, .. } => {
            (not_now, ErrorReason::OutsidePool, pool_name(pool).into())
        }
        Refusal::CountTooLarge { pool, .. } => {
            (Code::InvalidArgument, ErrorReason::InvalidField, pool_name(pool).into())
        }
        Refusal::PoolExhausted(exhausted) => {
            (Code::ResourceExhausted, ErrorReason::PoolExhausted, pool_usage(exhausted))
        }
        Refusal::EnsuredOtherwise(held) => {
            let ports = held.iter().filter_map(|record| record.ports).unique().join(",");
            let transports =
                held.iter().filter_map(|record| record.transport).map(Transport::name).join(",");
            let uids = held.iter().map(|record| record.uid).join(",");
            let metadata = vec![("ports", ports), ("transports", transports), ("uids", uids)];
            (not_now, ErrorReason::EnsuredOtherwise, metadata)
        }
        Refusal::PoolEmpty
        // Handled by the callers.
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

fn pool_name(pool: &SharedPool) -> [(&'static str, String); 2] {
    [("namespace", pool.namespace.to_string()), ("pool", pool.name.to_string())]
}

fn pool_usage(exhausted: &Exhausted) -> Metadata {
    let numbers = exhausted.usage;
    let leases = exhausted.next_leases.iter().filter_map(|record| {
        let lease = record.registration()?.lease?;
        let name = record.service_name.as_deref().unwrap_or_default();
        Some(format!("{} {}/{} {name}", lease.expire_time, record.ports?, record.transport?))
    });
    let cooled_down = exhausted.next_cool_down_end.map(|time| time.to_string()).unwrap_or_default();
    let usage = [
        ("size", numbers.size.to_string()),
        ("held", numbers.held.to_string()),
        ("cooling", numbers.cooling.to_string()),
        ("skipped", numbers.skipped.to_string()),
        ("next_expire_times", leases.collect::<Vec<_>>().join(",")),
        ("next_cool_down_end_time", cooled_down),
    ];
    pool_name(&exhausted.pool).into_iter().chain(usage).collect()
}

/// The holder of ports.
fn holder(record: &Record) -> Metadata {
    let registration = record.registration();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    vec![
        ("namespace", text(registration.map(|registration| registration.namespace.as_str()))),
        ("ports", record.ports.map(|ports| ports.to_string()).unwrap_or_default()),
        ("transport", text(record.transport.map(Transport::name))),
        ("holder", text(record.service_name.as_deref())),
        ("holder_uid", record.uid.to_string()),
        ("holder_assignee", record.details.assignee.to_string()),
        ("holder_contact", record.details.contact.to_string()),
    ]
}

/// A refusal by findings. The first finding, one of the highest severity, determines the reason.
fn refused_by_rules(
    message: &str,
    namespace: &NamespaceName,
    findings: &[Finding],
    prefix: &str,
) -> StatusParts {
    let Some(first) = findings.first() else {
        return StatusParts {
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
    let metadata = match (reason, record) {
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
    let mut details = details(reason, metadata);
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
            format!("{message}; to override, acknowledge {codes}")
        }
        ErrorReason::ForbiddenByPolicy => {
            format!("{message}; the policy of namespace {namespace} forbids it")
        }
        _ => message.to_owned(),
    };
    StatusParts { code, message: shorten(&message), details }
}

/// The codes of the findings as `acknowledge` accepts them, comma-separated.
fn codes(findings: &[Finding]) -> String {
    let codes: BTreeSet<FindingCode> = findings.iter().map(|finding| finding.code).collect();
    codes.into_iter().map(|code| convert::finding_code(code).as_str_name()).join(",")
}
