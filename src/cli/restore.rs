//! `portbook restore`: a backup in the place of the database.

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
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Put it in the place of a database that is there. The old one is kept beside it.
    #[arg(long)]
    force: bool,
}

impl RestoreArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, force } = self;
        let progress = Progress::of("restoring");
        let tell = |done, all| progress.tell(done, all);
        let restored = restore(&file, &database, force, Timestamp::now(), tell);
        let restored = progress.until(restored).await?;
        output::print(&told(&database, &file, &restored))
    }
}

fn told(database: &Path, file: &Path, restored: &Restored) -> String {
    let Restored { revision, assignments, previous } = restored;
    let (database, file) = (quoted(database), quoted(file));
    let previous = previous.as_ref().map_or_else(String::new, |previous| {
        format!("the database that was there before: {}\n", quoted(previous))
    });
    format!(
        "Restored {database} from {file}: revision {revision}, {assignments} registered\n{previous}\
         to serve it: portbook serve --database {database}\n"
    )
}
