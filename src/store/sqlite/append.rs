//! Writing what was accepted: history, and what follows from it.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;

use super::row::{AssignmentRow, ChangeRow, FindingRow, revision_to_sql};
use crate::registry::assignment::Uid;
use crate::store::{Entry, StoreError};

// The inserts take all rows of a commit as one JSON array: one round trip for each table, however
// many commands wait.

/// Writes the entries, within the caller's transaction.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    insert_revisions(connection, entries).await?;
    insert_changes(connection, entries).await?;
    replace_custom(connection, entries).await?;
    insert_requests(connection, entries).await
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
    let rows = to_json(entries.iter().flat_map(|entry| {
        let numbered = entry.changes.iter().enumerate();
        numbered.map(|(position, change)| ChangeRow::of(entry.revision, position, change))
    }))?;
    sqlx::query!(
        "insert into change (revision, position, kind, uid, before, after) \
         select value ->> 'revision', value ->> 'position', value ->> 'kind', value ->> 'uid', \
         value ->> 'before', value ->> 'after' from json_each(?)",
        rows
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Brings the registrations from where they were before the first entry to where they are after
/// the last: what was touched goes, and comes back in its last form if it still stands.
async fn replace_custom(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let mut last_form: HashMap<Uid, Option<AssignmentRow>> = HashMap::new();
    for change in entries.iter().flat_map(|entry| &entry.changes) {
        let standing = change.after().and_then(|record| AssignmentRow::of(record));
        last_form.insert(change.record().uid, standing);
    }
    let touched = to_json(last_form.keys().map(ToString::to_string))?;
    sqlx::query!(
        "delete from custom_assignment where uid in (select value from json_each(?))",
        touched
    )
    .execute(&mut *connection)
    .await?;
    let standing = to_json(last_form.into_values().flatten())?;
    sqlx::query!(
        "insert into custom_assignment (namespace, transport, first_port, last_port, uid, \
         service_name, description, assignee, contact, reference, assignment_notes, labels, \
         create_time, update_time, revision) \
         select value ->> 'namespace', value ->> 'transport', value ->> 'first_port', \
         value ->> 'last_port', value ->> 'uid', value ->> 'service_name', \
         value ->> 'description', value ->> 'assignee', value ->> 'contact', \
         value ->> 'reference', value ->> 'assignment_notes', value ->> 'labels', \
         value ->> 'create_time', value ->> 'update_time', value ->> 'revision' \
         from json_each(?)",
        standing
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
