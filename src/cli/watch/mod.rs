//! `portbook watch`: the changes of assignments as they come, also across restarts of the server.

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

/// A server tells at least every 10 seconds that it is there.
const SILENCE: Duration = Duration::from_secs(40);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The arguments of `portbook watch`.
#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// The namespace, or - for all of them.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    namespace: String,

    /// Only assignments on these ports: 443 or 5000-5010.
    #[arg(long, value_name = "PORTS", value_parser = parse::port_range)]
    ports: Option<PortRange>,

    /// Only assignments of this service.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,

    /// The first revision to tell; 1 is the beginning. Left out: from now on.
    #[arg(long, value_name = "REVISION", value_parser = parse::revision)]
    from: Option<u64>,

    /// End when the connection is lost, and do not go on when the server is back.
    #[arg(long)]
    no_retry: bool,

    /// How to write each change.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,

    #[command(flatten)]
    server: ServerArgs,
}

/// How a change is written: one line in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
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
            form: self.output,
            progress: Progress::from(self.from.unwrap_or_default()),
            pause: FIRST_PAUSE,
        };
        // Who can't be reached at all is told so at once.
        let session = Session::connect(&self.server).await?;
        let ended = tokio::select! {
            ended = watch.follow(&self.server, session, self.no_retry) => ended,
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Error::Signal),
            _ = terminate.recv() => Ok(()),
        };
        let next = watch.progress.next();
        if next > self.from.unwrap_or_default()
            && !matches!(&ended, Err(error) if error.is_broken_pipe())
        {
            output::notice(&format!("to go on from here: portbook watch{resume} --from {next}"));
        }
        ended.map(|()| ExitStatus::Success)
    }
}

impl WatchArgs {
    /// The flags that make the same watch again, where they are not left out.
    fn flags(&self) -> String {
        let namespace = Some(format!(" --namespace {}", self.namespace));
        let ports = self.ports.map(|ports| format!(" --ports {ports}"));
        let service = (!self.service.is_empty()).then(|| format!(" --service '{}'", self.service));
        let output = (self.output == Form::Jsonl).then(|| " --output jsonl".to_owned());
        [namespace, ports, service, output].into_iter().flatten().collect()
    }
}

struct Watch {
    filter: proto::WatchFilter,
    form: Form,
    progress: Progress,
    /// How long to wait before the next try.
    pause: Duration,
}

impl Watch {
    /// Tells changes until something goes wrong that does not pass.
    async fn follow(
        &mut self,
        server: &ServerArgs,
        session: Session,
        no_retry: bool,
    ) -> Result<(), Error> {
        let mut lost = self.listen(&session).await;
        loop {
            if no_retry || !lost.is_retryable() {
                return Err(lost);
            }
            if self.pause == FIRST_PAUSE {
                output::notice(&format!("portbook: {}; trying again", interruption(&lost)));
            }
            sleep(self.pause).await;
            self.pause = longer(self.pause);
            lost = match Session::connect(server).await {
                Ok(session) => self.listen(&session).await,
                Err(error) => error,
            };
        }
    }

    /// Tells changes until the connection is lost or the server ends it.
    async fn listen(&mut self, session: &Session) -> Error {
        match self.tell_all(session).await {
            Ok(()) => Error::IncompleteResponse,
            Err(error) => error,
        }
    }

    async fn tell_all(&mut self, session: &Session) -> Result<(), Error> {
        let request = proto::WatchAssignmentsRequest {
            start_revision: self.progress.next(),
            filter: Some(self.filter.clone()),
        };
        let mut registry = session.registry();
        let call = registry.watch_assignments(request);
        let mut answers = session.call_within(SILENCE, call).await?;
        let mut is_new = true;
        while let Some(answer) = session.next_message(SILENCE, &mut answers).await? {
            self.pause = FIRST_PAUSE;
            let (is_mark, revision) = (answer.changes.is_empty(), answer.revision);
            for change in self.progress.take(answer) {
                output::print(&line(&change, self.form, self.filter.namespace == "-"))?;
            }
            if is_new && is_mark {
                output::notice(&format!("watching; all up to revision {revision} is told"));
                is_new = false;
            }
        }
        Ok(())
    }
}

/// Why a watch does not go on for now.
fn interruption(lost: &Error) -> String {
    match lost {
        Error::Unreachable(addr) => format!("the connection to {addr} is lost"),
        Error::IncompleteResponse => "the server has ended the watch".to_owned(),
        lost => lost.to_string(),
    }
}

fn longer(pause: Duration) -> Duration {
    LONGEST_PAUSE.min(pause * 2)
}

/// The change in one line.
fn line(change: &proto::Change, form: Form, has_namespace: bool) -> String {
    if form == Form::Jsonl {
        return change::object(change).to_string() + "\n";
    }
    let time = change.time.map(table::time);
    let record = assignment(change);
    let name = record.map_or("", |record| &record.service_name);
    let ports = table::ports(record.and_then(|record| record.ports));
    let transport = record.and_then(|record| enum_names::transport(record.transport));
    let mut line = vec![
        change.revision.to_string(),
        time.unwrap_or_else(|| "-".into()),
        kind(change),
        name.to_owned(),
        format!("{ports}/{}", transport.unwrap_or_else(|| "-".into())),
    ];
    line.extend(has_namespace.then(|| change::namespace_name(change).to_owned()));
    line.push(format!("by {}", change.actor));
    let said = [&change.reason, &details(change)].map(|text| format!("({text})"));
    line.extend(said.into_iter().filter(|text| text != "()"));
    clean(&line.join("  ")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_one_second_to_thirty() {
        let pauses: Vec<_> = std::iter::successors(Some(FIRST_PAUSE), |&pause| Some(longer(pause)))
            .take(7)
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
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
            line(&change, Form::Table, true),
            "7  1970-01-01T00:00:00Z  released  billing  7450-7459/udp  prod  by ci  \
             (moved elsewhere)\n"
        );
        let json = line(&change, Form::Jsonl, true);
        assert_eq!(json.lines().count(), 1);
        assert!(json.starts_with("{\"revision\":7,") && json.ends_with("}\n"), "{json}");
    }
}
