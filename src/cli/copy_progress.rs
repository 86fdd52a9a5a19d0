//! The progress bar of backup and restore, and their interruption by a signal.

use std::future::Future;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::Error;

/// The progress of a copy.
#[derive(Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Creates the progress bar. It is shown only if stderr is a terminal.
    pub(super) fn new(message: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} {bar:20} {bytes}/{total_bytes}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("█░"));
        }
        bar.set_message(message);
        Self(bar)
    }

    /// Shows the number of copied bytes.
    pub(super) fn update(&self, copied: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(copied);
    }

    /// Waits for the copy, or for SIGTERM or SIGINT. Dropping the copy removes its partial files.
    pub(super) async fn run<T, E: Into<Error>>(
        &self,
        copy: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
        let result = tokio::select! {
            result = copy => result.map_err(Into::into),
            _ = terminate.recv() => Err(Error::Interrupted),
            _ = interrupt.recv() => Err(Error::Interrupted),
        };
        self.0.finish_and_clear();
        result
    }
}
