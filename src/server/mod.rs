//! The server: opens the store, starts the writer, serves until it is told to stop, and leaves
//! nothing behind that was promised.

mod app;
mod error;
mod signals;
mod start;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use app::App;
pub use error::ServeError;

use self::app::{SERVICES, rpcs};
use self::signals::Signals;
use self::start::{ensure_token, patiently, print_ready, raise_open_files};
use crate::access::PlainToken;
use crate::config::{AccessArgs, LimitArgs, ServeArgs};
use crate::connection::tls::{Tls, TlsFiles};
use crate::connection::{Acceptor, incoming, serve as serve_connections};
use crate::grpc::layer::Calls;
use crate::grpc::layer::authenticate::Authenticate;
use crate::grpc::layer::limit::{Limit, Limits};
use crate::grpc::layer::observe::Observe;
use crate::grpc::layer::rate_limit::RateLimit;
use crate::grpc::layer::trace::Tracing;
use crate::metrics::Metrics;
use crate::store::sqlite::SqliteStore;
use crate::store::{Loaded, Store, StoreError};
use crate::telemetry::Telemetry;
use crate::writer::{Clock, Writer};

/// What stands before each message in gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Serves until SIGTERM or SIGINT; a second one cuts the grace short. Prints a line on stdout when it
/// is ready.
///
/// # Errors
/// If it can't start, or has to end by itself.
pub async fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let ServeArgs { listen, database, allow_plaintext, access, limits, telemetry, shutdown_grace } =
        args;
    let AccessArgs { tls_cert, tls_key, tls_client_ca, require_token_for_reads, bootstrap_token } =
        access;
    let started = Instant::now();
    // An empty variable is one that was not set.
    let chosen = bootstrap_token.filter(|chosen| !chosen.0.is_empty());
    let chosen = chosen.map(|chosen| PlainToken::parse(&chosen.0)).transpose()?;
    let stop = CancellationToken::new();
    let mut telemetry = Telemetry::start(telemetry, rpcs(), &database, &stop)?;
    let files = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_roots: tls_client_ca,
    });
    if files.is_none() && !listen.ip().is_loopback() && !allow_plaintext {
        return Err(ServeError::Plaintext(listen));
    }
    let tls = files.map(Tls::load).transpose()?.map(Arc::new);
    note_certificate(&telemetry.metrics, tls.as_deref());
    raise_open_files();
    let failed = |source| ServeError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut signals = Signals::listen()?;

    let clock = Clock::system();
    // A start that is told to stop has nothing to end: whatever it was at is taken up by the next.
    let (store, loaded) = tokio::select! {
        opened = open(&database, chosen, &clock, address) => opened?,
        () = signals.next(|| ()) => {
            tracing::info!("told to stop while starting");
            return Ok(());
        }
    };
    let metrics = Arc::clone(&telemetry.metrics);
    let (app, mut writer) =
        App::new(store, loaded, clock, Arc::clone(&metrics), limits.max_request_bytes);
    // What has ended meanwhile is not told as held by the first answer. Where that can't be stored,
    // as on a full disk, reads go on and it is tried again.
    writer.end_leases().await.map_err(ServeError::Writer)?;
    telemetry.is_of(app.registrar.clone());
    print_ready(&app.registrar.snapshot(), address, telemetry.http_address(), started)?;

    let most = limits.max_connections as usize;
    let listening = Listening {
        acceptor: Acceptor { listener, tls: tls.clone(), most, metrics: Arc::clone(&metrics) },
        limits,
        require_token_for_reads,
        metrics: Arc::clone(&metrics),
        tracing: telemetry.tracing(),
    };
    let ended = tokio::select! {
        ended = run(listening, app, writer, stop.cancelled(), shutdown_grace) => match ended {
            Ok(store) => store.close().await.map_err(ServeError::Store),
            Err(fault) => Err(fault),
        },
        () = signals.told_twice(&stop, || reload(tls.as_deref(), &metrics)) => {
            Err(ServeError::ToldTwice)
        }
        fault = telemetry.http_ended() => Err(ServeError::Http(fault)),
    };
    telemetry.flush().await;
    ended?;
    tracing::info!(database = %database.display(), "stopped");
    Ok(())
}

/// The store, what it holds, and its first token if it had none.
async fn open(
    database: &Path,
    chosen: Option<PlainToken>,
    clock: &Clock,
    address: SocketAddr,
) -> Result<(SqliteStore, Loaded), ServeError> {
    let mut store = patiently(SqliteStore::open(database)).await?;
    let unread = |source| ServeError::Load { database: database.to_owned(), source };
    let mut loaded = store.load(clock.now()).await.map_err(unread)?.into_loaded();
    ensure_token(&mut store, &mut loaded.tokens, chosen, clock.now(), address).await?;
    Ok((store, loaded))
}

/// Reads the certificates again. If they can't be used, those there were are used on.
fn reload(tls: Option<&Tls>, metrics: &Metrics) {
    let Some(tls) = tls else {
        tracing::info!("SIGHUP: there is no certificate to read again");
        return;
    };
    match tls.reload() {
        Ok(()) => tracing::info!(end = %tls.end(), "certificate read again"),
        Err(fault) => {
            let error = &fault as &dyn std::error::Error;
            tracing::error!(error, "certificate not read again: the one before is used on");
        }
    }
    note_certificate(metrics, Some(tls));
}

fn note_certificate(metrics: &Metrics, tls: Option<&Tls>) {
    metrics.certificate_end.set(tls.map_or(0, |tls| tls.end().as_second()));
}

/// How calls come in.
#[derive(Debug)]
pub struct Listening {
    /// Where, and how encrypted.
    pub acceptor: Acceptor,
    /// How many.
    pub limits: LimitArgs,
    /// Whether reads need a token too.
    pub require_token_for_reads: bool,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// Who makes spans of them.
    pub tracing: Option<Tracing>,
}

/// Serves until `shutdown` completes, lets calls end within `grace`, and gives the store back.
///
/// # Errors
/// If the writer or the transport ends by itself.
pub async fn run<S: Store>(
    listening: Listening,
    app: App,
    writer: Writer<S>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> Result<S, ServeError> {
    let Listening { acceptor, limits, require_token_for_reads, metrics, tracing } = listening;
    let LimitArgs {
        max_connections: _,
        max_streams_per_connection,
        max_calls,
        max_streaming_calls,
        request_timeout,
        rate_limit,
        max_request_bytes,
    } = limits;
    let limits = Limits {
        calls: max_calls as usize,
        streaming_calls: max_streaming_calls as usize,
        timeout: request_timeout,
        request_bytes: max_request_bytes as usize + PREFIX,
    };
    let rate = RateLimit::new(rate_limit, Arc::clone(&metrics));
    let stopping = CancellationToken::new();
    let mut writing = tokio::spawn(writer.run(stopping.clone()));
    let health = HealthReporter::new();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let authenticate = Authenticate::new(app.registrar.clone(), rate, require_token_for_reads);
    // Streams and the listener end when `draining` is cancelled, the writer when `stopping` is.
    let draining = CancellationToken::new();
    let calls = Calls {
        observe: Observe::new(Arc::clone(&metrics), tracing),
        authenticate,
        limit: Limit::new(limits, metrics),
        services: app.services(health.clone(), draining.clone())?,
    };
    let serving =
        serve_connections(incoming(acceptor), calls, max_streams_per_connection, draining.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => {
            return Err(ServeError::Process(io::Error::other("the listener has ended")));
        }
        ended = &mut writing => return Err(writer_end(ended)),
        () = shutdown => {
            tracing::info!(grace_seconds = grace.as_secs(), "stopping");
            refuse_health(health).await;
            draining.cancel();
            match timeout(grace, &mut serving).await {
                Ok(()) => {}
                Err(_) => tracing::warn!("calls were still under way when the grace had passed"),
            }
        }
    }
    stopping.cancel();
    writing.await?.map_err(ServeError::Writer)
}

/// Says "not serving" to whoever asks or watches, and ends the watches.
async fn refuse_health(mut health: HealthReporter) {
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
        health.clear_service_status(service).await;
    }
}

fn writer_end<S>(ended: Result<Result<S, StoreError>, JoinError>) -> ServeError {
    match ended {
        Ok(Ok(_)) => ServeError::Process(io::Error::other("the writer has no more callers")),
        Ok(Err(fault)) => ServeError::Writer(fault),
        Err(panic) => ServeError::WriterPanic(panic),
    }
}
