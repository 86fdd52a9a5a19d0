//! What the server tells of itself: its log on stderr, metrics and probes over HTTP, and traces.

mod bounded;
mod http;
mod log;
mod state;
mod trace;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use opentelemetry_otlp::ExporterBuildError;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::ParseError;

use self::http::Running;
use self::state::State;
use self::trace::Exporter;
use crate::config::TelemetryArgs;
use crate::grpc::layer::trace::Tracing;
use crate::metrics::Metrics;
use crate::writer::RegistryHandle;

/// Why the server can't tell what it should.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter can't be understood.
    #[error("--log {filter:?} is not understood: try info, or portbook=debug")]
    Log {
        /// What was given.
        filter: String,
        /// Why not.
        source: ParseError,
    },
    /// The address can't be listened on.
    #[error("--http-listen {address}: the address can't be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Traces can't be sent there.
    #[error(
        "--otlp-endpoint {endpoint:?} can't be used: an address such as http://127.0.0.1:4317 is \
         asked for"
    )]
    Otlp {
        /// What was given.
        endpoint: String,
        /// Why not.
        source: ExporterBuildError,
    },
}

/// What tells how the server fares.
#[derive(Debug)]
pub struct Telemetry {
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
    state: State,
    http: Option<Running>,
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Begins to tell, of these rpcs and the registry that will be in this file; not ready any more
    /// once `stopping` is cancelled.
    ///
    /// # Errors
    /// If a setting can't be used.
    pub fn start(
        args: TelemetryArgs,
        rpcs: Vec<String>,
        database: &Path,
        stopping: &CancellationToken,
    ) -> Result<Self, TelemetryError> {
        let TelemetryArgs { log, log_format, http_listen, otlp_endpoint, trace_ratio } = args;
        let failed = |source| TelemetryError::Log { filter: log.clone(), source };
        log::start(&log, log_format).map_err(failed)?;
        let (metrics, mut registry) = Metrics::new(rpcs);
        let state = State::new(database.to_owned());
        registry.register_collector(Box::new(state.clone()));
        let http = http_listen.map(|address| {
            let (state, stopping) = (state.clone(), stopping.clone());
            TcpListener::bind(address)
                .and_then(|listener| http::start(listener, registry, state, stopping))
                .map_err(|source| TelemetryError::Listen { address, source })
        });
        let exporter = otlp_endpoint.map(|endpoint| {
            let exporter = Exporter::new(&endpoint, trace_ratio);
            exporter.map_err(|source| TelemetryError::Otlp { endpoint, source })
        });
        Ok(Self {
            metrics: Arc::new(metrics),
            state,
            http: http.transpose()?,
            exporter: exporter.transpose()?,
        })
    }

    /// There is a registry now.
    pub fn is_of(&self, registrar: RegistryHandle) {
        self.state.is_of(registrar);
    }

    /// Where metrics and probes are answered, if they are.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Makes spans, if they go anywhere.
    #[must_use]
    pub fn tracing(&self) -> Option<Tracing> {
        self.exporter.as_ref().map(Exporter::tracing)
    }

    /// Completes if metrics and probes are no longer answered although they should be.
    pub async fn http_ended(&mut self) -> io::Error {
        let Some(http) = &mut self.http else { return std::future::pending().await };
        let ended = (&mut http.end).await;
        ended.ok().and_then(Result::err).unwrap_or_else(|| io::Error::other("it has ended"))
    }

    /// Sends what was not sent yet.
    pub async fn flush(self) {
        let Some(exporter) = self.exporter else { return };
        if let Err(fault) = spawn_blocking(|| exporter.flush()).await {
            tracing::warn!(%fault, "the last spans were not sent");
        }
    }
}
