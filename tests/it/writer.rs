//! The writer, with a manual clock and a store that can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use portbook::access::{
    Actor, CreateToken, PlainToken, Role, Token, TokenCommand, TokenName, Tokens,
};
use portbook::metrics::Metrics;
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::Change;
use portbook::registry::command::{Command, Register};
use portbook::registry::details::DetailEdits;
use portbook::registry::finding::FindingCode;
use portbook::registry::lease::Ttl;
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::text::Text;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{AppendOutcome, Entry, RequestKey, Store, StoreError};
use portbook::writer::{Clock, Environment, Outcome, Proposal, RegistryHandle, WriteError, writer};
use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A store that fails commits on request, blocks them while the test holds the gate, and
/// records its largest commit.
struct FaultyStore {
    store: SqliteStore,
    fails: Arc<AtomicBool>,
    gate: Arc<Mutex<()>>,
    /// The largest number of changes of one commit.
    largest: Arc<AtomicUsize>,
}

impl Store for FaultyStore {
    crate::conformance::delegate_to_store!(entries_since);

    async fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> Result<AppendOutcome, StoreError> {
        drop(self.gate.lock().await);
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Corrupt("a fault that a test wants".into()));
        }
        let changes = entries.iter().map(|entry| entry.changes.len()).sum();
        self.largest.fetch_max(changes, Ordering::Relaxed);
        self.store.append(expected, entries).await
    }

    async fn put_token(&mut self, token: &Token) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Corrupt("a fault that a test wants".into()));
        }
        self.store.put_token(token).await
    }
}

struct Running {
    handle: RegistryHandle,
    followed: broadcast::Receiver<Arc<Entry>>,
    seconds: Arc<AtomicI64>,
    fails: Arc<AtomicBool>,
    gate: Arc<Mutex<()>>,
    largest: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Result<FaultyStore, StoreError>>,
}

async fn start() -> Running {
    let (seconds, fails) = (Arc::new(AtomicI64::new(1_000)), Arc::new(AtomicBool::new(false)));
    let (gate, largest) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let mut store = FaultyStore {
        store: SqliteStore::in_memory().await.unwrap(),
        fails: Arc::clone(&fails),
        gate: Arc::clone(&gate),
        largest: Arc::clone(&largest),
    };
    let mut loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
    let secret = PlainToken::generate().unwrap();
    let admin = Token::first_admin(secret.hash(), Timestamp::UNIX_EPOCH);
    loaded.tokens = Tokens::from_iter([admin]);
    let clock_seconds = Arc::clone(&seconds);
    let now = move || Timestamp::from_second(clock_seconds.load(Ordering::Relaxed)).unwrap();
    let new_uid = Box::new(|| Uid::new(Uuid::now_v7()));
    let environment =
        Environment { clock: Clock::new(now), new_uid, metrics: Arc::new(Metrics::new([]).0) };
    let (handle, writer) = writer(store, loaded, environment);
    let stop = CancellationToken::new();
    let followed = handle.follow().unwrap();
    let task = tokio::spawn(writer.run(stop.clone()));
    Running { handle, followed, seconds, fails, gate, largest, stop, task }
}

fn register(port: u16, ttl: Option<i64>) -> Proposal {
    proposal(Command::Register(registration(port, ttl)))
}

fn registration(port: u16, ttl: Option<i64>) -> Register {
    Register {
        namespace: NamespaceName::default(),
        service_name: "leased".parse().unwrap(),
        ports: PortRange::single(Port::new(port)),
        transports: vec![Transport::Tcp, Transport::Udp],
        pool: None,
        ttl: ttl.map(|seconds| Ttl::new(SignedDuration::from_secs(seconds)).unwrap()),
        details: DetailEdits::default(),
        acknowledge: FindingCode::ALL.into_iter().collect(),
    }
}

fn proposal(command: Command) -> Proposal {
    let actor = Actor("admin".into());
    Proposal { command, actor, reason: String::new(), request: None, validate_only: false }
}

/// Lets all other tasks run: the store has a separate thread, everything else shares this one.
async fn run_other_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

impl Running {
    fn is_held(&self, port: u16) -> bool {
        let snapshot = self.handle.snapshot();
        let view = snapshot.view(&NamespaceName::default()).unwrap();
        view.holders(Port::new(port), None).next().is_some()
    }

    /// Proposes a command, and lets the writer process it as far as possible.
    async fn begin(&self, proposal: Proposal) -> JoinHandle<Result<Outcome, WriteError>> {
        let handle = self.handle.clone();
        let response = tokio::spawn(async move { handle.propose(proposal).await });
        run_other_tasks().await;
        response
    }
}

#[tokio::test]
async fn an_expired_lease_is_a_separate_change() {
    let mut running = start().await;
    running.handle.propose(register(7451, Some(90))).await.unwrap();
    // The writer wakes after a second and reads the clock.
    running.handle.propose(register(7450, Some(1))).await.unwrap();
    running.handle.propose(register(7452, None)).await.unwrap();
    for _ in 0..3 {
        let entry = running.followed.recv().await.unwrap();
        let record = entry.changes[0].after().unwrap();
        assert_eq!(record.registration().unwrap().create_time, entry.time);
    }
    running.seconds.store(1_002, Ordering::Relaxed);
    let entry = running.followed.recv().await.unwrap();
    assert_eq!((entry.revision, &*entry.actor.0), (Revision(4), "portbook"));
    assert_eq!(entry.time, Timestamp::from_second(1_002).unwrap());
    assert_eq!(entry.changes.len(), 2, "both transports in one change");
    for change in &entry.changes {
        let Change::Expired { before, cooling_until } = change else { panic!("{change:?}") };
        assert_eq!(before.ports, Some(PortRange::single(Port::new(7450))));
        assert_eq!(*cooling_until, Timestamp::from_second(1_002 + 24 * 60 * 60).ok());
    }
    assert!(!running.is_held(7450) && running.is_held(7451) && running.is_held(7452));
}

#[tokio::test]
async fn an_expired_lease_does_not_block_a_registration() {
    let running = start().await;
    running.handle.propose(register(7450, Some(60))).await.unwrap();
    // Another service requests the port before the writer wakes.
    running.seconds.store(1_060, Ordering::Relaxed);
    let outcome = running.handle.propose(register(7450, None)).await.unwrap();
    assert_eq!(outcome.revision, Revision(3), "the lease expired at  2");
}

#[tokio::test]
async fn a_lease_expires_once_the_store_is_writable_again() {
    let mut running = start().await;
    running.handle.propose(register(7450, Some(60))).await.unwrap();
    running.followed.recv().await.unwrap();
    running.fails.store(true, Ordering::Relaxed);
    running.seconds.store(1_061, Ordering::Relaxed);
    // Every call that waits for the same commit gets the error.
    let refused = running.handle.propose(register(7451, None)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Store(_)), "{refused:?}");
    assert!(running.is_held(7450) && !running.is_held(7451));
    running.fails.store(false, Ordering::Relaxed);
    let entry = running.followed.recv().await.unwrap();
    assert!(matches!(entry.changes[0], Change::Expired { .. }));
    assert!(!running.is_held(7450));
}

#[tokio::test]
async fn history_times_increase_for_any_clock() {
    let mut running = start().await;
    for (port, seconds) in [(7450, 1_000), (7451, 1_000), (7452, 10), (7453, 2_000)] {
        running.seconds.store(seconds, Ordering::Relaxed);
        running.handle.propose(register(port, None)).await.unwrap();
    }
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(running.followed.recv().await.unwrap().time);
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert_eq!(times[3], Timestamp::from_second(2_000).unwrap());
    // A lease begins at the time of its revision.
    running.seconds.store(100, Ordering::Relaxed);
    running.handle.propose(register(7454, Some(60))).await.unwrap();
    let snapshot = running.handle.snapshot();
    let just_after_the_last = 2_000 * 1_000_000 + 1;
    let end = Timestamp::from_microsecond(just_after_the_last + 60 * 1_000_000).unwrap();
    assert_eq!(snapshot.next_lease_expiry(), Some(end));
}

#[tokio::test]
async fn the_store_is_returned_when_the_writer_stops() {
    let running = start().await;
    running.handle.propose(register(7450, None)).await.unwrap();
    running.stop.cancel();
    let mut store = running.task.await.unwrap().unwrap();
    assert_eq!(store.load(Timestamp::UNIX_EPOCH).await.unwrap().revision, Revision(1));
    let stopped = running.handle.propose(register(7451, None)).await.unwrap_err();
    assert!(matches!(stopped, WriteError::Stopping), "{stopped:?}");
}

#[tokio::test]
async fn leases_that_expire_together_end_in_commits_of_bounded_size() {
    let mut running = start().await;
    // Five commands of 2,000 registrations each, all of which expire within a second.
    for batch in 0..5u16 {
        let first = 10_000 + batch * 1_000;
        let registers = (first..first + 1_000).map(|port| registration(port, Some(60))).collect();
        running.handle.propose(proposal(Command::RegisterAll(registers))).await.unwrap();
        running.followed.recv().await.unwrap();
    }
    running.seconds.store(1_061, Ordering::Relaxed);
    // The next command expires all of them first.
    running.handle.propose(register(10_000, None)).await.unwrap();
    let (mut ended, mut entries) = (0, 0);
    while ended < 10_000 {
        ended += running.followed.recv().await.unwrap().changes.len();
        entries += 1;
    }
    assert_eq!((ended, entries), (10_000, 5), "one entry for each command");
    let largest = running.largest.load(Ordering::Relaxed);
    assert!((4_096..=6_096).contains(&largest), "{largest}");
}

#[tokio::test]
async fn commands_received_during_a_commit_depend_on_it() {
    let running = start().await;
    for (fails, revision) in [(true, 0), (false, 2)] {
        running.fails.store(fails, Ordering::Relaxed);
        let gate = running.gate.lock().await;
        let first = running.begin(register(7450, None)).await;
        let same = running.begin(register(7450, None)).await;
        let other = running.begin(register(7451, None)).await;
        assert!(!same.is_finished(), "a refusal waits for the state that it depends on");
        assert_eq!(running.handle.snapshot().revision(), Revision(0));
        drop(gate);
        let responses = [first, same, other].map(async |response| response.await.unwrap());
        let responses = futures_util::future::join_all(responses).await;
        if fails {
            let all_failed = responses.iter().all(|it| matches!(it, Err(WriteError::Store(_))));
            assert!(all_failed, "{responses:?}");
        } else {
            assert_eq!(responses[0].as_ref().unwrap().revision, Revision(1));
            assert!(matches!(responses[1], Err(WriteError::Refused(_))), "{:?}", responses[1]);
            assert_eq!(responses[2].as_ref().unwrap().revision, Revision(2));
        }
        assert_eq!(running.handle.snapshot().revision(), Revision(revision));
    }
}

#[tokio::test]
async fn a_token_change_is_applied_between_two_commits_under_load() {
    const EACH: u16 = 300;
    let running = start().await;
    let (name, admin): (TokenName, _) = ("ops".parse().unwrap(), Actor("admin".into()));
    let create = TokenCommand::Create(CreateToken {
        name: name.clone(),
        description: Text::default(),
        role: Role::Admin,
        hash: None,
        expire_time: None,
    });
    running.handle.change_token(create, admin.clone()).await.unwrap();
    let write = |first: u16| {
        let handle = running.handle.clone();
        tokio::spawn(async move {
            for port in first..first + EACH {
                let by_ops = Proposal { actor: Actor("ops".into()), ..register(port, None) };
                match handle.propose(by_ops).await {
                    Err(WriteError::Unauthenticated(_)) => return,
                    response => drop(response.unwrap()),
                }
            }
        })
    };
    // One of the two always waits while the other is committed.
    let gate = running.gate.lock().await;
    let mut writing = Vec::new();
    for first in [10_000, 20_000] {
        writing.push(write(first));
        run_other_tasks().await;
    }
    drop(gate);
    running.handle.change_token(TokenCommand::Revoke(name), admin).await.unwrap();
    let revision = running.handle.snapshot().revision();
    futures_util::future::join_all(writing).await;
    assert!(revision < Revision(u64::from(2 * EACH)), "the token change waited until the end");
    assert_eq!(running.handle.snapshot().revision(), revision, "nothing after it was revoked");
}

#[tokio::test]
async fn a_lease_that_expires_during_a_commit_ends_before_the_next_write() {
    let running = start().await;
    running.handle.propose(register(7450, Some(60))).await.unwrap();
    let gate = running.gate.lock().await;
    let first = running.begin(register(7451, None)).await;
    running.seconds.store(1_060, Ordering::Relaxed);
    let next = running.begin(register(7450, None)).await;
    drop(gate);
    assert_eq!(first.await.unwrap().unwrap().revision, Revision(2));
    assert_eq!(next.await.unwrap().unwrap().revision, Revision(4), "the lease expired at  3");
}

#[tokio::test]
async fn a_request_repeated_during_its_commit_has_one_effect() {
    let running = start().await;
    let requested = |port, contents: u8| {
        let request = Some(RequestKey { id: "once".into(), fingerprint: [contents; 32] });
        Proposal { request, ..register(port, None) }
    };
    let gate = running.gate.lock().await;
    let first = running.begin(requested(7450, 1)).await;
    let again = running.begin(requested(7450, 1)).await;
    let another = running.begin(requested(7451, 2)).await;
    drop(gate);
    for response in [first, again] {
        assert_eq!(response.await.unwrap().unwrap().revision, Revision(1));
    }
    let reused = another.await.unwrap().unwrap_err();
    assert!(matches!(reused, WriteError::RequestIdReused(_)), "{reused:?}");
    assert_eq!(running.handle.snapshot().revision(), Revision(1));
}

#[tokio::test]
async fn queued_commands_are_executed_when_a_stop_arrives_during_a_commit() {
    let running = start().await;
    let gate = running.gate.lock().await;
    let mut waiting = vec![running.begin(register(7450, None)).await];
    waiting.push(running.begin(register(7451, None)).await);
    running.stop.cancel();
    waiting.push(running.begin(register(7452, None)).await);
    drop(gate);
    for response in waiting {
        response.await.unwrap().unwrap();
    }
    let mut store = running.task.await.unwrap().unwrap();
    assert_eq!(store.load(Timestamp::UNIX_EPOCH).await.unwrap().revision, Revision(3));
}
