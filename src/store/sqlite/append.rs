//! Writing what was accepted: history, and what follows from it.

use std::collections::HashMap;
use std::mem;

use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::row::{
    AssignmentRow, ChangeRow, FindingRow, NamespaceRow, PoolRow, revision_to_sql, to_text,
};
use crate::registry::assignment::{Revision, Uid};
use crate::registry::change::Change;
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::namespace::Namespace;
use crate::registry::pool::SharedPool;
use crate::store::{Entry, StoreError};

// Settings are rare: their inserts take rows as JSON arrays, one statement for each table. History and
// registrations are what there is most of, and JSON was most of what SQLite spent on them (57 of 100
// instructions of a registration): their rows are bound as they are, many to a statement, and all
// statements go to the thread that has the connection in one script. To wake it for each took longer
// than what it did.

/// How many rows a statement inserts at the most. Statements of each number of rows are prepared once.
const MOST_ROWS: usize = 64;

/// Writes the entries after the revision that is expected to be the last, in a transaction that it
/// begins and commits. If it fails, the transaction may be open still.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    expected: Revision,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let mut script = Script::beginning(expected);
    insert_revisions(&mut script, connection, entries).await?;
    insert_changes(&mut script, connection, entries).await?;
    replace_standing(&mut script, connection, &Standing::after(entries)).await?;
    if entries.iter().any(|entry| entry.request.is_some()) {
        script.run(connection).await?;
        insert_requests(connection, entries).await?;
    }
    script.statements.push("commit");
    script.run(connection).await
}

/// Statements that are run together.
struct Script {
    statements: QueryBuilder<Sqlite>,
}

impl Script {
    /// Begins a transaction, in which nothing goes on after another revision than the expected one: the
    /// schema refuses a revision 0. Plain statements, not the driver's transaction: where SQLite has
    /// rolled back by itself, as it does on a full disk, the driver would count a transaction that is
    /// no more.
    fn beginning(expected: Revision) -> Self {
        let mut statements = QueryBuilder::new(
            "begin immediate; insert into revision (revision, time, actor, reason) \
             select 0, 0, '', '' where (select coalesce(max(revision), 0) from revision) <> ",
        );
        statements.push_bind(revision_to_sql(expected)).push("; ");
        Self { statements }
    }

    /// Inserts the rows, `into` some columns of a table that `bind` has the values of.
    async fn insert<R>(
        &mut self,
        connection: &mut SqliteConnection,
        into: &'static str,
        rows: &[R],
        bind: impl Fn(Separated<'_, Sqlite, &'static str>, &R),
    ) -> Result<(), StoreError> {
        for (number, rows) in rows.chunks(MOST_ROWS).enumerate() {
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

/// What was touched, in the form in which the last entry leaves it; none of what is gone.
#[derive(Default)]
struct Standing<'e> {
    namespaces: HashMap<&'e NamespaceName, Option<&'e Namespace>>,
    pools: HashMap<(&'e NamespaceName, &'e PoolName), Option<&'e SharedPool>>,
    assignments: HashMap<Uid, Option<AssignmentRow>>,
    /// The registrations that stood before.
    replaced: Vec<Uid>,
}

impl<'e> Standing<'e> {
    fn after(entries: &'e [Entry]) -> Self {
        let mut standing = Self::default();
        for change in entries.iter().flat_map(|entry| &entry.changes) {
            match change {
                Change::Namespace(edit) => {
                    let after = edit.after().map(|it| &**it);
                    standing.namespaces.insert(&edit.latest().name, after);
                }
                Change::Pool(edit) => {
                    let pool = edit.latest();
                    let after = edit.after().map(|it| &**it);
                    standing.pools.insert((&pool.namespace, &pool.name), after);
                }
                about_a_registration => {
                    standing.replaced.extend(change.before().map(|record| record.uid));
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
    script: &mut Script,
    connection: &mut SqliteConnection,
    standing: &Standing<'_>,
) -> Result<(), StoreError> {
    if !standing.namespaces.is_empty() {
        script.run(connection).await?;
        put_namespaces(connection, &standing.namespaces).await?;
    }
    if !standing.replaced.is_empty() {
        script.run(connection).await?;
        delete_assignments(connection, &standing.replaced).await?;
    }
    if !standing.pools.is_empty() {
        script.run(connection).await?;
        replace_pools(connection, &standing.pools).await?;
    }
    insert_assignments(script, connection, &standing.assignments).await?;
    if !standing.namespaces.is_empty() {
        script.run(connection).await?;
        delete_namespaces(connection, &standing.namespaces).await?;
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
        row.push_bind(revision_to_sql(entry.revision))
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
        let numbered = (0i64..).zip(&entry.changes);
        numbered.map(|(position, change)| ChangeRow::of(entry.revision, position, change))
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
        itertools::iproduct!(&pool.transports, pool.member_ports().ranges()).map(
            |(transport, run)| {
                let (first, last) = (run.first().number(), run.last().number());
                (pool.namespace.as_str(), transport.name(), first, last, pool.name.as_str())
            },
        )
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
    replaced: &[Uid],
) -> Result<(), StoreError> {
    let replaced = to_json(replaced.iter().map(ToString::to_string))?;
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
    assignments: &HashMap<Uid, Option<AssignmentRow>>,
) -> Result<(), StoreError> {
    let rows = assignments.values().flatten().map(|row| Ok((row, to_text(&row.labels)?)));
    let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
    let into = "insert into custom_assignment (namespace, transport, first_port, last_port, uid, \
                service_name, description, assignee, contact, reference, assignment_notes, labels, \
                create_time, update_time, revision, ttl, expire_time, pool, instance) ";
    let bind = |mut row: Separated<'_, Sqlite, _>, (it, labels): &(&AssignmentRow, String)| {
        row.push_bind(it.namespace.as_str())
            .push_bind(it.transport.as_str())
            .push_bind(it.first_port)
            .push_bind(it.last_port)
            .push_bind(it.uid.as_str())
            .push_bind(it.service_name.as_str())
            .push_bind(it.description.as_str())
            .push_bind(it.assignee.as_str())
            .push_bind(it.contact.as_str())
            .push_bind(it.reference.as_str())
            .push_bind(it.assignment_notes.as_str())
            .push_bind(labels.as_str())
            .push_bind(it.create_time)
            .push_bind(it.update_time)
            .push_bind(it.revision)
            .push_bind(it.ttl)
            .push_bind(it.expire_time)
            .push_bind(it.pool.as_deref())
            .push_bind(it.instance.as_deref());
    };
    script.insert(connection, into, &rows, bind).await
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
    to_text(&rows.collect::<Vec<_>>())
}
