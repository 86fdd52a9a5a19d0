//! The other end of a connection, and what it has yet to read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::heard::HALF_SAID_BY_ONE;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate that it has shown to be its own, if it has.
    pub certificate: Option<Arc<Certificate>>,
    /// The answers that it has yet to read.
    pub unread: Arc<Unread>,
    /// Room for the requests that it has begun, in bytes.
    pub(super) half_said: Arc<Semaphore>,
    /// How many bytes have come from it and gone to it.
    pub moved: Arc<AtomicU64>,
}

impl Peer {
    /// Whoever is at this address, and has shown this certificate.
    #[must_use]
    pub fn new(address: SocketAddr, certificate: Option<Arc<Certificate>>) -> Self {
        let half_said = Arc::new(Semaphore::new(HALF_SAID_BY_ONE));
        Self { address, certificate, unread: Arc::default(), half_said, moved: Arc::default() }
    }
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
    /// When those whose size is known should have been read, each.
    due: Mutex<Vec<Instant>>,
    beginning: Instant,
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            answers: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            last_read: AtomicU64::new(0),
            due: Mutex::default(),
            beginning: Instant::now(),
        }
    }
}

impl Unread {
    /// How long its client may still take, if it may leave answers unread for `most`; nothing is left
    /// to one that does not read them.
    #[must_use]
    pub fn patience(&self, most: Duration) -> Duration {
        if self.answers.load(Ordering::Acquire) == 0 {
            return most;
        }
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        let stalled = self.beginning.elapsed().saturating_sub(last_read);
        // Whoever reads one may still leave others.
        let due = self.due().iter().min().map(|due| due.duration_since(Instant::now()));
        most.saturating_sub(stalled).min(due.unwrap_or(most))
    }

    fn due(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an answer waits, until the guard is dropped.
    #[must_use]
    pub(super) fn waits(self: &Arc<Self>) -> Waiting {
        self.counted(0, None)
    }

    /// The same with an answer of this size that should be read by then, if no more than this waits
    /// with it.
    #[must_use]
    pub(super) fn waits_with(
        self: &Arc<Self>,
        bytes: usize,
        most: usize,
        due: Instant,
    ) -> Option<Waiting> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.due().push(due);
        let waiting = self.counted(bytes, Some(due));
        // The first one is let pass, whatever its size.
        (before == 0 || before + bytes <= most).then_some(waiting)
    }

    fn counted(self: &Arc<Self>, bytes: usize, due: Option<Instant>) -> Waiting {
        // Before it is counted: whoever sees the count sees from when on it waits.
        if self.answers.load(Ordering::Relaxed) == 0 {
            self.is_read();
        }
        self.answers.fetch_add(1, Ordering::Release);
        Waiting { unread: Arc::clone(self), bytes, due }
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
    due: Option<Instant>,
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
        if let Some(due) = self.due {
            let mut all = self.unread.due();
            if let Some(place) = all.iter().position(|it| *it == due) {
                all.swap_remove(place);
            }
        }
        self.unread.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.unread.answers.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_one_answer_may_not_leave_another_forever() {
        const MOST: Duration = Duration::from_secs(30);
        let unread = Arc::new(Unread::default());
        assert_eq!(unread.patience(MOST), MOST);
        let due = Instant::now() + Duration::from_secs(5);
        let left = unread.waits_with(100, 1000, due).unwrap();
        let read = unread.waits_with(100, 1000, Instant::now() + 2 * MOST).unwrap();
        read.is_read();
        assert!(unread.patience(MOST) <= Duration::from_secs(5));
        drop(left);
        assert!(unread.patience(MOST) > Duration::from_secs(5));
        let overdue = unread.waits_with(100, 1000, Instant::now()).unwrap();
        read.is_read();
        assert!(unread.patience(MOST).is_zero());
        drop((overdue, read));
        assert_eq!(unread.patience(MOST), MOST);
    }
}
