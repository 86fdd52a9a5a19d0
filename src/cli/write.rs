//! What the writes have in common: calls one after the other, and what was written.

use std::fmt::Display;

use serde_json::Value;

use super::args::WriteArgs;
use super::output::table::Columns;
use super::output::{self, Format, finding, record, table};
use super::{Error, ExitStatus};
use crate::grpc::proto;

/// What calls have written, or would have.
#[derive(Debug, Default)]
pub(super) struct WriteOutcome {
    pub(super) assignments: Vec<proto::Assignment>,
    pub(super) findings: Vec<proto::Finding>,
    pub(super) revision: u64,
}

/// Makes a call for each item until one fails, tells what was written, and fails as that one did.
///
/// `done` says what was done, such as `Registered`.
pub(super) async fn call_each<T: Display>(
    done: &str,
    args: &WriteArgs,
    items: &[T],
    call: impl AsyncFn(&T) -> Result<WriteOutcome, Error>,
) -> Result<ExitStatus, Error> {
    if items.len() > 1 && !args.request_id.is_empty() {
        let message = "--request-id names one call: give one port with it";
        return Err(Error::Usage(message.into()));
    }
    let mut all = WriteOutcome::default();
    for (place, item) in items.iter().enumerate() {
        // The largest calls would make the future of every command as large as they are.
        match Box::pin(call(item)).await {
            Ok(written) => {
                all.assignments.extend(written.assignments);
                all.findings.extend(written.findings);
                all.revision = written.revision;
            }
            Err(source) => {
                if place > 0 {
                    all.print_done(done, args)?;
                }
                let rest: Vec<_> = items[place + 1..].iter().map(ToString::to_string).collect();
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

    /// Tells what was written under a heading.
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
