//! Writing what was accepted: history, and what follows from it.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;

use super::row::{AssignmentRow, ChangeRow, FindingRow, NamespaceRow, PoolRow, revision_to_sql};
use crate::registry::assignment::Uid;
use crate::registry::change::Change;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::namespace::Namespace;
use crate::registry::pool::SharedPool;
use crate::store::{Entry, StoreError};

// The inserts take the rows of a commit as JSON arrays: one round trip for each table, however many
// commands wait.

/// How many rows an array has at the most: SQLite bounds the length of a text.
const CHUNK: usize = 1024;

/// Writes the entries, within the caller's transaction.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    insert_revisions(connection, entries).await?;
    insert_changes(connection, entries).await?;
    replace_standing(connection, &Standing::after(entries)).await?;
    insert_requests(connection, entries).await
}

/// What was touched, in the form in which the last entry leaves it; none of what is gone.
#[derive(Default)]
struct Standing<'e> {
    namespaces: HashMap<&'e NamespaceName, Option<&'e Namespace>>,
    pools: HashMap<(&'e NamespaceName, &'e PoolName), Option<&'e SharedPool>>,
    assignments: HashMap<Uid, Option<AssignmentRow>>,
}

impl<'e> Standing<'e> {
    fn after(entries: &'e [Entry]) -> Self {
        let mut standing = Self::default();
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            match change {
                Change::Namespace(edit) => {
                    let after = edit.after().map(|it| &**it);
                    standing.namespaces.insert(&edit.last().name, after);
                }
                Change::Pool(edit) => {
                    let pool = edit.last();
                    let after = edit.after().map(|it| &**it);
                    standing.pools.insert((&pool.namespace, &pool.name), after);
                }
                about_a_registration => {
                    if let Some(record) = about_a_registration.record() {
                        let after = change.after().and_then(|record| AssignmentRow::of(record));
                        standing.assignments.insert(record.uid, after);
                    }
                }
            }
        }
        standing
    }
}

/// Brings what stands from where it was before the first entry to where it is after the last: what
/// was touched goes, and comes back in its last form if it still stands. In an order that keeps
/// everything in its place: no assignment without its namespace, none in a pool that is not its own.
async fn replace_standing(
    connection: &mut SqliteConnection,
    standing: &Standing<'_>,
) -> Result<(), StoreError> {
    if !standing.namespaces.is_empty() {
        put_namespaces(connection, &standing.namespaces).await?;
    }
    delete_assignments(connection, &standing.assignments).await?;
    if !standing.pools.is_empty() {
        replace_pools(connection, &standing.pools).await?;
    }
    insert_assignments(connection, &standing.assignments).await?;
    if !standing.namespaces.is_empty() {
        delete_namespaces(connection, &standing.namespaces).await?;
    }
    Ok(())
}

async fn insert_revisions(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let rows = to_json(entries.iter().map(|entry| {
        (
            revision_to_sql(entry.revision),
            entry.time.as_microsecond(),
            entry.actor.0.to_string(),
            entry.reason.as_str(),
        )
    }))?;
    sqlx::query!(
        "insert into revision (revision, time, actor, reason) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_changes(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let rows = entries.iter().flat_map(|entry| {
        let numbered = entry.changes.iter().enumerate();
        numbered.map(|(position, change)| ChangeRow::of(entry.revision, position, change))
    });
    for rows in rows.collect::<Vec<_>>().chunks(CHUNK) {
        insert_some_changes(connection, &to_json(rows.iter())?).await?;
    }
    Ok(())
}

async fn insert_some_changes(
    connection: &mut SqliteConnection,
    rows: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into change (revision, position, kind, namespace, uid, transport, first_port, \
         last_port, service, former_service, before, after, rest_until) \
         select value ->> 'revision', value ->> 'position', value ->> 'kind', \
         value ->> 'namespace', value ->> 'uid', value ->> 'transport', value ->> 'first_port', \
         value ->> 'last_port', value ->> 'service', value ->> 'former_service', \
         value ->> 'before', value ->> 'after', value ->> 'rest_until' from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_namespaces(
    connection: &mut SqliteConnection,
    namespaces: &HashMap<&NamespaceName, Option<&Namespace>>,
) -> Result<(), StoreError> {
    let rows = to_json(namespaces.values().flatten().map(|it| NamespaceRow::of(it)))?;
    sqlx::query!(
        "insert into namespace (name, description, accept, forbid, cool_down, create_time, \
         update_time, revision) \
         select value ->> 'name', value ->> 'description', value ->> 'accept', \
         value ->> 'forbid', value ->> 'cool_down', value ->> 'create_time', \
         value ->> 'update_time', value ->> 'revision' from json_each(?) where true \
         on conflict (name) do update set description = excluded.description, \
         accept = excluded.accept, forbid = excluded.forbid, cool_down = excluded.cool_down, \
         create_time = excluded.create_time, update_time = excluded.update_time, \
         revision = excluded.revision",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete_namespaces(
    connection: &mut SqliteConnection,
    namespaces: &HashMap<&NamespaceName, Option<&Namespace>>,
) -> Result<(), StoreError> {
    let gone = namespaces.iter().filter(|(_, after)| after.is_none());
    let gone = to_json(gone.map(|(name, _)| name.as_str()))?;
    sqlx::query!("delete from namespace where name in (select value from json_each(?))", gone)
        .execute(connection)
        .await?;
    Ok(())
}

async fn replace_pools(
    connection: &mut SqliteConnection,
    pools: &HashMap<(&NamespaceName, &PoolName), Option<&SharedPool>>,
) -> Result<(), StoreError> {
    let touched =
        to_json(pools.keys().map(|(namespace, name)| (namespace.as_str(), name.as_str())))?;
    sqlx::query!(
        "delete from pool_run where (namespace, pool) in \
         (select value ->> 0, value ->> 1 from json_each(?))",
        touched
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from pool where (namespace, name) in \
         (select value ->> 0, value ->> 1 from json_each(?))",
        touched
    )
    .execute(&mut *connection)
    .await?;
    let standing = || pools.values().flatten();
    let rows = to_json(standing().map(|pool| PoolRow::of(pool)))?;
    sqlx::query!(
        "insert into pool (namespace, name, description, ports, transports, excluded_ports, \
         cool_down, accept, create_time, update_time, revision) \
         select value ->> 'namespace', value ->> 'name', value ->> 'description', \
         value ->> 'ports', value ->> 'transports', value ->> 'excluded_ports', \
         value ->> 'cool_down', value ->> 'accept', value ->> 'create_time', \
         value ->> 'update_time', value ->> 'revision' from json_each(?)",
        rows
    )
    .execute(&mut *connection)
    .await?;
    let runs = to_json(standing().flat_map(|pool| {
        itertools::iproduct!(&pool.transports, pool.own().runs()).map(|(transport, run)| {
            let (first, last) = (run.first().number(), run.last().number());
            (pool.namespace.as_str(), transport.name(), first, last, pool.name.as_str())
        })
    }))?;
    sqlx::query!(
        "insert into pool_run (namespace, transport, first_port, last_port, pool) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?)",
        runs
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete_assignments(
    connection: &mut SqliteConnection,
    assignments: &HashMap<Uid, Option<AssignmentRow>>,
) -> Result<(), StoreError> {
    let touched = to_json(assignments.keys().map(ToString::to_string))?;
    sqlx::query!(
        "delete from custom_assignment where uid in (select value from json_each(?))",
        touched
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_assignments(
    connection: &mut SqliteConnection,
    assignments: &HashMap<Uid, Option<AssignmentRow>>,
) -> Result<(), StoreError> {
    let standing: Vec<_> = assignments.values().flatten().collect();
    for rows in standing.chunks(CHUNK) {
        insert_some_assignments(connection, &to_json(rows.iter())?).await?;
    }
    Ok(())
}

async fn insert_some_assignments(
    connection: &mut SqliteConnection,
    rows: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into custom_assignment (namespace, transport, first_port, last_port, uid, \
         service_name, description, assignee, contact, reference, assignment_notes, labels, \
         create_time, update_time, revision, ttl, expire_time, pool, instance) \
         select value ->> 'namespace', value ->> 'transport', value ->> 'first_port', \
         value ->> 'last_port', value ->> 'uid', value ->> 'service_name', \
         value ->> 'description', value ->> 'assignee', value ->> 'contact', \
         value ->> 'reference', value ->> 'assignment_notes', value ->> 'labels', \
         value ->> 'create_time', value ->> 'update_time', value ->> 'revision', \
         value ->> 'ttl', value ->> 'expire_time', value ->> 'pool', value ->> 'instance' \
         from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_requests(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    // Rare beside the other rows, and its fingerprint is no text: a statement each.
    for entry in entries {
        let Some(request) = &entry.request else {
            continue;
        };
        let (actor, id) = (&*entry.actor.0, &request.id);
        let (fingerprint, revision) = (&request.fingerprint[..], revision_to_sql(entry.revision));
        let findings = to_json(entry.findings.iter().map(FindingRow::of))?;
        sqlx::query!(
            "insert into request (actor, request_id, fingerprint, revision, findings) \
             values (?, ?, ?, ?, ?)",
            actor,
            id,
            fingerprint,
            revision,
            findings
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn to_json<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> Result<String, StoreError> {
    let rows: Vec<T> = rows.collect();
    serde_json::to_string(&rows).map_err(|fault| StoreError::Corrupt(fault.to_string()))
}
