//! Reads the history, on separate read-only connections.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions, QueryBuilder, Row, Sqlite, SqlitePool};

use crate::access::Actor;
use crate::registry::assignment::Revision;
use crate::store::history::format::{
    TextInterner, decode_change, revision_from_integer, revision_to_integer, time_from_micros,
};
use crate::store::history::{ChangeFilter, ChangePosition, ChangeRecord, History, Query, entries};
use crate::store::{Entry, StoreError};

/// The maximum number of connections; further reads wait for one.
const MAX_READERS: u32 = 8;

/// The history of a database file.
#[derive(Clone, Debug)]
pub(super) struct SqliteHistory {
    readers: SqlitePool,
}

impl SqliteHistory {
    /// The history of the file that these options open. The first read opens a connection.
    pub(super) fn new(options: &SqliteConnectOptions) -> Self {
        let options = options.clone().read_only(true).create_if_missing(false);
        let readers = SqlitePoolOptions::new()
            .max_connections(MAX_READERS)
            .connect_lazy_with(options.disable_statement_logging());
        Self { readers }
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        self.readers.close().await;
    }
}

impl History for SqliteHistory {
    fn changes<'h>(
        &'h self,
        query: &'h Query,
    ) -> BoxFuture<'h, Result<Vec<ChangeRecord>, StoreError>> {
        Box::pin(async { records(select_changes(query).build().fetch_all(&self.readers).await?) })
    }

    fn revision_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let time = time.as_microsecond();
            let last = sqlx::query_scalar!(
                r#"select coalesce(max(revision), 0) as "last!: i64" from revision
                   where time = (select max(time) from revision where time <= ?)"#,
                time
            )
            .fetch_one(&self.readers)
            .await?;
            revision_from_integer(last)
        })
    }

    fn beginning(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        Box::pin(async {
            let time = sqlx::query_scalar!("select create_time from registry")
                .fetch_one(&self.readers)
                .await?;
            time_from_micros(time)
        })
    }
}

/// The entries after the revision, read on the connection that writes.
pub(super) async fn entries_since(
    connection: &mut SqliteConnection,
    revision: Revision,
) -> Result<Vec<Entry>, StoreError> {
    let query = Query {
        after: Some(ChangePosition::end_of(revision)),
        before: ChangePosition::end_of(Revision(u64::MAX)),
        newest_first: false,
        limit: u32::MAX,
        filter: ChangeFilter::default(),
    };
    let rows = select_changes(&query).build().fetch_all(connection).await?;
    Ok(entries(records(rows)?))
}

fn records(rows: Vec<SqliteRow>) -> Result<Vec<ChangeRecord>, StoreError> {
    let mut texts = TextInterner::default();
    let records = rows.into_iter().map(|row| {
        let kind: String = row.try_get("kind")?;
        Ok(ChangeRecord {
            position: ChangePosition {
                revision: revision_from_integer(row.try_get("revision")?)?,
                index: row.try_get("position")?,
            },
            time: time_from_micros(row.try_get("time")?)?,
            actor: Actor(row.try_get::<String, _>("actor")?.into()),
            reason: row.try_get("reason")?,
            change: decode_change(
                &kind,
                row.try_get("before")?,
                row.try_get("after")?,
                row.try_get("rest_until")?,
                &mut texts,
            )?,
        })
    });
    records.collect()
}

/// Contains only the conditions that the query has, so that the database can use an index.
fn select_changes(query: &Query) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(
        "select c.revision, c.position, r.time, r.actor, r.reason, c.kind, c.before, c.after, \
         c.rest_until from change as c join revision as r on r.revision = c.revision \
         where (c.revision, c.position) < (",
    );
    sql.push_bind(revision_to_integer(query.before.revision)).push(", ");
    sql.push_bind(query.before.index).push(")");
    if let Some(after) = query.after {
        sql.push(" and (c.revision, c.position) > (");
        sql.push_bind(revision_to_integer(after.revision)).push(", ");
        sql.push_bind(after.index).push(")");
    }
    push_filter(&mut sql, &query.filter);
    let order = if query.newest_first { "desc" } else { "asc" };
    sql.push(format_args!(" order by c.revision {order}, c.position {order} limit "));
    sql.push_bind(query.limit);
    sql
}

fn push_filter(sql: &mut QueryBuilder<Sqlite>, filter: &ChangeFilter) {
    let ChangeFilter {
        namespace,
        include_settings,
        ports,
        transport,
        service,
        uid,
        actor,
        kinds,
        start_time,
        end_time,
    } = filter;
    if let Some(namespace) = namespace {
        sql.push(" and c.namespace = ").push_bind(namespace.to_string());
    }
    if let Some(ports) = ports {
        sql.push(" and (c.first_port <= ").push_bind(ports.last().number());
        sql.push(" and c.last_port >= ").push_bind(ports.first().number());
        sql.push(if *include_settings { " or c.uid is null)" } else { ")" });
    }
    if let Some(transport) = transport {
        sql.push(" and c.transport = ").push_bind(transport.name());
    }
    if let Some(service) = service {
        sql.push(" and ").push_bind(service.clone()).push(" in (c.service, c.former_service)");
    }
    if let Some(uid) = uid {
        sql.push(" and c.uid = ").push_bind(uid.to_string());
    }
    if let Some(actor) = actor {
        sql.push(" and r.actor = ").push_bind(actor.clone());
    }
    if !kinds.is_empty() {
        let mut list = sql.push(" and c.kind in (").separated(", ");
        for kind in kinds {
            list.push_bind(kind.name());
        }
        sql.push(")");
    }
    if let Some(start) = start_time {
        sql.push(" and r.time >= ").push_bind(start.as_microsecond());
    }
    if let Some(end) = end_time {
        sql.push(" and r.time < ").push_bind(end.as_microsecond());
    }
}

/// The history of a registry in memory: empty, as no reader can open a second connection to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmptyHistory;

impl History for EmptyHistory {
    fn changes<'h>(&'h self, _: &'h Query) -> BoxFuture<'h, Result<Vec<ChangeRecord>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn revision_at(&self, _: Timestamp) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async { Ok(Revision::default()) })
    }

    fn beginning(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        Box::pin(async { Ok(Timestamp::MIN) })
    }
}
