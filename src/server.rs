//! The server: opens the store, starts the writer, serves until it is told to stop, and leaves
//! nothing behind that was promised.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::MapResponseLayer;
use uuid::Uuid;

use crate::access::{PlainToken, Token, TokenFormatError, Tokens};
use crate::config::ServeArgs;
use crate::connection::Gathering;
use crate::grpc::admin_service::AdminService;
use crate::grpc::layer::authenticate::Authenticate;
use crate::grpc::proto::port_admin_service_server::{self, PortAdminServiceServer};
use crate::grpc::proto::port_registry_service_server::{self, PortRegistryServiceServer};
use crate::grpc::registry_service::RegistryService;
use crate::grpc::{proto, status};
use crate::registry::assignment::Uid;
use crate::store::history::History;
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::store::{Loaded, Store, StoreError};
use crate::telemetry;
use crate::writer::{Clock, Registrar, World, Writer, writer};

/// A start that takes longer than this says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the server could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that others reach, without encryption.
    #[error(
        "--listen {0} is reachable from other machines, and tokens would cross the network in the \
         clear: listen on a loopback address such as 127.0.0.1:50051, or add --allow-plaintext"
    )]
    Plaintext(SocketAddr),
    /// The address can't be listened on.
    #[error("--listen {address}: the address can't be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log filter can't be understood.
    #[error("--log {filter:?} is not understood: try info, or portbook=debug")]
    Log {
        /// What was given.
        filter: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The chosen admin token is no token.
    #[error("--bootstrap-token or PORTBOOK_BOOTSTRAP_TOKEN can't be used")]
    BootstrapToken(#[from] TokenFormatError),
    /// No randomness.
    #[error("the operating system has no randomness for a token")]
    Random(#[from] getrandom::Error),
    /// The database fails.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    /// The descriptors for reflection are damaged.
    #[error("the reflection service can't be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The writer ended by itself.
    #[error("the writer ended, so the server does too")]
    Writer(#[source] StoreError),
    /// The writer panicked.
    #[error("the writer failed, so the server ends")]
    WriterPanic(#[from] JoinError),
    /// The transport failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
    /// A second signal while calls were still ending.
    #[error("told to stop a second time: ended without waiting for the calls under way")]
    ToldTwice,
    /// Signals can't be listened for, or the ready line can't be written.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT; a second one cuts the grace short. Prints one line on stdout when it is ready.
///
/// # Errors
/// If it can't start, or has to end by itself.
pub async fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let ServeArgs {
        listen,
        database,
        allow_plaintext,
        shutdown_grace,
        max_request_bytes,
        log,
        log_format,
        bootstrap_token,
    } = args;
    let started = Instant::now();
    // An empty variable is one that was not set.
    let chosen = bootstrap_token.filter(|chosen| !chosen.0.is_empty());
    let chosen = chosen.map(|chosen| PlainToken::parse(&chosen.0)).transpose()?;
    telemetry::start(&log, log_format)
        .map_err(|source| ServeError::Log { filter: log.clone(), source })?;
    if !listen.ip().is_loopback() && !allow_plaintext {
        return Err(ServeError::Plaintext(listen));
    }
    let failed = |source: io::Error| ServeError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut signals = Signals::listen()?;

    let mut store = patiently(SqliteStore::open(&database)).await?;
    let clock = Clock::system();
    let mut loaded = store.load(clock.now()).await?.into_loaded();
    ensure_token(&mut store, &mut loaded.tokens, chosen, clock.now(), address).await?;
    let (app, mut writer) = App::new(store, loaded, clock, max_request_bytes);
    // What has ended meanwhile is not told as held by the first answer. Where that can't be stored,
    // as on a full disk, reads go on and it is tried again.
    writer.end_leases().await.map_err(ServeError::Writer)?;
    print_ready(&app, address, started)?;
    let stop = CancellationToken::new();
    tokio::select! {
        ended = run(listener, app, writer, stop.cancelled(), shutdown_grace) => ended?.close().await?,
        () = signals.told_twice(&stop) => return Err(ServeError::ToldTwice),
    }
    tracing::info!(database = %database.display(), "stopped");
    Ok(())
}

/// Everything the services need.
pub struct App {
    registrar: Registrar,
    history: Arc<dyn History>,
    database_id: Arc<str>,
    max_request_bytes: usize,
}

impl App {
    /// The application over a store, and the writer that has to run beside it.
    pub fn new<S: Store>(
        store: S,
        loaded: Loaded,
        clock: Clock,
        max_request_bytes: u32,
    ) -> (Self, Writer<S>) {
        let history = store.history();
        let world = World { clock, new_uid: Box::new(|| Uid::new(Uuid::now_v7())) };
        let database_id = loaded.database_id.as_str().into();
        let (registrar, writer) = writer(store, loaded, world);
        let max_request_bytes = max_request_bytes as usize;
        let app = Self { registrar, history, database_id, max_request_bytes };
        (app, writer)
    }
}

/// Serves on the listener until `shutdown` completes, lets calls end within `grace`, and gives the
/// store back.
///
/// # Errors
/// If the writer or the transport ends by itself.
pub async fn run<S: Store>(
    listener: TcpListener,
    app: App,
    writer: Writer<S>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> Result<S, ServeError> {
    let stopping = CancellationToken::new();
    let mut writing = tokio::spawn(writer.run(stopping.clone()));
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    // Streams and the listener end when `draining` is cancelled, the writer when `stopping` is.
    let draining = CancellationToken::new();
    let authenticate = Authenticate::new(app.registrar.clone(), false);
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_header_list_size(16 * 1024)
        .max_concurrent_streams(100)
        .layer(MapResponseLayer::new(status::explain))
        .layer(authenticate)
        .add_routes(routes(app, draining.clone())?.add_service(health_service))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)).map_ok(Gathering),
            draining.clone().cancelled_owned(),
        );
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            ended?;
            return Err(ServeError::Process(io::Error::other("the listener has ended")));
        }
        ended = &mut writing => return Err(writer_end(ended)),
        () = shutdown => {
            tracing::info!(grace_seconds = grace.as_secs(), "stopping");
            refuse_health(health).await;
            draining.cancel();
            match timeout(grace, &mut serving).await {
                Ok(ended) => ended?,
                Err(_) => tracing::warn!("calls were still under way when the grace had passed"),
            }
        }
    }
    stopping.cancel();
    writing.await?.map_err(ServeError::Writer)
}

const SERVICES: [&str; 3] =
    ["", port_registry_service_server::SERVICE_NAME, port_admin_service_server::SERVICE_NAME];

/// The services, reflection in both versions included.
fn routes(app: App, shutdown: CancellationToken) -> Result<Routes, ServeError> {
    let App { registrar, history, database_id, max_request_bytes } = app;
    let registry = PortRegistryServiceServer::new(RegistryService::new(
        registrar.clone(),
        history,
        Arc::clone(&database_id),
        shutdown,
    ))
    .max_decoding_message_size(max_request_bytes);
    let admin = PortAdminServiceServer::new(AdminService::new(registrar.clone(), database_id))
        .max_decoding_message_size(max_request_bytes);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(registry)
        .add_service(admin)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
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

/// Waits for a new database to be seeded, and says so if that takes long.
async fn patiently<T>(opening: impl Future<Output = T>) -> T {
    tokio::pin!(opening);
    let started = Instant::now();
    loop {
        match timeout(PATIENCE, &mut opening).await {
            Ok(opened) => return opened,
            Err(_) => {
                let seconds = started.elapsed().as_secs();
                // With stderr gone there is nobody to tell.
                let _ = writeln!(
                    io::stderr(),
                    "portbook: preparing the database (a new one is seeded with IANA's registry): {seconds} s"
                );
            }
        }
    }
}

/// Gives a database that has no token its first one, and shows it unless it was chosen.
async fn ensure_token(
    store: &mut SqliteStore,
    tokens: &mut Tokens,
    chosen: Option<PlainToken>,
    now: Timestamp,
    address: SocketAddr,
) -> Result<(), ServeError> {
    if !tokens.is_empty() {
        if chosen.is_some() {
            tracing::warn!(
                "the database has its tokens already: the one given at this start is ignored"
            );
        }
        return Ok(());
    }
    let secret = match chosen {
        Some(chosen) => {
            tracing::info!("the admin token is the one that was given");
            chosen
        }
        None => {
            let secret = PlainToken::generate()?;
            // Shown before it is kept: if the process ends in between, the next start makes
            // another, and nobody is locked out.
            show_token(&secret, address)?;
            secret
        }
    };
    let first = Token::first_admin(secret.hash(), now);
    store.put_token(&first).await?;
    *tokens = tokens.with(first.into());
    Ok(())
}

fn show_token(token: &PlainToken, address: SocketAddr) -> io::Result<()> {
    let secret = token.reveal();
    writeln!(
        io::stderr(),
        "\nThis database is new. Its admin token, shown this once, lets you register ports:\n\n    \
         {secret}\n\nTry it:\n\n    export PORTBOOK_TOKEN={secret}\n    \
         portbook register my-service 7450/tcp --addr {address}\n"
    )
}

fn print_ready(app: &App, address: SocketAddr, started: Instant) -> io::Result<()> {
    let snapshot = app.registrar.snapshot();
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "portbook {} listening on {address}: revision {}, {} assignments, IANA {}, started in {:.3} s",
        env!("CARGO_PKG_VERSION"),
        snapshot.revision(),
        snapshot.size(),
        snapshot.reference().edition().iana_date,
        started.elapsed().as_secs_f64(),
    )?;
    stdout.flush()
}

/// What the system tells the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next SIGTERM or SIGINT.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Tells `stop` of the first signal, and completes at the second.
    async fn told_twice(&mut self, stop: &CancellationToken) {
        self.next().await;
        stop.cancel();
        self.next().await;
    }
}
