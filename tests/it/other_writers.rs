//! A writer whose store has other writers: they append between its decision and its append, and it
//! catches up, decides again and continues.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use portbook::access::{Actor, PlainToken, Token};
use portbook::metrics::Metrics;
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::{Change, ChangeKind};
use portbook::registry::command::Command;
use portbook::registry::decide::{Context, decide};
use portbook::registry::snapshot::Snapshot;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{AppendOutcome, Entry, LogTail, RequestKey, Store, StoreError};
use portbook::writer::{Clock, Environment, Outcome, Proposal, RegistryHandle, WriteError, writer};
use proptest::prelude::*;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::conformance::memory::MemoryStore;
use crate::conformance::registration;
use crate::decisions::command::command;
use crate::decisions::expected::model_after;
use crate::decisions::model::Model;
use crate::decisions::operation::{Operation, operation, resolved, time};
use crate::decisions::{model_of, new_uids};
use crate::harness::Random;
use crate::properties::{NEW, block_on};

/// What another writer does before an append: nothing, or some writes.
type Interference = Box<dyn FnMut(&mut OtherWriter) + Send>;

/// A store in which another writer may append first.
struct ContendedStore {
    store: MemoryStore,
    other: OtherWriter,
    interference: Arc<Mutex<Interference>>,
}

impl Store for ContendedStore {
    crate::conformance::delegate_to_store!(entries_since put_token);

    async fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> Result<AppendOutcome, StoreError> {
        // The writer decides the next commands meanwhile.
        for _ in 0..10 {
            yield_now().await;
        }
        (self.interference.lock().unwrap())(&mut self.other);
        self.store.append(expected, entries).await
    }
}

/// Another writer on the same database. It follows the log, and always appends to its end.
struct OtherWriter {
    store: MemoryStore,
    snapshot: Snapshot,
    now: Arc<AtomicI64>,
}

/// Completes a future that never waits: the store is in memory.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).unwrap()
}

impl OtherWriter {
    fn catch_up(&mut self) {
        let tail = now_or_never(self.store.entries_since(self.snapshot.revision())).unwrap();
        for entry in tail.entries {
            self.snapshot = self.snapshot.after(entry.revision, &entry.changes);
        }
    }

    /// Appends the entry of a command by the actor `other`. Does nothing if it is refused.
    fn write(&mut self, command: &Command, request: Option<RequestKey>) {
        self.catch_up();
        let now = time(self.now.load(Ordering::Relaxed));
        let mut new_uid = || Uid::new(Uuid::now_v7());
        let mut context = Context { now, new_uid: &mut new_uid };
        let Ok(decision) = decide(&self.snapshot, command, &mut context) else { return };
        let log = self.store.log();
        let entry = Entry {
            revision: self.snapshot.revision().next(),
            time: log.last().map_or(now, |last| now.max(last.time)),
            actor: Actor("other".into()),
            reason: String::new(),
            changes: decision.changes,
            findings: decision.findings,
            request,
        };
        if !entry.changes.is_empty() {
            let appended = now_or_never(self.store.append(self.snapshot.revision(), &[entry]));
            assert_eq!(appended.unwrap(), AppendOutcome::Committed);
            self.catch_up();
        }
    }

    fn register(&mut self, port: u16) {
        self.write(&registration("other", port), None);
    }
}

struct Running {
    handle: RegistryHandle,
    /// Receives the published entries until the writer ends.
    follower: JoinHandle<Vec<Arc<Entry>>>,
    /// A second open store of the database.
    store: MemoryStore,
    interference: Arc<Mutex<Interference>>,
    now: Arc<AtomicI64>,
    stop: CancellationToken,
    task: JoinHandle<Result<ContendedStore, StoreError>>,
}

async fn start() -> Running {
    // The name identifies a database in memory.
    let mut store = MemoryStore::open(Uuid::now_v7().to_string().as_ref()).await.unwrap();
    let admin = Token::first_admin(PlainToken::generate().unwrap().hash(), time(0));
    store.put_token(&admin).await.unwrap();
    let now = Arc::new(AtomicI64::new(1_000));
    let other = OtherWriter { store: store.clone(), snapshot: NEW.clone(), now: Arc::clone(&now) };
    let interference: Arc<Mutex<Interference>> = Arc::new(Mutex::new(Box::new(|_| ())));
    let contended =
        ContendedStore { store: store.clone(), other, interference: Arc::clone(&interference) };
    let loaded = store.load(time(0)).await.unwrap().into_loaded();
    let clock = Arc::clone(&now);
    let environment = Environment {
        clock: Clock::new(move || time(clock.load(Ordering::Relaxed))),
        new_uid: Box::new(|| Uid::new(Uuid::now_v7())),
        metrics: Arc::new(Metrics::new([]).0),
    };
    let (handle, writer) = writer(contended, loaded, environment);
    let (stop, mut entries) = (CancellationToken::new(), handle.follow().unwrap());
    let follower = tokio::spawn(async move {
        let mut published = Vec::new();
        loop {
            match entries.recv().await {
                Ok(entry) => published.push(entry),
                Err(broadcast::error::RecvError::Closed) => return published,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let task = tokio::spawn(writer.run(stop.clone()));
    Running { handle, follower, store, interference, now, stop, task }
}

fn proposal(command: Command) -> Proposal {
    let actor = Actor("admin".into());
    Proposal { command, actor, reason: String::new(), request: None, validate_only: false }
}

fn register(port: u16) -> Proposal {
    proposal(registration("own", port))
}

fn with_id(id: &str, proposal: Proposal) -> Proposal {
    let request = Some(RequestKey { id: id.into(), fingerprint: [1; 32] });
    Proposal { request, ..proposal }
}

impl Running {
    /// Has the other writer do something before the next append, and nothing before later ones.
    fn before_next_append(&self, act: impl FnOnce(&mut OtherWriter) + Send + 'static) {
        let mut act = Some(act);
        *self.interference.lock().unwrap() = Box::new(move |other| {
            if let Some(act) = act.take() {
                act(other);
            }
        });
    }

    fn before_each_append(&self, act: impl FnMut(&mut OtherWriter) + Send + 'static) {
        *self.interference.lock().unwrap() = Box::new(act);
    }

    /// Proposes, and lets the writer run until it waits.
    async fn begin(&self, proposal: Proposal) -> JoinHandle<Result<Outcome, WriteError>> {
        let handle = self.handle.clone();
        let reply = tokio::spawn(async move { handle.propose(proposal).await });
        yield_now().await;
        reply
    }

    /// Stops the writer, and requires that the published entries and snapshot, the log and a load agree.
    async fn finish(self) -> Vec<Entry> {
        self.stop.cancel();
        let mut stopped =
            timeout(Duration::from_mins(1), self.task).await.unwrap().unwrap().unwrap();
        let log = stopped.store.log();
        let replay = log.iter().fold(NEW.clone(), |state, entry| {
            assert_eq!(entry.revision, state.revision().next());
            state.after(entry.revision, &entry.changes)
        });
        let now = self.now.load(Ordering::Relaxed);
        let snapshot = self.handle.snapshot();
        let loaded = stopped.load(time(now)).await.unwrap().into_loaded().snapshot;
        assert_eq!(loaded.revision(), replay.revision());
        assert_eq!(model_of(&loaded, now), model_of(&replay, now));
        // What another writer has appended since the last append is not known yet.
        assert!(snapshot.revision() <= replay.revision());
        let known = log.iter().take(snapshot.revision().0 as usize);
        let known = known.fold(NEW.clone(), |it, entry| it.after(entry.revision, &entry.changes));
        assert_eq!(model_of(&snapshot, now), model_of(&known, now));
        let published = self.follower.await.unwrap();
        let expected = (1..=snapshot.revision().0).map(Revision);
        assert!(published.into_iter().map(|entry| entry.revision).eq(expected));
        assert!(log.is_sorted_by_key(|entry| entry.time));
        log
    }
}

fn revisions(entries: &[Entry]) -> Vec<(u64, &str)> {
    entries.iter().map(|entry| (entry.revision.0, &*entry.actor.0)).collect()
}

#[tokio::test]
async fn entries_of_another_writer_are_published_before_those_decided_again() {
    let running = start().await;
    running.before_next_append(|other| {
        other.register(20_000);
        other.register(20_001);
    });
    let outcome = running.handle.propose(register(20_002)).await.unwrap();
    assert_eq!(outcome.revision, Revision(3));
    let Change::Registered { after } = &outcome.changes[0] else { panic!("{outcome:?}") };
    assert_eq!(after.registration().unwrap().revision, Revision(3), "decided on the new state");
    let snapshot = running.handle.snapshot();
    assert_eq!(snapshot.custom().count(), 3 * 4);
    // The next append has no conflict.
    let outcome = running.handle.propose(register(20_003)).await.unwrap();
    assert_eq!(outcome.revision, Revision(4));
    let log = running.finish().await;
    let order = [(1, "other"), (2, "other"), (3, "admin"), (4, "admin")];
    assert_eq!(revisions(&log), order);
}

#[tokio::test]
async fn a_command_is_refused_if_another_writer_has_taken_its_port() {
    let running = start().await;
    running.before_next_append(|other| other.register(20_000));
    let refused = running.handle.propose(register(20_000)).await;
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
    assert_eq!(running.handle.snapshot().revision(), Revision(1), "the reason is published");
    assert_eq!(running.finish().await.len(), 1);
}

#[tokio::test]
async fn commands_decided_ahead_are_decided_again_in_order() {
    let running = start().await;
    running.before_next_append(|other| other.register(20_001));
    let mut replies = Vec::new();
    // The first is appended while the others are decided ahead; 20001 is taken by the other writer.
    for port in [20_000, 20_001, 20_000, 20_002] {
        replies.push(running.begin(register(port)).await);
    }
    let results = join_all(replies).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let revisions: Vec<_> =
        results.iter().map(|it| it.as_ref().ok().map(|it| it.revision.0)).collect();
    assert_eq!(revisions, [Some(2), None, None, Some(3)], "{results:?}");
    let log = running.finish().await;
    assert_eq!(log.len(), 3, "each accepted command is in the log once");
}

#[tokio::test]
async fn a_request_accepted_by_another_writer_returns_its_first_outcome() {
    for is_during_append in [true, false] {
        let mut running = start().await;
        let act = |other: &mut OtherWriter| {
            let request = RequestKey { id: "once".into(), fingerprint: [1; 32] };
            other.write(&registration("own", 20_000), Some(request));
        };
        // A client that retries at another server.
        let by_other = |proposal| Proposal { actor: Actor("other".into()), ..proposal };
        let mut ours = Token::first_admin(PlainToken::generate().unwrap().hash(), time(0));
        ours.name = "other".parse().unwrap();
        running.store.put_token(&ours).await.unwrap();
        // The writer reads the tokens when it catches up.
        running.before_next_append(|other| other.register(30_000));
        running.handle.propose(register(30_001)).await.unwrap();
        if is_during_append {
            running.before_next_append(act);
        } else {
            // The snapshot is behind, but no append reveals it: the stored outcome does.
            let mut other = OtherWriter {
                store: running.store.clone(),
                snapshot: NEW.clone(),
                now: Arc::clone(&running.now),
            };
            act(&mut other);
        }
        let retry = by_other(with_id("once", register(20_000)));
        let outcome = running.handle.propose(retry).await.unwrap();
        assert_eq!(outcome.revision, Revision(3));
        assert_eq!(outcome.changes.len(), 4);
        assert_eq!(running.handle.snapshot().revision(), Revision(3), "published before the reply");
        let reused = by_other(Proposal {
            request: Some(RequestKey { id: "once".into(), fingerprint: [2; 32] }),
            ..register(20_001)
        });
        let reused = running.handle.propose(reused).await;
        assert!(matches!(reused, Err(WriteError::RequestIdReused(_))), "{reused:?}");
        assert_eq!(running.finish().await.len(), 3, "no second effect");
    }
}

#[tokio::test]
async fn a_token_revoked_by_another_writer_is_rejected() {
    let running = start().await;
    running.before_next_append(|other| {
        other.register(20_000);
        let admin = now_or_never(other.store.entries_since(Revision(0))).unwrap().tokens[0].clone();
        let revoked = Token { revoke_time: Some(time(1_000)), ..admin };
        now_or_never(other.store.put_token(&revoked)).unwrap();
    });
    let refused = running.handle.propose(register(20_001)).await;
    assert!(matches!(refused, Err(WriteError::Unauthenticated(_))), "{refused:?}");
    let tokens = running.handle.tokens();
    assert!(tokens.get(&"admin".parse().unwrap()).unwrap().revoke_time.is_some());
    assert_eq!(running.finish().await.len(), 1);
}

#[tokio::test]
async fn a_lease_expired_by_another_writer_expires_once() {
    let running = start().await;
    let mut leased = registration("own", 20_000);
    if let Command::Register(register) = &mut leased {
        let ttl = jiff::SignedDuration::from_secs(60);
        register.ttl = Some(portbook::registry::lease::Ttl::new(ttl).unwrap());
    }
    running.handle.propose(proposal(leased)).await.unwrap();
    running.before_next_append(|other| {
        other.catch_up();
        let end = other.snapshot.next_lease_expiry().unwrap();
        other.write(&Command::Expire(end), None);
    });
    running.now.store(1_060, Ordering::Relaxed);
    let outcome = running.handle.propose(register(20_001)).await.unwrap();
    assert_eq!(outcome.revision, Revision(3));
    let log = running.finish().await;
    let expired = log.iter().flat_map(|entry| &entry.changes);
    let expired = expired.filter(|change| change.kind() == ChangeKind::Expired);
    assert_eq!(expired.count(), 4, "once on each transport");
}

#[tokio::test]
async fn a_command_that_is_behind_at_each_append_fails_and_later_commands_succeed() {
    const ATTEMPTS: u16 = 16;
    let running = start().await;
    let mut port = 20_000;
    running.before_each_append(move |other| {
        other.register(port);
        port += 1;
    });
    let mut replies = Vec::new();
    for port in 30_000..30_020 {
        replies.push(running.begin(register(port)).await);
    }
    for reply in join_all(replies).await {
        let Err(WriteError::Store(error)) = reply.unwrap() else { panic!("nothing was appended") };
        assert!(matches!(*error, StoreError::Contention { attempts: 16 }), "{error:?}");
    }
    let appended = running.store.log().len();
    // Commands are decided again together, so twenty of them do not need twenty times the attempts.
    assert!((usize::from(ATTEMPTS)..=3 * usize::from(ATTEMPTS)).contains(&appended), "{appended}");
    running.before_next_append(|_| ());
    running.handle.propose(register(30_000)).await.unwrap();
    let log = running.finish().await;
    assert_eq!(log.iter().filter(|entry| &*entry.actor.0 == "admin").count(), 1);
}

#[tokio::test]
async fn an_unreadable_log_fails_the_commands_and_later_commands_succeed() {
    /// A store that reports a conflict, and can't read the log.
    struct UnreadableStore {
        store: MemoryStore,
        fails: u32,
    }

    impl Store for UnreadableStore {
        crate::conformance::delegate_to_store!(put_token);

        async fn append(
            &mut self,
            expected: Revision,
            entries: &[Entry],
        ) -> Result<AppendOutcome, StoreError> {
            if self.fails > 0 {
                return Ok(AppendOutcome::Behind { last: expected.next() });
            }
            self.store.append(expected, entries).await
        }

        async fn entries_since(&mut self, revision: Revision) -> Result<LogTail, StoreError> {
            if self.fails > 0 {
                self.fails -= 1;
                return Err(StoreError::Database("injected by the test".into()));
            }
            self.store.entries_since(revision).await
        }
    }

    let mut store = MemoryStore::open(Uuid::now_v7().to_string().as_ref()).await.unwrap();
    let admin = Token::first_admin(PlainToken::generate().unwrap().hash(), time(0));
    store.put_token(&admin).await.unwrap();
    let loaded = store.load(time(0)).await.unwrap().into_loaded();
    let environment = Environment::system(Clock::system(), Arc::new(Metrics::new([]).0));
    let (handle, writer) = writer(UnreadableStore { store, fails: 2 }, loaded, environment);
    let task = tokio::spawn(writer.run(CancellationToken::new()));
    for _ in 0..2 {
        let failed = handle.propose(register(20_000)).await;
        assert!(matches!(failed, Err(WriteError::Store(_))), "{failed:?}");
    }
    assert_eq!(handle.propose(register(20_000)).await.unwrap().revision, Revision(1));
    drop(handle);
    assert_eq!(task.await.unwrap().unwrap().store.log().len(), 1);
}

#[tokio::test]
async fn a_log_that_does_not_continue_the_snapshot_ends_the_writer() {
    let running = start().await;
    running.handle.propose(register(20_000)).await.unwrap();
    // Another database in the place of this one, without the entry.
    running.before_next_append(|other| other.store.truncate());
    let failed = running.handle.propose(register(20_001)).await;
    assert!(matches!(failed, Err(WriteError::Stopping)), "{failed:?}");
    let ended = running.task.await.unwrap().map(|_| ());
    assert!(
        matches!(ended, Err(StoreError::Conflict { expected: Revision(1), found: Revision(0) })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn another_program_that_writes_to_a_file_ends_its_writer() {
    use sqlx::Connection;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("portbook.db");
    let mut store = SqliteStore::open(&database).await.unwrap();
    let admin = Token::first_admin(PlainToken::generate().unwrap().hash(), time(0));
    store.put_token(&admin).await.unwrap();
    let loaded = store.load(time(0)).await.unwrap().into_loaded();
    let environment = Environment::system(Clock::system(), Arc::new(Metrics::new([]).0));
    let (handle, writer) = writer(store, loaded, environment);
    let task = tokio::spawn(writer.run(CancellationToken::new()));
    handle.propose(register(20_000)).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let mut intruder = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let sql = "insert into revision (revision, time, actor, reason) values (2, 1, 'intruder', '')";
    sqlx::raw_sql(sql).execute(&mut intruder).await.unwrap();
    let failed = handle.propose(register(20_001)).await;
    assert!(matches!(failed, Err(WriteError::Stopping)), "{failed:?}");
    let ended = task.await.unwrap().map(|_| ());
    assert!(
        matches!(ended, Err(StoreError::Conflict { expected: Revision(1), found: Revision(2) })),
        "{ended:?}"
    );
}

/// Operations of both writers; those of the other one take place before an append.
fn interleaved() -> impl Strategy<Value = Vec<(Operation, Vec<Operation>)>> {
    let others = prop_oneof![
        2 => Just(Vec::new()),
        2 => proptest::collection::vec(operation(), 1..4),
    ];
    proptest::collection::vec((operation(), others), 1..30)
}

/// The command of an operation on the state of this model, which selects the registrations and decides
/// between creating and updating.
fn command_on(operation: &Operation, model: &Model) -> Option<Command> {
    resolved(operation, model).and_then(|operation| command(&operation, model))
}

/// Whether an operation is this command on the state of the model too.
fn is_command_on(operation: &Operation, model: &Model, sent: &Command) -> bool {
    let same = command_on(operation, model);
    same.is_some_and(|same| format!("{same:?}") == format!("{sent:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One caller at a time: each decision is the one that the model requires on the state before it,
    /// whatever another writer has appended in between.
    #[test]
    fn decisions_agree_with_the_model_whatever_another_writer_appends(steps in interleaved()) {
        block_on(async {
            let running = start().await;
            // The clock of both, which also expires leases.
            let clock = Arc::clone(&running.now);
            let mut replies: BTreeMap<Revision, (Operation, Command, Outcome)> = BTreeMap::new();
            for (own, others) in steps {
                if let Operation::Wait { seconds } = own {
                    clock.fetch_add(seconds, Ordering::Relaxed);
                    continue;
                }
                let now = clock.load(Ordering::Relaxed);
                let known = running.handle.snapshot();
                let model = model_of(&known, now);
                let Some(command) = command_on(&own, &model) else { continue };
                running.before_next_append(move |other| {
                    for operation in others {
                        other.operate(&operation);
                    }
                });
                let result = running.handle.propose(proposal(command.clone())).await;
                let decided_on = running.handle.snapshot();
                match result {
                    Ok(outcome) if outcome.changes.is_empty() => {}
                    Ok(outcome) => {
                        let reply = (own, command, outcome);
                        assert!(replies.insert(reply.2.revision, reply).is_none());
                    }
                    // No other command is in progress, so it was refused on the published state.
                    Err(WriteError::Refused(_)) => {
                        let mut new_uid = || Uid::new(Uuid::now_v7());
                        let mut context = Context { now: time(now), new_uid: &mut new_uid };
                        assert!(decide(&decided_on, &command, &mut context).is_err(), "{own:?}");
                        let model = model_of(&decided_on, now);
                        if is_command_on(&own, &model, &command) {
                            assert!(model_after(&model, &own, &[]).is_none(), "{own:?}");
                        }
                    }
                    other => panic!("{own:?}: {other:?}"),
                }
            }
            let log = running.finish().await;
            let mut state = NEW.clone();
            for entry in &log {
                let next = state.after(entry.revision, &entry.changes);
                if let Some((own, command, outcome)) = replies.remove(&entry.revision) {
                    assert_eq!(&*entry.actor.0, "admin");
                    assert_eq!(format!("{:?}", entry.changes), format!("{:?}", outcome.changes));
                    let now = entry.time.as_second();
                    let model = model_of(&state, now);
                    if is_command_on(&own, &model, &command) {
                        let uids = new_uids(&entry.changes);
                        let mut expected = model_after(&model, &own, &uids).unwrap();
                        expected.held.sort_by_key(|held| held.uid);
                        assert_eq!(model_of(&next, now), expected, "{own:?}");
                    }
                } else {
                    assert_ne!(&*entry.actor.0, "admin", "an entry without a reply");
                }
                state = next;
            }
            assert!(replies.is_empty(), "acknowledged, but not in the log: {replies:?}");
        });
    }
}

impl OtherWriter {
    /// Does an operation as the other writer.
    fn operate(&mut self, operation: &Operation) {
        self.catch_up();
        let now = self.now.load(Ordering::Relaxed);
        let model = model_of(&self.snapshot, now);
        if let Some(command) = command_on(operation, &model) {
            self.write(&command, None);
        }
    }
}

/// Many callers at once: every acknowledged write is in the log exactly once, with the changes that its
/// caller received, and no other write is.
#[tokio::test]
async fn every_acknowledged_write_is_in_the_log_exactly_once() {
    const CALLERS: u64 = 8;
    const WRITES: u64 = 40;
    for seed in 1..=20 {
        let running = start().await;
        let mut random = Random::new(seed);
        running.before_each_append(move |other| {
            for _ in 0..random.below(4).saturating_sub(1) {
                other.register(20_000 + random.below(400) as u16);
            }
        });
        let callers = (0..CALLERS).map(|caller| {
            let handle = running.handle.clone();
            let mut random = Random::new(seed * 100 + caller);
            tokio::spawn(async move {
                let mut results = Vec::new();
                for number in 0..WRITES {
                    let id = format!("{caller}-{number}");
                    let proposal = Proposal {
                        reason: id.clone(),
                        ..register(20_000 + random.below(400) as u16)
                    };
                    let has_id = random.below(3) == 0;
                    let proposal = if has_id { with_id(&id, proposal) } else { proposal };
                    let repeated = has_id.then(|| Proposal {
                        command: proposal.command.clone(),
                        reason: id.clone(),
                        request: proposal.request.clone(),
                        actor: proposal.actor.clone(),
                        validate_only: false,
                    });
                    let result = handle.propose(proposal).await;
                    if let (Some(repeated), Ok(first)) = (repeated, &result) {
                        let second = handle.propose(repeated).await.unwrap();
                        assert_eq!(second.revision, first.revision, "a retry has no new effect");
                    }
                    results.push((id, result));
                }
                results
            })
        });
        let results: Vec<_> = join_all(callers.collect::<Vec<_>>()).await;
        let log = running.finish().await;
        let mut acknowledged = HashSet::new();
        for (id, result) in results.into_iter().flat_map(Result::unwrap) {
            let found: Vec<_> = log.iter().filter(|entry| entry.reason == id).collect();
            match result {
                Ok(outcome) => {
                    assert_eq!(found.len(), 1, "{id}");
                    assert_eq!(found[0].revision, outcome.revision);
                    let (stored, replied) = (&found[0].changes, &outcome.changes);
                    assert_eq!(format!("{stored:?}"), format!("{replied:?}"));
                    acknowledged.insert(outcome.revision);
                }
                Err(WriteError::Refused(_)) => assert!(found.is_empty(), "{id}"),
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
        let own = log.iter().filter(|entry| &*entry.actor.0 == "admin");
        assert_eq!(own.map(|entry| entry.revision).collect::<HashSet<_>>(), acknowledged);
        assert!(acknowledged.len() < log.len(), "the other writer has appended too");
    }
}
