//! What the system tells the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the system tells the process.
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

    /// Waits for the next SIGTERM or SIGINT, and does at each SIGHUP what it asks for.
    pub(super) async fn next(&mut self, at_hang_up: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => at_hang_up(),
            }
        }
    }

    /// Tells `stop` of the first signal, and completes at the second.
    pub(super) async fn told_twice(&mut self, stop: &CancellationToken, at_hang_up: impl Fn()) {
        self.next(&at_hang_up).await;
        stop.cancel();
        self.next(&at_hang_up).await;
    }
}
