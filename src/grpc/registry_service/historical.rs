//! The past: a snapshot of an earlier revision, made by taking back what the history says was changed
//! since.

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

/// What a question about the past is about: what else was changed since need not be taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The namespace, if it is about one.
    pub(super) namespace: Option<&'a NamespaceName>,
    /// The port, if it is about one.
    pub(super) port: Option<Port>,
}

/// A past that was made, kept for the next page of the same list.
pub(super) struct Past {
    namespace: Option<NamespaceName>,
    snapshot: Arc<Snapshot>,
}

impl RegistryService {
    /// The snapshot at that moment, right as far as the scope goes; the present one if there is none.
    pub(super) async fn snapshot_at(
        &self,
        moment: Option<AsOf>,
        scope: Scope<'_>,
    ) -> Result<Arc<Snapshot>, CallError> {
        let present = self.handle.snapshot();
        let Some(moment) = moment else { return Ok(present) };
        let _place = self.look_back()?;
        let revision = self.revision_of(moment, &present).await?;
        let is_near = present.revision().0 - revision.0 <= u64::from(CHUNK);
        if scope.port.is_some() || is_near {
            return self.take_back(&present, revision, scope).await.map(Arc::new);
        }
        // One at a time: a long past is much work, and the next question is often about the same.
        let mut last = self.past.lock().await;
        if let Some(past) = &*last
            && past.snapshot.revision() == revision
            && past.namespace.as_ref() == scope.namespace
        {
            return Ok(Arc::clone(&past.snapshot));
        }
        let snapshot = Arc::new(self.take_back(&present, revision, scope).await?);
        let namespace = scope.namespace.cloned();
        *last = Some(Past { namespace, snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }

    async fn revision_of(&self, moment: AsOf, present: &Snapshot) -> Result<Revision, CallError> {
        let last = present.revision();
        match moment {
            AsOf::Revision(revision) if revision > last => Err(CallError::InTheFuture(last)),
            AsOf::Revision(revision) => Ok(revision),
            AsOf::Time(time) if time > self.handle.now() => Err(CallError::InTheFuture(last)),
            AsOf::Time(time) => {
                let beginning = self.history.beginning().await.map_err(CallError::History)?;
                if time < beginning {
                    return Err(CallError::BeforeTheBeginning(beginning));
                }
                let made = self.history.revision_at(time).await.map_err(CallError::History)?;
                // What is stored may not be published yet.
                Ok(made.min(last))
            }
        }
    }

    async fn take_back(
        &self,
        present: &Snapshot,
        revision: Revision,
        scope: Scope<'_>,
    ) -> Result<Snapshot, CallError> {
        let mut query = Query {
            after: Some(ChangePosition::end_of(revision)),
            before: ChangePosition::end_of(present.revision()),
            newest_first: true,
            limit: CHUNK,
            filter: ChangeFilter {
                namespace: scope.namespace.cloned(),
                ports: scope.port.map(PortRange::single),
                with_settings: true,
                ..ChangeFilter::default()
            },
        };
        let mut past = match (scope.namespace, scope.port) {
            (Some(name), Some(port)) => present.narrowed_to(name, port),
            _ => present.clone(),
        };
        past = past.before(revision, std::iter::empty());
        loop {
            let changes = self.history.changes(&query).await.map_err(CallError::History)?;
            past = past.before(revision, changes.iter().rev().map(|logged| &logged.change));
            match changes.last() {
                Some(oldest) if changes.len() == CHUNK as usize => query.before = oldest.place,
                _ => return Ok(past),
            }
        }
    }

    /// That there is a namespace of this name, or that there was one.
    pub(super) async fn check_was_there(&self, name: &NamespaceName) -> Result<(), CallError> {
        let present = self.handle.snapshot();
        let unknown: UnknownNamespace = match present.view(name) {
            Ok(_) => return Ok(()),
            Err(unknown) => unknown,
        };
        let query = Query {
            after: None,
            before: ChangePosition::end_of(present.revision()),
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
