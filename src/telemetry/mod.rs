//! Telemetry: the log on stderr, metrics and probes over HTTP, and traces.

mod bounded_listener;
mod http;
mod log;
mod registry_metrics;
mod trace;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use opentelemetry_otlp::ExporterBuildError;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::ParseError;

use self::http::HttpServer;
use self::registry_metrics::RegistryMetrics;
use self::trace::Exporter;
use crate::config::TelemetryArgs;
use crate::grpc::layer::trace::Tracing;
use crate::grpc::rpcs::{RPCS, Rpc};
use crate::metrics::Metrics;
use crate::store::SizeReader;
use crate::writer::RegistryHandle;

/// Why telemetry can't be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is invalid.
    #[error("--log {filter:?} is not a valid filter: try info, or portbook=debug")]
    Log {
        /// The filter.
        filter: String,
        /// Why.
        source: ParseError,
    },
    /// The server can't listen on the address.
    #[error("--http-listen {address}: can't listen on this address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The endpoint for traces is invalid.
    #[error(
        "--otlp-endpoint {endpoint:?} can't be used: expected an address such as \
         http://127.0.0.1:4317"
    )]
    Otlp {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: ExporterBuildError,
    },
}

/// The telemetry of a server.
#[derive(Debug)]
pub struct Telemetry {
    /// The counters and histograms.
    pub metrics: Arc<Metrics>,
    registry_metrics: RegistryMetrics,
    http: Option<HttpServer>,
    exporter: Option<Exporter>,
}

impl Telemetry {
    /// Starts the log, the metrics of the rpcs and of the registry, probes and traces. The
    /// server is not ready any more once `stopping` is cancelled.
    ///
    /// # Errors
    /// If a setting can't be used.
    pub fn start(
        args: TelemetryArgs,
        stopping: &CancellationToken,
    ) -> Result<Self, TelemetryError> {
        let TelemetryArgs { log, log_format, http_listen, otlp_endpoint, trace_ratio } = args;
        let failed = |source| TelemetryError::Log { filter: log.clone(), source };
        log::start(&log, log_format).map_err(failed)?;
        let (metrics, mut registry) = Metrics::new(RPCS.iter().map(Rpc::name));
        let registry_metrics = RegistryMetrics::default();
        registry.register_collector(Box::new(registry_metrics.clone()));
        let http = http_listen.map(|address| {
            let (registry_metrics, stopping) = (registry_metrics.clone(), stopping.clone());
            TcpListener::bind(address)
                .and_then(|listener| http::start(listener, registry, registry_metrics, stopping))
                .map_err(|source| TelemetryError::Listen { address, source })
        });
        let exporter = otlp_endpoint.map(|endpoint| {
            let exporter = Exporter::new(&endpoint, trace_ratio);
            exporter.map_err(|source| TelemetryError::Otlp { endpoint, source })
        });
        Ok(Self {
            metrics: Arc::new(metrics),
            registry_metrics,
            http: http.transpose()?,
            exporter: exporter.transpose()?,
        })
    }

    /// Sets the registry and the size of its database once it is loaded. The server is ready from then
    /// on.
    pub fn set_registry(&self, handle: RegistryHandle, size: SizeReader) {
        self.registry_metrics.set_registry(handle, size);
    }

    /// The address of metrics and probes, if they are served.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Creates spans, if traces are exported.
    #[must_use]
    pub fn tracing(&self) -> Option<Tracing> {
        self.exporter.as_ref().map(Exporter::tracing)
    }

    /// Completes if the HTTP listener ends, which it should not.
    pub async fn http_ended(&mut self) -> io::Error {
        let Some(http) = &mut self.http else { return std::future::pending().await };
        let result = (&mut http.result).await;
        result.ok().and_then(Result::err).unwrap_or_else(|| io::Error::other("it has ended"))
    }

    /// Exports the remaining spans.
    pub async fn flush(self) {
        let Some(exporter) = self.exporter else { return };
        if let Err(error) = spawn_blocking(|| exporter.flush()).await {
            tracing::warn!(error = %error, "the last spans were not sent");
        }
    }
}
