//! Decisions on namespaces.

use std::sync::Arc;

use super::{Context, Decision, Refusal, Unchanged, check_etag};
use crate::registry::change::{Change, ResourceChange};
use crate::registry::command::{CreateNamespace, DeleteNamespace, UpdateNamespace};
use crate::registry::name::NamespaceName;
use crate::registry::namespace::Namespace;
use crate::registry::snapshot::Snapshot;

pub(super) fn create(
    snapshot: &Snapshot,
    create: &CreateNamespace,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if snapshot.view(&create.name).is_ok() {
        return Err(Refusal::NamespaceExists(create.name.clone()));
    }
    let after = Arc::new(Namespace {
        name: create.name.clone(),
        description: create.description.to_shared(),
        policy: create.policy.clone(),
        create_time: Some(context.now),
        update_time: Some(context.now),
        revision: snapshot.revision().next(),
    });
    Ok(Decision::of(Change::Namespace(ResourceChange::Created { after })))
}

pub(super) fn update(
    snapshot: &Snapshot,
    update: &UpdateNamespace,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let before = snapshot.view(&update.name)?.namespace();
    check_etag(update.etag, before.etag(), None, || format!("namespace {}", before.name))?;
    let mut after = (**before).clone();
    if let Some(description) = &update.description {
        after.description = description.to_shared();
    }
    if let Some(policy) = &update.policy {
        after.policy.clone_from(policy);
    }
    if after == **before {
        return Ok(Decision::unchanged(Unchanged::Namespace(Arc::clone(before))));
    }
    after.update_time = before.update_time.max(Some(context.now));
    after.revision = snapshot.revision().next();
    let (before, after) = (Arc::clone(before), Arc::new(after));
    Ok(Decision::of(Change::Namespace(ResourceChange::Updated { before, after })))
}

pub(super) fn delete(snapshot: &Snapshot, delete: &DeleteNamespace) -> Result<Decision, Refusal> {
    let view = snapshot.view(&delete.name)?;
    let before = view.namespace();
    if before.name == NamespaceName::default() {
        return Err(Refusal::NamespacePermanent(before.name.clone()));
    }
    check_etag(delete.etag, before.etag(), None, || format!("namespace {}", before.name))?;
    let (assignments, pools) = (view.size(), view.pools().len());
    if assignments + pools > 0 {
        return Err(Refusal::NamespaceNotEmpty { name: before.name.clone(), assignments, pools });
    }
    Ok(Decision::of(Change::Namespace(ResourceChange::Deleted { before: Arc::clone(before) })))
}
