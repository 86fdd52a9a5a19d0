//! Accepting connections, as many as are allowed, and what is agreed on before the first call.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::tls::{Tls, certificate_of};
use super::{Connection, FIRST_WORDS, Open, Stream};
use crate::grpc::layer::peer::Peer;
use crate::metrics::Metrics;

/// How long to wait when the system has no room for another connection.
const AFTER_FAULT: Duration = Duration::from_millis(100);

/// Accepts connections.
#[derive(Debug)]
pub struct Acceptor {
    /// Where they come in.
    pub listener: TcpListener,
    /// How they are encrypted, if they are.
    pub tls: Option<Arc<Tls>>,
    /// How many may be open.
    pub most: usize,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
}

/// The connections that come in and can be served.
pub fn incoming(acceptor: Acceptor) -> impl futures_util::Stream<Item = Connection> {
    let most = acceptor.most;
    let room = Arc::new(Semaphore::new(most));
    let tls = acceptor.tls.clone();
    let accepted = stream::unfold((acceptor, room), |(acceptor, room)| async move {
        let next = acceptor.next(&room).await;
        Some((next, (acceptor, room)))
    });
    // Agreed on side by side: whoever takes long holds nobody up.
    accepted
        .map(move |(stream, address, open)| agree(stream, address, open, tls.clone()))
        .buffer_unordered(most)
        .filter_map(|agreed| async { agreed })
}

impl Acceptor {
    /// The next connection that there is room for.
    async fn next(&self, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Open) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match Arc::clone(room).try_acquire_owned() {
                    Ok(permit) => {
                        let open = Open::new(self.metrics.connections.clone(), permit);
                        return (stream, address, open);
                    }
                    Err(_) => {
                        self.metrics.connections_refused.inc();
                        tracing::debug!(peer = %address, "connection refused: too many are open");
                    }
                },
                Err(fault) if is_of_the_client(&fault) => {}
                Err(fault) => {
                    tracing::error!(%fault, "no connection can be accepted");
                    sleep(AFTER_FAULT).await;
                }
            }
        }
    }
}

fn is_of_the_client(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let kinds = [ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof];
    kinds.contains(&fault.kind())
}

/// The connection, once it is encrypted if it is to be.
async fn agree(
    stream: TcpStream,
    address: SocketAddr,
    open: Open,
    tls: Option<Arc<Tls>>,
) -> Option<Connection> {
    // Answers are small and are waited for.
    if let Err(fault) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, %fault, "connection lost");
        return None;
    }
    let peer = |certificate| Peer::new(address, certificate);
    let Some(tls) = tls else {
        return Some(Connection::new(Stream::Plain(stream), peer(None), open));
    };
    match timeout(FIRST_WORDS, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = certificate_of(stream.get_ref().1.peer_certificates());
            Some(Connection::new(Stream::Tls(Box::new(stream)), peer(certificate), open))
        }
        Ok(Err(fault)) if is_of_the_client(&fault) => {
            tracing::debug!(peer = %address, %fault, "TLS handshake not made");
            None
        }
        Ok(Err(fault)) => {
            tracing::warn!(peer = %address, %fault, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %address, "TLS handshake took too long");
            None
        }
    }
}
