//! Connections: how they are accepted, encrypted, written to, and ended when nobody is there.

mod accept;
mod serve;
pub mod tls;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

pub use accept::{Acceptor, incoming};
pub use serve::serve;

use crate::grpc::layer::peer::Peer;

/// How long a client may take to say its first words: TLS's, then HTTP/2's.
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// HTTP/2's first words have this many bytes (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// How long a client may leave answers unread.
const UNREAD: Duration = Duration::from_secs(30);

/// A connection that is written to from one buffer at a time, and ends when its client has nothing
/// to say or does not read its answers.
///
/// The HTTP/2 layer ends a write at each answer over 256 bytes if it may hand over several buffers
/// at once, but gathers answers of up to 1 KiB, what comes before and after them included, if it
/// may not. For lookups that is the difference between two system calls an answer and one for
/// several: measured with `h2load`, a tenth of the throughput.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Arc<Peer>,
    /// How many bytes of the first words are still to come.
    preface: usize,
    /// When to look after the client next.
    look: Pin<Box<Sleep>>,
    _open: Open,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// That a connection is open, which is counted.
#[derive(Debug)]
struct Open {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: Gauge, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Connection {
    fn new(stream: Stream, peer: Peer, open: Open) -> Self {
        let look = Box::pin(sleep_until(Instant::now() + FIRST_WORDS));
        Self { stream, peer: Arc::new(peer), preface: PREFACE, look, _open: open }
    }

    /// That there is somebody who speaks and listens.
    fn look_after(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.preface > 0 {
                return Err(timed_out("the client said nothing"));
            }
            let stalled = self.peer.unread.stalled();
            if stalled >= UNREAD {
                return Err(timed_out("the client does not read its answers"));
            }
            self.look.as_mut().reset(Instant::now() + UNREAD.saturating_sub(stalled));
        }
        Ok(())
    }
}

fn timed_out(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.look_after(context)?;
        let before = buffer.filled().len();
        let polled = match &mut connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        connection.preface = connection.preface.saturating_sub(buffer.filled().len() - before);
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
        // Where nothing can be written, nothing may be read either.
        connection.look_after(context)?;
        match &mut connection.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
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
