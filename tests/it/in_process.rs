//! A server in the process of the test: the real services with a store, a clock and timeouts of the
//! test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use portbook::config::{LimitArgs, ServeArgs, Timeouts};
use portbook::connection::Acceptor;
use portbook::metrics::Metrics;
use portbook::server::{App, ServeError, Transport, run};
use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;
use portbook::writer::Clock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{Server, within_timeout};

/// A running server.
pub struct InProcess<S> {
    /// The client side of the server.
    pub server: Server,
    /// Stops it when it is cancelled.
    pub stop: CancellationToken,
    /// Returns the store after the stop.
    pub task: JoinHandle<Result<S, ServeError>>,
}

/// What a test sets.
pub struct Settings {
    pub clock: Clock,
    pub limits: LimitArgs,
    pub timeouts: Timeouts,
    /// The grace period of a stop.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        #[derive(Parser)]
        struct DefaultArgs {
            #[command(flatten)]
            serve: ServeArgs,
        }
        let args = DefaultArgs::parse_from(["serve"]).serve;
        Self {
            clock: Clock::system(),
            limits: args.limits,
            timeouts: Timeouts::default(),
            grace: args.shutdown_grace,
        }
    }
}

impl InProcess<SqliteStore> {
    /// A server on a new database.
    pub async fn start(settings: Settings) -> Self {
        Self::start_with(settings, |store| store).await
    }
}

impl<S: Store + Send + 'static> InProcess<S> {
    /// A server on a new database, whose store is wrapped by the test.
    pub async fn start_with(settings: Settings, wrap: impl FnOnce(SqliteStore) -> S) -> Self {
        let Settings { clock, limits, timeouts, grace } = settings;
        let mut server = Server::seeded();
        let mut store = wrap(SqliteStore::open(&server.database()).await.unwrap());
        let loaded = store.load(clock.now()).await.unwrap().into_loaded();
        let metrics = Arc::new(Metrics::new([]).0);
        let (app, writer) =
            App::new(store, loaded, clock, Arc::clone(&metrics), limits.max_request_bytes);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server.address = listener.local_addr().unwrap().to_string();
        let acceptor = Acceptor {
            listener,
            tls: None,
            max_connections: limits.max_connections as usize,
            handshake_timeout: timeouts.handshake,
            metrics: Arc::clone(&metrics),
        };
        let transport = Transport {
            acceptor,
            limits,
            timeouts,
            require_token_for_reads: false,
            metrics,
            tracing: None,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(run(transport, app, writer, stopped, grace));
        Self { server, stop, task }
    }

    /// Stops the server as a signal would, and returns its store. The server remains, with its
    /// database.
    pub async fn stop(self) -> (Server, S) {
        self.stop.cancel();
        (self.server, within_timeout(self.task).await.unwrap().unwrap())
    }
}

/// A clock that the test sets.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows the current time until it is set.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::now().as_microsecond())))
    }

    pub fn clock(&self) -> Clock {
        let micros = Arc::clone(&self.0);
        let now = move || Timestamp::from_microsecond(micros.load(Ordering::Relaxed)).unwrap();
        Clock::new(now)
    }

    pub fn advance(&self, time: SignedDuration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}
