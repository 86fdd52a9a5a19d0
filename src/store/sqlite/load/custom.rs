//! Reads namespaces, pools and registrations.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use crate::registry::assignment::Assignment;
use crate::registry::namespace::Namespace;
use crate::registry::pool::Pool;
use crate::store::StoreError;
use crate::store::history::format::{
    AssignmentJson, NamespaceJson, PoolJson, TextInterner, or_corrupt, time_from_micros,
};

/// The namespaces, by name.
pub(in crate::store::sqlite) async fn namespaces(
    connection: &mut SqliteConnection,
) -> Result<Vec<Namespace>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"select json_group_array(json_object(
             'name', name, 'description', description, 'accept', json(accept),
             'forbid', json(forbid), 'cool_down', cool_down, 'create_time', create_time,
             'update_time', update_time, 'revision', revision) order by name) as "rows!: String"
           from namespace"#
    )
    .fetch_one(connection)
    .await?;
    let rows: Vec<NamespaceJson> = or_corrupt(serde_json::from_str(&rows))?;
    rows.into_iter().map(NamespaceJson::into_namespace).collect()
}

/// The pools, by namespace and name.
pub(in crate::store::sqlite) async fn pools(
    connection: &mut SqliteConnection,
) -> Result<Vec<Pool>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"select json_group_array(json_object(
             'namespace', namespace, 'name', name, 'description', description,
             'ports', json(ports), 'transports', json(transports),
             'excluded_ports', json(excluded_ports), 'cool_down', cool_down,
             'accept', json(accept), 'create_time', create_time, 'update_time', update_time,
             'revision', revision) order by namespace, name) as "rows!: String"
           from pool"#
    )
    .fetch_one(connection)
    .await?;
    let rows: Vec<PoolJson> = or_corrupt(serde_json::from_str(&rows))?;
    rows.into_iter().map(PoolJson::into_pool).collect()
}

/// The registrations, by namespace, transport and port.
pub(in crate::store::sqlite) async fn assignments(
    connection: &mut SqliteConnection,
) -> Result<Vec<Assignment>, StoreError> {
    let mut texts = TextInterner::default();
    let mut assignments = Vec::new();
    let mut after = Cursor::default();
    let mut chunk = assignments_after(connection, &after).await?;
    loop {
        let rows: Vec<AssignmentJson> = or_corrupt(serde_json::from_str(&chunk))?;
        let Some(last) = rows.last() else { return Ok(assignments) };
        after.namespace.clone_from(&last.namespace);
        after.transport.clone_from(&last.transport);
        after.first_port = last.first_port;
        // The database reads the next chunk, on its own thread, while this one is parsed.
        let (next, parsed) = tokio::join!(assignments_after(connection, &after), async {
            let records = rows.into_iter().map(|row| row.into_assignment(&mut texts));
            records.collect::<Result<Vec<_>, _>>()
        });
        assignments.extend(parsed?);
        chunk = next?;
    }
}

#[derive(Default)]
struct Cursor {
    namespace: String,
    transport: String,
    first_port: u16,
}

/// The next chunk of registrations after the cursor, as JSON.
async fn assignments_after(
    connection: &mut SqliteConnection,
    after: &Cursor,
) -> Result<String, StoreError> {
    let Cursor { namespace, transport, first_port } = after;
    Ok(sqlx::query_scalar!(
        r#"select json_group_array(json_object(
             'uid', uid, 'namespace', namespace, 'service_name', service_name,
             'first_port', first_port, 'last_port', last_port, 'transport', transport,
             'description', description, 'assignee', assignee, 'contact', contact,
             'reference', reference, 'assignment_notes', assignment_notes,
             'labels', json(labels), 'create_time', create_time, 'update_time', update_time,
             'revision', revision, 'ttl', ttl, 'expire_time', expire_time, 'pool', pool,
             'instance', instance, 'url', url)) as "chunk!: String"
           from (select * from custom_assignment
             where (namespace, transport, first_port) > (?, ?, ?)
             order by namespace, transport, first_port limit 1024)"#,
        namespace,
        transport,
        first_port
    )
    .fetch_one(connection)
    .await?)
}

/// The released registrations whose ports are cooling down, and until when. Releases in a namespace
/// that was deleted do not apply to a new one with the same name.
pub(in crate::store::sqlite) async fn cooling_down(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<(Assignment, Timestamp)>, StoreError> {
    let now = now.as_microsecond();
    let rows = sqlx::query!(
        r#"with created as (
             select namespace, max(revision) as revision from change
             where kind = 'NAMESPACE_CREATED' group by namespace)
           select change.before as "before!", change.rest_until as "rest_until!"
           from change left join created on created.namespace = change.namespace
           where change.rest_until > ? and change.revision > coalesce(created.revision, 0)
           order by change.revision, change.position"#,
        now
    )
    .fetch_all(connection)
    .await?;
    let mut texts = TextInterner::default();
    let cooling_down = rows.into_iter().map(|row| {
        let before: AssignmentJson = or_corrupt(serde_json::from_str(&row.before))?;
        Ok((before.into_assignment(&mut texts)?, time_from_micros(row.rest_until)?))
    });
    cooling_down.collect()
}
