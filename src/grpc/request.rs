//! Proto to domain: whole requests, so that the domain is asked with valid values only.

#![expect(clippy::missing_errors_doc, reason = "each fails by noting the fault of its field")]

use std::collections::BTreeSet;

use super::fields::{Fields, Noted, Read};
use super::proto;
use crate::registry::assignment::Uid;
use crate::registry::command::{Command, Details, Edits, Register, Release, Update};
use crate::registry::list::Filter;
use crate::store::RequestKey;

/// What comes with every write.
#[derive(Debug)]
pub struct Note {
    /// How to know the request again.
    pub request: Option<RequestKey>,
    /// Why.
    pub reason: String,
}

fn note(
    fields: &mut Fields,
    request_id: String,
    reason: String,
    fingerprint: [u8; 32],
) -> Read<Note> {
    let is_id = request_id.len() <= 64 && request_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_id {
        fields.fault("request_id", "is not 1-64 visible ASCII characters");
    }
    let reason = fields.text::<512>("reason", reason)?.as_str().to_owned();
    let request = (!request_id.is_empty()).then_some(RequestKey { id: request_id, fingerprint });
    Ok(Note { request, reason })
}

/// A registration.
pub fn register(
    fields: &mut Fields,
    request: proto::RegisterPortRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, Note)> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let service_name = fields.service_name("service_name", &request.service_name);
    let ports = fields.port_range("ports", request.ports);
    let transports = fields.transports_to_take("transports", &request.transports);
    let description = fields.text("description", request.description);
    let assignee = fields.text("assignee", request.assignee);
    let contact = fields.text("contact", request.contact);
    let reference = fields.text("reference", request.reference);
    let assignment_notes = fields.text("assignment_notes", request.assignment_notes);
    let labels = fields.labels("labels", request.labels);
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    let note = note(fields, request.request_id, request.reason, fingerprint);
    let register = Register {
        namespace: namespace?,
        service_name: service_name?,
        ports: ports?,
        transports: transports?,
        details: Details {
            description: description?,
            assignee: assignee?,
            contact: contact?,
            reference: reference?,
            assignment_notes: assignment_notes?,
            labels: labels?,
        },
        acknowledge: acknowledge?,
    };
    Ok((Command::Register(register), note?))
}

/// A change of what is said of a registration.
pub fn update(
    fields: &mut Fields,
    request: proto::UpdateAssignmentRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, Note)> {
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    let note = note(fields, request.request_id, request.reason, fingerprint);
    let Some(assignment) = request.assignment else {
        return Err(fields.fault("assignment", "is missing"));
    };
    let uid = fields.take("assignment.uid", assignment.uid.parse::<Uid>());
    let etag = fields.optional("assignment.etag", &assignment.etag);
    let mask = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let edits = edits(fields, assignment, &mask);
    let update = Update { uid: uid?, etag: etag?, edits: edits?, acknowledge: acknowledge? };
    Ok((Command::Update(update), note?))
}

const EDITABLE: [&str; 7] = [
    "service_name",
    "description",
    "assignee",
    "contact",
    "reference",
    "assignment_notes",
    "labels",
];

/// The fields of the mask; without a mask those that are not empty (AIP-134).
fn edits(fields: &mut Fields, assignment: proto::Assignment, mask: &[String]) -> Read<Edits> {
    check_mask(fields, mask)?;
    let is_wanted = |path: &str, is_empty: bool| match mask {
        [] => !is_empty,
        [all] if all == "*" => true,
        paths => paths.iter().any(|wanted| wanted == path),
    };
    macro_rules! wanted {
        ($field:ident, $parse:expr) => {
            is_wanted(stringify!($field), assignment.$field.is_empty())
                .then(|| {
                    let path = concat!("assignment.", stringify!($field));
                    $parse(&mut *fields, path, assignment.$field)
                })
                .transpose()
        };
    }
    let service_name = wanted!(service_name, |fields: &mut Fields, path, name: String| {
        fields.service_name(path, &name)
    });
    let description = wanted!(description, Fields::text);
    let assignee = wanted!(assignee, Fields::text);
    let contact = wanted!(contact, Fields::text);
    let reference = wanted!(reference, Fields::text);
    let assignment_notes = wanted!(assignment_notes, Fields::text);
    let labels = wanted!(labels, Fields::labels);
    Ok(Edits {
        service_name: service_name?,
        description: description?,
        assignee: assignee?,
        contact: contact?,
        reference: reference?,
        assignment_notes: assignment_notes?,
        labels: labels?,
    })
}

fn check_mask(fields: &mut Fields, mask: &[String]) -> Read<()> {
    const FIELD: &str = "update_mask";
    if mask.len() > 1 && mask.iter().any(|path| path == "*") {
        return Err(fields.fault(FIELD, "has * beside other paths"));
    }
    let is_known = |path: &str| path == "*" || EDITABLE.contains(&path);
    match mask.iter().find(|path| !is_known(path)) {
        None => Ok(()),
        Some(stranger) => {
            let known = EDITABLE.join(", ");
            let fault = format!("{stranger:?} can't be changed: {known} can, or * for all of them");
            Err(fields.fault(FIELD, fault))
        }
    }
}

/// What to give back.
pub fn release(
    fields: &mut Fields,
    request: proto::ReleasePortRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, Note)> {
    let release = released(fields, &request);
    let note = note(fields, request.request_id, request.reason, fingerprint);
    Ok((Command::Release(release?), note?))
}

fn released(fields: &mut Fields, request: &proto::ReleasePortRequest) -> Read<Release> {
    match (request.uid.as_str(), request.port) {
        ("", None) => Err(fields.fault("uid", "is missing: a uid, or a port, is asked for")),
        ("", Some(port)) => {
            if !request.etag.is_empty() {
                fields.fault("etag", "goes with uid, not with port");
            }
            let namespace = fields.namespace("namespace", &request.namespace);
            let port = fields.port("port", Some(port));
            let transport = fields.transport("transport", request.transport);
            Ok(Release::Port { namespace: namespace?, port: port?, transport: transport? })
        }
        (_, Some(_)) => Err(fields.fault("port", "is given together with uid: give one of them")),
        (uid, None) => {
            let goes_with_port: [(&str, bool); 2] = [
                ("namespace", !request.namespace.is_empty()),
                ("transport", request.transport != 0),
            ];
            for (field, _) in goes_with_port.into_iter().filter(|(_, is_given)| *is_given) {
                fields.fault(field, "goes with port, not with uid");
            }
            let uid = fields.take("uid", uid.parse());
            let etag = fields.optional("etag", &request.etag);
            Ok(Release::Uid { uid: uid?, etag: etag? })
        }
    }
}

/// Which records to list.
pub fn filter(fields: &mut Fields, filter: proto::AssignmentFilter) -> Read<Filter> {
    let namespace = match filter.namespace.as_str() {
        "-" => Ok(None),
        name => fields.namespace("filter.namespace", name).map(Some),
    };
    let sources = each(&filter.sources, |number| fields.source("filter.sources", number));
    let states = each(&filter.states, |number| fields.state("filter.states", number));
    let transports =
        each(&filter.transports, |number| fields.transport("filter.transports", number));
    let ports =
        filter.ports.map(|ports| fields.port_range("filter.ports", Some(ports))).transpose();
    let prefix = fields.short("filter.service_name_prefix", &filter.service_name_prefix);
    let assignee = fields.text::<255>("filter.assignee", filter.assignee);
    let labels = fields.labels("filter.labels", filter.labels);
    Ok(Filter {
        namespace: namespace?,
        sources: sources?,
        states: states?,
        transports: transports?,
        ports: ports?,
        service_name_prefix: prefix?.to_lowercase(),
        assignee: assignee?.as_str().to_lowercase(),
        labels: labels?,
    })
}

/// The values of a list, each once however often it is given.
fn each<T: Ord>(numbers: &[i32], read: impl FnMut(i32) -> Result<T, Noted>) -> Read<BTreeSet<T>> {
    numbers.iter().copied().map(read).collect()
}
