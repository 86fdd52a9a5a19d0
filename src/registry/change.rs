//! Changes: the effects of a command, as recorded in the history.

use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::Record;
use super::name::NamespaceName;
use super::namespace::Namespace;
use super::pool::SharedPool;

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A registration was created.
    Registered {
        /// The new state.
        after: Arc<Record>,
    },
    /// The fields of a registration were updated.
    Updated {
        /// The previous state.
        before: Arc<Record>,
        /// The new state.
        after: Arc<Record>,
    },
    /// The lease of a registration was renewed.
    Renewed {
        /// The previous state.
        before: Arc<Record>,
        /// The new state.
        after: Arc<Record>,
    },
    /// A registration was released.
    Released {
        /// The previous state.
        before: Arc<Record>,
        /// When the cool-down of its ports ends, if there is one.
        cooling_until: Option<Timestamp>,
    },
    /// The lease of a registration expired.
    Expired {
        /// The previous state.
        before: Arc<Record>,
        /// When the cool-down of its ports ends, if there is one.
        cooling_until: Option<Timestamp>,
    },
    /// A namespace was created, updated or deleted.
    Namespace(ResourceChange<Namespace>),
    /// A pool was created, updated or deleted.
    Pool(ResourceChange<SharedPool>),
}

/// The kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// A registration was created.
    Registered,
    /// The fields of a registration were updated.
    Updated,
    /// The lease of a registration was renewed.
    Renewed,
    /// A registration was released.
    Released,
    /// The lease of a registration expired.
    Expired,
    /// A namespace was created.
    NamespaceCreated,
    /// A namespace was updated.
    NamespaceUpdated,
    /// A namespace was deleted.
    NamespaceDeleted,
    /// A pool was created.
    PoolCreated,
    /// A pool was updated.
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

    /// The name of the kind.
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

    /// Whether this is a change of a registration.
    #[must_use]
    pub fn is_of_assignment(self) -> bool {
        self <= Self::Expired
    }
}

/// A change of a namespace or a pool.
#[derive(Clone, Debug)]
pub enum ResourceChange<T> {
    /// The resource was created.
    Created {
        /// The new state.
        after: Arc<T>,
    },
    /// The resource was updated.
    Updated {
        /// The previous state.
        before: Arc<T>,
        /// The new state.
        after: Arc<T>,
    },
    /// The resource was deleted.
    Deleted {
        /// The previous state.
        before: Arc<T>,
    },
}

impl<T> ResourceChange<T> {
    /// The previous state, if the resource existed.
    #[must_use]
    pub const fn before(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { .. } => None,
            Self::Updated { before, .. } | Self::Deleted { before } => Some(before),
        }
    }

    /// The new state, if the resource still exists.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { after } | Self::Updated { after, .. } => Some(after),
            Self::Deleted { .. } => None,
        }
    }

    /// The latest state: the new one, or the one before the deletion.
    #[must_use]
    pub const fn latest(&self) -> &Arc<T> {
        match self {
            Self::Created { after } | Self::Updated { after, .. } => after,
            Self::Deleted { before } => before,
        }
    }
}

impl Change {
    /// The kind of change.
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

    /// The registration before the change, if it existed.
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

    /// The registration after the change, if it still exists.
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

    /// The latest state of the registration, if this is a change of one.
    #[must_use]
    pub fn record(&self) -> Option<&Arc<Record>> {
        self.after().or_else(|| self.before())
    }

    /// When the cool-down of the released ports ends, if there is one.
    #[must_use]
    pub const fn cooling_until(&self) -> Option<Timestamp> {
        match self {
            Self::Released { cooling_until, .. } | Self::Expired { cooling_until, .. } => {
                *cooling_until
            }
            _ => None,
        }
    }

    /// The namespace of the change.
    #[must_use]
    pub fn namespace(&self) -> Option<&NamespaceName> {
        match self {
            Self::Namespace(change) => Some(&change.latest().name),
            Self::Pool(change) => Some(&change.latest().namespace),
            registration_change => Some(&registration_change.record()?.registration()?.namespace),
        }
    }
}
