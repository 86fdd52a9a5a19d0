//! Replays the history from its first change. Checks that each change applies to the result of the
//! changes before it, and that the columns of its row agree.

use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;

use super::{Problems, Report};
use crate::registry::assignment::Revision;
use crate::registry::change::Change;
use crate::registry::decide;
use crate::registry::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::history::ChangePosition;
use crate::store::history::format::{
    ChangeRow, TextInterner, decode_change, decode_findings, hash_from, or_corrupt,
    revision_from_integer, revision_to_integer, time_from_micros,
};
use crate::store::sqlite::last_revision;

/// How many changes are read at once.
const CHUNK: i64 = 1024;

/// Replays the history from an initial snapshot. A change that does not fit is reported and applied.
pub(super) async fn replay(
    connection: &mut SqliteConnection,
    initial: Snapshot,
    report: &mut Report,
) -> Snapshot {
    let mut problems = Problems::default();
    check_revisions(connection, &mut problems).await;
    let mut replay = Replay {
        previous_revision: initial.clone(),
        snapshot: initial,
        last: None,
        times: [None; 2],
        texts: TextInterner::default(),
        count: 0,
        problems,
    };
    loop {
        let after = replay.last;
        let rows = changes_after(connection, after).await;
        let Some(rows) = replay.problems.check(rows, "the history") else { break };
        for row in &rows {
            replay.apply(row);
        }
        if replay.last == after {
            break;
        }
    }
    replay.finish(last_revision(connection).await);
    check_requests(connection, &mut replay.problems).await;
    let Replay { snapshot, count, problems, .. } = replay;
    let last = snapshot.revision();
    let detail = format!("up to revision {last}, {count} consistent changes");
    report.conclude("history", problems, detail);
    snapshot
}

/// Checks that revision numbers are consecutive and that their times never decrease.
async fn check_revisions(connection: &mut SqliteConnection, problems: &mut Problems) {
    let invalid = sqlx::query_scalar!(
        r#"select revision from (
             select revision, time, row_number() over (order by revision) as expected,
               lag(time) over (order by revision) as time_before from revision)
           where revision <> expected or time < time_before"#
    )
    .fetch_all(connection)
    .await;
    for revision in problems.check(invalid.map_err(Into::into), "revision").unwrap_or_default() {
        problems.add(format!(
            "revision {revision} does not follow the revision before it, or has an earlier time"
        ));
    }
}

/// Checks that the stored outcome of each accepted request can be read: a retry returns it.
async fn check_requests(connection: &mut SqliteConnection, problems: &mut Problems) {
    let mut rows = sqlx::query!("select actor, request_id, fingerprint, findings from request")
        .fetch(connection);
    loop {
        let row = rows.try_next().await.map_err(Into::into);
        let Some(row) = problems.check(row, "the list of requests").flatten() else { break };
        let name = format!("{}'s request {}", row.actor, row.request_id);
        problems.check(hash_from(row.fingerprint), &name);
        problems.check(decode_findings(&row.findings, &mut TextInterner::default()), &name);
    }
}

/// A row of the table `change`.
struct StoredChange {
    revision: i64,
    position: i64,
    time: i64,
    kind: String,
    before: Option<String>,
    after: Option<String>,
    rest_until: Option<i64>,
    /// The columns that exist for queries, as JSON.
    columns: String,
}

async fn changes_after(
    connection: &mut SqliteConnection,
    last: Option<ChangePosition>,
) -> Result<Vec<StoredChange>, StoreError> {
    let revision = last.map_or(0, |last| revision_to_integer(last.revision));
    let position = last.map_or(-1, |last| i64::from(last.index));
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
    /// The snapshot before the revision of the last change, on which that revision was decided.
    previous_revision: Snapshot,
    snapshot: Snapshot,
    last: Option<ChangePosition>,
    /// The time of the revision of the last change, and that of the revision before it.
    times: [Option<Timestamp>; 2],
    texts: TextInterner,
    count: u64,
    problems: Problems,
}

impl Replay {
    fn apply(&mut self, row: &StoredChange) {
        let describe = |problem: &str| {
            format!("change {} of revision {}: {problem}", row.position, row.revision)
        };
        match self.parse(row) {
            Ok((position, time, change)) => {
                self.count += 1;
                for problem in self.check_change(row, position, time, &change) {
                    self.problems.add(describe(problem));
                }
                self.snapshot = self.snapshot.after(position.revision, &[change]);
                self.last = Some(position);
            }
            Err(error) => {
                self.problems.add(describe(&error.to_string()));
                self.last = position_of(row).ok().or(self.last);
            }
        }
    }

    /// Checks that the history ends with the last revision.
    fn finish(&mut self, last_revision: Result<Revision, StoreError>) {
        let expected = self.problems.check(last_revision, "the last revision");
        let found = self.last.map_or(Revision::default(), |last| last.revision);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            self.problems.add(format!("there is no change of the last revision, {expected}"));
        }
    }

    fn parse(
        &mut self,
        row: &StoredChange,
    ) -> Result<(ChangePosition, Timestamp, Change), StoreError> {
        let (position, time) = (position_of(row)?, time_from_micros(row.time)?);
        if self.last.is_none_or(|last| last.revision != position.revision) {
            self.previous_revision = self.snapshot.clone();
            self.times = [Some(time), self.times[0]];
        }
        let (before, after) = (row.before.clone(), row.after.clone());
        let change = decode_change(&row.kind, before, after, row.rest_until, &mut self.texts)?;
        Ok((position, time, change))
    }

    /// The problems of a change, relative to the changes before it.
    fn check_change(
        &self,
        row: &StoredChange,
        found: ChangePosition,
        time: Timestamp,
        change: &Change,
    ) -> Vec<&'static str> {
        // Every revision has at least one change.
        let last = self.last.unwrap_or(ChangePosition { revision: Revision::default(), index: 0 });
        let next = ChangePosition { index: last.index.wrapping_add(1), ..last };
        let of_next_revision = ChangePosition { revision: last.revision.next(), index: 0 };
        let mut problems = Vec::new();
        if found != of_next_revision && (found != next || self.last.is_none()) {
            problems.push("the change before it is missing");
        }
        if !fits(change, &self.snapshot) {
            problems.push("its state before differs from the replayed state");
        }
        let may_be_earlier = self.follows_at_once();
        if !has_revision_and_time(change, found.revision, time, may_be_earlier) {
            problems.push("its state after has another revision or time");
        }
        if let Change::Released { before, cooling_until }
        | Change::Expired { before, cooling_until } = change
            && let expected = decide::cooling_until(&self.previous_revision, before, time)
            && expected != *cooling_until
            && !(cooling_until.is_none() && predates_cool_down(row))
            && !(may_be_earlier && cooling_until.is_some() && *cooling_until < expected)
        {
            problems.push("the end of the cool-down is wrong");
        }
        if matches!(change, Change::Expired { .. }) && !lease_has_expired(change, time) {
            problems.push("no lease had expired");
        }
        match columns_agree(row, found, change) {
            Ok(true) => {}
            Ok(false) | Err(_) => problems.push("its columns contradict each other"),
        }
        problems
    }
}

impl Replay {
    /// Whether the revision has the earliest time after the one before it. Version 0.1.0 moved the time of
    /// a revision there if the clock had stepped back, but not the times in its records, which are earlier.
    fn follows_at_once(&self) -> bool {
        let [Some(time), Some(before)] = self.times else { return false };
        time.as_microsecond() == before.as_microsecond() + 1
    }
}

/// Whether the change was written by a version without cool-downs. That version had no leases either:
/// its JSON has no `ttl`, which later versions always write, as null if there is no lease.
fn predates_cool_down(row: &StoredChange) -> bool {
    let before = row.before.as_deref().map(serde_json::from_str::<Value>);
    before.is_some_and(|before| before.is_ok_and(|before| before.get("ttl").is_none()))
}

fn position_of(row: &StoredChange) -> Result<ChangePosition, StoreError> {
    let position = or_corrupt(u32::try_from(row.position))?;
    Ok(ChangePosition { revision: revision_from_integer(row.revision)?, index: position })
}

/// Whether the state before the change equals that of the snapshot.
fn fits(change: &Change, snapshot: &Snapshot) -> bool {
    match change {
        Change::Namespace(edit) => {
            let view = snapshot.view(&edit.latest().name).ok();
            view.map(|view| view.namespace()) == edit.before()
        }
        Change::Pool(edit) => {
            let Ok(view) = snapshot.view(&edit.latest().namespace) else { return false };
            let held = view.pool(&edit.latest().name).ok();
            held.map(|pool| &***pool) == edit.before().map(|pool| &***pool)
        }
        of_registration => {
            let Some(record) = of_registration.record() else { return false };
            let namespace = record.registration().map(|registration| &registration.namespace);
            let held = snapshot.by_uid(record.uid);
            namespace.is_some_and(|name| snapshot.view(name).is_ok())
                && held.map(|held| &***held) == change.before().map(|before| &***before)
        }
    }
}

/// Whether the state after the change has this revision and, if it is new, this time or, if permitted,
/// an earlier one.
fn has_revision_and_time(
    change: &Change,
    revision: Revision,
    time: Timestamp,
    may_be_earlier: bool,
) -> bool {
    match change {
        Change::Namespace(edit) => edit.after().is_none_or(|after| after.revision == revision),
        Change::Pool(edit) => edit.after().is_none_or(|after| after.revision == revision),
        of_registration => {
            let after = of_registration.after().and_then(|after| after.registration());
            let is_new = matches!(change, Change::Registered { .. });
            after.is_none_or(|after| {
                let has_time =
                    after.create_time == time || (may_be_earlier && after.create_time < time);
                after.revision == revision && (!is_new || has_time)
            })
        }
    }
}

/// Whether the lease of the changed registration had expired at this time.
fn lease_has_expired(change: &Change, time: Timestamp) -> bool {
    let registration = change.before().and_then(|before| before.registration());
    let lease = registration.and_then(|registration| registration.lease);
    lease.is_some_and(|lease| lease.expire_time <= time)
}

/// Whether the columns of the row equal those that would be written for the parsed change.
fn columns_agree(
    row: &StoredChange,
    position: ChangePosition,
    change: &Change,
) -> Result<bool, StoreError> {
    let change = ChangeRow::new(position, change)?;
    let expected = or_corrupt(serde_json::to_value(&change))?;
    let columns: Value = or_corrupt(serde_json::from_str(&row.columns))?;
    let are_equal = columns.as_object().is_some_and(|columns| {
        columns.iter().all(|(name, value)| expected.get(name) == Some(value))
    });
    Ok(are_equal
        && expected["rest_until"] == Value::from(row.rest_until)
        && json_agrees(row.before.as_deref(), change.before.as_deref())?
        && json_agrees(row.after.as_deref(), change.after.as_deref())?)
}

/// Whether the stored JSON has the expected fields and no others. A field that older versions did not
/// write must have no value.
fn json_agrees(stored: Option<&str>, expected: Option<&str>) -> Result<bool, StoreError> {
    let parse = |json: Option<&str>| -> Result<Value, StoreError> {
        or_corrupt(json.map_or(Ok(Value::Null), serde_json::from_str))
    };
    let (stored, expected) = (parse(stored)?, parse(expected)?);
    let (Some(stored), Some(expected)) = (stored.as_object(), expected.as_object()) else {
        return Ok(stored == expected);
    };
    let is_known = stored.iter().all(|(name, value)| expected.get(name) == Some(value));
    let is_complete =
        expected.iter().all(|(name, value)| stored.contains_key(name) || value.is_null());
    Ok(is_known && is_complete)
}
