//! Changes as rows: the columns that contain a change, and those that exist for queries.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    AssignmentJson, NamespaceJson, PoolJson, TextInterner, or_corrupt, revision_to_integer,
    time_from_micros, to_json,
};
use crate::registry::assignment::Record;
use crate::registry::change::{Change, ChangeKind, ResourceChange};
use crate::registry::namespace::Namespace;
use crate::registry::pool::SharedPool;
use crate::registry::service_name::fold;
use crate::store::StoreError;
use crate::store::history::ChangePosition;

/// A change as a row. `kind`, `before`, `after` and `rest_until` contain the complete change; the other
/// columns exist only for queries.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeRow {
    /// The revision.
    pub revision: i64,
    /// The index of the change in the revision, from 0.
    pub position: i64,
    /// The name of the kind.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: Option<String>,
    /// The uid of the registration.
    pub uid: Option<String>,
    /// The transport of the registration.
    pub transport: Option<&'static str>,
    /// The first port of the registration.
    pub first_port: Option<u16>,
    /// The last port of the registration.
    pub last_port: Option<u16>,
    /// The service name after the change, folded.
    pub service: Option<String>,
    /// The service name before the change, folded, if it was another.
    pub former_service: Option<String>,
    /// The record before the change, as JSON.
    pub before: Option<String>,
    /// The record after the change, as JSON.
    pub after: Option<String>,
    /// The end of the cool-down, in microseconds since 1970.
    pub rest_until: Option<i64>,
}

/// The changed record as JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Subject {
    Assignment(Box<AssignmentJson>),
    Namespace(NamespaceJson),
    Pool(PoolJson),
}

impl ChangeRow {
    /// The row of a change at this position.
    ///
    /// # Errors
    /// If the change can't be written as JSON.
    pub fn new(position: ChangePosition, change: &Change) -> Result<Self, StoreError> {
        let record = change.record();
        let ports = record.and_then(|record| record.ports);
        let name = |record: &Arc<Record>| Some(fold(record.service_name.as_deref()?).into_owned());
        let service = record.and_then(name);
        let (before, after) = subjects(change);
        Ok(Self {
            revision: revision_to_integer(position.revision),
            position: position.index.into(),
            kind: change.kind().name(),
            namespace: change.namespace().map(ToString::to_string),
            uid: record.map(|record| record.uid.to_string()),
            transport: record.and_then(|record| Some(record.transport?.name())),
            first_port: ports.map(|ports| ports.first().number()),
            last_port: ports.map(|ports| ports.last().number()),
            former_service: change
                .before()
                .and_then(name)
                .filter(|_| service.is_some())
                .filter(|former| Some(former) != service.as_ref()),
            service,
            before: before.as_ref().map(to_json).transpose()?,
            after: after.as_ref().map(to_json).transpose()?,
            rest_until: change.cooling_until().map(|time| time.as_microsecond()),
        })
    }
}

fn subjects(change: &Change) -> (Option<Subject>, Option<Subject>) {
    match change {
        Change::Namespace(edit) => {
            let row = |it: &Arc<Namespace>| Subject::Namespace(NamespaceJson::of(it));
            (edit.before().map(row), edit.after().map(row))
        }
        Change::Pool(edit) => {
            let row = |it: &Arc<SharedPool>| Subject::Pool(PoolJson::of(it));
            (edit.before().map(row), edit.after().map(row))
        }
        of_registration => {
            let row = |it: &Arc<Record>| {
                AssignmentJson::of(it).map(|row| Subject::Assignment(Box::new(row)))
            };
            (of_registration.before().and_then(row), of_registration.after().and_then(row))
        }
    }
}

/// The change of a row.
///
/// # Errors
/// If a value is invalid.
pub fn decode_change(
    kind: &str,
    before: Option<String>,
    after: Option<String>,
    rest_until: Option<i64>,
    texts: &mut TextInterner,
) -> Result<Change, StoreError> {
    let kind = ChangeKind::from_name(kind)
        .ok_or_else(|| StoreError::Corrupt(format!("change {kind:?}")))?;
    let cooling_until = rest_until.map(time_from_micros).transpose()?;
    let mut record = |json: Option<String>| {
        let row: AssignmentJson = parsed(json)?;
        Ok::<_, StoreError>(Record::share(row.into_assignment(texts)?))
    };
    let namespace =
        |json| Ok::<_, StoreError>(Arc::new(parsed::<NamespaceJson>(json)?.into_namespace()?));
    let pool =
        |json| Ok::<_, StoreError>(SharedPool::share(parsed::<PoolJson>(json)?.into_pool()?));
    Ok(match kind {
        ChangeKind::Registered => Change::Registered { after: record(after)? },
        ChangeKind::Updated => Change::Updated { before: record(before)?, after: record(after)? },
        ChangeKind::Renewed => Change::Renewed { before: record(before)?, after: record(after)? },
        ChangeKind::Released => Change::Released { before: record(before)?, cooling_until },
        ChangeKind::Expired => Change::Expired { before: record(before)?, cooling_until },
        ChangeKind::NamespaceCreated => {
            Change::Namespace(ResourceChange::Created { after: namespace(after)? })
        }
        ChangeKind::NamespaceUpdated => Change::Namespace(ResourceChange::Updated {
            before: namespace(before)?,
            after: namespace(after)?,
        }),
        ChangeKind::NamespaceDeleted => {
            Change::Namespace(ResourceChange::Deleted { before: namespace(before)? })
        }
        ChangeKind::PoolCreated => Change::Pool(ResourceChange::Created { after: pool(after)? }),
        ChangeKind::PoolUpdated => {
            Change::Pool(ResourceChange::Updated { before: pool(before)?, after: pool(after)? })
        }
        ChangeKind::PoolDeleted => Change::Pool(ResourceChange::Deleted { before: pool(before)? }),
    })
}

fn parsed<T: for<'de> Deserialize<'de>>(json: Option<String>) -> Result<T, StoreError> {
    let json = json.ok_or_else(|| StoreError::Corrupt("a change without a record".into()))?;
    or_corrupt(serde_json::from_str(&json))
}
