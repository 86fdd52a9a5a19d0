//! Metrics and probes over HTTP, on a listener and a thread of their own: whoever asks how the
//! server is gets an answer also when it is busy.

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

use super::bounded::Bounded;
use super::state::State;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listener that has begun to answer.
#[derive(Debug)]
pub(super) struct Running {
    /// Where.
    pub(super) address: SocketAddr,
    /// Tells how it ended, if it does by itself.
    pub(super) end: oneshot::Receiver<io::Result<()>>,
}

/// Answers `/metrics`, `/healthz` and `/readyz` until `stopping` is cancelled and for as long as
/// the process lives then, no longer ready.
pub(super) fn start(
    listener: TcpListener,
    registry: Registry,
    state: State,
    stopping: CancellationToken,
) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (ended, end) = oneshot::channel();
    let serve = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(Bounded::new(listener), routes(Arc::new(registry), state, stopping)).await
        })
    };
    // The thread ends with the process; if it ends before, that is told.
    thread::Builder::new().name("http".into()).spawn(move || {
        // With nobody to tell, the process is ending.
        let _ = ended.send(serve());
    })?;
    Ok(Running { address, end })
}

fn routes(registry: Arc<Registry>, state: State, stopping: CancellationToken) -> Router {
    let metrics = async move || {
        let mut told = String::new();
        match text::encode(&mut told, &registry) {
            Ok(()) => Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], told)),
            Err(_) => {
                Err((StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"))
            }
        }
    };
    let ready = async move || {
        if stopping.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else if state.is_running() {
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
