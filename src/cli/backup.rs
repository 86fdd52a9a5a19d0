//! `portbook backup`: a copy of the database, while a server goes on writing.

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
    /// The backup: one file, which nobody but you may read, as it holds the hashes of tokens.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Replace FILE if it is there.
    #[arg(long)]
    force: bool,
}

impl BackupArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, force } = self;
        let progress = Progress::of("backing up");
        let tell = |done, all| progress.tell(done, all);
        let saved = backup(&database, &file, force, Timestamp::now(), tell);
        let saved = progress.until(saved).await?;
        output::print(&told(&database, &file, saved))
    }
}

fn told(database: &Path, file: &Path, saved: Backup) -> String {
    let Backup { revision, assignments, bytes } = saved;
    let (database, file) = (quoted(database), quoted(file));
    format!(
        "Backed up {database} to {file}: revision {revision}, {assignments} registered, {bytes} bytes\n\
         to verify it: portbook verify {file}\n\
         to restore it: portbook restore {file} --database {database} --force\n"
    )
}
