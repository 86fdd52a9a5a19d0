//! Sessions: one client for a server on the network or for the embedded registry (`--offline`).

mod address;
mod connection_error;
mod tls;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceExt};

use super::args::{ConnectionArgs, ReadArgs, ServerArgs};
use super::{Error, output, rpc};
use crate::access::{PlainToken, TokenFormatError};
use crate::grpc::proto::port_admin_service_client::PortAdminServiceClient;
use crate::grpc::proto::port_registry_service_client::PortRegistryServiceClient;
use crate::grpc::proto::port_registry_service_server::PortRegistryServiceServer;
use crate::grpc::registry_service::RegistryService;
use crate::metrics::Metrics;
use crate::store::{Store, in_memory};
use crate::writer::{Clock, Environment, writer};

pub(super) use self::address::Address;
pub(super) use self::connection_error::{ConnectionError, Stage};
pub(super) use self::tls::{TlsArgs, TlsError};

/// Sends calls to a server or to the embedded registry.
pub(super) type Transport = BoxCloneService<Request<Body>, http::Response<Body>, BoxError>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the TCP connection and the TLS handshake together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger than a page of 1,000 records with all texts at their maximum length.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// A client of one registry.
pub(super) struct Session {
    transport: Transport,
    addr: Address,
    /// Whether a response was received.
    has_response: AtomicBool,
}

impl Session {
    /// Connects to the server, or opens the embedded registry with `--offline`.
    pub(super) async fn open(args: &ReadArgs) -> Result<Self, Error> {
        if args.offline {
            return Ok(Self::new(embedded().await?, args.server.connection.addr.clone()));
        }
        Self::connect(&args.server).await
    }

    /// Connects to a server; calls send the token.
    pub(super) async fn connect(args: &ServerArgs) -> Result<Self, Error> {
        let authorization = args.plain_token()?.as_ref().map(bearer).transpose()?;
        let addr = &args.connection.addr;
        if authorization.is_some() && addr.is_plaintext_remote() {
            warn_plaintext_token(addr);
        }
        let with_token =
            channel(&args.connection).await?.map_request(move |mut request: Request<Body>| {
                if let Some(authorization) = &authorization {
                    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
                }
                request
            });
        Ok(Self::new(BoxCloneService::new(with_token.map_err(BoxError::from)), addr.clone()))
    }

    /// Connects to a server; calls send no token.
    pub(super) async fn connect_anonymous(connection: &ConnectionArgs) -> Result<Self, Error> {
        let channel = channel(connection).await?.map_err(BoxError::from);
        Ok(Self::new(BoxCloneService::new(channel), connection.addr.clone()))
    }

    fn new(transport: Transport, addr: Address) -> Self {
        Self { transport, addr, has_response: AtomicBool::new(false) }
    }

    /// The service that sends the calls.
    pub(super) fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// The client of the read service.
    pub(super) fn registry(&self) -> PortRegistryServiceClient<Transport> {
        PortRegistryServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// The client of the write service.
    pub(super) fn admin(&self) -> PortAdminServiceClient<Transport> {
        PortAdminServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Sends the request of a unary rpc and returns its response.
    pub(super) async fn send<R: rpc::Request>(&self, request: R) -> Result<R::Response, Error> {
        self.call_within(CALL_TIMEOUT, request.call(self)).await
    }

    /// Waits for the response of a call for at most `limit`.
    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match timeout(limit, call).await {
            Ok(result) => self.map_status(result).map(Response::into_inner),
            Err(_) => Err(Error::Timeout(self.addr.clone(), limit)),
        }
    }

    /// Waits for the next message of a stream for at most `limit`; `None` at its end.
    pub(super) async fn next_message<T>(
        &self,
        limit: Duration,
        stream: &mut Streaming<T>,
    ) -> Result<Option<T>, Error> {
        match timeout(limit, stream.message()).await {
            Ok(result) => self.map_status(result),
            Err(_) => Err(Error::Timeout(self.addr.clone(), limit)),
        }
    }

    /// Converts the status of a failed call, and records that the server responded.
    pub(super) fn map_status<T>(&self, result: Result<T, Status>) -> Result<T, Error> {
        let stage = if self.has_response.load(Ordering::Relaxed) {
            Stage::Established
        } else {
            Stage::FirstCall
        };
        let result = result.map_err(|status| Error::from_status(&status, &self.addr, stage));
        if !matches!(result, Err(Error::Connection(_))) {
            self.has_response.store(true, Ordering::Relaxed);
        }
        result
    }
}

async fn channel(connection: &ConnectionArgs) -> Result<Channel, Error> {
    let ConnectionArgs { addr, tls } = connection;
    let failed = |error| Error::connection(&error, addr, Stage::Connect);
    let endpoint = Endpoint::from_shared(addr.uri()).map_err(failed)?;
    let endpoint = tls.apply(endpoint.connect_timeout(CONNECT_TIMEOUT), addr)?;
    match timeout(HANDSHAKE_TIMEOUT, endpoint.connect()).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(Error::Timeout(addr.clone(), HANDSHAKE_TIMEOUT)),
    }
}

fn warn_plaintext_token(addr: &Address) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        output::notice(&format!(
            "portbook: warning: the token is sent to {addr} in plaintext: if the server uses TLS, \
             use --addr https://{addr}"
        ));
    });
}

fn bearer(token: &PlainToken) -> Result<HeaderValue, TokenFormatError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
        .map_err(|_| TokenFormatError)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The embedded registry behind the same service as a server's.
async fn embedded() -> Result<Transport, Error> {
    let mut store = in_memory().await.map_err(Error::Embedded)?;
    let clock = Clock::system();
    let loaded = store.load(clock.now()).await?.into_loaded();
    let (history, database_id) = (store.history(), loaded.database_id.as_str().into());
    let environment = Environment::system(clock, Arc::new(Metrics::new([]).0));
    let (handle, _) = writer(store, loaded, environment);
    let service = RegistryService::new(handle, history, database_id, CancellationToken::new());
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
    async fn the_embedded_registry_responds_like_a_server() {
        let session = Session::new(embedded().await.unwrap(), "localhost:1".parse().unwrap());
        let request = proto::LookupServiceRequest {
            service_name: "no such service".into(),
            ..proto::LookupServiceRequest::default()
        };
        let refused = session.send(request).await;
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
    async fn a_refused_connection_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let connection = ConnectionArgs { addr: addr.clone(), tls: TlsArgs::default() };
        let args = ServerArgs { connection, token: None };
        let report = Session::connect(&args).await.map(|_| ()).unwrap_err().report();
        let expected = format!("connection to {addr} failed: tcp connect error: ");
        assert!(report.starts_with(&expected) && report.contains("portbook serve"), "{report}");
    }
}
