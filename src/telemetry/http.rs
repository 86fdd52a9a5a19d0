//! Metrics and probes over HTTP, on a separate listener and thread, so that they respond while the
//! server is busy.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::bounded_listener::BoundedListener;
use super::registry_metrics::RegistryMetrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A running HTTP listener.
#[derive(Debug)]
pub(super) struct HttpServer {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Receives the result if the listener ends, which it should not.
    pub(super) result: oneshot::Receiver<io::Result<()>>,
}

/// Serves `/metrics`, `/healthz` and `/readyz` until the process ends. Once `stopping` is cancelled,
/// the server is not ready.
pub(super) fn start(
    listener: TcpListener,
    registry: Registry,
    registry_metrics: RegistryMetrics,
    stopping: CancellationToken,
) -> io::Result<HttpServer> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (sender, result) = oneshot::channel();
    let serve = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let routes = routes(Arc::new(registry), registry_metrics, stopping);
            axum::serve(BoundedListener::new(listener), routes).await
        })
    };
    // The thread should run as long as the process; if it ends before, the receiver is notified.
    thread::Builder::new().name("http".into()).spawn(move || {
        // A dropped receiver means that the process is ending.
        let _ = sender.send(serve());
    })?;
    Ok(HttpServer { address, result })
}

fn routes(
    registry: Arc<Registry>,
    registry_metrics: RegistryMetrics,
    stopping: CancellationToken,
) -> Router {
    let metrics = async move || {
        let mut body = String::new();
        match text::encode(&mut body, &registry) {
            Ok(()) => Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], body)),
            Err(_) => {
                Err((StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded\n"))
            }
        }
    };
    let ready = async move || {
        if stopping.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else if registry_metrics.is_running() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}
