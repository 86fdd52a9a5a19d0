//! `portbook backup` and `portbook restore`: copies between the database and a backup file, with a
//! progress bar and without partial files after a signal.

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use itertools::Itertools;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::args::DatabaseArgs;
use super::output::{self, quoted};
use super::{Error, ExitStatus};
use crate::store::{Backup, DatabaseStore, Maintenance, RestoreOptions, Restored, RestoredTokens};

/// The arguments of `portbook backup` and `portbook restore`.
#[derive(Args, Debug)]
pub(super) struct CopyArgs {
    /// The backup file. backup creates it readable only by its owner, as it contains the hashes of
    /// tokens; restore verifies it first.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Replace an existing FILE (backup) or database (restore). The replaced database is renamed, not
    /// deleted, and stays in the same folder.
    #[arg(long)]
    force: bool,
}

impl CopyArgs {
    /// Copies the database to the file. A server may be running.
    pub(super) async fn backup(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, force } = self;
        let progress = Progress::new("backing up");
        let update = |copied, total| progress.update(copied, total);
        let saved = DatabaseStore::backup(&database, &file, force, Timestamp::now(), update);
        let saved = progress.run(saved).await?;
        output::print(&backup_summary(&database, &file, saved))
    }
}

/// The arguments of `portbook restore`.
#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    copy: CopyArgs,

    /// Use the tokens of the backup, as they were then: those that were revoked or rotated since are
    /// valid again. Otherwise, the tokens of the replaced database stay as they are, if it is the same
    /// registry and can be read.
    #[arg(long)]
    tokens_from_backup: bool,
}

impl RestoreArgs {
    /// Replaces the database with the file.
    pub(super) async fn restore(self) -> Result<ExitStatus, Error> {
        let Self { copy, tokens_from_backup } = self;
        let CopyArgs { file, database: DatabaseArgs { database }, force } = copy;
        let progress = Progress::new("restoring");
        let update = |copied, total| progress.update(copied, total);
        let options = RestoreOptions { overwrite: force, tokens_from_backup };
        let restored = DatabaseStore::restore(&file, &database, options, Timestamp::now(), update);
        let restored = progress.run(restored).await?;
        output::print(&restore_summary(&database, &file, &restored))
    }
}

fn backup_summary(database: &Path, file: &Path, saved: Backup) -> String {
    let Backup { revision, assignments, bytes } = saved;
    let (database, file) = (quoted(database), quoted(file));
    format!(
        "Backed up {database} to {file}: revision {revision}, {assignments} registered, {bytes} bytes\n\
         to verify it: portbook verify {file}\n\
         to restore it: portbook restore {file} --database {database} --force\n"
    )
}

fn restore_summary(database: &Path, file: &Path, restored: &Restored) -> String {
    let Restored { revision, assignments, previous, tokens } = restored;
    let (database, file) = (quoted(database), quoted(file));
    let previous = previous
        .as_ref()
        .map_or_else(String::new, |previous| format!("previous database: {}\n", quoted(previous)));
    let tokens = tokens_summary(tokens);
    format!(
        "Restored {database} from {file}: revision {revision}, {assignments} registered\n{previous}\
         {tokens}to start the server: portbook serve --database {database}\n"
    )
}

fn tokens_summary(tokens: &RestoredTokens) -> String {
    match tokens {
        RestoredTokens::Kept { differing } if differing.is_empty() => String::new(),
        RestoredTokens::Kept { differing } => format!(
            "tokens: those of the previous database; they differ from the backup in: {}\n",
            differing.iter().join(", ")
        ),
        RestoredTokens::OfBackup => {
            "tokens: those of the backup; if one of them was revoked since, it \
             is valid again; to revoke it: portbook token revoke NAME\n"
                .into()
        }
    }
}

/// The progress of a copy.
#[derive(Clone)]
struct Progress(ProgressBar);

impl Progress {
    /// Creates the progress bar. It is shown only if stderr is a terminal.
    fn new(message: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} {bar:20} {bytes}/{total_bytes}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("█░"));
        }
        bar.set_message(message);
        Self(bar)
    }

    /// Shows the number of copied bytes.
    fn update(&self, copied: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(copied);
    }

    /// Waits for the copy, or for SIGTERM or SIGINT. Dropping the copy removes its partial files.
    async fn run<T, E: Into<Error>>(
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
