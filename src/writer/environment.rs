//! The environment of the writer: clock, ids and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use uuid::{ContextV7, Uuid};

use crate::metrics::Metrics;
use crate::registry::assignment::Uid;
use crate::registry::decide::Context;

/// The environment of the writer.
pub struct Environment {
    /// The clock.
    pub clock: Clock,
    /// Returns a new unique id.
    pub new_uid: Box<dyn FnMut() -> Uid + Send>,
    /// The metrics of commits.
    pub metrics: Arc<Metrics>,
}

/// The clock of a registry, with microseconds. It stands still while its source, such as the system's
/// clock, is behind the last revision: the history must not step back.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The time of the last revision, in microseconds.
    last: Arc<AtomicI64>,
}

impl Clock {
    /// A clock with this source.
    #[must_use]
    pub fn new(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let last = Timestamp::MIN.as_microsecond();
        Self { source: Arc::new(source), last: Arc::new(AtomicI64::new(last)) }
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.not_before(self.last.load(Ordering::Relaxed))
    }

    /// The time of the next revision, after that of the last one.
    pub(super) fn next(&self) -> Timestamp {
        self.not_before(self.last.load(Ordering::Relaxed).saturating_add(1))
    }

    /// The time of the source, but not before this one.
    fn not_before(&self, micros: i64) -> Timestamp {
        let micros = (self.source)().as_microsecond().max(micros);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// A revision has this time.
    pub(super) fn advance_to(&self, time: Timestamp) {
        self.last.fetch_max(time.as_microsecond(), Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Environment {
    /// An environment with random ids and this clock.
    #[must_use]
    pub fn system(clock: Clock, metrics: Arc<Metrics>) -> Self {
        let (context, uid_clock) = (ContextV7::new(), clock.clone());
        let new_uid = Box::new(move || uid_at(uid_clock.now(), &context));
        Self { clock, new_uid, metrics }
    }

    pub(super) fn context(&mut self, now: Timestamp) -> Context<'_> {
        Context { now, new_uid: &mut *self.new_uid }
    }
}

/// A new unique id that begins with the time, or with the beginning of 1970 for an earlier time.
fn uid_at(time: Timestamp, context: &ContextV7) -> Uid {
    let since_1970 = Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH));
    let since_1970 = since_1970.unwrap_or_default();
    let (seconds, nanos) = (since_1970.as_secs(), since_1970.subsec_nanos());
    Uid::new(Uuid::new_v7(uuid::Timestamp::from_unix(context, seconds, nanos)))
}
