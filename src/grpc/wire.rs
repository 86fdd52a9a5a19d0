//! Responses assembled from encoded parts.
//!
//! Converting and encoding the records would dominate the cost of a lookup. Therefore each record and
//! guide is encoded once, and a response is the concatenation of these encodings: on the wire, a field
//! of a message type is the same as a bytes field with the encoded message.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{convert, proto};
use crate::registry::assignment::Record;
use crate::registry::guide::SharedGuide;
use crate::registry::reference::Reference;
use crate::registry::snapshot::PortLookup;

/// `portbook.v1.LookupPortResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LookupPortResponse {
    /// A `PortInfo`, encoded.
    #[prost(bytes = "bytes", tag = "1")]
    pub port_info: Bytes,
    /// The revision of the response.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

/// `portbook.v1.LookupEndpointResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LookupEndpointResponse {
    /// The host without brackets, or empty.
    #[prost(string, tag = "1")]
    pub host: String,
    /// The kind of the host.
    #[prost(enumeration = "proto::HostKind", tag = "2")]
    pub host_kind: i32,
    /// The transport in the endpoint.
    #[prost(enumeration = "proto::Transport", tag = "3")]
    pub transport: i32,
    /// A `PortInfo`, encoded.
    #[prost(bytes = "bytes", tag = "4")]
    pub port_info: Bytes,
    /// The revision of the response.
    #[prost(uint64, tag = "5")]
    pub revision: u64,
}

/// `portbook.v1.BatchLookupPortsResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchLookupPortsResponse {
    /// `PortInfo`s, encoded.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub port_infos: Vec<Bytes>,
    /// `Guide`s, encoded.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub guides: Vec<Bytes>,
    /// The revision of the response.
    #[prost(uint64, tag = "3")]
    pub revision: u64,
}

/// The fields of `PortInfo`.
mod port_info {
    pub(super) const PORT: u32 = 1;
    pub(super) const PORT_CLASS: u32 = 2;
    pub(super) const STATE: u32 = 3;
    pub(super) const ASSIGNMENTS: u32 = 4;
    pub(super) const GUIDE: u32 = 5;
    pub(super) const MORE_GUIDES: u32 = 6;
}

/// Encodes a lookup result as a `PortInfo` with these guides.
#[must_use]
pub fn encode_port_info(
    reference: &Reference,
    lookup: &PortLookup<'_>,
    guides: &[&Arc<SharedGuide>],
) -> Bytes {
    let assignments: Vec<&[u8]> =
        lookup.records.iter().map(|record| encoded_assignment(reference, record)).collect();
    let guides: Vec<&[u8]> = guides.iter().map(|guide| encoded_guide(guide)).collect();
    // proto3 omits zeros, so also port 0.
    let numbers = [
        (port_info::PORT, u64::from(lookup.port.number())),
        (port_info::PORT_CLASS, convert::port_class(lookup.port.class()) as u64),
        (port_info::STATE, convert::state(lookup.state) as u64),
    ]
    .into_iter()
    .filter(|(_, number)| *number != 0);
    let parts = || {
        let guide_field = |index| {
            if index == 0 { port_info::GUIDE } else { port_info::MORE_GUIDES }
        };
        assignments.iter().map(|bytes| (port_info::ASSIGNMENTS, *bytes)).chain(
            guides.iter().enumerate().map(move |(index, bytes)| (guide_field(index), *bytes)),
        )
    };
    let length: usize = numbers
        .clone()
        .map(|(tag, number)| key_len(tag) + encoded_len_varint(number))
        .sum::<usize>()
        + parts()
            .map(|(tag, bytes)| key_len(tag) + encoded_len_varint(bytes.len() as u64) + bytes.len())
            .sum::<usize>();
    let mut encoded = Vec::with_capacity(length);
    for (tag, number) in numbers {
        encode_key(tag, WireType::Varint, &mut encoded);
        encode_varint(number, &mut encoded);
    }
    for (tag, bytes) in parts() {
        encode_key(tag, WireType::LengthDelimited, &mut encoded);
        encode_varint(bytes.len() as u64, &mut encoded);
        encoded.extend_from_slice(bytes);
    }
    encoded.into()
}

/// The guide, encoded as a `Guide`.
#[must_use]
pub fn encoded_guide(guide: &SharedGuide) -> &[u8] {
    guide.encoding(|guide| convert::guide(guide).encode_to_vec())
}

fn encoded_assignment<'a>(reference: &Reference, record: &'a Record) -> &'a [u8] {
    record.encoding(|assignment| convert::assignment(reference, assignment).encode_to_vec())
}
