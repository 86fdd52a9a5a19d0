//! Signals: SIGTERM and SIGINT stop the server, SIGHUP reloads the certificates.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signal handlers of the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next SIGTERM or SIGINT. Calls `on_hang_up` at each SIGHUP.
    pub(super) async fn stop_signal(&mut self, on_hang_up: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => on_hang_up(),
            }
        }
    }

    /// Cancels `stop` at the first signal to stop, and completes at the second.
    pub(super) async fn second_stop_signal(
        &mut self,
        stop: &CancellationToken,
        on_hang_up: impl Fn(),
    ) {
        self.stop_signal(&on_hang_up).await;
        stop.cancel();
        self.stop_signal(&on_hang_up).await;
    }
}
