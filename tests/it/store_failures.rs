//! What clients are told while the store fails or is slow, and that nobody else notices: the real
//! services over a store whose commits wait for the test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::future::join_all;
use jiff::Timestamp;
use portbook::access::{Actor, PlainToken, Token};
use portbook::config::ServeArgs;
use portbook::connection::Acceptor;
use portbook::grpc::proto;
use portbook::metrics::Metrics;
use portbook::registry::assignment::Revision;
use portbook::server::{App, ServeError, Transport, run};
use portbook::store::history::History;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Contents, Entry, Store, StoreError, StoredOutcome};
use portbook::writer::Clock;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Server, TOKEN, in_time, refused, register, whatever};

/// A store whose commits tell how many entries they have, and wait for what is to become of them.
struct Gated {
    store: SqliteStore,
    asked: UnboundedSender<usize>,
    verdicts: UnboundedReceiver<Result<(), StoreError>>,
}

impl Store for Gated {
    async fn load(&mut self, now: Timestamp) -> Result<Contents, StoreError> {
        self.store.load(now).await
    }

    fn history(&self) -> Arc<dyn History> {
        self.store.history()
    }

    async fn append(&mut self, expected: Revision, entries: &[Entry]) -> Result<(), StoreError> {
        // Once the test lets go of it, the gate is open.
        let _ = self.asked.send(entries.len());
        self.verdicts.recv().await.unwrap_or(Ok(()))?;
        self.store.append(expected, entries).await
    }

    async fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> Result<Option<StoredOutcome>, StoreError> {
        self.store.stored_outcome(actor, request_id).await
    }

    async fn put_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.store.put_token(token).await
    }
}

/// The settings of a server to which nothing is said.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    serve: ServeArgs,
}

/// A server on such a store.
struct Running {
    server: Server,
    asked: UnboundedReceiver<usize>,
    verdicts: UnboundedSender<Result<(), StoreError>>,
    stop: CancellationToken,
    task: JoinHandle<Result<Gated, ServeError>>,
}

async fn start() -> Running {
    let mut server = Server::stopped();
    let mut store = SqliteStore::open(&server.database()).await.unwrap();
    let token = PlainToken::parse(TOKEN).unwrap();
    store.put_token(&Token::first_admin(token.hash(), Timestamp::now())).await.unwrap();
    let ((asks, asked), (verdicts, waits)) = (unbounded_channel(), unbounded_channel());
    let mut store = Gated { store, asked: asks, verdicts: waits };
    let loaded = store.load(Timestamp::now()).await.unwrap().into_loaded();
    let metrics = Arc::new(Metrics::new([]).0);
    let clock = Clock::system();
    let (app, writer) = App::new(store, loaded, clock, Arc::clone(&metrics), 1024 * 1024);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let grace = Duration::from_secs(10);
    // More may be under way than may wait for the writer.
    let limits = Line::parse_from(["serve", "--max-calls", "10000"]).serve.limits;
    let listening = Transport {
        acceptor: Acceptor {
            listener,
            tls: None,
            max_connections: 100,
            metrics: Arc::clone(&metrics),
        },
        limits,
        require_token_for_reads: false,
        metrics,
        tracing: None,
    };
    let task = tokio::spawn(run(listening, app, writer, stop.clone().cancelled_owned(), grace));
    Running { server, asked, verdicts, stop, task }
}

/// Faults as SQLite has them.
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

/// Again the same fault, for each of several commits.
fn again(fault: &StoreError) -> StoreError {
    match fault {
        StoreError::Full(_) => StoreError::Full(sqlx::Error::WorkerCrashed),
        _ => StoreError::Database(sqlx::Error::WorkerCrashed),
    }
}

type Call = JoinHandle<Result<proto::RegisterPortResponse, Status>>;

/// A call that is under way.
async fn call(server: &Server, request: proto::RegisterPortRequest) -> Call {
    let mut writes = server.writes().await;
    tokio::spawn(async move { Ok(writes.register_port(request).await?.into_inner()) })
}

async fn calls(server: &Server, ports: std::ops::Range<u32>) -> Vec<Call> {
    join_all(ports.map(|port| call(server, whatever(register("waiting", port))))).await
}

/// How long so many lookups take, each.
async fn lookups(server: &Server, count: usize) -> Duration {
    let mut reads = server.reads().await;
    let started = Instant::now();
    for _ in 0..count {
        let request = proto::LookupPortRequest { port: Some(443), ..Default::default() };
        in_time(reads.lookup_port(request)).await.unwrap();
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
        assert_eq!(in_time(running.asked.recv()).await, Some(1));
        waiting.extend(calls(&running.server, first + 1..first + 41).await);
        let each = lookups(&running.server, 100).await;
        assert_eq!(running.server.info().await.revision, revision, "nothing was published");
        // The commit that waits fails, and so do those of whoever waited for the next ones.
        let repeated = again(&fault);
        running.verdicts.send(Err(fault)).unwrap();
        let mut figures = BTreeMap::<_, usize>::new();
        let mut commits = vec![1];
        let answers = join_all(waiting);
        tokio::pin!(answers);
        let answers = loop {
            tokio::select! {
                answers = &mut answers => break answers,
                size = running.asked.recv() => {
                    commits.push(size.unwrap());
                    running.verdicts.send(Err(again(&repeated))).unwrap();
                }
            }
        };
        for answer in answers {
            let answer = answer.unwrap();
            let message = answer.as_ref().unwrap_err().message().to_owned();
            let (code, reason, details) = refused(answer);
            assert!(details.retry_info().is_some());
            assert_eq!(message.contains("the disk of the server is full"), name == "full");
            *figures.entry((format!("{code:?}"), reason)).or_default() += 1;
        }
        println!("{name}: {figures:?} in commits of {commits:?}; a lookup took {each:?} meanwhile");
        let unavailable = ("Unavailable".to_owned(), "STORE_UNAVAILABLE".to_owned());
        assert_eq!(figures, BTreeMap::from([(unavailable, 41)]));
        assert_eq!(running.server.info().await.revision, revision, "nothing was published");
        // The next are served, and nothing of those before is in their way.
        let waiting = calls(&running.server, first..first + 41).await;
        let answers = join_all(waiting);
        tokio::pin!(answers);
        let answers = loop {
            tokio::select! {
                answers = &mut answers => break answers,
                size = running.asked.recv() => {
                    revision += size.unwrap() as u64;
                    running.verdicts.send(Ok(())).unwrap();
                }
            }
        };
        assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
        assert_eq!(running.server.info().await.revision, revision);
    }
    assert_eq!(running.server.everything().await.len(), 123);
}

#[tokio::test]
async fn a_slow_commit_delays_no_reader_and_survives_a_cancelled_call() {
    let mut running = start().await;
    let idle = lookups(&running.server, 300).await;
    let request = proto::RegisterPortRequest {
        request_id: "only-once".into(),
        ..whatever(register("slow", 10_000))
    };
    let waiting = call(&running.server, request.clone()).await;
    assert_eq!(in_time(running.asked.recv()).await, Some(1));
    let slow = lookups(&running.server, 300).await;
    println!("a lookup took {idle:?}, and {slow:?} while a commit waited");
    waiting.abort();
    waiting.await.unwrap_err();
    // The caller is gone, and the commit goes on. The same request waits behind it.
    let again = call(&running.server, request.clone()).await;
    running.verdicts.send(Ok(())).unwrap();
    let answer = in_time(again).await.unwrap().unwrap();
    assert_eq!((answer.revision, answer.assignments.len()), (1, 1));
    assert_eq!(running.server.everything().await, answer.assignments);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_beyond_the_queue_limit_are_refused_with_a_retry_hint() {
    // As many as are decided ahead and as the writer's queue has room for, and some more.
    const ROOM: u32 = 512 + 4096;
    const MORE: u32 = 92;
    let mut running = start().await;
    let first = calls(&running.server, 10_000..10_001).await;
    assert_eq!(in_time(running.asked.recv()).await, Some(1));
    // A connection may have a hundred calls under way.
    let (told, mut heard) = unbounded_channel();
    for connection in 0..(ROOM + MORE) / 100 {
        let writes = running.server.writes().await;
        for call in 0..100 {
            let (mut writes, told) = (writes.clone(), told.clone());
            let port = 10_001 + connection * 100 + call;
            tokio::spawn(async move {
                let answer = writes.register_port(whatever(register("waiting", port))).await;
                told.send(answer).unwrap();
            });
        }
    }
    drop(told);
    for _ in 0..MORE {
        let answer = in_time(heard.recv()).await.unwrap();
        let (code, reason, details) = refused(answer);
        assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert!(details.retry_info().is_some());
    }
    let each = lookups(&running.server, 100).await;
    // The gate opens, and all who wait are served.
    drop(running.verdicts);
    let mut served = 0;
    while let Some(answer) = in_time(heard.recv()).await {
        answer.unwrap();
        served += 1;
    }
    println!("{served} served, {MORE} OVERLOADED; a lookup took {each:?} meanwhile");
    assert_eq!(served, ROOM);
    assert!(join_all(first).await.into_iter().all(|answer| answer.unwrap().is_ok()));
}

#[tokio::test]
async fn a_stop_waits_for_the_running_commit() {
    let mut running = start().await;
    let waiting = call(&running.server, whatever(register("late", 10_000))).await;
    assert_eq!(in_time(running.asked.recv()).await, Some(1));
    running.stop.cancel();
    running.verdicts.send(Ok(())).unwrap();
    assert_eq!(in_time(waiting).await.unwrap().unwrap().revision, 1);
    let mut store = in_time(running.task).await.unwrap().unwrap();
    assert_eq!(store.load(Timestamp::now()).await.unwrap().revision, Revision(1));
}
