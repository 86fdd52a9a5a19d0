//! Namespaces and pools as JSON objects, and their lists of codes, transports and ranges as text.

use serde_json::{Value, json};

use super::enum_names::{name_of, phrases};
use super::record::{text, timestamp};
use super::table;
use crate::grpc::proto;

/// Finding codes, comma-separated.
pub(in crate::cli) fn codes(codes: &[i32]) -> String {
    names(codes).join(",")
}

fn names(codes: &[i32]) -> Vec<&'static str> {
    codes.iter().map(|&code| name_of::<proto::FindingCode>(code).unwrap_or("-")).collect()
}

/// Transports, comma-separated.
pub(in crate::cli) fn transports(transports: &[i32]) -> String {
    phrases::<proto::Transport>(transports).join(", ")
}

/// Port ranges, comma-separated.
pub(in crate::cli) fn ranges(ranges: &[proto::PortRange]) -> String {
    ranges.iter().map(|&ports| table::ports(Some(ports))).collect::<Vec<_>>().join(", ")
}

/// Port ranges as JSON objects.
pub(in crate::cli) fn range_objects(ranges: &[proto::PortRange]) -> Vec<Value> {
    ranges.iter().map(|ports| json!({"first": ports.first, "last": ports.last})).collect()
}

/// The namespace as a JSON object, in the field order of the API, with the fields of its policy at
/// the top level.
pub(in crate::cli) fn namespace(namespace: &proto::Namespace) -> Value {
    let policy = namespace.policy.clone().unwrap_or_default();
    json!({
        "name": text(&namespace.name),
        "description": text(&namespace.description),
        "accept": names(&policy.accept),
        "forbid": names(&policy.forbid),
        "cool_down": policy.cool_down.map(|duration| duration.to_string()),
        "create_time": timestamp(namespace.create_time),
        "update_time": timestamp(namespace.update_time),
        "etag": text(&namespace.etag),
        "revision": namespace.revision,
    })
}

/// The pool as a JSON object, in the field order of the API.
pub(in crate::cli) fn pool(pool: &proto::Pool) -> Value {
    json!({
        "namespace": text(&pool.namespace),
        "name": text(&pool.name),
        "description": text(&pool.description),
        "ports": range_objects(&pool.ports),
        "transports": phrases::<proto::Transport>(&pool.transports),
        "excluded_ports": range_objects(&pool.excluded_ports),
        "cool_down": pool.cool_down.map(|duration| duration.to_string()),
        "accept": names(&pool.accept),
        "create_time": timestamp(pool.create_time),
        "update_time": timestamp(pool.update_time),
        "etag": text(&pool.etag),
        "revision": pool.revision,
    })
}
