//! Historical queries: the snapshot of an earlier revision, made by reverting the changes since then.

use std::sync::Arc;

use super::RegistryService;
use crate::grpc::request::AsOf;
use crate::grpc::status::CallError;
use crate::registry::assignment::Revision;
use crate::registry::name::NamespaceName;
use crate::registry::port::{Port, PortRange};
use crate::registry::snapshot::{Snapshot, UnknownNamespace};
use crate::store::history::{ChangeFilter, ChangePosition, Query};

/// How many changes are read at a time.
const CHUNK: u32 = 1000;

/// The scope of a historical query: other changes need not be reverted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The namespace, unless it is all of them.
    pub(super) namespace: Option<&'a NamespaceName>,
    /// The port, unless it is all of them.
    pub(super) port: Option<Port>,
}

/// A historical snapshot, cached for the next page of the same list.
pub(super) struct CachedSnapshot {
    namespace: Option<NamespaceName>,
    snapshot: Arc<Snapshot>,
}

impl RegistryService {
    /// The snapshot at a revision or time, correct within the scope; the current one by default.
    pub(super) async fn snapshot_at(
        &self,
        as_of: Option<AsOf>,
        scope: Scope<'_>,
    ) -> Result<Arc<Snapshot>, CallError> {
        let current = self.handle.snapshot();
        let Some(as_of) = as_of else { return Ok(current) };
        let _permit = self.history_permit()?;
        let revision = self.revision_of(as_of, &current).await?;
        let is_near = current.revision().0 - revision.0 <= u64::from(CHUNK);
        if scope.port.is_some() || is_near {
            return self.revert(&current, revision, scope).await.map(Arc::new);
        }
        // One at a time: reverting many changes is expensive, and the next query often needs the same
        // snapshot.
        let mut cached = self.cached.lock().await;
        if let Some(cached) = &*cached
            && cached.snapshot.revision() == revision
            && cached.namespace.as_ref() == scope.namespace
        {
            return Ok(Arc::clone(&cached.snapshot));
        }
        let snapshot = Arc::new(self.revert(&current, revision, scope).await?);
        let namespace = scope.namespace.cloned();
        *cached = Some(CachedSnapshot { namespace, snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    async fn revision_of(&self, as_of: AsOf, current: &Snapshot) -> Result<Revision, CallError> {
        let last = current.revision();
        match as_of {
            AsOf::Revision(revision) if revision > last => Err(CallError::InTheFuture(last)),
            AsOf::Revision(revision) => Ok(revision),
            AsOf::Time(time) if time > self.handle.now() => Err(CallError::InTheFuture(last)),
            AsOf::Time(time) => {
                let beginning = self.history.beginning().await.map_err(CallError::History)?;
                if time < beginning {
                    return Err(CallError::BeforeTheBeginning(beginning));
                }
                let revision = self.history.revision_at(time).await.map_err(CallError::History)?;
                // A stored revision may not be published yet.
                Ok(revision.min(last))
            }
        }
    }

    async fn revert(
        &self,
        current: &Snapshot,
        revision: Revision,
        scope: Scope<'_>,
    ) -> Result<Snapshot, CallError> {
        let mut query = Query {
            after: Some(ChangePosition::end_of(revision)),
            before: ChangePosition::end_of(current.revision()),
            newest_first: true,
            limit: CHUNK,
            filter: ChangeFilter {
                namespace: scope.namespace.cloned(),
                ports: scope.port.map(PortRange::single),
                include_settings: true,
                ..ChangeFilter::default()
            },
        };
        let mut snapshot = match (scope.namespace, scope.port) {
            (Some(name), Some(port)) => current.narrowed_to(name, port),
            _ => current.clone(),
        };
        snapshot = snapshot.before(revision, std::iter::empty());
        loop {
            let changes = self.history.changes(&query).await.map_err(CallError::History)?;
            snapshot = snapshot.before(revision, changes.iter().rev().map(|record| &record.change));
            match changes.last() {
                Some(oldest) if changes.len() == CHUNK as usize => query.before = oldest.position,
                _ => return Ok(snapshot),
            }
        }
    }

    /// Checks that a namespace exists or existed.
    pub(super) async fn check_namespace_existed(
        &self,
        name: &NamespaceName,
    ) -> Result<(), CallError> {
        let current = self.handle.snapshot();
        let unknown: UnknownNamespace = match current.view(name) {
            Ok(_) => return Ok(()),
            Err(unknown) => unknown,
        };
        let query = Query {
            after: None,
            before: ChangePosition::end_of(current.revision()),
            newest_first: false,
            limit: 1,
            filter: ChangeFilter { namespace: Some(name.clone()), ..ChangeFilter::default() },
        };
        match self.history.changes(&query).await.map_err(CallError::History)?[..] {
            [] => Err(unknown.into()),
            _ => Ok(()),
        }
    }
}
