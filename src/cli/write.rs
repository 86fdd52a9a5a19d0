//! Write commands: calls in sequence, and the output of their combined result.

use std::fmt::Display;

use serde_json::Value;

use super::args::WriteArgs;
use super::output::table::Columns;
use super::output::{self, Format, finding, record, table};
use super::{Error, ExitStatus};
use crate::grpc::proto;

/// The combined result of write calls, or of their dry runs.
#[derive(Debug, Default)]
pub(super) struct WriteOutcome {
    pub(super) assignments: Vec<proto::Assignment>,
    pub(super) findings: Vec<proto::Finding>,
    pub(super) revision: u64,
}

/// Calls `call` for each item until one fails, prints the result of the successful calls, and
/// returns the error of the failed one.
///
/// `done` is the past participle of the action, such as `Registered`.
pub(super) async fn call_each<T: Display>(
    done: &str,
    args: &WriteArgs,
    items: &[T],
    call: impl AsyncFn(&T) -> Result<WriteOutcome, Error>,
) -> Result<ExitStatus, Error> {
    if items.len() > 1 && !args.request_id.is_empty() {
        let message = "--request-id identifies a single call: use it with one port";
        return Err(Error::Usage(message.into()));
    }
    let mut all = WriteOutcome::default();
    for (index, item) in items.iter().enumerate() {
        // Boxed: otherwise the largest call would set the size of every command's future.
        match Box::pin(call(item)).await {
            Ok(outcome) => {
                all.assignments.extend(outcome.assignments);
                all.findings.extend(outcome.findings);
                all.revision = outcome.revision;
            }
            Err(source) => {
                if index > 0 {
                    all.print_done(done, args)?;
                }
                let rest: Vec<_> = items[index + 1..].iter().map(ToString::to_string).collect();
                return Err(if rest.is_empty() {
                    source
                } else {
                    Error::Stopped { at: item.to_string(), rest, source: Box::new(source) }
                });
            }
        }
    }
    all.print_done(done, args)
}

impl WriteOutcome {
    fn print_done(&self, done: &str, args: &WriteArgs) -> Result<ExitStatus, Error> {
        self.print(heading(done, self.revision, args.dry_run), args.output.output)
    }

    /// Prints the result under a heading.
    pub(super) fn print(&self, heading: String, format: Format) -> Result<ExitStatus, Error> {
        let findings: Vec<_> = self.findings.iter().map(finding::line_with_ports).collect();
        if format != Format::Table {
            for finding in &findings {
                output::notice(finding);
            }
        }
        output::show(format, &WriteOutput { heading, outcome: self, findings })
    }
}

/// `Registered at revision 7:`, or `Would be registered:`.
pub(super) fn heading(done: &str, revision: u64, is_dry_run: bool) -> String {
    if is_dry_run {
        format!("Would be {}:", done.to_lowercase())
    } else {
        format!("{done} at revision {revision}:")
    }
}

struct WriteOutput<'a> {
    heading: String,
    outcome: &'a WriteOutcome,
    findings: Vec<String>,
}

impl output::View for WriteOutput<'_> {
    fn table(&self) -> String {
        let records =
            table::records(&self.outcome.assignments, Columns { namespace: true, reason: false });
        let findings = self.findings.iter().map(|finding| table::wrapped(finding));
        format!("{}\n{records}{}", self.heading, findings.collect::<String>())
    }

    fn objects(&self) -> Vec<Value> {
        record::objects(&self.outcome.assignments)
    }
}
