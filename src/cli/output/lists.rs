//! Lists of finding codes, transports and port ranges, as text and JSON.

use serde_json::{Value, json};

use super::enum_names::{name_of, phrases};
use super::table;
use crate::grpc::proto;

/// Finding codes, comma-separated.
pub(in crate::cli) fn codes(codes: &[i32]) -> String {
    names(codes).join(",")
}

/// The names of finding codes.
pub(in crate::cli) fn names(codes: &[i32]) -> Vec<&'static str> {
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
