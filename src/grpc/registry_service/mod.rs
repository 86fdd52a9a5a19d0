//! `PortRegistryService`: each read uses one snapshot. Only historical queries also read the history.

mod check;
mod historical;
mod history;
mod lookup;
mod settings;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::historical::{CachedSnapshot, Scope};
use self::lookup::{port_info, port_of};
use self::watch::Watch;
use super::annotate::StreamLabels;
use super::fields::parse;
use super::page_token::{Binding, ListPosition};
use super::proto::port_registry_service_server::PortRegistryService;
use super::request::{as_of, filter};
use super::status::{CallError, transport_error};
use super::{convert, proto, wire};
use crate::registry::assignment::Uid;
use crate::registry::decide::Refusal;
use crate::registry::endpoint::Endpoint;
use crate::registry::list;
use crate::registry::search::search;
use crate::store::history::History;
use crate::writer::RegistryHandle;

/// The reads.
#[derive(Clone)]
pub struct RegistryService {
    handle: RegistryHandle,
    history: Arc<dyn History>,
    /// Permits for historical queries, which may wait for each other: they must not hold all call permits
    /// meanwhile.
    history_permits: Arc<Semaphore>,
    /// The last historical snapshot.
    cached: Arc<Mutex<Option<CachedSnapshot>>>,
    database_id: Arc<str>,
    shutdown: CancellationToken,
}

impl RegistryService {
    /// The reads of this registry. Streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        handle: RegistryHandle,
        history: Arc<dyn History>,
        database_id: Arc<str>,
        shutdown: CancellationToken,
    ) -> Self {
        let history_permits = Arc::new(Semaphore::new(MAX_HISTORICAL_QUERIES));
        let cached = Arc::default();
        Self { handle, history, history_permits, cached, database_id, shutdown }
    }

    /// A permit for a historical query, unless too many run.
    fn history_permit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        self.history_permits.try_acquire().map_err(|_| CallError::Overloaded)
    }
}

/// The most concurrent historical queries.
const MAX_HISTORICAL_QUERIES: usize = 256;

const DEFAULT_HITS: usize = 20;
const MAX_HITS: usize = 100;
/// The most records in a response for a service.
const MAX_RECORDS: usize = 1000;

#[tonic::async_trait]
impl PortRegistryService for RegistryService {
    async fn lookup_port(
        &self,
        request: Request<proto::LookupPortRequest>,
    ) -> Result<Response<wire::LookupPortResponse>, Status> {
        let request = request.into_inner();
        let (port, transport, namespace, as_of) = parse(|fields| {
            let port = fields.port("port", request.port);
            let transport = fields.transport("transport", request.transport);
            let namespace = fields.namespace("namespace", &request.namespace);
            let as_of = as_of(fields, request.as_of);
            Ok((port?, transport?, namespace?, as_of?))
        })?;
        let scope = Scope { namespace: Some(&namespace), port: Some(port) };
        let snapshot = self.snapshot_at(as_of, scope).await?;
        let view = snapshot.view(&namespace).map_err(CallError::from)?;
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
        let (name, transport, namespace, as_of) = parse(|fields| {
            let name = fields.name("service_name", &request.service_name);
            let transport = fields.transport("transport", request.transport);
            let namespace = fields.namespace("namespace", &request.namespace);
            let as_of = as_of(fields, request.as_of);
            Ok((name?, transport?, namespace?, as_of?))
        })?;
        let scope = Scope { namespace: Some(&namespace), port: None };
        let snapshot = self.snapshot_at(as_of, scope).await?;
        let view = snapshot.view(&namespace).map_err(CallError::from)?;
        let mut lookup = view.lookup_service(name, transport).map_err(CallError::from)?;
        let total_size = lookup.records.len() as u32;
        lookup.records.truncate(MAX_RECORDS);
        let reference = view.reference();
        let guides = convert::guides_of(reference, lookup.records.iter().copied());
        Ok(Response::new(proto::LookupServiceResponse {
            guides: guides.into_iter().map(|guide| convert::guide(guide)).collect(),
            assignments: convert::assignments(reference, lookup.records),
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
            let endpoint = fields.parsed("endpoint", request.endpoint.parse::<Endpoint>());
            let namespace = fields.namespace("namespace", &request.namespace);
            Ok((endpoint?, namespace?))
        })?;
        let snapshot = self.handle.snapshot();
        let view = snapshot.view(&namespace).map_err(CallError::from)?;
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
        let snapshot = self.handle.snapshot();
        Ok(lookup::batch(&snapshot, &request.into_inner()).map(Response::new)?)
    }

    type AnnotatePortsStream =
        Pin<Box<dyn Stream<Item = Result<proto::AnnotatePortsResponse, Status>> + Send>>;

    async fn annotate_ports(
        &self,
        request: Request<Streaming<proto::AnnotatePortsRequest>>,
    ) -> Result<Response<Self::AnnotatePortsStream>, Status> {
        let handle = self.handle.clone();
        let mut labels = StreamLabels::default();
        let blocks = request.into_inner().map(move |block| match block {
            Ok(block) => labels.annotate(&handle.snapshot(), &block).map_err(Status::from),
            Err(status) => Err(transport_error(&status).unwrap_or(status)),
        });
        let shutdown = self.shutdown.clone();
        let stopping = shutdown.clone();
        let shutdown_error = stream::once(async move {
            stopping.is_cancelled().then(|| Err(Status::from(CallError::Stopping)))
        });
        let until_shutdown = blocks.take_until(shutdown.cancelled_owned());
        Ok(Response::new(Box::pin(
            until_shutdown.chain(shutdown_error.filter_map(std::future::ready)),
        )))
    }

    async fn get_assignment(
        &self,
        request: Request<proto::GetAssignmentRequest>,
    ) -> Result<Response<proto::GetAssignmentResponse>, Status> {
        let request = request.into_inner();
        let uid = parse(|fields| fields.parsed("uid", request.uid.parse::<Uid>()))?;
        let snapshot = self.handle.snapshot();
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
        let query = proto::ListAssignmentsRequest {
            page_size: 0,
            page_token: String::new(),
            ..request.clone()
        };
        let binding = Binding::new(&self.database_id, "ListAssignments", &query);
        let (filter, size, as_of) = parse(|fields| {
            let size = fields.page_size(request.page_size);
            let filter = filter(fields, request.filter.unwrap_or_default());
            let as_of = as_of(fields, request.as_of);
            Ok((filter?, size?, as_of?))
        })?;
        let position = binding.position::<ListPosition>(&request.page_token)?;
        let scope = Scope { namespace: filter.namespace.as_ref(), port: None };
        let snapshot = self.snapshot_at(as_of, scope).await?;
        if let Some(namespace) = &filter.namespace {
            snapshot.view(namespace).map_err(CallError::from)?;
        }
        let edition = snapshot.reference().edition();
        let from = position.map(|position| position.key(edition)).transpose()?;
        let page = list::page(&snapshot, &filter, from.as_ref(), size);
        Ok(Response::new(proto::ListAssignmentsResponse {
            assignments: convert::assignments(snapshot.reference(), page.records),
            next_page_token: page
                .next
                .map(|key| binding.token(&ListPosition::new(&key, edition)))
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
        let snapshot = self.handle.snapshot();
        let view = snapshot.view(&namespace).map_err(CallError::from)?;
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
        let (service, request) = (self.clone(), request.into_inner());
        Ok(run_blocking(move || service.handle_check_port(&request)).await.map(Response::new)?)
    }

    async fn batch_check_ports(
        &self,
        request: Request<proto::BatchCheckPortsRequest>,
    ) -> Result<Response<proto::BatchCheckPortsResponse>, Status> {
        let (service, request) = (self.clone(), request.into_inner());
        Ok(run_blocking(move || service.handle_batch_check_ports(&request))
            .await
            .map(Response::new)?)
    }

    async fn get_namespace(
        &self,
        request: Request<proto::GetNamespaceRequest>,
    ) -> Result<Response<proto::GetNamespaceResponse>, Status> {
        Ok(self.handle_get_namespace(&request.into_inner()).map(Response::new)?)
    }

    async fn list_namespaces(
        &self,
        request: Request<proto::ListNamespacesRequest>,
    ) -> Result<Response<proto::ListNamespacesResponse>, Status> {
        Ok(self.handle_list_namespaces(&request.into_inner()).map(Response::new)?)
    }

    async fn get_pool(
        &self,
        request: Request<proto::GetPoolRequest>,
    ) -> Result<Response<proto::GetPoolResponse>, Status> {
        let (service, request) = (self.clone(), request.into_inner());
        Ok(run_blocking(move || service.handle_get_pool(&request)).await.map(Response::new)?)
    }

    async fn list_pools(
        &self,
        request: Request<proto::ListPoolsRequest>,
    ) -> Result<Response<proto::ListPoolsResponse>, Status> {
        let (service, request) = (self.clone(), request.into_inner());
        Ok(run_blocking(move || service.handle_list_pools(&request)).await.map(Response::new)?)
    }

    async fn list_changes(
        &self,
        request: Request<proto::ListChangesRequest>,
    ) -> Result<Response<proto::ListChangesResponse>, Status> {
        Ok(self.handle_list_changes(request.into_inner()).await.map(Response::new)?)
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
        let snapshot = self.handle.snapshot();
        let reference = snapshot.reference();
        Ok(Response::new(proto::GetRegistryInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: snapshot.revision().0,
            iana_date: reference.edition().iana_date.clone(),
            iana_sha256: reference.edition().iana_sha256.clone(),
            guides: reference.guides().len() as u32,
            sources: snapshot.counts().iter().map(convert::source_counts).collect(),
            database_id: self.database_id.to_string(),
        }))
    }
}

/// Runs expensive work on a thread for blocking work, not on one that serves other calls.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| match failed.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // Work that did not panic was never started, because the runtime is shutting down.
        Err(_) => Err(CallError::Stopping),
    })
}
