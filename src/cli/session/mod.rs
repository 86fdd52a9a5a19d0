//! Who answers: a server on the network, or the registry inside this program, behind one client.

mod address;
mod fault;
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
use super::{Error, output};
use crate::access::{PlainToken, TokenFormatError};
use crate::grpc::proto::port_admin_service_client::PortAdminServiceClient;
use crate::grpc::proto::port_registry_service_client::PortRegistryServiceClient;
use crate::grpc::proto::port_registry_service_server::PortRegistryServiceServer;
use crate::grpc::registry_service::RegistryService;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::writer::{Clock, Environment, writer};

pub(super) use self::address::Address;
pub(super) use self::fault::ConnectionFault;
pub(super) use self::tls::{TlsArgs, TlsError};

/// Carries calls, wherever to.
pub(super) type Transport = BoxCloneService<Request<Body>, http::Response<Body>, BoxError>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the connection and, on it, the handshake of the encryption.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of 1,000 records with every text at its longest stays below it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The way to one registry.
pub(super) struct Session {
    transport: Transport,
    addr: Address,
    /// Whether anything has been heard from there yet.
    has_answered: AtomicBool,
}

impl Session {
    /// The way to where a read is answered.
    pub(super) async fn open(args: &ReadArgs) -> Result<Self, Error> {
        if args.offline {
            return Ok(Self::new(embedded().await?, args.server.connection.addr.clone()));
        }
        Self::connect(&args.server).await
    }

    /// The way to a server, which is shown the token.
    pub(super) async fn connect(args: &ServerArgs) -> Result<Self, Error> {
        let authorization = args.plain_token()?.as_ref().map(bearer).transpose()?;
        let addr = &args.connection.addr;
        if authorization.is_some() && addr.is_plaintext_remote() {
            warn_of_the_clear(addr);
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

    /// The way to a server that need not know who asks.
    pub(super) async fn connect_anonymous(connection: &ConnectionArgs) -> Result<Self, Error> {
        let channel = channel(connection).await?.map_err(BoxError::from);
        Ok(Self::new(BoxCloneService::new(channel), connection.addr.clone()))
    }

    fn new(transport: Transport, addr: Address) -> Self {
        Self { transport, addr, has_answered: AtomicBool::new(false) }
    }

    /// What carries the calls.
    pub(super) fn transport(&self) -> Transport {
        self.transport.clone()
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
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.call_within(CALL_TIMEOUT, call).await
    }

    /// The answer of one call that comes within this time.
    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match timeout(limit, call).await {
            Ok(answer) => self.map_status(answer).map(Response::into_inner),
            Err(_) => Err(Error::Timeout(self.addr.clone(), limit)),
        }
    }

    /// The next answer of a stream that says something at least this often; nothing at its end.
    pub(super) async fn next_message<T>(
        &self,
        limit: Duration,
        answers: &mut Streaming<T>,
    ) -> Result<Option<T>, Error> {
        match timeout(limit, answers.message()).await {
            Ok(answer) => self.map_status(answer),
            Err(_) => Err(Error::Timeout(self.addr.clone(), limit)),
        }
    }

    /// An answer, and what it means if it is a status; from then on the server is known to be there.
    pub(super) fn map_status<T>(&self, answer: Result<T, Status>) -> Result<T, Error> {
        let answer = answer.map_err(|status| self.error(&status));
        if !matches!(answer, Err(Error::Unreachable(_) | Error::Connection { .. })) {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        answer
    }

    fn error(&self, status: &Status) -> Error {
        let error = Error::from_status(status, &self.addr);
        if self.has_answered.load(Ordering::Relaxed) {
            return error;
        }
        // The connection was made and then lost before anything came of it.
        match error {
            Error::Unreachable(addr) if addr.is_encrypted() => {
                Error::Connection { addr, source: ConnectionFault::Ended }
            }
            Error::Unreachable(addr) => Error::Connection { addr, source: ConnectionFault::Mute },
            error => error,
        }
    }
}

async fn channel(connection: &ConnectionArgs) -> Result<Channel, Error> {
    let ConnectionArgs { addr, tls } = connection;
    let unreachable = |_| Error::Unreachable(addr.clone());
    let endpoint = Endpoint::from_shared(addr.uri()).map_err(unreachable)?;
    let endpoint = tls.apply(endpoint.connect_timeout(CONNECT_TIMEOUT), addr)?;
    match timeout(HANDSHAKE_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(fault)) if addr.is_encrypted() => Err(match ConnectionFault::in_handshake(&fault) {
            Some(source) => Error::Connection { addr: addr.clone(), source },
            None => Error::Unreachable(addr.clone()),
        }),
        Ok(Err(fault)) => Err(unreachable(fault)),
        Err(_) => Err(Error::Timeout(addr.clone(), HANDSHAKE_TIMEOUT)),
    }
}

fn warn_of_the_clear(addr: &Address) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        output::notice(&format!(
            "portbook: the token crosses the network to {addr} in the clear: write \
             --addr https://{addr} if the server speaks TLS"
        ));
    });
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
    let world = Environment::system(clock, Arc::new(Metrics::new([]).0));
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
        let session = Session::new(embedded().await.unwrap(), "localhost:1".parse().unwrap());
        let request = proto::LookupServiceRequest {
            service_name: "no such service".into(),
            ..proto::LookupServiceRequest::default()
        };
        let refused = session.call(session.registry().lookup_service(request)).await;
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
        let addr: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let connection = ConnectionArgs { addr: addr.clone(), tls: TlsArgs::default() };
        let args = ServerArgs { connection, token: None };
        let refused = Session::connect(&args).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Unreachable(at) if at == addr));
    }
}
