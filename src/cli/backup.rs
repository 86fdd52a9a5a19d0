//! `portbook backup`: copies the database to one file. A server may be running.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::args::DatabaseArgs;
use super::copy_progress::Progress;
use super::output::{self, quoted};
use super::{Error, ExitStatus};
use crate::store::sqlite::{Backup, backup};

/// The arguments of `portbook backup`.
#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// The backup file to create. Only its owner can read it, as it contains the hashes of tokens.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Replace FILE if it exists.
    #[arg(long)]
    force: bool,
}

impl BackupArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, force } = self;
        let progress = Progress::new("backing up");
        let update = |copied, total| progress.update(copied, total);
        let saved = backup(&database, &file, force, Timestamp::now(), update);
        let saved = progress.run(saved).await?;
        output::print(&summary(&database, &file, saved))
    }
}

fn summary(database: &Path, file: &Path, saved: Backup) -> String {
    let Backup { revision, assignments, bytes } = saved;
    let (database, file) = (quoted(database), quoted(file));
    format!(
        "Backed up {database} to {file}: revision {revision}, {assignments} registered, {bytes} bytes\n\
         to verify it: portbook verify {file}\n\
         to restore it: portbook restore {file} --database {database} --force\n"
    )
}
