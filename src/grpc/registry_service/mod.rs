//! `PortRegistryService`: each read takes one snapshot and answers from it. Only questions about the
//! past read the history too.

mod check;
mod history;
mod past;
mod settings;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::past::{Past, Scope};
use self::watch::Watch;
use super::annotate::StreamLabels;
use super::fields::{Fields, MAX_BATCH, Read, parse};
use super::page_token::{Binding, ListPlace};
use super::proto::port_registry_service_server::PortRegistryService;
use super::request::{as_of, filter};
use super::status::{CallError, explained};
use super::{convert, proto, wire};
use crate::registry::assignment::{Record, Source, Uid};
use crate::registry::counts::Counts;
use crate::registry::decide::Refusal;
use crate::registry::endpoint::{Endpoint, PortRef};
use crate::registry::guide::SharedGuide;
use crate::registry::list;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::search::search;
use crate::registry::snapshot::View;
use crate::store::history::History;
use crate::writer::Registrar;

/// The reads.
#[derive(Clone)]
pub struct RegistryService {
    registrar: Registrar,
    history: Arc<dyn History>,
    /// The past that was asked for last.
    past: Arc<Mutex<Option<Past>>>,
    database_id: Arc<str>,
    shutdown: CancellationToken,
}

impl RegistryService {
    /// The reads of this registry. Streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        registrar: Registrar,
        history: Arc<dyn History>,
        database_id: Arc<str>,
        shutdown: CancellationToken,
    ) -> Self {
        let past = Arc::default();
        Self { registrar, history, past, database_id, shutdown }
    }
}

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
const DEFAULT_HITS: usize = 20;
const MAX_HITS: usize = 100;
/// The most bytes of the answers to one batch.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The most records of one service that an answer holds.
const MAX_RECORDS: usize = 1000;

#[tonic::async_trait]
impl PortRegistryService for RegistryService {
    async fn lookup_port(
        &self,
        request: Request<proto::LookupPortRequest>,
    ) -> Result<Response<wire::LookupPortResponse>, Status> {
        let request = request.into_inner();
        let (port, transport, namespace, moment) = parse(|fields| {
            let port = fields.port("port", request.port);
            let transport = fields.transport("transport", request.transport);
            let namespace = fields.namespace("namespace", &request.namespace);
            let moment = as_of(fields, request.as_of);
            Ok((port?, transport?, namespace?, moment?))
        })?;
        let scope = Scope { namespace: Some(&namespace), port: Some(port) };
        let snapshot = self.snapshot_at(moment, scope).await?;
        let view = snapshot.seen_from(&namespace).map_err(CallError::from)?;
        Ok(Response::new(wire::LookupPortResponse {
            port_info: port_info(view, port, transport),
            revision: snapshot.revision().0,
        }))
    }

    async fn lookup_service(
        &self,
        request: Request<proto::LookupServiceRequest>,
    ) -> Result<Response<proto::LookupServiceResponse>, Status> {
        let request = request.into_inner();
        let (name, transport, namespace, moment) = parse(|fields| {
            let name = fields.name("service_name", &request.service_name);
            let transport = fields.transport("transport", request.transport);
            let namespace = fields.namespace("namespace", &request.namespace);
            let moment = as_of(fields, request.as_of);
            Ok((name?, transport?, namespace?, moment?))
        })?;
        let scope = Scope { namespace: Some(&namespace), port: None };
        let snapshot = self.snapshot_at(moment, scope).await?;
        let view = snapshot.seen_from(&namespace).map_err(CallError::from)?;
        let mut answer = view.lookup_service(name, transport).map_err(CallError::from)?;
        let total_size = answer.records.len() as u32;
        answer.records.truncate(MAX_RECORDS);
        let reference = view.reference();
        let guides = convert::guides_of(reference, answer.records.iter().copied());
        Ok(Response::new(proto::LookupServiceResponse {
            guides: guides.into_iter().map(|guide| convert::guide(guide)).collect(),
            assignments: convert::assignments(reference, answer.records),
            total_size,
            revision: snapshot.revision().0,
        }))
    }

    async fn lookup_endpoint(
        &self,
        request: Request<proto::LookupEndpointRequest>,
    ) -> Result<Response<wire::LookupEndpointResponse>, Status> {
        let request = request.into_inner();
        let (endpoint, namespace) = parse(|fields| {
            let endpoint = fields.take("endpoint", request.endpoint.parse::<Endpoint>());
            let namespace = fields.namespace("namespace", &request.namespace);
            Ok((endpoint?, namespace?))
        })?;
        let snapshot = self.registrar.snapshot();
        let view = snapshot.seen_from(&namespace).map_err(CallError::from)?;
        let port = port_of(view, &endpoint)?;
        Ok(Response::new(wire::LookupEndpointResponse {
            host_kind: convert::host_kind(endpoint.host.as_ref()).into(),
            host: endpoint.host.map(|host| host.to_string()).unwrap_or_default(),
            transport: convert::transport(endpoint.transport).into(),
            port_info: port_info(view, port, endpoint.transport),
            revision: snapshot.revision().0,
        }))
    }

    async fn batch_lookup_ports(
        &self,
        request: Request<proto::BatchLookupPortsRequest>,
    ) -> Result<Response<wire::BatchLookupPortsResponse>, Status> {
        let request = request.into_inner();
        let (queries, namespace) = parse(|fields| {
            let namespace = fields.namespace("namespace", &request.namespace);
            fields.batch("queries", request.queries.len(), MAX_BATCH)?;
            let queries =
                (0..).zip(&request.queries).map(|(place, query)| query_of(fields, place, query));
            Ok((queries.collect::<Read<Vec<_>>>()?, namespace?))
        })?;
        let snapshot = self.registrar.snapshot();
        let view = snapshot.seen_from(&namespace).map_err(CallError::from)?;
        let reference = view.reference();
        let mut answers: HashMap<(Port, Option<Transport>), Bytes> = HashMap::new();
        let mut guides: Vec<&Arc<SharedGuide>> = Vec::new();
        let mut known = HashSet::new();
        let mut size = 0;
        let mut port_infos = Vec::with_capacity(queries.len());
        for (port, transport) in queries {
            // The same question comes again and again where the questions come from a log.
            let encoded = answers.entry((port, transport)).or_insert_with(|| {
                let answer = view.lookup_port(port, transport);
                let of_answer = convert::guides_of(reference, answer.records.iter().copied());
                guides
                    .extend(of_answer.into_iter().filter(|guide| known.insert(Arc::as_ptr(guide))));
                wire::encode_port_info(reference, &answer, &[])
            });
            size += encoded.len();
            if size > MAX_ANSWER {
                return Err(CallError::AnswerTooLarge { most: MAX_ANSWER }.into());
            }
            port_infos.push(encoded.clone());
        }
        let guides =
            guides.into_iter().map(|guide| Bytes::copy_from_slice(wire::encoded_guide(guide)));
        Ok(Response::new(wire::BatchLookupPortsResponse {
            port_infos,
            guides: guides.collect(),
            revision: snapshot.revision().0,
        }))
    }

    type AnnotatePortsStream =
        Pin<Box<dyn Stream<Item = Result<proto::AnnotatePortsResponse, Status>> + Send>>;

    async fn annotate_ports(
        &self,
        request: Request<Streaming<proto::AnnotatePortsRequest>>,
    ) -> Result<Response<Self::AnnotatePortsStream>, Status> {
        let registrar = self.registrar.clone();
        let mut labels = StreamLabels::default();
        let blocks = request.into_inner().map(move |block| match block {
            Ok(block) => labels.annotate(&registrar.snapshot(), &block).map_err(Status::from),
            Err(fault) => Err(explained(&fault).unwrap_or(fault)),
        });
        let shutdown = self.shutdown.clone();
        let stopping = shutdown.clone();
        let farewell = stream::once(async move {
            stopping.is_cancelled().then(|| Err(Status::from(CallError::Stopping)))
        });
        let until_shutdown = blocks.take_until(shutdown.cancelled_owned());
        Ok(Response::new(Box::pin(until_shutdown.chain(farewell.filter_map(std::future::ready)))))
    }

    async fn get_assignment(
        &self,
        request: Request<proto::GetAssignmentRequest>,
    ) -> Result<Response<proto::GetAssignmentResponse>, Status> {
        let request = request.into_inner();
        let uid = parse(|fields| fields.take("uid", request.uid.parse::<Uid>()))?;
        let snapshot = self.registrar.snapshot();
        let record =
            snapshot.by_uid(uid).ok_or_else(|| CallError::from(Refusal::UnknownUid(uid)))?;
        let reference = snapshot.reference();
        let guide = record.service_name.as_deref().and_then(|name| reference.guide_of(name));
        Ok(Response::new(proto::GetAssignmentResponse {
            assignment: Some(convert::assignment(reference, record)),
            guide: guide.map(|guide| convert::guide(guide)),
            revision: snapshot.revision().0,
        }))
    }

    async fn list_assignments(
        &self,
        request: Request<proto::ListAssignmentsRequest>,
    ) -> Result<Response<proto::ListAssignmentsResponse>, Status> {
        let request = request.into_inner();
        let asked = proto::ListAssignmentsRequest {
            page_size: 0,
            page_token: String::new(),
            ..request.clone()
        };
        let binding = Binding::new(&self.database_id, "ListAssignments", &asked);
        let (filter, size, moment) = parse(|fields| {
            let size = fields.size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE);
            let filter = filter(fields, request.filter.unwrap_or_default());
            let moment = as_of(fields, request.as_of);
            Ok((filter?, size?, moment?))
        })?;
        let from = binding.place(&request.page_token)?.map(ListPlace::key).transpose()?;
        let scope = Scope { namespace: filter.namespace.as_ref(), port: None };
        let snapshot = self.snapshot_at(moment, scope).await?;
        if let Some(namespace) = &filter.namespace {
            snapshot.seen_from(namespace).map_err(CallError::from)?;
        }
        let page = list::page(&snapshot, &filter, from.as_ref(), size);
        Ok(Response::new(proto::ListAssignmentsResponse {
            assignments: convert::assignments(snapshot.reference(), page.records),
            next_page_token: page
                .next
                .map(|key| binding.token(&ListPlace::from(&key)))
                .unwrap_or_default(),
            total_size: page.total,
            revision: snapshot.revision().0,
        }))
    }

    async fn search_assignments(
        &self,
        request: Request<proto::SearchAssignmentsRequest>,
    ) -> Result<Response<proto::SearchAssignmentsResponse>, Status> {
        let request = request.into_inner();
        let (query, limit, namespace) = parse(|fields| {
            let query = fields.name("query", &request.query);
            let limit = fields.size("limit", request.limit, DEFAULT_HITS, MAX_HITS);
            let namespace = fields.namespace("namespace", &request.namespace);
            Ok((query?, limit?, namespace?))
        })?;
        let snapshot = self.registrar.snapshot();
        let view = snapshot.seen_from(&namespace).map_err(CallError::from)?;
        let hits = search(view, query, limit);
        let reference = view.reference();
        Ok(Response::new(proto::SearchAssignmentsResponse {
            hits: hits.iter().map(|hit| convert::search_hit(reference, hit)).collect(),
            revision: snapshot.revision().0,
        }))
    }

    async fn check_port(
        &self,
        request: Request<proto::CheckPortRequest>,
    ) -> Result<Response<proto::CheckPortResponse>, Status> {
        Ok(self.check(&request.into_inner()).map(Response::new)?)
    }

    async fn batch_check_ports(
        &self,
        request: Request<proto::BatchCheckPortsRequest>,
    ) -> Result<Response<proto::BatchCheckPortsResponse>, Status> {
        Ok(self.check_batch(&request.into_inner()).map(Response::new)?)
    }

    async fn get_namespace(
        &self,
        request: Request<proto::GetNamespaceRequest>,
    ) -> Result<Response<proto::GetNamespaceResponse>, Status> {
        Ok(self.namespace(&request.into_inner()).map(Response::new)?)
    }

    async fn list_namespaces(
        &self,
        request: Request<proto::ListNamespacesRequest>,
    ) -> Result<Response<proto::ListNamespacesResponse>, Status> {
        Ok(self.namespaces(&request.into_inner()).map(Response::new)?)
    }

    async fn get_pool(
        &self,
        request: Request<proto::GetPoolRequest>,
    ) -> Result<Response<proto::GetPoolResponse>, Status> {
        Ok(self.pool(&request.into_inner()).map(Response::new)?)
    }

    async fn list_pools(
        &self,
        request: Request<proto::ListPoolsRequest>,
    ) -> Result<Response<proto::ListPoolsResponse>, Status> {
        Ok(self.pools(&request.into_inner()).map(Response::new)?)
    }

    async fn list_changes(
        &self,
        request: Request<proto::ListChangesRequest>,
    ) -> Result<Response<proto::ListChangesResponse>, Status> {
        Ok(self.changes(request.into_inner()).await.map(Response::new)?)
    }

    type WatchAssignmentsStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchAssignmentsResponse, Status>> + Send>>;

    async fn watch_assignments(
        &self,
        request: Request<proto::WatchAssignmentsRequest>,
    ) -> Result<Response<Self::WatchAssignmentsStream>, Status> {
        let watch = Watch::start(self, &request.into_inner()).await?;
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    async fn get_registry_info(
        &self,
        _: Request<proto::GetRegistryInfoRequest>,
    ) -> Result<Response<proto::GetRegistryInfoResponse>, Status> {
        let snapshot = self.registrar.snapshot();
        let reference = snapshot.reference();
        let counts = Source::ALL.map(|source| match source {
            Source::Custom => Counts::of(source, snapshot.custom()),
            Source::Iana | Source::Common => Counts::of(source, reference.records().iter()),
        });
        Ok(Response::new(proto::GetRegistryInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: snapshot.revision().0,
            iana_date: reference.edition().iana_date.clone(),
            iana_sha256: reference.edition().iana_sha256.clone(),
            guides: reference.guides().len() as u32,
            sources: counts.iter().map(convert::source_counts).collect(),
            database_id: self.database_id.to_string(),
        }))
    }
}

fn port_info(view: View<'_>, port: Port, transport: Option<Transport>) -> Bytes {
    let answer = view.lookup_port(port, transport);
    let guides = convert::guides_of(view.reference(), answer.records.iter().copied());
    wire::encode_port_info(view.reference(), &answer, &guides)
}

/// The port of an endpoint. A name stands for a port only if it stands for one.
fn port_of(view: View<'_>, endpoint: &Endpoint) -> Result<Port, CallError> {
    let name = match &endpoint.port {
        PortRef::Number(port) => return Ok(*port),
        PortRef::Service(name) | PortRef::Scheme(name) => name,
    };
    let mut records = view.lookup_service(name, endpoint.transport)?.records;
    let is_public =
        |record: &&Arc<Record>| record.source() == Source::Iana && record.ports.is_some();
    if matches!(endpoint.port, PortRef::Scheme(_)) && records.iter().any(is_public) {
        records.retain(is_public);
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
    place: usize,
    query: &proto::PortQuery,
) -> Read<(Port, Option<Transport>)> {
    // The paths are only needed for a fault, and there may be 10,000 queries.
    let is_plain = query.port.is_some_and(|port| Port::try_from(port).is_ok())
        && proto::Transport::try_from(query.transport).is_ok();
    let path = |field| {
        if is_plain { String::new() } else { format!("queries[{place}].{field}") }
    };
    let port = fields.port(&path("port"), query.port)?;
    let transport = fields.transport(&path("transport"), query.transport)?;
    Ok((port, transport))
}
