//! The environment of the writer: clock, ids and metrics.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

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

/// A clock with microseconds.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let now = Timestamp::now();
            Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
        }))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
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
        Self { clock, new_uid: Box::new(|| Uid::new(Uuid::now_v7())), metrics }
    }

    pub(super) fn context(&mut self, now: Timestamp) -> Context<'_> {
        Context { now, new_uid: &mut *self.new_uid }
    }
}
