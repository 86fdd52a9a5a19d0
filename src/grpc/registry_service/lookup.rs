//! Lookups of ports, as encoded responses.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::grpc::fields::{Fields, MAX_BATCH, Parsed, parse};
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto, wire};
use crate::registry::assignment::{Record, Source};
use crate::registry::endpoint::{Endpoint, PortRef};
use crate::registry::guide::SharedGuide;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};

/// The most bytes of a response to a batch.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// Looks up many ports.
pub(super) fn batch(
    snapshot: &Snapshot,
    request: &proto::BatchLookupPortsRequest,
) -> Result<wire::BatchLookupPortsResponse, CallError> {
    let (queries, namespace) = parse(|fields| {
        let namespace = fields.namespace("namespace", &request.namespace);
        fields.batch_size("queries", request.queries.len(), MAX_BATCH)?;
        let queries =
            (0..).zip(&request.queries).map(|(index, query)| query_of(fields, index, query));
        Ok((queries.collect::<Parsed<Vec<_>>>()?, namespace?))
    })?;
    let view = snapshot.view(&namespace)?;
    let reference = view.reference();
    let mut encoded: HashMap<(Port, Option<Transport>), Bytes> = HashMap::new();
    let mut guides: Vec<&Arc<SharedGuide>> = Vec::new();
    let mut known = HashSet::new();
    let mut size = 0;
    let mut port_infos = Vec::with_capacity(queries.len());
    for (port, transport) in queries {
        // Queries from a log repeat the same ports.
        let port_info = encoded.entry((port, transport)).or_insert_with(|| {
            let lookup = view.lookup_port(port, transport);
            let port_guides = convert::guides_of(reference, lookup.records.iter().copied());
            guides.extend(port_guides.into_iter().filter(|guide| known.insert(Arc::as_ptr(guide))));
            wire::encode_port_info(reference, &lookup, &[])
        });
        size += port_info.len();
        if size > MAX_RESPONSE_BYTES {
            return Err(CallError::AnswerTooLarge { max: MAX_RESPONSE_BYTES });
        }
        port_infos.push(port_info.clone());
    }
    let guides = guides.into_iter().map(|guide| Bytes::copy_from_slice(wire::encoded_guide(guide)));
    Ok(wire::BatchLookupPortsResponse {
        port_infos,
        guides: guides.collect(),
        revision: snapshot.revision().0,
    })
}

/// Looks up a port, and encodes the result with its guides.
pub(super) fn port_info(view: View<'_>, port: Port, transport: Option<Transport>) -> Bytes {
    let lookup = view.lookup_port(port, transport);
    let guides = convert::guides_of(view.reference(), lookup.records.iter().copied());
    wire::encode_port_info(view.reference(), &lookup, &guides)
}

/// The port of an endpoint. A service name must have exactly one port.
pub(super) fn port_of(view: View<'_>, endpoint: &Endpoint) -> Result<Port, CallError> {
    let name = match &endpoint.port {
        PortRef::Number(port) => return Ok(*port),
        PortRef::Service(name) | PortRef::Scheme(name) => name,
    };
    let mut records = view.lookup_service(name, endpoint.transport)?.records;
    let is_iana = |record: &&Arc<Record>| record.source() == Source::Iana && record.ports.is_some();
    if matches!(endpoint.port, PortRef::Scheme(_)) && records.iter().any(is_iana) {
        records.retain(is_iana);
    }
    let ranges: BTreeSet<PortRange> = records.iter().filter_map(|record| record.ports).collect();
    let mut ranges = ranges.into_iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) if range.width() == 1 => Ok(range.first()),
        (None, _) => Err(CallError::ServiceWithoutPort(name.clone())),
        (first, second) => {
            let ports = first.into_iter().chain(second).chain(ranges).collect();
            Err(CallError::ServiceAmbiguous { service_name: name.clone(), ports })
        }
    }
}

fn query_of(
    fields: &mut Fields,
    index: usize,
    query: &proto::PortQuery,
) -> Parsed<(Port, Option<Transport>)> {
    // The paths are needed only for violations, and there may be 10,000 queries.
    let is_valid = query.port.is_some_and(|port| Port::try_from(port).is_ok())
        && proto::Transport::try_from(query.transport).is_ok();
    let path = |field| {
        if is_valid { String::new() } else { format!("queries[{index}].{field}") }
    };
    let port = fields.port(&path("port"), query.port)?;
    let transport = fields.transport(&path("transport"), query.transport)?;
    Ok((port, transport))
}
