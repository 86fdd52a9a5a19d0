//! Going through the history from the beginning: each change is about what the ones before have led
//! to, and is told the same in each of its columns.

use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;

use super::{Faults, Report};
use crate::registry::assignment::Revision;
use crate::registry::change::Change;
use crate::registry::decide;
use crate::registry::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::history::ChangePosition;
use crate::store::sqlite::last_revision;
use crate::store::sqlite::row::{
    ChangeRow, change_from, findings_from, hash_from, revision_from_sql, revision_to_sql,
    time_from_sql, understood,
};
use crate::store::sqlite::texts::SharedTexts;

/// How many changes are read at a time.
const CHUNK: i64 = 1024;

/// Goes through the history from a beginning. Where it does not fit, it goes on all the same.
pub(super) async fn replay(
    connection: &mut SqliteConnection,
    beginning: Snapshot,
    report: &mut Report,
) -> Snapshot {
    let mut faults = Faults::default();
    revisions(connection, &mut faults).await;
    let mut replay = Replay {
        before_the_revision: beginning.clone(),
        snapshot: beginning,
        last: None,
        texts: SharedTexts::default(),
        count: 0,
        faults,
    };
    loop {
        let after = replay.last;
        let Some(rows) = replay.faults.take(changes_after(connection, after).await, "the history")
        else {
            break;
        };
        for row in &rows {
            replay.take(row);
        }
        if replay.last == after {
            break;
        }
    }
    replay.end(last_revision(connection).await);
    requests(connection, &mut replay.faults).await;
    let Replay { snapshot, count, faults, .. } = replay;
    let last = snapshot.revision();
    report.judge(
        "history",
        faults,
        format!("up to revision {last}, {count} changes, each fitting"),
    );
    snapshot
}

/// Whether the revisions are numbered one by one, at times that never go back.
async fn revisions(connection: &mut SqliteConnection, faults: &mut Faults) {
    let strange = sqlx::query_scalar!(
        r#"select revision from (
             select revision, time, row_number() over (order by revision) as place,
               lag(time) over (order by revision) as time_before from revision)
           where revision <> place or time < time_before"#
    )
    .fetch_all(connection)
    .await;
    for revision in faults.take(strange.map_err(Into::into), "revision").unwrap_or_default() {
        faults.add(format!(
            "revision {revision} is not numbered one more than the one before, or is older than it"
        ));
    }
}

/// Whether each request that was accepted can be answered again.
async fn requests(connection: &mut SqliteConnection, faults: &mut Faults) {
    let mut rows = sqlx::query!("select actor, request_id, fingerprint, findings from request")
        .fetch(connection);
    loop {
        let row = rows.try_next().await.map_err(Into::into);
        let Some(row) = faults.take(row, "the list of requests").flatten() else { break };
        let name = format!("{}'s request {}", row.actor, row.request_id);
        faults.take(hash_from(row.fingerprint), &name);
        faults.take(findings_from(&row.findings, &mut SharedTexts::default()), &name);
    }
}

/// A change as it is stored.
struct StoredChange {
    revision: i64,
    position: i64,
    time: i64,
    kind: String,
    before: Option<String>,
    after: Option<String>,
    rest_until: Option<i64>,
    /// What stands in the columns that are there to be looked for, as JSON.
    columns: String,
}

async fn changes_after(
    connection: &mut SqliteConnection,
    place: Option<ChangePosition>,
) -> Result<Vec<StoredChange>, StoreError> {
    let revision = place.map_or(0, |place| revision_to_sql(place.revision));
    let position = place.map_or(-1, |place| i64::from(place.position));
    Ok(sqlx::query_as!(
        StoredChange,
        r#"select change.revision, position, time, kind, before, after, rest_until,
             json_object('namespace', namespace, 'uid', uid, 'transport', transport,
               'first_port', first_port, 'last_port', last_port, 'service', service,
               'former_service', former_service) as "columns!: String"
           from change join revision on revision.revision = change.revision
           where (change.revision, position) > (?, ?)
           order by change.revision, position limit ?"#,
        revision,
        position,
        CHUNK
    )
    .fetch_all(connection)
    .await?)
}

struct Replay {
    /// What stood before the revision that the last change is of: what is decided at one revision is
    /// decided on it.
    before_the_revision: Snapshot,
    snapshot: Snapshot,
    last: Option<ChangePosition>,
    texts: SharedTexts,
    count: u64,
    faults: Faults,
}

impl Replay {
    fn take(&mut self, row: &StoredChange) {
        let at =
            |fault: &str| format!("change {} of revision {}: {fault}", row.position, row.revision);
        match self.understand(row) {
            Ok((place, time, change)) => {
                self.count += 1;
                for fault in self.faults_of(row, place, time, &change) {
                    self.faults.add(at(fault));
                }
                self.snapshot = self.snapshot.after(place.revision, &[change]);
                self.last = Some(place);
            }
            Err(fault) => {
                self.faults.add(at(&fault.to_string()));
                self.last = place_of(row).ok().or(self.last);
            }
        }
    }

    /// Whether the history goes as far as it should.
    fn end(&mut self, last_revision: Result<Revision, StoreError>) {
        let meant = self.faults.take(last_revision, "the last revision");
        let found = self.last.map_or(Revision::default(), |last| last.revision);
        if let Some(meant) = meant.filter(|meant| *meant != found) {
            self.faults.add(format!("there is no change of the last revision, {meant}"));
        }
    }

    fn understand(
        &mut self,
        row: &StoredChange,
    ) -> Result<(ChangePosition, Timestamp, Change), StoreError> {
        let place = place_of(row)?;
        if self.last.is_none_or(|last| last.revision != place.revision) {
            self.before_the_revision = self.snapshot.clone();
        }
        let (before, after) = (row.before.clone(), row.after.clone());
        let change = change_from(&row.kind, before, after, row.rest_until, &mut self.texts)?;
        Ok((place, time_from_sql(row.time)?, change))
    }

    fn faults_of(
        &self,
        row: &StoredChange,
        place: ChangePosition,
        time: Timestamp,
        change: &Change,
    ) -> Vec<&'static str> {
        // There is no revision without a change.
        let last =
            self.last.unwrap_or(ChangePosition { revision: Revision::default(), position: 0 });
        let next = ChangePosition { position: last.position.wrapping_add(1), ..last };
        let of_next_revision = ChangePosition { revision: last.revision.next(), position: 0 };
        let mut faults = Vec::new();
        if place != of_next_revision && (place != next || self.last.is_none()) {
            faults.push("the change before it is missing");
        }
        if !fits(change, &self.snapshot) {
            faults.push("what it changes is not what the history led to");
        }
        if !is_of(change, place.revision, time) {
            faults.push("what it leads to is of another revision or time");
        }
        if let Change::Released { before, cooling_until }
        | Change::Expired { before, cooling_until } = change
            && decide::cooling_until(&self.before_the_revision, before, time) != *cooling_until
            && !(cooling_until.is_none() && is_from_before_rests(row))
        {
            faults.push("the ports rest longer or shorter than they should");
        }
        if matches!(change, Change::Expired { .. }) && !has_ended(change, time) {
            faults.push("no lease had ended");
        }
        match is_told_alike(row, place, change) {
            Ok(true) => {}
            Ok(false) | Err(_) => faults.push("its columns contradict each other"),
        }
        faults
    }
}

/// Whether the change was written when nothing rested yet. There were no leases either, so what was
/// changed is told without one, where it is told of with a null since.
fn is_from_before_rests(row: &StoredChange) -> bool {
    let told = row.before.as_deref().map(serde_json::from_str::<Value>);
    told.is_some_and(|told| told.is_ok_and(|told| told.get("ttl").is_none()))
}

fn place_of(row: &StoredChange) -> Result<ChangePosition, StoreError> {
    let position = understood(u32::try_from(row.position))?;
    Ok(ChangePosition { revision: revision_from_sql(row.revision)?, position })
}

/// Whether the change is about what stands.
fn fits(change: &Change, snapshot: &Snapshot) -> bool {
    match change {
        Change::Namespace(edit) => {
            let view = snapshot.view(&edit.last().name).ok();
            view.map(|view| view.namespace()) == edit.before()
        }
        Change::Pool(edit) => {
            let Ok(view) = snapshot.view(&edit.last().namespace) else { return false };
            let held = view.pool(&edit.last().name).ok();
            held.map(|pool| &***pool) == edit.before().map(|pool| &***pool)
        }
        about_a_registration => {
            let Some(record) = about_a_registration.record() else { return false };
            let namespace = record.registration().map(|registration| &registration.namespace);
            let held = snapshot.by_uid(record.uid);
            namespace.is_some_and(|name| snapshot.view(name).is_ok())
                && held.map(|held| &***held) == change.before().map(|before| &***before)
        }
    }
}

/// Whether what the change leads to says that it was changed at this revision.
fn is_of(change: &Change, revision: Revision, time: Timestamp) -> bool {
    match change {
        Change::Namespace(edit) => edit.after().is_none_or(|after| after.revision == revision),
        Change::Pool(edit) => edit.after().is_none_or(|after| after.revision == revision),
        about_a_registration => {
            let after = about_a_registration.after().and_then(|after| after.registration());
            let is_new = matches!(change, Change::Registered { .. });
            after.is_none_or(|after| {
                after.revision == revision && (!is_new || after.create_time == time)
            })
        }
    }
}

/// Whether the lease of what the change is about had ended by then.
fn has_ended(change: &Change, time: Timestamp) -> bool {
    let registration = change.before().and_then(|before| before.registration());
    let lease = registration.and_then(|registration| registration.lease);
    lease.is_some_and(|lease| lease.expire_time <= time)
}

/// Whether the row says the same in each of its columns, and nothing beside it.
fn is_told_alike(
    row: &StoredChange,
    place: ChangePosition,
    change: &Change,
) -> Result<bool, StoreError> {
    let change = ChangeRow::of(place.revision, place.position.into(), change)?;
    let meant = understood(serde_json::to_value(&change))?;
    let columns: Value = understood(serde_json::from_str(&row.columns))?;
    let is_alike = columns.as_object().is_some_and(|columns| {
        columns.iter().all(|(name, told)| meant.get(name).is_some_and(|meant| meant == told))
    });
    Ok(is_alike
        && meant["rest_until"] == Value::from(row.rest_until)
        && is_thing_alike(row.before.as_deref(), change.before.as_deref())?
        && is_thing_alike(row.after.as_deref(), change.after.as_deref())?)
}

/// Whether the stored thing has all that was understood of it, and nothing else. What older history
/// leaves out has no value.
fn is_thing_alike(told: Option<&str>, meant: Option<&str>) -> Result<bool, StoreError> {
    let read = |thing: Option<&str>| -> Result<Value, StoreError> {
        understood(thing.map_or(Ok(Value::Null), serde_json::from_str))
    };
    let (told, meant) = (read(told)?, read(meant)?);
    let (Some(told), Some(meant)) = (told.as_object(), meant.as_object()) else {
        return Ok(told == meant);
    };
    let is_known = told.iter().all(|(name, value)| meant.get(name) == Some(value));
    Ok(is_known && meant.iter().all(|(name, value)| told.contains_key(name) || value.is_null()))
}
