//! Connections: accepting, encryption, reading and writing, timeouts, and serving HTTP/2 on them.

mod accept;
mod serve;
pub mod tls;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

pub use accept::{Acceptor, incoming};
pub use serve::{Draining, serve};

use crate::grpc::layer::peer::Peer;

/// The length of the HTTP/2 preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How many bytes are read from a client before its calls are polled. Without this limit h2 reads
/// everything available, and closes the connection of a client that sends many small messages faster
/// than they are processed.
const READ_BUDGET: usize = 16 * 1024;
/// How long responses may remain unread by the client.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that closes when its client does not send the preface or does not read responses.
///
/// It does not support vectored writes. With them, h2 ends a write at each response over 256 bytes;
/// without them, it collects responses of up to 1 KiB and the frames around them in one buffer. For
/// lookups this means one system call for several responses instead of two for each: 10 % of the
/// throughput, measured with `h2load`.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Arc<Peer>,
    /// How many bytes of the preface were not received yet.
    preface_remaining: usize,
    /// How many bytes may be read before the calls are polled.
    read_budget: usize,
    /// When the timeouts are checked next.
    next_check: Pin<Box<Sleep>>,
    _open: OpenConnection,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Counts an open connection, and holds its permit.
#[derive(Debug)]
struct OpenConnection {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(gauge: Gauge, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Connection {
    fn new(stream: Stream, peer: Peer, open: OpenConnection, handshake_timeout: Duration) -> Self {
        Self {
            stream,
            peer: Arc::new(peer),
            preface_remaining: PREFACE_BYTES,
            read_budget: READ_BUDGET,
            next_check: Box::pin(sleep_until(Instant::now() + handshake_timeout)),
            _open: open,
        }
    }

    /// Fails if the client did not send the preface, or does not read responses, in time.
    fn check_timeouts(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.next_check.as_mut().poll(context).is_ready() {
            if self.preface_remaining > 0 {
                return Err(timed_out("the client did not send the HTTP/2 preface"));
            }
            let remaining = self.peer.unread.remaining_timeout(UNREAD_TIMEOUT);
            if remaining.is_zero() {
                return Err(timed_out("the client does not read its responses"));
            }
            self.next_check.as_mut().reset(Instant::now() + remaining);
        }
        Ok(())
    }
}

fn timed_out(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.check_timeouts(context)?;
        if connection.read_budget == 0 {
            connection.read_budget = READ_BUDGET;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = match &mut connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let read = buffer.filled().len() - before;
        connection.peer.transferred.fetch_add(read as u64, Ordering::Relaxed);
        connection.preface_remaining = connection.preface_remaining.saturating_sub(read);
        connection.read_budget = if polled.is_pending() {
            READ_BUDGET
        } else {
            connection.read_budget.saturating_sub(read)
        };
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        // Also here: h2 stops reading while it can't write.
        connection.check_timeouts(context)?;
        let polled = match &mut connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        if let Poll::Ready(Ok(written)) = polled {
            connection.peer.transferred.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
