//! Writes of registrations.

use std::num::NonZeroU16;
use std::{iter, mem};

use super::Mask;
use crate::grpc::details;
use crate::grpc::fields::{Fields, MAX_REGISTRATIONS, Parsed};
use crate::grpc::proto;
use crate::registry::assignment::Uid;
use crate::registry::command::{Command, Ensure, Register, RegistrationSelector, Renew, Update};
use crate::registry::details::TextField;

/// A registration.
pub(super) fn register(
    fields: &mut Fields,
    request: proto::RegisterPortRequest,
) -> Parsed<Command> {
    let register = registration(fields, request)?;
    fields.port_count("ports", std::iter::once((register.ports, register.transports.len())))?;
    Ok(Command::Register(register))
}

fn registration(fields: &mut Fields, mut request: proto::RegisterPortRequest) -> Parsed<Register> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let service_name = fields.service_name("service_name", &request.service_name);
    let ports = fields.port_range("ports", request.ports);
    let transports = fields.transports_to_register("transports", &request.transports);
    let pool = fields.optional("pool", &request.pool);
    let ttl = fields.ttl("ttl", request.ttl);
    let details = details::edits(fields, "", &mut request, |_, is_empty| !is_empty);
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
pub(super) fn register_all(
    fields: &mut Fields,
    request: proto::BatchRegisterPortsRequest,
) -> Parsed<Command> {
    fields.batch_size("requests", request.requests.len(), MAX_REGISTRATIONS)?;
    let registers: Vec<_> = request
        .requests
        .into_iter()
        .enumerate()
        .map(|(index, one)| {
            fields.within(&format!("requests[{index}]"), |fields| {
                check_entry_options(fields, &one);
                registration(fields, one)
            })
        })
        .collect();
    let registers = registers.into_iter().collect::<Parsed<Vec<_>>>()?;
    let requested = registers.iter().map(|one| (one.ports, one.transports.len()));
    fields.port_count("requests", requested)?;
    Ok(Command::RegisterAll(registers))
}

/// Checks that the options of the batch are not set on an entry.
fn check_entry_options(fields: &mut Fields, request: &proto::RegisterPortRequest) {
    let batch_options = [
        ("validate_only", request.validate_only),
        ("request_id", !request.request_id.is_empty()),
        ("reason", !request.reason.is_empty()),
    ];
    for (field, _) in batch_options.into_iter().filter(|(_, is_set)| *is_set) {
        fields.invalid(field, "applies to the batch: omit it here");
    }
}

/// Ports of a pool.
pub(super) fn ensure(
    fields: &mut Fields,
    mut request: proto::EnsurePortRequest,
) -> Parsed<Command> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let pool = fields.required("pool", &request.pool);
    let service_name = fields.service_name("service_name", &request.service_name);
    let instance = fields.text("instance", mem::take(&mut request.instance));
    let count = count(fields, request.count);
    let transports = match &request.transports[..] {
        [] => Ok(Vec::new()),
        some => fields.transports_to_register("transports", some),
    };
    let ttl = fields.ttl("ttl", request.ttl);
    let details = details::edits(fields, "", &mut request, |_, is_empty| !is_empty);
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
    Ok(Command::Ensure(ensure))
}

fn count(fields: &mut Fields, count: Option<u32>) -> Parsed<NonZeroU16> {
    let count = count.map_or(Ok(1), u16::try_from).ok().and_then(NonZeroU16::new);
    count.ok_or_else(|| fields.invalid("count", "is not between 1 and the size of the pool"))
}

/// A renewal of leases.
pub(super) fn renew(fields: &mut Fields, request: proto::RenewLeaseRequest) -> Parsed<Command> {
    let selector = selector(
        fields,
        proto::ReleasePortRequest {
            uid: request.uid,
            namespace: request.namespace,
            port: request.port,
            transport: request.transport,
            etag: request.etag,
            ..proto::ReleasePortRequest::default()
        },
    );
    let ttl = fields.ttl("ttl", request.ttl);
    Ok(Command::Renew(Renew { selector: selector?, ttl: ttl? }))
}

/// An update of a registration.
pub(super) fn update(
    fields: &mut Fields,
    request: proto::UpdateAssignmentRequest,
) -> Parsed<Command> {
    let acknowledge = fields.acknowledge("acknowledge", &request.acknowledge);
    let mut assignment = fields.message("assignment", request.assignment)?;
    let uid = fields.parsed("assignment.uid", assignment.uid.parse::<Uid>());
    let etag = fields.optional("assignment.etag", &assignment.etag);
    let texts = TextField::ALL.map(TextField::name);
    let editable: Vec<_> =
        iter::once(SERVICE_NAME).chain(texts).chain(iter::once(details::LABELS)).collect();
    let mask = Mask::read(fields, request.update_mask, &editable)?;
    let service_name = mask.value(SERVICE_NAME, assignment.service_name.is_empty(), || {
        fields.service_name("assignment.service_name", &assignment.service_name)
    });
    let selects = |field: &str, is_empty| mask.has(field, is_empty);
    let details = details::edits(fields, "assignment.", &mut assignment, selects);
    let update = Update {
        uid: uid?,
        etag: etag?,
        service_name: service_name?,
        details: details?,
        acknowledge: acknowledge?,
    };
    Ok(Command::Update(update))
}

const SERVICE_NAME: &str = "service_name";

/// A release.
pub(super) fn release(fields: &mut Fields, request: proto::ReleasePortRequest) -> Parsed<Command> {
    let selector = selector(fields, request);
    Ok(Command::Release(selector?))
}

fn selector(
    fields: &mut Fields,
    request: proto::ReleasePortRequest,
) -> Parsed<RegistrationSelector> {
    let proto::ReleasePortRequest { uid, namespace, port, transport, etag, .. } = request;
    match (uid.as_str(), port) {
        ("", None) => Err(fields.invalid("uid", "is missing: expected a uid or a port")),
        ("", Some(port)) => {
            if !etag.is_empty() {
                fields.invalid("etag", "is only valid with uid, not with port");
            }
            let namespace = fields.namespace("namespace", &namespace);
            let port = fields.port("port", Some(port));
            let transport = fields.transport("transport", transport);
            Ok(RegistrationSelector::Port {
                namespace: namespace?,
                port: port?,
                transport: transport?,
            })
        }
        (_, Some(_)) => Err(fields.invalid("port", "is set together with uid: set one of them")),
        (uid, None) => {
            let port_fields: [(&str, bool); 2] =
                [("namespace", !namespace.is_empty()), ("transport", transport != 0)];
            for (field, _) in port_fields.into_iter().filter(|(_, is_set)| *is_set) {
                fields.invalid(field, "is only valid with port, not with uid");
            }
            let uid = fields.parsed("uid", uid.parse());
            let etag = fields.optional("etag", &etag);
            Ok(RegistrationSelector::Uid { uid: uid?, etag: etag? })
        }
    }
}
