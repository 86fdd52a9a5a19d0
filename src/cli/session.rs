//! Who answers: a server on the network, or the registry inside this program, behind one client.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::uri::Authority;
use http::{HeaderValue, Request};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Response, Status, Streaming};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceExt};
use uuid::Uuid;

use super::Error;
use super::args::{ReadArgs, ServerArgs};
use crate::access::{PlainToken, TokenFormatError};
use crate::grpc::proto::port_admin_service_client::PortAdminServiceClient;
use crate::grpc::proto::port_registry_service_client::PortRegistryServiceClient;
use crate::grpc::proto::port_registry_service_server::PortRegistryServiceServer;
use crate::grpc::registry_service::RegistryService;
use crate::metrics::Metrics;
use crate::registry::assignment::Uid;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::writer::{Clock, World, writer};

/// Carries calls, wherever to.
pub(super) type Transport = BoxCloneService<Request<Body>, http::Response<Body>, BoxError>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of 1,000 records with every text at its longest stays below it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The way to one registry.
pub(super) struct Session {
    transport: Transport,
    addr: Authority,
}

impl Session {
    /// The way to where a read is answered.
    pub(super) async fn open(args: &ReadArgs) -> Result<Self, Error> {
        if args.offline {
            let addr = args.server.addr.clone();
            return Ok(Self { transport: embedded().await?, addr });
        }
        Self::connect(&args.server).await
    }

    /// The way to a server.
    pub(super) async fn connect(args: &ServerArgs) -> Result<Self, Error> {
        let authorization = args.plain_token()?.as_ref().map(bearer).transpose()?;
        let addr = args.addr.clone();
        let unreachable = |_| Error::Unreachable(addr.clone());
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(unreachable)?;
        let channel =
            endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(unreachable)?;
        let with_token = channel.map_request(move |mut request: Request<Body>| {
            if let Some(authorization) = &authorization {
                request.headers_mut().insert(AUTHORIZATION, authorization.clone());
            }
            request
        });
        Ok(Self { transport: BoxCloneService::new(with_token.map_err(BoxError::from)), addr })
    }

    /// The reads.
    pub(super) fn registry(&self) -> PortRegistryServiceClient<Transport> {
        PortRegistryServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The writes.
    pub(super) fn admin(&self) -> PortAdminServiceClient<Transport> {
        PortAdminServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The answer of one call.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.answer_within(CALL_TIMEOUT, call).await
    }

    /// The answer of one call that comes within this time.
    pub(super) async fn answer_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match timeout(limit, call).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| self.error(&status)),
            Err(_) => Err(Error::Slow(self.addr.clone(), limit)),
        }
    }

    /// The next answer of a stream that says something at least this often; nothing at its end.
    pub(super) async fn next_within<T>(
        &self,
        limit: Duration,
        answers: &mut Streaming<T>,
    ) -> Result<Option<T>, Error> {
        match timeout(limit, answers.message()).await {
            Ok(answer) => answer.map_err(|status| self.error(&status)),
            Err(_) => Err(Error::Slow(self.addr.clone(), limit)),
        }
    }

    /// What a status of this session means.
    pub(super) fn error(&self, status: &Status) -> Error {
        Error::from_status(status, &self.addr)
    }
}

fn bearer(token: &PlainToken) -> Result<HeaderValue, TokenFormatError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
        .map_err(|_| TokenFormatError)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The registry inside this program, served as a server would.
async fn embedded() -> Result<Transport, Error> {
    let mut store = SqliteStore::in_memory().await.map_err(Error::Embedded)?;
    let clock = Clock::system();
    let loaded = store.load(clock.now()).await?.into_loaded();
    let (history, database_id) = (store.history(), loaded.database_id.as_str().into());
    let world = World {
        clock,
        new_uid: Box::new(|| Uid::new(Uuid::now_v7())),
        metrics: Arc::new(Metrics::new([]).0),
    };
    let (registrar, _) = writer(store, loaded, world);
    let service = RegistryService::new(registrar, history, database_id, CancellationToken::new());
    let server = PortRegistryServiceServer::new(service);
    let transport = ServiceExt::<Request<Body>>::map_err(server, |never| match never {});
    Ok(BoxCloneService::new(transport))
}

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::grpc::proto;

    #[tokio::test]
    async fn the_embedded_registry_answers_like_a_server() {
        let addr = Authority::from_static("localhost:1");
        let session = Session { transport: embedded().await.unwrap(), addr };
        let request = proto::LookupServiceRequest {
            service_name: "no such service".into(),
            ..proto::LookupServiceRequest::default()
        };
        let refused = session.answer(session.registry().lookup_service(request)).await;
        assert!(refused.unwrap_err().is_unknown_service());

        let (requests, requested) = tokio::sync::mpsc::channel(1);
        let mut registry = session.registry();
        let answers = registry.annotate_ports(ReceiverStream::new(requested));
        let mut answers = answers.await.unwrap().into_inner();
        let request = proto::AnnotatePortsRequest {
            ports: vec![22],
            ..proto::AnnotatePortsRequest::default()
        };
        requests.send(request).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.new_labels[0].service_name, "ssh");
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_told_as_such() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr: Authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let args = ServerArgs { addr: addr.clone(), token: None };
        let refused = Session::connect(&args).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Unreachable(at) if at == addr));
    }
}
