//! Changes: what a command does to registrations, as history keeps it.

use std::sync::Arc;

use super::assignment::Record;

/// One registration before and after.
#[derive(Clone, Debug)]
pub enum Change {
    /// It was not there before.
    Registered {
        /// What it is.
        after: Arc<Record>,
    },
    /// It was there, and is different now.
    Updated {
        /// What it was.
        before: Arc<Record>,
        /// What it is.
        after: Arc<Record>,
    },
    /// It is no longer there.
    Released {
        /// What it was.
        before: Arc<Record>,
    },
}

impl Change {
    /// The registration as it was, if it was there.
    #[must_use]
    pub const fn before(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Registered { .. } => None,
            Self::Updated { before, .. } | Self::Released { before } => Some(before),
        }
    }

    /// The registration as it is, if it is there.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Registered { after } | Self::Updated { after, .. } => Some(after),
            Self::Released { .. } => None,
        }
    }

    /// The registration it is about, in its last form.
    #[must_use]
    pub const fn record(&self) -> &Arc<Record> {
        match self {
            Self::Registered { after } | Self::Updated { after, .. } => after,
            Self::Released { before } => before,
        }
    }
}
