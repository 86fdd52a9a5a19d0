//! Writes of namespaces and pools.

use super::Mask;
use crate::grpc::fields::{Fields, Parsed};
use crate::grpc::proto;
use crate::registry::command::{
    Command, CreateNamespace, CreatePool, DeleteNamespace, DeletePool, UpdateNamespace, UpdatePool,
};
use crate::registry::namespace::Policy;
use crate::registry::port::Transport;
use crate::registry::port_set::PortSet;

fn policy(fields: &mut Fields, policy: Option<proto::NamespacePolicy>) -> Parsed<Policy> {
    let policy = policy.unwrap_or_default();
    let accept = fields.accept("namespace.policy.accept", &policy.accept);
    let forbid = fields.forbid("namespace.policy.forbid", &policy.forbid);
    let cool_down = fields.cool_down("namespace.policy.cool_down", policy.cool_down);
    if let (Ok(accept), Ok(forbid)) = (&accept, &forbid)
        && let Some(both) = accept.intersection(forbid).next()
    {
        fields.invalid("namespace.policy.forbid", format!("{both} is also in accept"));
    }
    Ok(Policy { accept: accept?, forbid: forbid?, cool_down: cool_down? })
}

/// A new namespace.
pub(super) fn create_namespace(
    fields: &mut Fields,
    request: proto::CreateNamespaceRequest,
) -> Parsed<Command> {
    let namespace = fields.message("namespace", request.namespace)?;
    let name = fields.required("namespace.name", &namespace.name);
    let description = fields.text("namespace.description", namespace.description);
    let policy = policy(fields, namespace.policy);
    let create = CreateNamespace { name: name?, description: description?, policy: policy? };
    Ok(Command::CreateNamespace(create))
}

/// An update of a namespace.
pub(super) fn update_namespace(
    fields: &mut Fields,
    request: proto::UpdateNamespaceRequest,
) -> Parsed<Command> {
    let namespace = fields.message("namespace", request.namespace)?;
    let mask = Mask::read(fields, request.update_mask, &["description", "policy"])?;
    let name = fields.required("namespace.name", &namespace.name);
    let etag = fields.optional("namespace.etag", &namespace.etag);
    let description = mask.value("description", namespace.description.is_empty(), || {
        fields.text("namespace.description", namespace.description)
    });
    let policy =
        mask.value("policy", namespace.policy.is_none(), || policy(fields, namespace.policy));
    let (name, etag) = (name?, etag?);
    let update = UpdateNamespace { name, etag, description: description?, policy: policy? };
    Ok(Command::UpdateNamespace(update))
}

/// A deletion of a namespace.
pub(super) fn delete_namespace(
    fields: &mut Fields,
    request: proto::DeleteNamespaceRequest,
) -> Parsed<Command> {
    let proto::DeleteNamespaceRequest { name, etag, .. } = request;
    let name = fields.required("name", &name);
    let etag = fields.optional("etag", &etag);
    Ok(Command::DeleteNamespace(DeleteNamespace { name: name?, etag: etag? }))
}

/// The most ranges of a pool, and the most excluded ranges.
const MAX_RANGES: usize = 16;
const MAX_EXCLUDED: usize = 256;

fn ports(fields: &mut Fields, ranges: &[proto::PortRange]) -> Parsed<PortSet> {
    fields.port_set("pool.ports", ranges, 1..=MAX_RANGES)
}

fn excluded(fields: &mut Fields, ranges: &[proto::PortRange]) -> Parsed<PortSet> {
    fields.port_set("pool.excluded_ports", ranges, 0..=MAX_EXCLUDED)
}

fn transports(fields: &mut Fields, numbers: &[i32]) -> Parsed<Vec<Transport>> {
    fields.transports_to_register("pool.transports", numbers)
}

/// A new pool.
pub(super) fn create_pool(
    fields: &mut Fields,
    request: proto::CreatePoolRequest,
) -> Parsed<Command> {
    let pool = fields.message("pool", request.pool)?;
    let namespace = fields.namespace("pool.namespace", &pool.namespace);
    let name = fields.required("pool.name", &pool.name);
    let description = fields.text("pool.description", pool.description);
    let ports = ports(fields, &pool.ports);
    let transports = transports(fields, &pool.transports);
    let excluded_ports = excluded(fields, &pool.excluded_ports);
    let cool_down = fields.cool_down("pool.cool_down", pool.cool_down);
    let accept = fields.accept("pool.accept", &pool.accept);
    let create = CreatePool {
        namespace: namespace?,
        name: name?,
        description: description?,
        ports: ports?,
        transports: transports?,
        excluded_ports: excluded_ports?,
        cool_down: cool_down?,
        accept: accept?,
    };
    Ok(Command::CreatePool(create))
}

const EDITABLE: [&str; 6] =
    ["description", "ports", "transports", "excluded_ports", "cool_down", "accept"];

/// An update of a pool.
pub(super) fn update_pool(
    fields: &mut Fields,
    request: proto::UpdatePoolRequest,
) -> Parsed<Command> {
    let pool = fields.message("pool", request.pool)?;
    let mask = Mask::read(fields, request.update_mask, &EDITABLE)?;
    let namespace = fields.namespace("pool.namespace", &pool.namespace);
    let name = fields.required("pool.name", &pool.name);
    let etag = fields.optional("pool.etag", &pool.etag);
    let description = mask.value("description", pool.description.is_empty(), || {
        fields.text("pool.description", pool.description)
    });
    let ports = mask.value("ports", pool.ports.is_empty(), || ports(fields, &pool.ports));
    let transports = mask
        .value("transports", pool.transports.is_empty(), || transports(fields, &pool.transports));
    let excluded_ports = mask.value("excluded_ports", pool.excluded_ports.is_empty(), || {
        excluded(fields, &pool.excluded_ports)
    });
    let cool_down = mask.value("cool_down", pool.cool_down.is_none(), || {
        fields.cool_down("pool.cool_down", pool.cool_down)
    });
    let accept =
        mask.value("accept", pool.accept.is_empty(), || fields.accept("pool.accept", &pool.accept));
    let update = UpdatePool {
        namespace: namespace?,
        name: name?,
        etag: etag?,
        description: description?,
        ports: ports?,
        transports: transports?,
        excluded_ports: excluded_ports?,
        cool_down: cool_down?,
        accept: accept?,
    };
    Ok(Command::UpdatePool(update))
}

/// A deletion of a pool.
pub(super) fn delete_pool(
    fields: &mut Fields,
    request: proto::DeletePoolRequest,
) -> Parsed<Command> {
    let proto::DeletePoolRequest { namespace, name, etag, .. } = request;
    let namespace = fields.namespace("namespace", &namespace);
    let name = fields.required("name", &name);
    let etag = fields.optional("etag", &etag);
    let delete = DeletePool { namespace: namespace?, name: name?, etag: etag? };
    Ok(Command::DeletePool(delete))
}
