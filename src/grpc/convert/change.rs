//! Changes as messages.

use super::{assignment, change_kind, namespace, pool, timestamp};
use crate::grpc::proto;
use crate::registry::change::Change;
use crate::registry::reference::Reference;
use crate::store::history::ChangeRecord;

/// A change.
#[must_use]
pub fn change(reference: &Reference, record: &ChangeRecord) -> proto::Change {
    let message = proto::Change {
        revision: record.position.revision.0,
        position: record.position.index,
        time: Some(timestamp(record.time)),
        actor: record.actor.0.to_string(),
        reason: record.reason.clone(),
        kind: change_kind(record.change.kind()).into(),
        cool_down_end_time: record.change.cooling_until().map(timestamp),
        ..proto::Change::default()
    };
    match &record.change {
        Change::Namespace(edit) => proto::Change {
            namespace_before: edit.before().map(|it| namespace(it)),
            namespace_after: edit.after().map(|it| namespace(it)),
            ..message
        },
        Change::Pool(edit) => proto::Change {
            pool_before: edit.before().map(|it| pool(it)),
            pool_after: edit.after().map(|it| pool(it)),
            ..message
        },
        of_registration => proto::Change {
            before: of_registration.before().map(|it| assignment(reference, it)),
            after: of_registration.after().map(|it| assignment(reference, it)),
            ..message
        },
    }
}
