//! Connections: how they are accepted, encrypted, written to, and ended when nobody is there.

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
pub use serve::serve;

use crate::grpc::layer::peer::Peer;

/// How long a client may take to say its first words: TLS's, then HTTP/2's.
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// HTTP/2's first words have this many bytes (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// How much is read of a client before what it asks for has its turn: HTTP/2 takes in all that there is
/// to read, and ends the connection of whoever sends many small messages faster than they are taken.
const SLICE: usize = 16 * 1024;
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
    /// How many bytes are read before what they ask for has its turn.
    slice: usize,
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
        Self { stream, peer: Arc::new(peer), preface: PREFACE, slice: SLICE, look, _open: open }
    }

    /// That there is somebody who speaks and listens.
    fn look_after(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.preface > 0 {
                return Err(timed_out("the client said nothing"));
            }
            let patience = self.peer.unread.remaining_timeout(UNREAD);
            if patience.is_zero() {
                return Err(timed_out("the client does not read its answers"));
            }
            self.look.as_mut().reset(Instant::now() + patience);
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
        if connection.slice == 0 {
            connection.slice = SLICE;
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
        connection.preface = connection.preface.saturating_sub(read);
        connection.slice =
            if polled.is_pending() { SLICE } else { connection.slice.saturating_sub(read) };
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
