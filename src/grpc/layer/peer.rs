//! The other end of a connection, and what it has yet to read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate that it has shown to be its own, if it has.
    pub certificate: Option<Arc<Certificate>>,
    /// The answers that it has yet to read.
    pub unread: Arc<Unread>,
}

/// A client certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The names in it.
    pub names: Vec<String>,
    /// When it ends.
    pub end: Timestamp,
}

/// The answers that a connection has yet to read, those of streams not counted.
#[derive(Debug)]
pub struct Unread {
    answers: AtomicUsize,
    /// How many bytes those have whose size is known.
    bytes: AtomicUsize,
    /// When one of them was last read from, or the first came, in milliseconds.
    last_read: AtomicU64,
    beginning: Instant,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            answers: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            last_read: AtomicU64::new(0),
            beginning: Instant::now(),
        }
    }
}

impl Unread {
    /// How long nothing has been read although there was something to read.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        if self.answers.load(Ordering::Acquire) == 0 {
            return Duration::ZERO;
        }
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.beginning.elapsed().saturating_sub(last_read)
    }

    /// Notes that an answer waits, until the guard is dropped.
    #[must_use]
    pub(super) fn waits(self: &Arc<Self>) -> Waiting {
        self.counted(0)
    }

    /// The same with an answer of this size, if no more than this waits with it.
    #[must_use]
    pub(super) fn waits_with(self: &Arc<Self>, bytes: usize, most: usize) -> Option<Waiting> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let waiting = self.counted(bytes);
        // The first one is let pass, whatever its size.
        (before == 0 || before + bytes <= most).then_some(waiting)
    }

    fn counted(self: &Arc<Self>, bytes: usize) -> Waiting {
        // Before it is counted: whoever sees the count sees from when on it waits.
        if self.answers.load(Ordering::Relaxed) == 0 {
            self.is_read();
        }
        self.answers.fetch_add(1, Ordering::Release);
        Waiting { unread: Arc::clone(self), bytes }
    }

    fn is_read(&self) {
        self.last_read.store(self.beginning.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// An answer that waits to be read.
#[derive(Debug)]
pub(super) struct Waiting {
    unread: Arc<Unread>,
    bytes: usize,
}

impl Waiting {
    /// Notes that some of it is read.
    pub(super) fn is_read(&self) {
        self.unread.is_read();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.unread.is_read();
        self.unread.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.unread.answers.fetch_sub(1, Ordering::Release);
    }
}
