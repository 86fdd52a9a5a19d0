//! `portbook watch`: prints changes to assignments as they are committed, and resumes after a lost
//! connection.

mod progress;

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::args::ServerArgs;
use super::output::change::{self, assignment, details, kind};
use super::output::{self, clean, enum_names, table};
use super::parse;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;
use crate::registry::port::PortRange;
use progress::Progress;

/// The maximum time without a message. A server sends one at least every 10 seconds.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(40);
/// The wait before the first reconnection; it doubles with each failed attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The arguments of `portbook watch`.
#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// The namespace, or - for all namespaces.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    namespace: String,

    /// Only assignments on these ports: 443 or 5000-5010.
    #[arg(long, value_name = "PORTS", value_parser = parse::port_range)]
    ports: Option<PortRange>,

    /// Only assignments of this service.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,

    /// The first revision to show, from 1 [default: the next one].
    #[arg(long, value_name = "REVISION", value_parser = parse::revision)]
    from: Option<u64>,

    /// Exit if the connection is lost, instead of reconnecting.
    #[arg(long)]
    no_retry: bool,

    /// The format of each change.
    #[arg(long, short, value_enum, value_name = "FORMAT", default_value_t = LineFormat::Table)]
    output: LineFormat,

    #[command(flatten)]
    server: ServerArgs,
}

/// The format of a change, one line in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LineFormat {
    /// Text for people.
    Table,
    /// A JSON object.
    Jsonl,
}

impl WatchArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let resume = self.flags();
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
        let mut watch = Watch {
            filter: proto::WatchFilter {
                namespace: self.namespace,
                ports: self.ports.map(convert::port_range),
                service_name: self.service,
            },
            format: self.output,
            progress: Progress::from(self.from.unwrap_or_default()),
            backoff: FIRST_BACKOFF,
        };
        // If the first connection fails, the command fails without retrying.
        let session = Session::connect(&self.server).await?;
        let result = tokio::select! {
            result = watch.follow(&self.server, session, self.no_retry) => result,
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Error::Signal),
            _ = terminate.recv() => Ok(()),
        };
        let next = watch.progress.next();
        if next > self.from.unwrap_or_default()
            && !matches!(&result, Err(error) if error.is_broken_pipe())
        {
            output::notice(&format!("to resume: portbook watch{resume} --from {next}"));
        }
        result.map(|()| ExitStatus::Success)
    }
}

impl WatchArgs {
    /// The flags that repeat this watch; defaults are omitted.
    fn flags(&self) -> String {
        let namespace = Some(format!(" --namespace {}", self.namespace));
        let ports = self.ports.map(|ports| format!(" --ports {ports}"));
        let service = (!self.service.is_empty()).then(|| format!(" --service '{}'", self.service));
        let output = (self.output == LineFormat::Jsonl).then(|| " --output jsonl".to_owned());
        [namespace, ports, service, output].into_iter().flatten().collect()
    }
}

struct Watch {
    filter: proto::WatchFilter,
    format: LineFormat,
    progress: Progress,
    /// The wait before the next reconnection.
    backoff: Duration,
}

impl Watch {
    /// Prints changes and reconnects until an error occurs that is not transient.
    async fn follow(
        &mut self,
        server: &ServerArgs,
        session: Session,
        no_retry: bool,
    ) -> Result<(), Error> {
        let mut error = self.print_until_error(&session).await;
        loop {
            if no_retry || !error.is_retryable() {
                return Err(error);
            }
            if self.backoff == FIRST_BACKOFF {
                output::notice(&format!("portbook: {}; reconnecting", interruption(&error)));
            }
            sleep(self.backoff).await;
            self.backoff = longer(self.backoff);
            error = match Session::connect(server).await {
                Ok(session) => self.print_until_error(&session).await,
                Err(error) => error,
            };
        }
    }

    /// Prints changes until the connection is lost or the server closes the stream.
    async fn print_until_error(&mut self, session: &Session) -> Error {
        match self.print_changes(session).await {
            Ok(()) => Error::IncompleteResponse,
            Err(error) => error,
        }
    }

    async fn print_changes(&mut self, session: &Session) -> Result<(), Error> {
        let request = proto::WatchAssignmentsRequest {
            start_revision: self.progress.next(),
            filter: Some(self.filter.clone()),
        };
        let mut registry = session.registry();
        let call = registry.watch_assignments(request);
        let mut messages = session.call_within(MESSAGE_TIMEOUT, call).await?;
        let mut is_new = true;
        while let Some(message) = session.next_message(MESSAGE_TIMEOUT, &mut messages).await? {
            self.backoff = FIRST_BACKOFF;
            let (is_progress, revision) = (message.changes.is_empty(), message.revision);
            for change in self.progress.record(message) {
                output::print(&line(&change, self.format, self.filter.namespace == "-"))?;
            }
            if is_new && is_progress {
                output::notice(&format!("watching; up to date at revision {revision}"));
                is_new = false;
            }
        }
        Ok(())
    }
}

/// Why a watch is interrupted.
fn interruption(error: &Error) -> String {
    match error {
        Error::IncompleteResponse => "the server closed the stream".to_owned(),
        error => error.to_string(),
    }
}

fn longer(backoff: Duration) -> Duration {
    MAX_BACKOFF.min(backoff * 2)
}

/// The change in one line.
fn line(change: &proto::Change, format: LineFormat, has_namespace: bool) -> String {
    if format == LineFormat::Jsonl {
        return change::object(change).to_string() + "\n";
    }
    let time = change.time.map(table::time);
    let record = assignment(change);
    let name = record.map_or("", |record| &record.service_name);
    let ports = table::ports(record.and_then(|record| record.ports));
    let transport = record.map_or_else(Default::default, proto::Assignment::transport);
    let mut line = vec![
        change.revision.to_string(),
        time.unwrap_or_else(|| "-".into()),
        kind(change),
        name.to_owned(),
        format!("{ports}/{}", enum_names::phrase(transport)),
    ];
    line.extend(has_namespace.then(|| change::namespace_name(change).to_owned()));
    line.push(format!("by {}", change.actor));
    let notes = [&change.reason, &details(change)].map(|text| format!("({text})"));
    line.extend(notes.into_iter().filter(|text| text != "()"));
    clean(&line.join("  ")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_from_one_to_thirty_seconds() {
        let backoffs: Vec<_> =
            std::iter::successors(Some(FIRST_BACKOFF), |&backoff| Some(longer(backoff)))
                .take(7)
                .map(|backoff| backoff.as_secs())
                .collect();
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_change_is_one_line() {
        let record = proto::Assignment {
            namespace: "prod".into(),
            service_name: "billing".into(),
            ports: Some(proto::PortRange { first: Some(7450), last: Some(7459) }),
            transport: proto::Transport::Udp.into(),
            ..proto::Assignment::default()
        };
        let change = proto::Change {
            revision: 7,
            time: Some(prost_types::Timestamp::default()),
            actor: "ci".into(),
            reason: "moved\nelsewhere".into(),
            kind: proto::ChangeKind::Released.into(),
            before: Some(record),
            ..proto::Change::default()
        };
        assert_eq!(
            line(&change, LineFormat::Table, true),
            "7  1970-01-01T00:00:00Z  released  billing  7450-7459/udp  prod  by ci  \
             (moved elsewhere)\n"
        );
        let json = line(&change, LineFormat::Jsonl, true);
        assert_eq!(json.lines().count(), 1);
        assert!(json.starts_with("{\"revision\":7,") && json.ends_with("}\n"), "{json}");
    }
}
