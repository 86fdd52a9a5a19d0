//! What the writer takes from the environment: time and ids.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::registry::assignment::Uid;
use crate::registry::decide::Context;

/// Where time and ids come from.
pub struct Environment {
    /// Tells the time.
    pub clock: Clock,
    /// Makes ids, each only once.
    pub new_uid: Box<dyn FnMut() -> Uid + Send>,
    /// Counts and times what is committed.
    pub metrics: Arc<Metrics>,
}

/// Tells the time, to the microsecond.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of the system.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let now = Timestamp::now();
            Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
        }))
    }

    /// The time.
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
    /// The world as it is, by this clock.
    #[must_use]
    pub fn system(clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { clock, new_uid: Box::new(|| Uid::new(Uuid::now_v7())), metrics }
    }

    pub(super) fn context(&mut self, now: Timestamp) -> Context<'_> {
        Context { now, new_uid: &mut *self.new_uid }
    }
}
