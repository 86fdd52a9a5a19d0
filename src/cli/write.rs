//! Write commands: calls in sequence, the output of their combined result, and update masks.

use std::fmt::Display;

use clap::Args;
use serde_json::Value;

use super::args::{NamespaceArgs, WriteArgs};
use super::output::table::Columns;
use super::output::{self, Format, finding, record, table};
use super::parse::Target;
use super::rpc::WriteRequest;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};

/// The combined result of write calls, or of their dry runs.
#[derive(Debug, Default)]
pub(super) struct WriteOutcome {
    pub(super) assignments: Vec<proto::Assignment>,
    pub(super) findings: Vec<proto::Finding>,
    pub(super) revision: u64,
}

macro_rules! outcomes {
    ($($response:ident: |$name:ident| $assignments:expr, $findings:expr;)+) => {$(
        impl From<proto::$response> for WriteOutcome {
            fn from($name: proto::$response) -> Self {
                let revision = $name.revision;
                Self { assignments: $assignments, findings: $findings, revision }
            }
        }
    )+};
}

outcomes! {
    RegisterPortResponse: |response| response.assignments, response.findings;
    EnsurePortResponse: |response| response.assignments, response.findings;
    UpdateAssignmentResponse: |response| response.assignment.into_iter().collect(), response.findings;
    ReleasePortResponse: |response| response.assignments, Vec::new();
    RenewLeaseResponse: |response| response.assignments, Vec::new();
}

/// Sends a request for each item until one fails, prints the result of the successful calls, and
/// returns the error of the failed one.
///
/// `done` is the past participle of the action, such as `Registered`.
pub(super) async fn write_each<T: Display, R: WriteRequest<Response: Into<WriteOutcome>>>(
    session: &Session,
    args: &WriteArgs,
    done: &str,
    items: &[T],
    request: impl Fn(&T) -> R,
) -> Result<ExitStatus, Error> {
    if items.len() > 1 && !args.request_id.is_empty() {
        let message = "--request-id identifies a single call: use it with one port";
        return Err(Error::Usage(message.into()));
    }
    let mut all = WriteOutcome::default();
    for (index, item) in items.iter().enumerate() {
        // Boxed: otherwise the largest call would set the size of every command's future.
        match Box::pin(session.send(request(item).with(args))).await {
            Ok(response) => {
                let outcome: WriteOutcome = response.into();
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

/// The registrations of a write.
#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// The uid of a registration, or one of its ports: 7421 or 7421/tcp. Each argument is a separate
    /// call; the first failed call ends the command.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<Target>,

    #[command(flatten)]
    namespace: NamespaceArgs,
}

/// The request of a write to one registration.
pub(super) trait TargetRequest: WriteRequest<Response: Into<WriteOutcome>> + Clone {
    /// The request for this registration.
    fn at(&self, target: &Target, namespace: &str) -> Self;
}

macro_rules! target_requests {
    ($($request:ident)+) => {$(
        impl TargetRequest for proto::$request {
            fn at(&self, target: &Target, namespace: &str) -> Self {
                match *target {
                    Target::Uid(uid) => Self { uid: uid.to_string(), ..self.clone() },
                    Target::Port(port, transport) => Self {
                        namespace: namespace.to_owned(),
                        port: Some(port.number().into()),
                        transport: convert::transport(transport).into(),
                        ..self.clone()
                    },
                }
            }
        }
    )+};
}

target_requests! { ReleasePortRequest RenewLeaseRequest }

impl TargetArgs {
    /// Sends the request for each registration.
    pub(super) async fn write_each<R: TargetRequest>(
        &self,
        args: &WriteArgs,
        done: &str,
        request: R,
    ) -> Result<ExitStatus, Error> {
        let Self { targets, namespace: NamespaceArgs { namespace } } = self;
        let session = args.call.connect().await?;
        let request = |target: &Target| request.at(target, namespace);
        write_each(&session, args, done, targets, request).await
    }
}

/// The paths of the fields that an update specifies.
#[derive(Debug, Default)]
pub(super) struct UpdateMask {
    pub(super) paths: Vec<String>,
}

impl UpdateMask {
    /// Adds a path if its field is specified.
    pub(super) fn add(&mut self, path: &str, is_specified: bool) {
        self.paths.extend(is_specified.then(|| path.to_owned()));
    }

    /// The value of a field, whose path is added if it is specified.
    pub(super) fn field<T: Default>(&mut self, path: &str, value: Option<T>) -> T {
        self.add(path, value.is_some());
        value.unwrap_or_default()
    }

    /// The field mask. `flags` are the flags that specify a field; without any, the command fails.
    pub(super) fn finish(self, flags: &str) -> Result<Option<prost_types::FieldMask>, Error> {
        if self.paths.is_empty() {
            let message = format!("nothing to change: specify at least one of {flags}");
            return Err(Error::Usage(message));
        }
        Ok(Some(prost_types::FieldMask { paths: self.paths }))
    }
}

impl WriteOutcome {
    fn print_done(&self, done: &str, args: &WriteArgs) -> Result<ExitStatus, Error> {
        self.print(heading(done, self.revision, args.dry_run), args.call.output.output)
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
