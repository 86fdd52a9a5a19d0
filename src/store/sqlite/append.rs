//! Writes entries: the history and the state derived from it.

use std::collections::HashMap;
use std::mem;

use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use crate::registry::assignment::{Revision, Uid};
use crate::registry::change::Change;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::namespace::Namespace;
use crate::registry::pool::SharedPool;
use crate::store::history::ChangePosition;
use crate::store::history::format::{
    AssignmentJson, ChangeRow, NamespaceJson, PoolJson, encode_findings, revision_to_integer,
    to_json,
};
use crate::store::{Entry, StoreError};

// Changes of namespaces and pools are rare: each of their inserts has one parameter, the rows as a JSON
// array. Most rows are history and registrations. With JSON, SQLite spent 57 % of the instructions of a
// registration on parsing it, so their columns are bound, many rows per statement, and all statements
// are sent to the connection's thread as one script: waking the thread for each statement cost more than
// running it.

/// The maximum number of rows per statement. A statement for each number of rows is prepared once.
const MAX_ROWS: usize = 64;

/// Writes the entries after the expected last revision, in one transaction. After an error the
/// transaction may still be open.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    expected: Revision,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let mut script = Script::beginning(expected);
    insert_revisions(&mut script, connection, entries).await?;
    insert_changes(&mut script, connection, entries).await?;
    replace_state(&mut script, connection, &DerivedState::after(entries)).await?;
    if entries.iter().any(|entry| entry.request.is_some()) {
        script.run(connection).await?;
        insert_requests(connection, entries).await?;
    }
    script.statements.push("commit");
    script.run(connection).await
}

/// Statements that are sent together.
struct Script {
    statements: QueryBuilder<Sqlite>,
}

impl Script {
    /// Begins a transaction that fails unless the last revision is the expected one: the schema rejects
    /// a revision 0. Uses plain statements, not the driver's transaction: if SQLite rolls back
    /// automatically, as on a full disk, the driver would still count the transaction as open.
    fn beginning(expected: Revision) -> Self {
        let mut statements = QueryBuilder::new(
            "begin immediate; insert into revision (revision, time, actor, reason) \
             select 0, 0, '', '' where (select coalesce(max(revision), 0) from revision) <> ",
        );
        statements.push_bind(revision_to_integer(expected)).push("; ");
        Self { statements }
    }

    /// Inserts the rows with the statement `into`; `bind` binds the columns of one row.
    async fn insert<R>(
        &mut self,
        connection: &mut SqliteConnection,
        into: &'static str,
        rows: &[R],
        bind: impl Fn(Separated<'_, Sqlite, &'static str>, &R),
    ) -> Result<(), StoreError> {
        for (number, rows) in rows.chunks(MAX_ROWS).enumerate() {
            if number > 0 {
                self.run(connection).await?;
            }
            self.statements.push(into).push_values(rows, &bind).push("; ");
        }
        Ok(())
    }

    async fn run(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let mut statements = mem::replace(&mut self.statements, QueryBuilder::new(""));
        if !statements.sql().as_str().is_empty() {
            statements.build().execute(connection).await?;
        }
        Ok(())
    }
}

/// The records that the entries change, in their state after the last entry; none if deleted.
#[derive(Default)]
struct DerivedState<'e> {
    namespaces: HashMap<&'e NamespaceName, Option<&'e Namespace>>,
    pools: HashMap<(&'e NamespaceName, &'e PoolName), Option<&'e SharedPool>>,
    assignments: HashMap<Uid, Option<AssignmentJson>>,
    /// The registrations that exist before the entries.
    replaced: Vec<Uid>,
}

impl<'e> DerivedState<'e> {
    fn after(entries: &'e [Entry]) -> Self {
        let mut state = Self::default();
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            match change {
                Change::Namespace(edit) => {
                    let after = edit.after().map(|it| &**it);
                    state.namespaces.insert(&edit.latest().name, after);
                }
                Change::Pool(edit) => {
                    let pool = edit.latest();
                    let after = edit.after().map(|it| &**it);
                    state.pools.insert((&pool.namespace, &pool.name), after);
                }
                of_registration => {
                    state.replaced.extend(change.before().map(|record| record.uid));
                    if let Some(record) = of_registration.record() {
                        let after = change.after().and_then(|record| AssignmentJson::of(record));
                        state.assignments.insert(record.uid, after);
                    }
                }
            }
        }
        state
    }
}

/// Replaces the changed records by their state after the last entry. The order satisfies the schema's
/// checks at each step: no assignment without its namespace, none in a pool it does not belong to.
async fn replace_state(
    script: &mut Script,
    connection: &mut SqliteConnection,
    state: &DerivedState<'_>,
) -> Result<(), StoreError> {
    if !state.namespaces.is_empty() {
        script.run(connection).await?;
        put_namespaces(connection, &state.namespaces).await?;
    }
    if !state.replaced.is_empty() {
        script.run(connection).await?;
        delete_assignments(connection, &state.replaced).await?;
    }
    if !state.pools.is_empty() {
        script.run(connection).await?;
        replace_pools(connection, &state.pools).await?;
    }
    insert_assignments(script, connection, &state.assignments).await?;
    if !state.namespaces.is_empty() {
        script.run(connection).await?;
        delete_namespaces(connection, &state.namespaces).await?;
    }
    Ok(())
}

async fn insert_revisions(
    script: &mut Script,
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let into = "insert into revision (revision, time, actor, reason) ";
    let bind = |mut row: Separated<'_, Sqlite, _>, entry: &Entry| {
        row.push_bind(revision_to_integer(entry.revision))
            .push_bind(entry.time.as_microsecond())
            .push_bind(&*entry.actor.0)
            .push_bind(entry.reason.as_str());
    };
    script.insert(connection, into, entries, bind).await
}

async fn insert_changes(
    script: &mut Script,
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let rows = entries.iter().flat_map(|entry| {
        let numbered = (0..).zip(&entry.changes);
        numbered.map(|(index, change)| {
            ChangeRow::new(ChangePosition { revision: entry.revision, index }, change)
        })
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let into = "insert into change (revision, position, kind, namespace, uid, transport, \
                first_port, last_port, service, former_service, before, after, rest_until) ";
    let bind = |mut row: Separated<'_, Sqlite, _>, change: &ChangeRow| {
        row.push_bind(change.revision)
            .push_bind(change.position)
            .push_bind(change.kind)
            .push_bind(change.namespace.as_deref())
            .push_bind(change.uid.as_deref())
            .push_bind(change.transport)
            .push_bind(change.first_port)
            .push_bind(change.last_port)
            .push_bind(change.service.as_deref())
            .push_bind(change.former_service.as_deref())
            .push_bind(change.before.as_deref())
            .push_bind(change.after.as_deref())
            .push_bind(change.rest_until);
    };
    script.insert(connection, into, &rows, bind).await
}

async fn put_namespaces(
    connection: &mut SqliteConnection,
    namespaces: &HashMap<&NamespaceName, Option<&Namespace>>,
) -> Result<(), StoreError> {
    let rows = rows_to_json(namespaces.values().flatten().map(|it| NamespaceJson::of(it)))?;
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
    let deleted = namespaces.iter().filter(|(_, after)| after.is_none());
    let deleted = rows_to_json(deleted.map(|(name, _)| name.as_str()))?;
    sqlx::query!("delete from namespace where name in (select value from json_each(?))", deleted)
        .execute(connection)
        .await?;
    Ok(())
}

async fn replace_pools(
    connection: &mut SqliteConnection,
    pools: &HashMap<(&NamespaceName, &PoolName), Option<&SharedPool>>,
) -> Result<(), StoreError> {
    let changed =
        rows_to_json(pools.keys().map(|(namespace, name)| (namespace.as_str(), name.as_str())))?;
    sqlx::query!(
        "delete from pool_run where (namespace, pool) in \
         (select value ->> 0, value ->> 1 from json_each(?))",
        changed
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from pool where (namespace, name) in \
         (select value ->> 0, value ->> 1 from json_each(?))",
        changed
    )
    .execute(&mut *connection)
    .await?;
    let remaining = || pools.values().flatten();
    let rows = rows_to_json(remaining().map(|pool| PoolJson::of(pool)))?;
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
    let ranges = rows_to_json(remaining().flat_map(|pool| {
        itertools::iproduct!(&pool.transports, pool.member_ports().ranges()).map(
            |(transport, range)| {
                let (first, last) = (range.first().number(), range.last().number());
                (pool.namespace.as_str(), transport.name(), first, last, pool.name.as_str())
            },
        )
    }))?;
    sqlx::query!(
        "insert into pool_run (namespace, transport, first_port, last_port, pool) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?)",
        ranges
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete_assignments(
    connection: &mut SqliteConnection,
    replaced: &[Uid],
) -> Result<(), StoreError> {
    let replaced = rows_to_json(replaced.iter().map(ToString::to_string))?;
    sqlx::query!(
        "delete from custom_assignment where uid in (select value from json_each(?))",
        replaced
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_assignments(
    script: &mut Script,
    connection: &mut SqliteConnection,
    assignments: &HashMap<Uid, Option<AssignmentJson>>,
) -> Result<(), StoreError> {
    let rows = assignments.values().flatten().map(|row| Ok((row, to_json(&row.labels)?)));
    let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
    let into = "insert into custom_assignment (namespace, transport, first_port, last_port, uid, \
                service_name, description, assignee, contact, reference, assignment_notes, labels, \
                create_time, update_time, revision, ttl, expire_time, pool, instance, url) ";
    let bind = |mut row: Separated<'_, Sqlite, _>, (it, labels): &(&AssignmentJson, String)| {
        // Exhaustive, so that no field is forgotten. The order is that of the columns.
        let AssignmentJson {
            uid,
            namespace,
            service_name,
            first_port,
            last_port,
            transport,
            description,
            assignee,
            contact,
            reference,
            assignment_notes,
            labels: _,
            create_time,
            update_time,
            revision,
            ttl,
            expire_time,
            pool,
            instance,
            url,
        } = it;
        row.push_bind(namespace.as_str())
            .push_bind(transport.as_str())
            .push_bind(*first_port)
            .push_bind(*last_port)
            .push_bind(uid.as_str())
            .push_bind(service_name.as_str())
            .push_bind(description.as_str())
            .push_bind(assignee.as_str())
            .push_bind(contact.as_str())
            .push_bind(reference.as_str())
            .push_bind(assignment_notes.as_str())
            .push_bind(labels.as_str())
            .push_bind(*create_time)
            .push_bind(*update_time)
            .push_bind(*revision)
            .push_bind(*ttl)
            .push_bind(*expire_time)
            .push_bind(pool.as_deref())
            .push_bind(instance.as_deref())
            .push_bind(url.as_str());
    };
    script.insert(connection, into, &rows, bind).await
}

async fn insert_requests(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<(), StoreError> {
    // Few rows, and the fingerprint is binary: one statement each.
    for entry in entries {
        let Some(request) = &entry.request else {
            continue;
        };
        let (actor, id) = (&*entry.actor.0, &request.id);
        let (fingerprint, revision) =
            (&request.fingerprint[..], revision_to_integer(entry.revision));
        let findings = encode_findings(&entry.findings)?;
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

fn rows_to_json<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> Result<String, StoreError> {
    to_json(&rows.collect::<Vec<_>>())
}
