//! The client of a connection, and the responses that it has not read yet.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::request_buffer::MAX_BUFFERED_BYTES_PER_CLIENT;

/// The client of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The remote address.
    pub address: SocketAddr,
    /// The client certificate, verified by the TLS handshake.
    pub certificate: Option<Arc<Certificate>>,
    /// The responses that it has not read yet.
    pub unread: Arc<UnreadResponses>,
    /// How many more bytes of partially received requests it may send.
    pub(super) request_budget: Arc<Semaphore>,
    /// Bytes received and sent.
    pub transferred: Arc<AtomicU64>,
}

impl Peer {
    /// The client at this address, with this certificate.
    #[must_use]
    pub fn new(address: SocketAddr, certificate: Option<Arc<Certificate>>) -> Self {
        let request_budget = Arc::new(Semaphore::new(MAX_BUFFERED_BYTES_PER_CLIENT));
        Self {
            address,
            certificate,
            unread: Arc::default(),
            request_budget,
            transferred: Arc::default(),
        }
    }
}

/// A client certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The subject alternative names, or the common name.
    pub names: Vec<String>,
    /// When it expires.
    pub expire_time: Timestamp,
}

/// The unread responses of a connection, without those of streams.
#[derive(Debug)]
pub struct UnreadResponses {
    count: AtomicUsize,
    /// Bytes of the buffered ones.
    bytes: AtomicUsize,
    /// When the client last read a part of one, or the first was added: milliseconds after `created`.
    last_read: AtomicU64,
    /// The deadlines of the buffered ones.
    deadlines: Mutex<Vec<Instant>>,
    created: Instant,
}

impl Default for UnreadResponses {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            last_read: AtomicU64::new(0),
            deadlines: Mutex::default(),
            created: Instant::now(),
        }
    }
}

impl UnreadResponses {
    /// How long the connection may stay open if its client reads nothing, where `max` is the longest
    /// time without a read. Zero once a deadline has passed.
    #[must_use]
    pub fn remaining_timeout(&self, max: Duration) -> Duration {
        if self.count.load(Ordering::Acquire) == 0 {
            return max;
        }
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        let stalled = self.created.elapsed().saturating_sub(last_read);
        // A client that reads one response may leave another unread.
        let due = self.deadlines().iter().min().map(|due| due.duration_since(Instant::now()));
        max.saturating_sub(stalled).min(due.unwrap_or(max))
    }

    fn deadlines(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a response as unread until the guard is dropped.
    #[must_use]
    pub(super) fn track(self: &Arc<Self>) -> UnreadGuard {
        self.add(0, None)
    }

    /// The same for a buffered response with a deadline, unless more than `max_bytes` would be unread.
    #[must_use]
    pub(super) fn track_buffered(
        self: &Arc<Self>,
        bytes: usize,
        max_bytes: usize,
        deadline: Instant,
    ) -> Option<UnreadGuard> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.deadlines().push(deadline);
        let guard = self.add(bytes, Some(deadline));
        // The first is accepted, whatever its size.
        (before == 0 || before + bytes <= max_bytes).then_some(guard)
    }

    fn add(self: &Arc<Self>, bytes: usize, deadline: Option<Instant>) -> UnreadGuard {
        // Before the increment: a reader of the new count must see the new time.
        if self.count.load(Ordering::Relaxed) == 0 {
            self.record_read();
        }
        self.count.fetch_add(1, Ordering::Release);
        UnreadGuard { unread: Arc::clone(self), bytes, deadline }
    }

    fn record_read(&self) {
        self.last_read.store(self.created.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// Counts a response as unread until it is dropped.
#[derive(Debug)]
pub(super) struct UnreadGuard {
    unread: Arc<UnreadResponses>,
    bytes: usize,
    deadline: Option<Instant>,
}

impl UnreadGuard {
    /// Records that the client has read a part.
    pub(super) fn record_read(&self) {
        self.unread.record_read();
    }
}

impl Drop for UnreadGuard {
    fn drop(&mut self) {
        self.unread.record_read();
        if let Some(deadline) = self.deadline {
            let mut deadlines = self.unread.deadlines();
            if let Some(index) = deadlines.iter().position(|it| *it == deadline) {
                deadlines.swap_remove(index);
            }
        }
        self.unread.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.unread.count.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_one_response_does_not_extend_the_deadline_of_another() {
        const MAX: Duration = Duration::from_secs(30);
        let unread = Arc::new(UnreadResponses::default());
        assert_eq!(unread.remaining_timeout(MAX), MAX);
        let due = Instant::now() + Duration::from_secs(5);
        let left = unread.track_buffered(100, 1000, due).unwrap();
        let read = unread.track_buffered(100, 1000, Instant::now() + 2 * MAX).unwrap();
        read.record_read();
        assert!(unread.remaining_timeout(MAX) <= Duration::from_secs(5));
        drop(left);
        assert!(unread.remaining_timeout(MAX) > Duration::from_secs(5));
        let overdue = unread.track_buffered(100, 1000, Instant::now()).unwrap();
        read.record_read();
        assert!(unread.remaining_timeout(MAX).is_zero());
        drop((overdue, read));
        assert_eq!(unread.remaining_timeout(MAX), MAX);
    }
}
