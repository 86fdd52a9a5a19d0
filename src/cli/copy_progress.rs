//! What backing up and restoring have in common: how far the copy has come is told on a terminal, and
//! whoever stops it finds nothing left behind.

use std::future::Future;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::Error;

/// How far a copy has come.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A copy that is about to begin. Only a terminal is told of it.
    pub(super) fn of(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let form = ProgressStyle::with_template("{msg} {bar:20} {bytes}/{total_bytes}");
        if let Ok(form) = form {
            bar.set_style(form.progress_chars("█░"));
        }
        bar.set_message(what);
        Self(bar)
    }

    /// So many bytes of so many are copied.
    pub(super) fn tell(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }

    /// Waits for the copy to be made, or for a signal to stop.
    pub(super) async fn until<T, E: Into<Error>>(
        &self,
        made: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
        let made = tokio::select! {
            made = made => made.map_err(Into::into),
            _ = terminate.recv() => Err(Error::Interrupted),
            _ = interrupt.recv() => Err(Error::Interrupted),
        };
        self.0.finish_and_clear();
        made
    }
}
