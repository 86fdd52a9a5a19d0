//! `portbook restore`: replaces the database with a backup.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::args::DatabaseArgs;
use super::copy_progress::Progress;
use super::output::{self, quoted};
use super::{Error, ExitStatus};
use crate::store::sqlite::{Restored, restore};

/// The arguments of `portbook restore`.
#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// The backup file to restore. It is verified first.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Replace an existing database. It is renamed, not deleted, and stays in the same folder.
    #[arg(long)]
    force: bool,
}

impl RestoreArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, force } = self;
        let progress = Progress::new("restoring");
        let update = |copied, total| progress.update(copied, total);
        let restored = restore(&file, &database, force, Timestamp::now(), update);
        let restored = progress.run(restored).await?;
        output::print(&summary(&database, &file, &restored))
    }
}

fn summary(database: &Path, file: &Path, restored: &Restored) -> String {
    let Restored { revision, assignments, previous } = restored;
    let (database, file) = (quoted(database), quoted(file));
    let previous = previous
        .as_ref()
        .map_or_else(String::new, |previous| format!("previous database: {}\n", quoted(previous)));
    format!(
        "Restored {database} from {file}: revision {revision}, {assignments} registered\n{previous}\
         to start the server: portbook serve --database {database}\n"
    )
}
