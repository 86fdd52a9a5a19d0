//! The other end of a connection, and what it has yet to read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The names in the certificate that it has shown to be its own; none without one.
    pub certificate_names: Arc<[String]>,
    /// The answers that it has yet to read.
    pub unread: Arc<Unread>,
}

/// The answers that a connection has yet to read, those of streams not counted.
#[derive(Debug)]
pub struct Unread {
    answers: AtomicUsize,
    /// When one of them was last read from, or the first came, in milliseconds.
    last_read: AtomicU64,
    beginning: Instant,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            answers: AtomicUsize::new(0),
            last_read: AtomicU64::new(0),
            beginning: Instant::now(),
        }
    }
}

impl Unread {
    /// How long nothing has been read although there was something to read.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        if self.answers.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.beginning.elapsed().saturating_sub(last_read)
    }

    /// Notes that an answer waits, until the guard is dropped.
    #[must_use]
    pub fn waits(self: &Arc<Self>) -> Waiting {
        if self.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            self.is_read();
        }
        Waiting(Arc::clone(self))
    }

    fn is_read(&self) {
        self.last_read.store(self.beginning.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// An answer that waits to be read.
#[derive(Debug)]
pub struct Waiting(Arc<Unread>);

impl Waiting {
    /// Notes that some of it is read.
    pub fn is_read(&self) {
        self.0.is_read();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_read();
        self.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}
