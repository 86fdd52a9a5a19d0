//! Writes of registrations.

use std::num::NonZeroU16;

use super::{Mask, WriteOptions, note};
use crate::grpc::fields::{Fields, MAX_REGISTRATIONS, Read};
use crate::grpc::proto;
use crate::registry::assignment::Uid;
use crate::registry::command::{
    Command, Details, Edits, Ensure, Register, RegistrationSelector, Renew, Update,
};

/// What people say about a registration, in whichever request it is sent.
macro_rules! details {
    ($fields:ident, $request:ident) => {{
        let description = $fields.text("description", $request.description);
        let assignee = $fields.text("assignee", $request.assignee);
        let contact = $fields.text("contact", $request.contact);
        let reference = $fields.text("reference", $request.reference);
        let assignment_notes = $fields.text("assignment_notes", $request.assignment_notes);
        let labels = $fields.labels("labels", $request.labels);
        let read = || {
            Ok(Details {
                description: description?,
                assignee: assignee?,
                contact: contact?,
                reference: reference?,
                assignment_notes: assignment_notes?,
                labels: labels?,
            })
        };
        read()
    }};
}

/// A registration.
pub fn register(
    fields: &mut Fields,
    request: proto::RegisterPortRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let validate_only = request.validate_only;
    let (request_id, reason) = (request.request_id.clone(), request.reason.clone());
    let register = registration(fields, request);
    let note = note(fields, validate_only, request_id, reason, fingerprint);
    let register = register?;
    fields.judged("ports", std::iter::once((register.ports, register.transports.len())))?;
    Ok((Command::Register(register), note?))
}

fn registration(fields: &mut Fields, request: proto::RegisterPortRequest) -> Read<Register> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let service_name = fields.service_name("service_name", &request.service_name);
    let ports = fields.port_range("ports", request.ports);
    let transports = fields.transports_to_take("transports", &request.transports);
    let pool = fields.optional("pool", &request.pool);
    let ttl = fields.ttl("ttl", request.ttl);
    let details = details!(fields, request);
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    Ok(Register {
        namespace: namespace?,
        service_name: service_name?,
        ports: ports?,
        transports: transports?,
        pool: pool?,
        ttl: ttl?,
        details: details?,
        acknowledge: acknowledge?,
    })
}

/// Several registrations.
pub fn register_all(
    fields: &mut Fields,
    request: proto::BatchRegisterPortsRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let note = note(fields, request.validate_only, request.request_id, request.reason, fingerprint);
    fields.batch("requests", request.requests.len(), MAX_REGISTRATIONS)?;
    let registers: Vec<_> = request
        .requests
        .into_iter()
        .enumerate()
        .map(|(place, one)| {
            fields.within(&format!("requests[{place}]"), |fields| {
                check_is_part(fields, &one);
                registration(fields, one)
            })
        })
        .collect();
    let registers = registers.into_iter().collect::<Read<Vec<_>>>()?;
    let asked = registers.iter().map(|one| (one.ports, one.transports.len()));
    fields.judged("requests", asked)?;
    Ok((Command::RegisterAll(registers), note?))
}

/// That what is said of the whole batch is not said of a part of it.
fn check_is_part(fields: &mut Fields, request: &proto::RegisterPortRequest) {
    let of_the_batch = [
        ("validate_only", request.validate_only),
        ("request_id", !request.request_id.is_empty()),
        ("reason", !request.reason.is_empty()),
    ];
    for (field, _) in of_the_batch.into_iter().filter(|(_, is_given)| *is_given) {
        fields.fault(field, "is that of the batch: leave it out here");
    }
}

/// Ports of a pool.
pub fn ensure(
    fields: &mut Fields,
    request: proto::EnsurePortRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let pool = fields.required("pool", &request.pool);
    let service_name = fields.service_name("service_name", &request.service_name);
    let instance = fields.text("instance", request.instance);
    let count = count(fields, request.count);
    let transports = match &request.transports[..] {
        [] => Ok(Vec::new()),
        some => fields.transports_to_take("transports", some),
    };
    let ttl = fields.ttl("ttl", request.ttl);
    let details = details!(fields, request);
    let note = note(fields, request.validate_only, request.request_id, request.reason, fingerprint);
    let ensure = Ensure {
        namespace: namespace?,
        pool: pool?,
        service_name: service_name?,
        instance: instance?,
        count: count?,
        transports: transports?,
        ttl: ttl?,
        details: details?,
    };
    Ok((Command::Ensure(ensure), note?))
}

fn count(fields: &mut Fields, count: Option<u32>) -> Read<NonZeroU16> {
    let count = count.map_or(Ok(1), u16::try_from).ok().and_then(NonZeroU16::new);
    count.ok_or_else(|| fields.fault("count", "is not 1 to the size of the pool"))
}

/// A lease to renew.
pub fn renew(
    fields: &mut Fields,
    request: proto::RenewLeaseRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let held = held(
        fields,
        &proto::ReleasePortRequest {
            uid: request.uid,
            namespace: request.namespace,
            port: request.port,
            transport: request.transport,
            etag: request.etag,
            ..proto::ReleasePortRequest::default()
        },
    );
    let ttl = fields.ttl("ttl", request.ttl);
    let note = note(fields, request.validate_only, request.request_id, request.reason, fingerprint);
    Ok((Command::Renew(Renew { held: held?, ttl: ttl? }), note?))
}

/// A change of what is said of a registration.
pub fn update(
    fields: &mut Fields,
    request: proto::UpdateAssignmentRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    let note = note(fields, request.validate_only, request.request_id, request.reason, fingerprint);
    let Some(assignment) = request.assignment else {
        return Err(fields.fault("assignment", "is missing"));
    };
    let uid = fields.take("assignment.uid", assignment.uid.parse::<Uid>());
    let etag = fields.optional("assignment.etag", &assignment.etag);
    let mask = Mask::read(fields, request.update_mask, &EDITABLE)?;
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
fn edits(fields: &mut Fields, assignment: proto::Assignment, mask: &Mask) -> Read<Edits> {
    macro_rules! wanted {
        ($field:ident, $parse:expr) => {
            mask.value(stringify!($field), assignment.$field.is_empty(), || {
                let path = concat!("assignment.", stringify!($field));
                $parse(&mut *fields, path, assignment.$field)
            })
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

/// What to give back.
pub fn release(
    fields: &mut Fields,
    request: proto::ReleasePortRequest,
    fingerprint: [u8; 32],
) -> Read<(Command, WriteOptions)> {
    let held = held(fields, &request);
    let note = note(fields, request.validate_only, request.request_id, request.reason, fingerprint);
    Ok((Command::Release(held?), note?))
}

fn held(fields: &mut Fields, request: &proto::ReleasePortRequest) -> Read<RegistrationSelector> {
    match (request.uid.as_str(), request.port) {
        ("", None) => Err(fields.fault("uid", "is missing: a uid, or a port, is asked for")),
        ("", Some(port)) => {
            if !request.etag.is_empty() {
                fields.fault("etag", "goes with uid, not with port");
            }
            let namespace = fields.namespace("namespace", &request.namespace);
            let port = fields.port("port", Some(port));
            let transport = fields.transport("transport", request.transport);
            Ok(RegistrationSelector::Port {
                namespace: namespace?,
                port: port?,
                transport: transport?,
            })
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
            Ok(RegistrationSelector::Uid { uid: uid?, etag: etag? })
        }
    }
}
