//! The server: opens the store, starts the writer, serves until a signal to stop, and completes
//! everything that was acknowledged.

mod app;
mod error;
mod signals;
mod startup;

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

use self::app::SERVICES;
use self::signals::Signals;
use self::startup::{ensure_token, print_ready, raise_open_file_limit, with_progress};
use crate::access::PlainToken;
use crate::config::{AccessArgs, LimitArgs, ServeArgs, Timeouts};
use crate::connection::tls::{Tls, TlsFiles};
use crate::connection::{Acceptor, Draining, incoming, serve as serve_connections};
use crate::grpc::layer::Calls;
use crate::grpc::layer::authenticate::Authenticate;
use crate::grpc::layer::limit::{Limit, Limits};
use crate::grpc::layer::observe::Observe;
use crate::grpc::layer::rate_limit::RateLimit;
use crate::grpc::layer::trace::Tracing;
use crate::metrics::Metrics;
use crate::store::{DatabaseStore, LoadedRegistry, Store, StoreError};
use crate::telemetry::Telemetry;
use crate::writer::{Clock, Writer};

/// The length of the prefix of a gRPC message: a compression flag and the message length.
const MESSAGE_PREFIX_BYTES: usize = 5;

/// Serves until SIGTERM or SIGINT; a second signal ends the grace period. Prints a line on stdout when
/// the server is ready.
///
/// # Errors
/// If the server can't start, or stops without a signal.
pub async fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let ServeArgs { listen, database, allow_plaintext, access, limits, telemetry, shutdown_grace } =
        args;
    let AccessArgs { tls_cert, tls_key, tls_client_ca, require_token_for_reads, bootstrap_token } =
        access;
    let started = Instant::now();
    // An empty variable counts as not set.
    let chosen = bootstrap_token.filter(|chosen| !chosen.0.is_empty());
    let chosen = chosen.map(|chosen| PlainToken::parse(&chosen.0)).transpose()?;
    let stop = CancellationToken::new();
    let mut telemetry = Telemetry::start(telemetry, &stop)?;
    let files = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_roots: tls_client_ca,
    });
    if files.is_none() && !listen.ip().is_loopback() && !allow_plaintext {
        return Err(ServeError::Plaintext(listen));
    }
    let tls = files.map(Tls::load).transpose()?.map(Arc::new);
    record_certificate(&telemetry.metrics, tls.as_deref());
    raise_open_file_limit();
    let failed = |source| ServeError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut signals = Signals::listen()?;

    let clock = Clock::system();
    // A start can be interrupted at any point: the next start continues its work.
    let (store, loaded) = tokio::select! {
        opened = open::<DatabaseStore>(&database, chosen, &clock, address) => opened?,
        () = signals.stop_signal(|| ()) => {
            tracing::info!("stopped while starting");
            return Ok(());
        }
    };
    let (metrics, size) = (Arc::clone(&telemetry.metrics), store.size());
    let (app, mut writer) =
        App::new(store, loaded, clock, Arc::clone(&metrics), limits.max_request_bytes);
    // Expire leases before the first response, so that no expired lease is shown as held. If that
    // can't be stored, as on a full disk, reads are served and the writer tries again.
    writer.expire_leases().await.map_err(ServeError::Writer)?;
    telemetry.set_registry(app.handle.clone(), size);
    print_ready(&app.handle.snapshot(), address, telemetry.http_address(), started)?;

    let timeouts = Timeouts::default();
    let acceptor = Acceptor {
        listener,
        tls: tls.clone(),
        max_connections: limits.max_connections as usize,
        handshake_timeout: timeouts.handshake,
        metrics: Arc::clone(&metrics),
    };
    let transport = Transport {
        acceptor,
        limits,
        timeouts,
        require_token_for_reads,
        metrics: Arc::clone(&metrics),
        tracing: telemetry.tracing(),
    };
    let result = tokio::select! {
        result = run(transport, app, writer, stop.cancelled(), shutdown_grace) => match result {
            Ok(store) => store.close().await.map_err(ServeError::Store),
            Err(error) => Err(error),
        },
        () = signals.second_stop_signal(&stop, || reload(tls.as_deref(), &metrics)) => {
            Err(ServeError::SecondSignal)
        }
        error = telemetry.http_ended() => Err(ServeError::Http(error)),
    };
    telemetry.flush().await;
    result?;
    tracing::info!(database = %database.display(), "stopped");
    Ok(())
}

/// Opens and loads the store, and creates the first token if it has none.
async fn open<S: Store>(
    database: &Path,
    chosen: Option<PlainToken>,
    clock: &Clock,
    address: SocketAddr,
) -> Result<(S, LoadedRegistry), ServeError> {
    let mut store = with_progress(S::open(database)).await?;
    let failed = |source| ServeError::Load { database: database.to_owned(), source };
    let mut loaded = store.load(clock.now()).await.map_err(failed)?.into_loaded();
    ensure_token(&mut store, &mut loaded.tokens, chosen, clock.now(), address).await?;
    Ok((store, loaded))
}

/// Reloads the certificates. If they can't be used, the current ones remain in use.
fn reload(tls: Option<&Tls>, metrics: &Metrics) {
    let Some(tls) = tls else {
        tracing::info!("SIGHUP: there is no certificate to reload");
        return;
    };
    match tls.reload() {
        Ok(()) => tracing::info!(end = %tls.expire_time(), "certificate reloaded"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "certificate not reloaded: the current one remains in use");
        }
    }
    record_certificate(metrics, Some(tls));
}

fn record_certificate(metrics: &Metrics, tls: Option<&Tls>) {
    metrics.certificate_expire_time.set(tls.map_or(0, |tls| tls.expire_time().as_second()));
}

/// How the server receives calls.
#[derive(Debug)]
pub struct Transport {
    /// The listener and its encryption.
    pub acceptor: Acceptor,
    /// The limits.
    pub limits: LimitArgs,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Whether reads require a token.
    pub require_token_for_reads: bool,
    /// Counts the calls.
    pub metrics: Arc<Metrics>,
    /// Creates spans, if traces are exported.
    pub tracing: Option<Tracing>,
}

/// Serves until `shutdown` completes, lets calls complete within `grace`, and returns the store.
///
/// # Errors
/// If the writer or the transport stops before.
pub async fn run<S: Store>(
    transport: Transport,
    app: App,
    writer: Writer<S>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> Result<S, ServeError> {
    let Transport { acceptor, limits, timeouts, require_token_for_reads, metrics, tracing } =
        transport;
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
        receive_timeout: timeouts.receive,
        request_bytes: max_request_bytes as usize + MESSAGE_PREFIX_BYTES,
    };
    let rate = RateLimit::new(rate_limit, Arc::clone(&metrics));
    let stopping = CancellationToken::new();
    let mut writing = tokio::spawn(writer.run(stopping.clone()));
    let health = HealthReporter::new();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let authenticate = Authenticate::new(app.handle.clone(), rate, require_token_for_reads);
    // Cancelling `draining` ends the streams and the listener, cancelling `stopping` the writer.
    let draining = CancellationToken::new();
    let calls = Calls {
        observe: Observe::new(Arc::clone(&metrics), tracing),
        authenticate,
        limit: Limit::new(limits, metrics),
        services: app.services(health.clone(), draining.clone())?,
    };
    let drain = Draining { started: draining.clone(), idle_timeout: timeouts.drain_idle };
    let serving = serve_connections(incoming(acceptor), calls, max_streams_per_connection, drain);
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => {
            return Err(ServeError::Process(io::Error::other("the listener stopped")));
        }
        result = &mut writing => return Err(writer_error(result)),
        () = shutdown => {
            tracing::info!(grace_seconds = grace.as_secs(), "stopping");
            report_not_serving(health).await;
            draining.cancel();
            match timeout(grace, &mut serving).await {
                Ok(()) => {}
                Err(_) => tracing::warn!("calls were still in progress after the grace period"),
            }
        }
    }
    stopping.cancel();
    writing.await?.map_err(ServeError::Writer)
}

/// Reports "not serving" to health checks and health watches, and ends the watches.
async fn report_not_serving(mut health: HealthReporter) {
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
        health.clear_service_status(service).await;
    }
}

fn writer_error<S>(result: Result<Result<S, StoreError>, JoinError>) -> ServeError {
    match result {
        Ok(Ok(_)) => ServeError::Process(io::Error::other("the writer has no callers left")),
        Ok(Err(error)) => ServeError::Writer(error),
        Err(panic) => ServeError::WriterPanic(panic),
    }
}
