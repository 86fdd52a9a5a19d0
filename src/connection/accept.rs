//! Accepting connections up to a limit, and the TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::tls::{Tls, client_certificate};
use super::{Connection, OpenConnection, Stream};
use crate::grpc::layer::peer::Peer;
use crate::metrics::Metrics;

/// How long to wait after the system could not accept a connection.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts connections.
#[derive(Debug)]
pub struct Acceptor {
    /// The listener.
    pub listener: TcpListener,
    /// The TLS configuration, `None` for plaintext.
    pub tls: Option<Arc<Tls>>,
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// How long a client may take for the TLS handshake, and then for the HTTP/2 preface.
    pub handshake_timeout: Duration,
    /// Counts the connections.
    pub metrics: Arc<Metrics>,
}

/// The accepted connections, after their TLS handshake.
pub fn incoming(acceptor: Acceptor) -> impl futures_util::Stream<Item = Connection> {
    let (max_connections, timeout) = (acceptor.max_connections, acceptor.handshake_timeout);
    let permits = Arc::new(Semaphore::new(max_connections));
    let tls = acceptor.tls.clone();
    let accepted = stream::unfold((acceptor, permits), |(acceptor, permits)| async move {
        let next = acceptor.next(&permits).await;
        Some((next, (acceptor, permits)))
    });
    // Handshakes run concurrently, so that a slow client does not delay others.
    accepted
        .map(move |(stream, address, open)| handshake(stream, address, open, tls.clone(), timeout))
        .buffer_unordered(max_connections)
        .filter_map(|connection| async { connection })
}

impl Acceptor {
    /// Accepts the next connection within the limit. Closes those beyond it.
    async fn next(&self, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OpenConnection) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match Arc::clone(permits).try_acquire_owned() {
                    Ok(permit) => {
                        let open = OpenConnection::new(self.metrics.connections.clone(), permit);
                        return (stream, address, open);
                    }
                    Err(_) => {
                        self.metrics.connections_refused.inc();
                        tracing::debug!(peer = %address, "connection refused: too many are open");
                    }
                },
                Err(error) if is_caused_by_client(&error) => {}
                Err(error) => {
                    tracing::error!(error = %error, "could not accept a connection");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }
}

fn is_caused_by_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let kinds = [ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof];
    kinds.contains(&error.kind())
}

/// Makes the TLS handshake, if the server uses TLS.
async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    open: OpenConnection,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
) -> Option<Connection> {
    // Responses are small, and clients wait for them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, error = %error, "connection lost");
        return None;
    }
    let peer = |certificate| Peer::new(address, certificate);
    let Some(tls) = tls else {
        return Some(Connection::new(Stream::Plain(stream), peer(None), open, handshake_timeout));
    };
    match timeout(handshake_timeout, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = client_certificate(stream.get_ref().1.peer_certificates());
            let stream = Stream::Tls(Box::new(stream));
            Some(Connection::new(stream, peer(certificate), open, handshake_timeout))
        }
        Ok(Err(error)) if is_caused_by_client(&error) => {
            tracing::debug!(peer = %address, error = %error, "TLS handshake aborted");
            None
        }
        Ok(Err(error)) => {
            tracing::warn!(peer = %address, error = %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %address, "TLS handshake timed out");
            None
        }
    }
}
