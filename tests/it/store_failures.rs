//! Responses while the store fails or is slow, and isolation of other clients: the real services on
//! a store whose commits are controlled by the test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use portbook::grpc::proto;
use portbook::registry::assignment::Revision;
use portbook::server::ServeError;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{AppendOutcome, Entry, Store, StoreError};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Server, acknowledge_all, error_parts, register, within_timeout};
use crate::in_process::{InProcess, Settings};

/// A store whose commits report their number of entries, and wait for their result from the test.
struct GatedStore {
    store: SqliteStore,
    requested: UnboundedSender<usize>,
    commit_results: UnboundedReceiver<Result<(), StoreError>>,
}

impl Store for GatedStore {
    crate::conformance::delegate_to_store!(entries_since put_token);

    async fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> Result<AppendOutcome, StoreError> {
        // When the test drops its end, the gate is open.
        let _ = self.requested.send(entries.len());
        self.commit_results.recv().await.unwrap_or(Ok(()))?;
        self.store.append(expected, entries).await
    }
}

/// A server on a gated store.
struct Running {
    server: Server,
    requested: UnboundedReceiver<usize>,
    commit_results: UnboundedSender<Result<(), StoreError>>,
    stop: CancellationToken,
    task: JoinHandle<Result<GatedStore, ServeError>>,
}

async fn start() -> Running {
    let ((request_sender, requested), (commit_results, result_receiver)) =
        (unbounded_channel(), unbounded_channel());
    let mut settings = Settings::default();
    // Allow more calls in flight than the writer's queue accepts.
    settings.limits.max_calls = 10_000;
    let gated =
        |store| GatedStore { store, requested: request_sender, commit_results: result_receiver };
    let InProcess { server, stop, task } = InProcess::start_with(settings, gated).await;
    Running { server, requested, commit_results, stop, task }
}

/// Errors as SQLite returns them.
async fn faults(folder: &Path) -> [(&'static str, StoreError); 3] {
    let options = SqliteConnectOptions::new().filename(folder.join("a.db")).create_if_missing(true);
    let fails = async |options: &SqliteConnectOptions, sql: &'static str| {
        let mut connection = SqliteConnection::connect_with(options).await.unwrap();
        StoreError::from(sqlx::raw_sql(sql).execute(&mut connection).await.unwrap_err())
    };
    let commit = "create table a (id integer primary key); \
                  create table b (a references a deferrable initially deferred); \
                  begin; insert into b values (1); commit";
    let full = "pragma max_page_count = 1; create table c (id); create table d (id)";
    let written = "create table e (id)";
    [
        ("commit", fails(&options, commit).await),
        ("full", fails(&options, full).await),
        ("read-only", fails(&options.clone().read_only(true), written).await),
    ]
}

/// A copy of the error, for several commits.
fn again(fault: &StoreError) -> StoreError {
    match fault {
        StoreError::Full(_) => StoreError::Full("again".into()),
        _ => StoreError::Database("again".into()),
    }
}

type Call = JoinHandle<Result<proto::RegisterPortResponse, Status>>;

/// Starts a call.
async fn call(server: &Server, request: proto::RegisterPortRequest) -> Call {
    let mut writes = server.writes().await;
    tokio::spawn(async move { Ok(writes.register_port(request).await?.into_inner()) })
}

async fn calls(server: &Server, ports: std::ops::Range<u32>) -> Vec<Call> {
    join_all(ports.map(|port| call(server, acknowledge_all(register("waiting", port))))).await
}

/// The mean duration of this many lookups.
async fn lookups(server: &Server, count: usize) -> Duration {
    let mut reads = server.reads().await;
    let started = Instant::now();
    for _ in 0..count {
        let request = proto::LookupPortRequest { port: Some(443), ..Default::default() };
        within_timeout(reads.lookup_port(request)).await.unwrap();
    }
    started.elapsed() / u32::try_from(count).unwrap()
}

#[tokio::test]
async fn a_failed_commit_fails_its_callers_and_later_writes_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start().await;
    let mut revision = 0;
    for (number, (name, fault)) in (0..).zip(faults(folder.path()).await) {
        assert_eq!(matches!(fault, StoreError::Full(_)), name == "full", "{fault:?}");
        let first = 10_000 + number * 100;
        let mut waiting = calls(&running.server, first..first + 1).await;
        assert_eq!(within_timeout(running.requested.recv()).await, Some(1));
        waiting.extend(calls(&running.server, first + 1..first + 41).await);
        let each = lookups(&running.server, 100).await;
        assert_eq!(running.server.info().await.revision, revision, "nothing was published");
        // The waiting commit fails, and so do the writes that wait for the next ones.
        let repeated = again(&fault);
        running.commit_results.send(Err(fault)).unwrap();
        let mut figures = BTreeMap::<_, usize>::new();
        let mut commits = vec![1];
        let responses = join_all(waiting);
        tokio::pin!(responses);
        let responses = loop {
            tokio::select! {
                responses = &mut responses => break responses,
                size = running.requested.recv() => {
                    commits.push(size.unwrap());
                    running.commit_results.send(Err(again(&repeated))).unwrap();
                }
            }
        };
        for response in responses {
            let response = response.unwrap();
            let message = response.as_ref().unwrap_err().message().to_owned();
            let (code, reason, details) = error_parts(response);
            assert!(details.retry_info().is_some());
            assert_eq!(message.contains("the server's disk is full"), name == "full");
            *figures.entry((format!("{code:?}"), reason)).or_default() += 1;
        }
        println!("{name}: {figures:?} in commits of {commits:?}; a lookup took {each:?} meanwhile");
        let unavailable = ("Unavailable".to_owned(), "STORE_UNAVAILABLE".to_owned());
        assert_eq!(figures, BTreeMap::from([(unavailable, 41)]));
        assert_eq!(running.server.info().await.revision, revision, "nothing was published");
        // Later writes succeed, and nothing of the failed ones blocks them.
        let waiting = calls(&running.server, first..first + 41).await;
        let responses = join_all(waiting);
        tokio::pin!(responses);
        let responses = loop {
            tokio::select! {
                responses = &mut responses => break responses,
                size = running.requested.recv() => {
                    revision += size.unwrap() as u64;
                    running.commit_results.send(Ok(())).unwrap();
                }
            }
        };
        assert!(responses.into_iter().all(|response| response.unwrap().is_ok()));
        assert_eq!(running.server.info().await.revision, revision);
    }
    assert_eq!(running.server.all_registrations().await.len(), 123);
}

#[tokio::test]
async fn a_slow_commit_delays_no_reader_and_survives_a_cancelled_call() {
    let mut running = start().await;
    let idle = lookups(&running.server, 300).await;
    let request = proto::RegisterPortRequest {
        request_id: "only-once".into(),
        ..acknowledge_all(register("slow", 10_000))
    };
    let waiting = call(&running.server, request.clone()).await;
    assert_eq!(within_timeout(running.requested.recv()).await, Some(1));
    let slow = lookups(&running.server, 300).await;
    println!("a lookup took {idle:?}, and {slow:?} while a commit waited");
    waiting.abort();
    waiting.await.unwrap_err();
    // The call is cancelled, and the commit continues. The repeated request result_receiver for it.
    let again = call(&running.server, request.clone()).await;
    running.commit_results.send(Ok(())).unwrap();
    let response = within_timeout(again).await.unwrap().unwrap();
    assert_eq!((response.revision, response.assignments.len()), (1, 1));
    assert_eq!(running.server.all_registrations().await, response.assignments);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_beyond_the_queue_limit_are_refused_with_a_retry_hint() {
    // As many as the writer decides ahead and its queue accepts, and some more.
    const CAPACITY: u32 = 512 + 4096;
    const EXCESS: u32 = 92;
    let mut running = start().await;
    let first = calls(&running.server, 10_000..10_001).await;
    assert_eq!(within_timeout(running.requested.recv()).await, Some(1));
    // A connection may have a hundred calls in flight.
    let (sender, mut receiver) = unbounded_channel();
    for connection in 0..(CAPACITY + EXCESS) / 100 {
        let writes = running.server.writes().await;
        for call in 0..100 {
            let (mut writes, sender) = (writes.clone(), sender.clone());
            let port = 10_001 + connection * 100 + call;
            tokio::spawn(async move {
                let response =
                    writes.register_port(acknowledge_all(register("waiting", port))).await;
                sender.send(response).unwrap();
            });
        }
    }
    drop(sender);
    for _ in 0..EXCESS {
        let response = within_timeout(receiver.recv()).await.unwrap();
        let (code, reason, details) = error_parts(response);
        assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert!(details.retry_info().is_some());
    }
    let each = lookups(&running.server, 100).await;
    // The gate opens, and all waiting calls succeed.
    drop(running.commit_results);
    let mut served = 0;
    while let Some(response) = within_timeout(receiver.recv()).await {
        response.unwrap();
        served += 1;
    }
    println!("{served} served, {EXCESS} OVERLOADED; a lookup took {each:?} meanwhile");
    assert_eq!(served, CAPACITY);
    assert!(join_all(first).await.into_iter().all(|response| response.unwrap().is_ok()));
}

#[tokio::test]
async fn a_stop_waits_for_the_running_commit() {
    let mut running = start().await;
    let waiting = call(&running.server, acknowledge_all(register("late", 10_000))).await;
    assert_eq!(within_timeout(running.requested.recv()).await, Some(1));
    running.stop.cancel();
    running.commit_results.send(Ok(())).unwrap();
    assert_eq!(within_timeout(waiting).await.unwrap().unwrap().revision, 1);
    let mut store = within_timeout(running.task).await.unwrap().unwrap();
    assert_eq!(store.load(Timestamp::now()).await.unwrap().revision, Revision(1));
}
