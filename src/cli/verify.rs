//! `portbook verify`: checks a database or a backup for damage.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{DatabaseArgs, OutputArgs};
use super::output::{self, clean, quoted, table};
use super::{Error, ExitStatus};
use crate::store::{Check, DatabaseStore, Maintenance, Outcome, Report};

/// The arguments of `portbook verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The backup or database to check. Default: the value of --database.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl VerifyArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { file, database: DatabaseArgs { database }, output } = self;
        let file = file.unwrap_or(database);
        let report = DatabaseStore::verify(&file, Timestamp::now()).await?;
        output::show(output.output, &report)?;
        if report.is_ok() {
            return Ok(ExitStatus::Success);
        }
        let file = quoted(&file);
        // Files of other programs are not checked further.
        let is_portbook = report.checks.iter().any(|check| check.name == "schema");
        output::notice(&if report.is_backup {
            format!("{file} cannot be restored: use another backup")
        } else if is_portbook {
            format!(
                "to replace it with a backup: portbook restore BACKUP --database {file} --force; \
                 without a backup, try to recover data: {}",
                DatabaseStore::recovery_command(&file)
            )
        } else {
            format!(
                "{file} is not a Portbook database, or its first page is damaged: check the path, or \
                 see portbook restore --help"
            )
        });
        Ok(ExitStatus::Damaged)
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Skipped => "-",
        Outcome::Failed => "WRONG",
    }
}

impl output::View for Report {
    fn table(&self) -> String {
        let rows = self.checks.iter().map(|check| {
            vec![check.name.to_owned(), outcome(check.outcome).to_owned(), clean(&check.detail)]
        });
        table::render(&["CHECK", "RESULT", "DETAIL"], rows)
    }

    fn objects(&self) -> Vec<Value> {
        let object = |check: &Check| {
            let result = match check.outcome {
                Outcome::Passed => "OK",
                Outcome::Skipped => "NOT_CHECKED",
                Outcome::Failed => "WRONG",
            };
            json!({"check": check.name, "result": result, "detail": check.detail})
        };
        self.checks.iter().map(object).collect()
    }

    fn json(&self) -> Value {
        json!({
            "is_right": self.is_ok(),
            "is_backup": self.is_backup,
            "revision": self.revision.map(|revision| revision.0),
            "assignments": self.assignments,
            "checks": self.objects(),
        })
    }
}
