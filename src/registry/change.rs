//! Changes: what a command does, as history keeps it.

use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::Record;
use super::name::NamespaceName;
use super::namespace::Namespace;
use super::pool::SharedPool;

/// One thing that was changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A registration was made.
    Registered {
        /// What it is.
        after: Arc<Record>,
    },
    /// What is said of a registration was changed.
    Updated {
        /// What it was.
        before: Arc<Record>,
        /// What it is.
        after: Arc<Record>,
    },
    /// The lease of a registration was renewed.
    Renewed {
        /// What it was.
        before: Arc<Record>,
        /// What it is.
        after: Arc<Record>,
    },
    /// A registration was given back.
    Released {
        /// What it was.
        before: Arc<Record>,
        /// Until when its ports rest, if they do.
        cooling_until: Option<Timestamp>,
    },
    /// The lease of a registration ended.
    Expired {
        /// What it was.
        before: Arc<Record>,
        /// Until when its ports rest, if they do.
        cooling_until: Option<Timestamp>,
    },
    /// A namespace was created, changed or deleted.
    Namespace(ResourceChange<Namespace>),
    /// A pool was created, changed or deleted.
    Pool(ResourceChange<SharedPool>),
}

/// What happened, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// A registration was made.
    Registered,
    /// What is said of a registration was changed.
    Updated,
    /// The lease of a registration was renewed.
    Renewed,
    /// A registration was given back.
    Released,
    /// The lease of a registration ended.
    Expired,
    /// A namespace was created.
    NamespaceCreated,
    /// A namespace was changed.
    NamespaceUpdated,
    /// A namespace was deleted.
    NamespaceDeleted,
    /// A pool was created.
    PoolCreated,
    /// A pool was changed.
    PoolUpdated,
    /// A pool was deleted.
    PoolDeleted,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Registered,
        Self::Updated,
        Self::Renewed,
        Self::Released,
        Self::Expired,
        Self::NamespaceCreated,
        Self::NamespaceUpdated,
        Self::NamespaceDeleted,
        Self::PoolCreated,
        Self::PoolUpdated,
        Self::PoolDeleted,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "REGISTERED",
            Self::Updated => "UPDATED",
            Self::Renewed => "RENEWED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
            Self::NamespaceCreated => "NAMESPACE_CREATED",
            Self::NamespaceUpdated => "NAMESPACE_UPDATED",
            Self::NamespaceDeleted => "NAMESPACE_DELETED",
            Self::PoolCreated => "POOL_CREATED",
            Self::PoolUpdated => "POOL_UPDATED",
            Self::PoolDeleted => "POOL_DELETED",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it happens to registrations.
    #[must_use]
    pub fn is_of_assignment(self) -> bool {
        self <= Self::Expired
    }
}

/// What became of a thing that has settings.
#[derive(Clone, Debug)]
pub enum ResourceChange<T> {
    /// It is new.
    Created {
        /// What it is.
        after: Arc<T>,
    },
    /// It is different.
    Updated {
        /// What it was.
        before: Arc<T>,
        /// What it is.
        after: Arc<T>,
    },
    /// It is gone.
    Deleted {
        /// What it was.
        before: Arc<T>,
    },
}

impl<T> ResourceChange<T> {
    /// What it was, if it was there.
    #[must_use]
    pub const fn before(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { .. } => None,
            Self::Updated { before, .. } | Self::Deleted { before } => Some(before),
        }
    }

    /// What it is, if it is there.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { after } | Self::Updated { after, .. } => Some(after),
            Self::Deleted { .. } => None,
        }
    }

    /// It in its last form.
    #[must_use]
    pub const fn last(&self) -> &Arc<T> {
        match self {
            Self::Created { after } | Self::Updated { after, .. } => after,
            Self::Deleted { before } => before,
        }
    }
}

impl Change {
    /// What happened, in a word.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match self {
            Self::Registered { .. } => ChangeKind::Registered,
            Self::Updated { .. } => ChangeKind::Updated,
            Self::Renewed { .. } => ChangeKind::Renewed,
            Self::Released { .. } => ChangeKind::Released,
            Self::Expired { .. } => ChangeKind::Expired,
            Self::Namespace(ResourceChange::Created { .. }) => ChangeKind::NamespaceCreated,
            Self::Namespace(ResourceChange::Updated { .. }) => ChangeKind::NamespaceUpdated,
            Self::Namespace(ResourceChange::Deleted { .. }) => ChangeKind::NamespaceDeleted,
            Self::Pool(ResourceChange::Created { .. }) => ChangeKind::PoolCreated,
            Self::Pool(ResourceChange::Updated { .. }) => ChangeKind::PoolUpdated,
            Self::Pool(ResourceChange::Deleted { .. }) => ChangeKind::PoolDeleted,
        }
    }

    /// The registration as it was, if it is about one that was there.
    #[must_use]
    pub const fn before(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Registered { .. } | Self::Namespace(_) | Self::Pool(_) => None,
            Self::Updated { before, .. }
            | Self::Renewed { before, .. }
            | Self::Released { before, .. }
            | Self::Expired { before, .. } => Some(before),
        }
    }

    /// The registration as it is, if it is about one that is there.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Registered { after }
            | Self::Updated { after, .. }
            | Self::Renewed { after, .. } => Some(after),
            Self::Released { .. } | Self::Expired { .. } | Self::Namespace(_) | Self::Pool(_) => {
                None
            }
        }
    }

    /// The registration it is about, if it is about one, in its last form.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.after().or_else(|| self.before())
    }

    /// Until when the ports that were given back rest, if they do.
    #[must_use]
    pub const fn cooling_until(&self) -> Option<Timestamp> {
        match self {
            Self::Released { cooling_until, .. } | Self::Expired { cooling_until, .. } => {
                *cooling_until
            }
            _ => None,
        }
    }

    /// The namespace it happened in.
    #[must_use]
    pub fn namespace(&self) -> Option<&NamespaceName> {
        match self {
            Self::Namespace(edit) => Some(&edit.last().name),
            Self::Pool(edit) => Some(&edit.last().namespace),
            about_a_registration => Some(&about_a_registration.record()?.registration()?.namespace),
        }
    }
}
