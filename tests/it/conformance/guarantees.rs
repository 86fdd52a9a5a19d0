//! The guarantees. Each function checks one of them on a new database of a store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use portbook::access::{Actor, PlainToken, Token};
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::ChangeKind;
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::service_name::fold;
use portbook::registry::snapshot::Snapshot;
use portbook::store::history::{ChangeFilter, ChangePosition, ChangeRecord, History, Query};
use portbook::store::{
    AppendOutcome, Entry, LoadedRegistry, LogTail, Maintenance, RequestKey, RestoreOptions, Store,
    StoreError,
};

use super::TestedStore;
use super::workload::{Workload, entry, registration, registrations, state, workload};
use crate::decisions::operation::{LOW, service, time};
use crate::properties::NEW;

const END: ChangePosition = ChangePosition::end_of(Revision(u64::MAX));

async fn load(store: &mut impl Store, now: i64) -> LoadedRegistry {
    store.load(time(now)).await.unwrap().into_loaded()
}

/// Appends entries and requires that they are committed.
async fn append(store: &mut impl Store, entries: &[Entry]) {
    let expected = Revision(entries[0].revision.0 - 1);
    assert_eq!(store.append(expected, entries).await.unwrap(), AppendOutcome::Committed);
}

/// A database with the workload, appended in batches of different sizes.
async fn filled<S: TestedStore>(database: &Path) -> (S, Workload) {
    let (mut store, workload) = (S::open_or_create(database).await, workload());
    let mut rest = &workload.entries[..];
    for size in (1..4).cycle() {
        let (batch, after) = rest.split_at(size.min(rest.len()));
        append(&mut store, batch).await;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (store, workload)
}

/// Requires that the store contains exactly these entries: in `load`, `entries_since` and the history.
async fn assert_contains(store: &mut impl Store, entries: &[Entry]) {
    let last = entries.last().map_or(Revision(0), |entry| entry.revision);
    assert_eq!(store.load(time(0)).await.unwrap().revision, last);
    let tail = store.entries_since(Revision(0)).await.unwrap();
    assert_eq!(log(&tail.entries), log(entries));
    let records = changes(&*store.history(), ChangeFilter::default()).await;
    assert_eq!(shown(&records), shown(&expected(entries)));
}

/// The entries as text, without findings and requests, which the log does not contain.
fn log(entries: &[Entry]) -> Vec<String> {
    let shown = entries.iter().map(|it| {
        let Entry { revision, time, actor, reason, changes, findings: _, request: _ } = it;
        format!("{revision} {time} {actor:?} {reason} {changes:?}")
    });
    shown.collect()
}

fn shown(records: &[ChangeRecord]) -> Vec<String> {
    records.iter().map(|record| format!("{record:?}")).collect()
}

/// The changes of entries, in order.
fn expected(entries: &[Entry]) -> Vec<ChangeRecord> {
    let records = entries.iter().flat_map(|entry| {
        (0..).zip(&entry.changes).map(|(index, change)| ChangeRecord {
            position: ChangePosition { revision: entry.revision, index },
            time: entry.time,
            actor: entry.actor.clone(),
            reason: entry.reason.clone(),
            change: change.clone(),
        })
    });
    records.collect()
}

async fn changes(history: &dyn History, filter: ChangeFilter) -> Vec<ChangeRecord> {
    let query = Query { after: None, before: END, newest_first: false, limit: 10_000, filter };
    history.changes(&query).await.unwrap()
}

fn token(name: &str) -> Token {
    let secret = PlainToken::generate().unwrap();
    Token { name: name.parse().unwrap(), ..Token::first_admin(secret.hash(), time(5)) }
}

pub async fn a_new_database_contains_only_the_seed<S: TestedStore>(database: &Path) {
    let mut store = S::open_or_create(database).await;
    let contents = store.load(time(0)).await.unwrap();
    assert_eq!((contents.revision, contents.last_time), (Revision(0), None));
    let namespaces: Vec<_> = contents.namespaces.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(namespaces, ["default"]);
    assert!(contents.pools.is_empty() && contents.custom.is_empty());
    assert!(contents.cooling_down.is_empty() && contents.tokens.is_empty());
    assert_eq!(contents.reference.len(), NEW.reference().records().len());
    assert!(!contents.database_id.is_empty());
    assert_contains(&mut store, &[]).await;
    assert_eq!(store.history().revision_at(Timestamp::MAX).await.unwrap(), Revision(0));
    let outcome = store.stored_outcome(&Actor("ann".into()), "request-1").await.unwrap();
    assert!(outcome.is_none());
}

pub async fn the_loaded_state_is_the_result_of_all_entries<S: TestedStore>(database: &Path) {
    let (mut store, workload) = filled::<S>(database).await;
    let loaded = load(&mut store, workload.now).await;
    let decided = workload.states.last().unwrap();
    assert_eq!(state(&loaded.snapshot, workload.now), state(decided, workload.now));
    assert_eq!(loaded.snapshot.next_lease_expiry(), decided.next_lease_expiry());
    assert_eq!(loaded.last_time, workload.entries.last().map(|entry| entry.time));
    assert_contains(&mut store, &workload.entries).await;
}

pub async fn cool_downs_end_at_their_time_after_a_load<S: TestedStore>(database: &Path) {
    let (mut store, workload) = filled::<S>(database).await;
    let decided = workload.states.last().unwrap();
    let mut all = BTreeSet::new();
    for later in [0, 1, 599, 600, 86_399, 86_400] {
        let now = workload.now + later;
        let contents = store.load(time(now)).await.unwrap();
        assert!(contents.cooling_down.iter().all(|(_, until)| *until > time(now)));
        let loaded = contents.into_loaded().snapshot;
        assert_eq!(state(&loaded, now), state(decided, now), "{later} s later");
        all.insert(state(&loaded, now).1.cooling_down.len());
    }
    assert!(all.len() > 1, "some cool-downs end meanwhile");
}

/// Requires an error of a store that allows one writer, or the last revision of any other store.
fn assert_is_behind(
    result: &Result<AppendOutcome, StoreError>,
    expected: Revision,
    last: Revision,
) {
    match result {
        Ok(AppendOutcome::Behind { last: reported }) => assert_eq!(*reported, last),
        Err(StoreError::Conflict { expected: known, found }) => {
            assert_eq!((*known, *found), (expected, last));
        }
        other => panic!("appended after revision {expected}, but {last} is the last: {other:?}"),
    }
}

pub async fn an_append_with_a_wrong_expected_revision_stores_nothing<S: TestedStore>(
    database: &Path,
) {
    let mut store = S::open_or_create(database).await;
    let entries = registrations(5);
    let stored = &entries[..3];
    append(&mut store, stored).await;
    for expected in [0, 2, 4, 99].map(Revision) {
        // With the revisions that the caller expects, with those that fit, and without any.
        let mut renumbered = entries[3..4].to_vec();
        renumbered[0].revision = expected.next();
        for entries in [&renumbered[..], &entries[3..4], &[]] {
            let result = store.append(expected, entries).await;
            assert_is_behind(&result, expected, Revision(3));
            assert_contains(&mut store, stored).await;
        }
    }
    let checked = store.append(Revision(3), &[]).await.unwrap();
    assert_eq!(checked, AppendOutcome::Committed, "an append of nothing checks the revision");
    append(&mut store, &entries[3..]).await;
    assert_contains(&mut store, &entries).await;
}

pub async fn an_append_stores_all_entries_or_none<S: TestedStore>(database: &Path) {
    let mut store = S::open_or_create(database).await;
    let entries = registrations(6);
    append(&mut store, &entries[..2]).await;
    let repeated = [entries[2].clone(), entries[3].clone(), entries[3].clone()];
    let with_gap = [entries[2].clone(), entries[4].clone()];
    let reversed = [entries[3].clone(), entries[2].clone()];
    for invalid in [&repeated[..], &with_gap, &reversed, &entries[3..4]] {
        let result = store.append(Revision(2), invalid).await;
        assert!(result.is_err(), "{result:?}");
        assert_contains(&mut store, &entries[..2]).await;
    }
    append(&mut store, &entries[2..]).await;
    assert_contains(&mut store, &entries).await;
}

pub async fn a_failed_append_stores_nothing_and_the_next_one_succeeds<S: TestedStore>(
    database: &Path,
) {
    let mut store = S::open_or_create(database).await;
    let mut entries = registrations(4);
    let request = RequestKey { id: "once".into(), fingerprint: [7; 32] };
    entries[2].request = Some(request);
    append(&mut store, &entries[..1]).await;
    for _ in 0..2 {
        S::set_fails(database, true).await;
        for _ in 0..3 {
            let result = store.append(Revision(1), &entries[1..]).await;
            assert!(matches!(result, Err(StoreError::Database(_))), "{result:?}");
            assert_contains(&mut store, &entries[..1]).await;
            let outcome = store.stored_outcome(&entries[2].actor, "once").await.unwrap();
            assert!(outcome.is_none());
        }
        S::set_fails(database, false).await;
    }
    append(&mut store, &entries[1..]).await;
    assert_contains(&mut store, &entries).await;
    let outcome = store.stored_outcome(&entries[2].actor, "once").await.unwrap();
    assert_eq!(outcome.map(|it| it.revision), Some(Revision(3)));
}

/// Requires that a database has the workload and the token.
async fn assert_survived<S: TestedStore>(database: &Path, workload: &Workload, token: &Token) {
    let mut store = S::open_or_create(database).await;
    let loaded = load(&mut store, workload.now).await;
    let decided = workload.states.last().unwrap();
    assert_eq!(state(&loaded.snapshot, workload.now), state(decided, workload.now));
    assert_contains(&mut store, &workload.entries).await;
    assert_eq!(store.entries_since(Revision(0)).await.unwrap().tokens, std::slice::from_ref(token));
    let with_request = workload.entries.iter().filter(|entry| entry.request.is_some());
    for entry in with_request {
        let id = &entry.request.as_ref().unwrap().id;
        let outcome = store.stored_outcome(&entry.actor, id).await.unwrap();
        assert_eq!(outcome.map(|it| it.revision), Some(entry.revision));
    }
}

pub async fn acknowledged_data_survives_a_reopen<S: TestedStore>(database: &Path) {
    let (mut store, workload) = filled::<S>(database).await;
    let token = token("admin");
    store.put_token(&token).await.unwrap();
    let id = load(&mut store, 0).await.database_id;
    store.close().await.unwrap();
    assert_survived::<S>(database, &workload, &token).await;
    let mut store = S::open_or_create(database).await;
    assert_eq!(load(&mut store, 0).await.database_id, id);
}

pub async fn acknowledged_data_survives_without_a_close<S: TestedStore>(database: &Path) {
    let (mut store, workload) = filled::<S>(database).await;
    let token = token("admin");
    store.put_token(&token).await.unwrap();
    drop(store);
    assert_survived::<S>(database, &workload, &token).await;
}

pub async fn history_is_in_order_in_both_directions_with_any_limit<S: TestedStore>(
    database: &Path,
) {
    let (store, workload) = filled::<S>(database).await;
    let (history, all) = (store.history(), expected(&workload.entries));
    let positions = all.iter().map(|record| record.position).step_by(3);
    let mut bounds: Vec<_> = positions.collect();
    bounds.extend([
        ChangePosition { revision: Revision(0), index: 0 },
        ChangePosition::end_of(Revision(4)),
        END,
    ]);
    for newest_first in [false, true] {
        for limit in [1, 2, 3, 7, 1_000] {
            for (&after, &before) in itertools::iproduct!(&bounds, &bounds) {
                let query = Query {
                    after: Some(after),
                    before,
                    newest_first,
                    limit,
                    filter: ChangeFilter::default(),
                };
                let mut selected = all.clone();
                selected.retain(|record| after < record.position && record.position < before);
                if newest_first {
                    selected.reverse();
                }
                selected.truncate(limit as usize);
                let found = history.changes(&query).await.unwrap();
                assert_eq!(shown(&found), shown(&selected), "{query:?}");
            }
        }
    }
}

/// A filter, and the condition that it expresses.
type Case = (ChangeFilter, Box<dyn Fn(&ChangeRecord) -> bool>);

fn cases(uid: Uid) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |filter, condition: Box<dyn Fn(&ChangeRecord) -> bool>| {
        cases.push((filter, condition));
    };
    let any = ChangeFilter::default;
    add(any(), Box::new(|_| true));
    for name in ["default", "staging", "absent"] {
        let name: NamespaceName = name.parse().unwrap();
        let filter = ChangeFilter { namespace: Some(name.clone()), ..any() };
        add(filter, Box::new(move |it| it.change.namespace() == Some(&name)));
    }
    for include_settings in [false, true] {
        let ports = PortRange::new(Port::new(LOW + 5), Port::new(LOW + 6)).unwrap();
        let filter = ChangeFilter { ports: Some(ports), include_settings, ..any() };
        add(
            filter,
            Box::new(move |it| match it.change.record() {
                Some(record) => (LOW + 5..=LOW + 6)
                    .any(|port| record.ports.is_some_and(|ports| ports.contains(Port::new(port)))),
                None => include_settings,
            }),
        );
    }
    for transport in Transport::ALL {
        let filter = ChangeFilter { transport: Some(transport), ..any() };
        let is_on = move |it: &ChangeRecord| it.change.record()?.transport;
        add(filter, Box::new(move |it| is_on(it) == Some(transport)));
    }
    for number in 0..4 {
        let name = fold(&service(number)).into_owned();
        let filter = ChangeFilter { service: Some(name.clone()), ..any() };
        add(
            filter,
            Box::new(move |it| {
                let sides = [it.change.before(), it.change.after()].into_iter().flatten();
                sides.filter_map(|it| it.service_name.as_deref()).any(|it| fold(it) == name)
            }),
        );
    }
    for uid in [uid, Uid::MIN] {
        let filter = ChangeFilter { uid: Some(uid), ..any() };
        add(filter, Box::new(move |it| it.change.record().is_some_and(|it| it.uid == uid)));
    }
    for actor in ["ann", "ben", "carl"] {
        let filter = ChangeFilter { actor: Some(actor.into()), ..any() };
        add(filter, Box::new(move |it| *it.actor.0 == *actor));
    }
    for kind in ChangeKind::ALL {
        let filter = ChangeFilter { kinds: [kind].into(), ..any() };
        add(filter, Box::new(move |it| it.change.kind() == kind));
    }
    for (start, end) in
        [(Some(10), None), (None, Some(10)), (Some(10), Some(110)), (Some(9), Some(10))]
    {
        let (start, end) = (start.map(time), end.map(time));
        let filter = ChangeFilter { start_time: start, end_time: end, ..any() };
        add(
            filter,
            Box::new(move |it| {
                start.is_none_or(|start| start <= it.time) && end.is_none_or(|end| it.time < end)
            }),
        );
    }
    cases
}

/// The filter with the conditions of both; the second prevails where both have the same field.
fn both(one: &ChangeFilter, other: &ChangeFilter) -> ChangeFilter {
    let (one, other) = (one.clone(), other.clone());
    ChangeFilter {
        namespace: other.namespace.or(one.namespace),
        include_settings: one.include_settings || other.include_settings,
        ports: other.ports.or(one.ports),
        transport: other.transport.or(one.transport),
        service: other.service.or(one.service),
        uid: other.uid.or(one.uid),
        actor: other.actor.or(one.actor),
        kinds: if other.kinds.is_empty() { one.kinds } else { other.kinds },
        start_time: other.start_time.or(one.start_time),
        end_time: other.end_time.or(one.end_time),
    }
}

pub async fn history_returns_exactly_the_changes_that_match<S: TestedStore>(database: &Path) {
    let (store, workload) = filled::<S>(database).await;
    let (history, all) = (store.history(), expected(&workload.entries));
    let uid = all.iter().rev().find_map(|record| Some(record.change.record()?.uid)).unwrap();
    let cases = cases(uid);
    let mut matched = BTreeSet::new();
    for (number, (filter, condition)) in cases.iter().enumerate() {
        let selected: Vec<_> = all.iter().filter(|it| condition(it)).cloned().collect();
        let found = changes(&*history, filter.clone()).await;
        assert_eq!(shown(&found), shown(&selected), "{filter:?}");
        if !selected.is_empty() && selected.len() < all.len() {
            matched.insert(number);
        }
        for (other, _) in &cases {
            let filter = both(filter, other);
            let is_match = |it: &&ChangeRecord| filter.matches(it.time, &it.actor, &it.change);
            let selected: Vec<_> = all.iter().filter(is_match).cloned().collect();
            let found = changes(&*history, filter.clone()).await;
            assert_eq!(shown(&found), shown(&selected), "{filter:?}");
        }
    }
    assert!(matched.len() > cases.len() / 2, "most filters select a part: {matched:?}");
}

pub async fn revision_at_is_the_last_revision_at_or_before_the_time<S: TestedStore>(
    database: &Path,
) {
    let (store, workload) = filled::<S>(database).await;
    let history = store.history();
    let times = workload.entries.iter().map(|entry| entry.time);
    let around = times.flat_map(|time| {
        let micro = SignedDuration::from_micros(1);
        [time - micro, time, time + micro]
    });
    for time in around.chain([Timestamp::MIN, Timestamp::MAX]) {
        let earlier = workload.entries.iter().filter(|entry| entry.time <= time);
        let last = earlier.map(|entry| entry.revision).max().unwrap_or_default();
        assert_eq!(history.revision_at(time).await.unwrap(), last, "{time}");
    }
}

pub async fn the_beginning_does_not_change<S: TestedStore>(database: &Path) {
    let store = S::open_or_create(database).await;
    let beginning = store.history().beginning().await.unwrap();
    assert!(beginning <= Timestamp::now());
    store.close().await.unwrap();
    let (store, _) = filled::<S>(database).await;
    assert_eq!(store.history().beginning().await.unwrap(), beginning);
}

pub async fn an_append_is_in_the_history_immediately<S: TestedStore>(database: &Path) {
    let mut store = S::open_or_create(database).await;
    // One reader that was opened before, and one that is opened after each append.
    let (history, entries) = (store.history(), registrations(40));
    for (number, entry) in entries.iter().enumerate() {
        append(&mut store, std::slice::from_ref(entry)).await;
        for history in [&history, &store.history()] {
            let records = changes(&**history, ChangeFilter::default()).await;
            assert_eq!(shown(&records), shown(&expected(&entries[..=number])));
            assert_eq!(history.revision_at(Timestamp::MAX).await.unwrap(), entry.revision);
        }
    }
}

pub async fn readers_see_complete_revisions_only<S: TestedStore>(database: &Path) {
    const READERS: usize = 3;
    let mut store = S::open_or_create(database).await;
    let entries = registrations(120);
    let is_done = Arc::new(AtomicBool::new(false));
    let reads: Arc<[AtomicUsize; READERS]> = Arc::default();
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (history, is_done) = (store.history(), Arc::clone(&is_done));
            let reads = Arc::clone(&reads);
            tokio::spawn(async move {
                let mut last = Revision(0);
                while !is_done.load(Ordering::Relaxed) {
                    let query = Query {
                        after: None,
                        before: END,
                        newest_first: number % 2 == 0,
                        limit: 10_000,
                        filter: ChangeFilter::default(),
                    };
                    let mut records = history.changes(&query).await.unwrap();
                    records.sort_by_key(|record| record.position);
                    // Each revision has four changes, and none is missing.
                    for (number, four) in (1..).zip(records.chunks(4)) {
                        let positions: Vec<_> = four.iter().map(|it| it.position).collect();
                        let complete = (0..4)
                            .map(|index| ChangePosition { revision: Revision(number), index });
                        assert_eq!(positions, complete.collect::<Vec<_>>());
                    }
                    let newest = records.last().map_or(Revision(0), |it| it.position.revision);
                    assert!(newest >= last, "a reader never goes back");
                    last = newest;
                    reads[number].fetch_add(1, Ordering::Relaxed);
                    // A store may return without waiting, so that the others would never run.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for batch in entries.chunks(3) {
        let before = reads.each_ref().map(|count| count.load(Ordering::Relaxed));
        append(&mut store, batch).await;
        // Each reader reads during or after the append, and often during it.
        while reads.iter().zip(before).any(|(count, old)| count.load(Ordering::Relaxed) == old) {
            assert!(!readers.iter().any(|reader| reader.is_finished()), "a reader has failed");
            tokio::task::yield_now().await;
        }
    }
    is_done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert_contains(&mut store, &entries).await;
}

pub async fn entries_since_a_revision_are_all_after_it_in_order<S: TestedStore>(database: &Path) {
    let (mut store, workload) = filled::<S>(database).await;
    let tokens = [token("admin"), token("ci")];
    for token in &tokens {
        store.put_token(token).await.unwrap();
    }
    let last = workload.entries.len() as u64;
    for revision in (0..=last).chain([last + 1, u64::MAX]).map(Revision) {
        let tail = store.entries_since(revision).await.unwrap();
        let after = workload.entries.iter().filter(|entry| entry.revision > revision);
        assert_eq!(log(&tail.entries), log(&after.cloned().collect::<Vec<_>>()));
        assert_eq!(tail.tokens, tokens);
        // They are the continuation of the state at the revision.
        if let Some(base) = workload.states.get(revision.0 as usize) {
            let apply =
                |state: Snapshot, entry: &Entry| state.after(entry.revision, &entry.changes);
            let reached = tail.entries.iter().fold(base.clone(), apply);
            let decided = workload.states.last().unwrap();
            assert_eq!(state(&reached, workload.now), state(decided, workload.now));
        }
    }
}

pub async fn the_outcome_of_a_request_is_stored_for_its_actor_only<S: TestedStore>(
    database: &Path,
) {
    let (mut store, mut snapshot) = (S::open_or_create(database).await, NEW.clone());
    let mut entries = Vec::new();
    // The same id of two actors, and another one; a system port has findings with evidence.
    for (actor, id, port) in [("ann", "a", 443), ("ben", "a", 7_001), ("ann", "b", 20_000)] {
        let fingerprint = [port as u8; 32];
        let entry = Entry {
            actor: Actor(actor.into()),
            request: Some(RequestKey { id: id.into(), fingerprint }),
            ..entry(&snapshot, &registration("suite", port))
        };
        snapshot = snapshot.after(entry.revision, &entry.changes);
        entries.push(entry);
    }
    append(&mut store, &entries).await;
    assert!(!entries[0].findings.is_empty());
    for reopened in [false, true] {
        if reopened {
            store.close().await.unwrap();
            store = S::open_or_create(database).await;
        }
        for entry in &entries {
            let request = entry.request.as_ref().unwrap();
            let outcome = store.stored_outcome(&entry.actor, &request.id).await.unwrap().unwrap();
            assert_eq!(outcome.fingerprint, request.fingerprint);
            assert_eq!(outcome.revision, entry.revision);
            assert_eq!(format!("{:?}", outcome.changes), format!("{:?}", entry.changes));
            assert_eq!(outcome.findings.len(), entry.findings.len());
            for (stored, finding) in outcome.findings.iter().zip(&entry.findings) {
                let found = &stored.finding;
                assert_eq!((found.code, &found.message), (finding.code, &finding.message));
                assert_eq!((found.ports, found.transport), (finding.ports, finding.transport));
                let fixed = finding.evidence.record.as_ref();
                let fixed = fixed.filter(|record| record.registration().is_none());
                assert_eq!(stored.reference_uid, fixed.map(|record| record.uid));
            }
        }
        for (actor, id) in [("ben", "b"), ("carl", "a"), ("ann", "c"), ("ann", "")] {
            let outcome = store.stored_outcome(&Actor(actor.into()), id).await.unwrap();
            assert!(outcome.is_none(), "{actor} never sent {id:?}");
        }
    }
}

pub async fn tokens_are_stored_and_replaced_by_name<S: TestedStore>(database: &Path) {
    let mut store = S::open_or_create(database).await;
    let (admin, ci) = (token("admin"), token("ci"));
    for token in [&ci, &admin] {
        store.put_token(token).await.unwrap();
    }
    assert_eq!(store.load(time(0)).await.unwrap().tokens, [admin.clone(), ci.clone()]);
    let revoked = Token { revoke_time: Some(time(9)), update_time: time(9), ..admin };
    let renewed = Token { credential: token("ci").credential, update_time: time(9), ..ci };
    for _ in 0..2 {
        store.put_token(&revoked).await.unwrap();
        store.put_token(&renewed).await.unwrap();
        let tokens = [revoked.clone(), renewed.clone()];
        assert_eq!(store.load(time(0)).await.unwrap().tokens, tokens);
        assert_eq!(store.entries_since(Revision(0)).await.unwrap().tokens, tokens);
    }
    assert_eq!(store.load(time(0)).await.unwrap().revision, Revision(0), "not in the history");
}

pub async fn the_size_grows_with_the_entries<S: TestedStore>(database: &Path) {
    let mut store = S::open_or_create(database).await;
    let size = store.size();
    let before = size();
    append(&mut store, &registrations(200)).await;
    assert!(size() > before, "{} after {before}", size());
    assert_eq!(size(), store.size()());
}

pub async fn a_backup_is_a_verified_copy_that_can_be_restored<S: TestedStore + Maintenance>(
    database: &Path,
) {
    let (mut store, workload) = filled::<S>(database).await;
    let token = token("admin");
    store.put_token(&token).await.unwrap();
    let now = Timestamp::now();
    let (backup, other) = (database.with_extension("backup"), database.with_extension("other"));
    // While the store is open.
    let made = S::backup(database, &backup, false, now, |_, _| ()).await.unwrap();
    let last = workload.states.last().unwrap();
    assert_eq!(made.revision, last.revision());
    for file in [database, &backup] {
        let report = S::verify(file, now).await.unwrap();
        assert!(report.is_ok(), "{report:?}");
        assert_eq!((report.revision, report.is_backup), (Some(last.revision()), file != database));
    }
    let (new, replacing) = (
        RestoreOptions::default(),
        RestoreOptions { overwrite: true, ..RestoreOptions::default() },
    );
    let restored = S::restore(&backup, &other, new, now, |_, _| ()).await.unwrap();
    assert_eq!((restored.revision, restored.previous), (last.revision(), None));
    assert_survived::<S>(&other, &workload, &token).await;
    // What is appended later is not in the backup, and an existing database is replaced only on request.
    let next = entry(last, &registration("suite", 20_000));
    append(&mut store, std::slice::from_ref(&next)).await;
    store.close().await.unwrap();
    S::restore(&backup, database, new, now, |_, _| ()).await.unwrap_err();
    S::restore(&backup, database, replacing, now, |_, _| ()).await.unwrap();
    assert_survived::<S>(database, &workload, &token).await;
}

pub async fn of_several_writers_one_appends_and_the_others_are_behind<S: TestedStore>(
    database: &Path,
) {
    let mut stores = [S::open_or_create(database).await, S::open_or_create(database).await];
    let mut states = [NEW.clone(), NEW.clone()];
    for number in 0..20u16 {
        let (writer, other) = (usize::from(number % 2), usize::from(1 - number % 2));
        let commands = [20_000, 30_000].map(|port| registration("suite", port + number));
        let mut won = entry(&states[writer], &commands[0]);
        won.request = Some(RequestKey { id: number.to_string(), fingerprint: [1; 32] });
        let lost = entry(&states[other], &commands[1]);
        let base = states[writer].revision();
        append(&mut stores[writer], std::slice::from_ref(&won)).await;
        let behind = stores[other].append(base, &[lost]).await.unwrap();
        assert_eq!(behind, AppendOutcome::Behind { last: won.revision });
        let LogTail { entries, .. } = stores[other].entries_since(base).await.unwrap();
        assert_eq!(log(&entries), log(std::slice::from_ref(&won)));
        let outcome = stores[other].stored_outcome(&won.actor, &number.to_string()).await.unwrap();
        assert_eq!(outcome.map(|it| it.revision), Some(won.revision));
        for state in &mut states {
            *state = state.after(won.revision, &won.changes);
        }
        let again = entry(&states[other], &commands[1]);
        append(&mut stores[other], std::slice::from_ref(&again)).await;
        for state in &mut states {
            *state = state.after(again.revision, &again.changes);
        }
        let ci = token(&format!("ci-{number}"));
        stores[writer].put_token(&ci).await.unwrap();
        let tail = stores[other].entries_since(again.revision).await.unwrap();
        assert!(tail.entries.is_empty() && tail.tokens.contains(&ci));
    }
    for store in &mut stores {
        let loaded = load(store, 0).await.snapshot;
        assert_eq!(state(&loaded, 0), state(&states[0], 0));
    }
}
