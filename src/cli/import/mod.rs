//! `portbook import`: registers what stands in a CSV file or a Markdown table, all of it or nothing.
//!
//! A file is understood as a whole before anything is sent, and judged as a whole before anything
//! is registered.

mod cell;
mod columns;
mod markdown;
mod name;
mod report;
mod row;
mod separated;
mod source;
mod table;

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{AcknowledgeArgs, LeaseArgs, WriteArgs};
use super::output::{self, Format};
use super::session::Session;
use super::{Error, ExitStatus, parse};
use crate::grpc::fields::MAX_REGISTRATIONS;
use crate::grpc::proto;
use crate::registry::name::NamespaceName;
use crate::registry::port::Transport;
use report::Report;
use row::{Defaults, Fault, Registration, registrations};
use table::Form;

/// The most faults that are told one by one.
const MOST_FAULTS: usize = 20;

/// The arguments of `portbook import`.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The file, or - for stdin: CSV with commas, semicolons or tabs, a Markdown document with a
    /// table, or what portbook list --source custom --all --output csv writes.
    file: PathBuf,

    /// How the file is written.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Auto)]
    format: Form,

    /// Which of several Markdown tables to read, from 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse::positive)]
    table: usize,

    /// The namespace of every row, whatever a column of that name says.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// The namespace of rows that say none.
    #[arg(
        long,
        env = "PORTBOOK_NAMESPACE",
        value_name = "NAME",
        default_value = NamespaceName::DEFAULT
    )]
    default_namespace: String,

    /// The transports where a row says none; several with commas.
    #[arg(
        long = "transport",
        value_name = "TRANSPORT",
        value_delimiter = ',',
        default_value = "tcp"
    )]
    transports: Vec<Transport>,

    /// Make service names of names that are none: kube-controller-manager becomes kube-controller.
    /// The full name is kept in the label process, and as the description where there is none.
    #[arg(long)]
    shorten_names: bool,

    /// Leave out what the same service holds already on exactly these ports: for a table that is
    /// imported again when it has grown.
    #[arg(long)]
    skip_held: bool,

    /// A column to leave out; may be given several times.
    #[arg(long = "ignore-column", value_name = "NAME")]
    ignored: Vec<String>,

    /// A label for all registrations; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    lease: LeaseArgs,
    #[command(flatten)]
    acknowledge: AcknowledgeArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl ImportArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let bytes = source::bytes(&self.file)?;
        let registrations = self.plan(&bytes)?;
        let session = Session::connect(&self.write.server).await?;
        let request = proto::BatchCheckPortsRequest {
            requests: registrations.iter().map(|asked| bare(&asked.request)).collect(),
        };
        let answer = session.call(session.registry().batch_check_ports(request)).await;
        let verdicts = answer.map_err(|fault| at_line(fault, &registrations))?.verdicts;
        if verdicts.len() != registrations.len() {
            return Err(Error::IncompleteResponse);
        }
        let mut report = Report { registrations, verdicts, assignments: Vec::new() };
        if self.skip_held {
            let count = report.leave_out_held();
            output::notice(&format!("portbook: held already, and left out: {count}"));
        }
        let format = self.write.output.output;
        if report.registrations.is_empty() && format == Format::Table {
            return Ok(ExitStatus::Success);
        }
        if report.registrations.is_empty() {
            return output::show(format, &report);
        }
        self.register(&session, report).await
    }

    /// What the file asks for.
    fn plan(&self, bytes: &[u8]) -> Result<Vec<Registration>, Error> {
        let usage = |fault: &dyn std::error::Error| usage(&self.file, fault);
        let text = source::text(bytes).map_err(|fault| usage(&fault))?;
        let (table, others) =
            table::read(&text, self.format, self.table).map_err(|fault| usage(&fault))?;
        for line in others {
            output::notice(&format!(
                "portbook: the table on line {line} is not read: --table N chooses another one"
            ));
        }
        let columns = columns::read(table.header.line, &table.header.cells, &self.ignored);
        let columns = columns.map_err(|fault| usage(&fault))?;
        let within_limit = |count: usize| {
            let message = format!(
                "{} has {count} registrations, and at most {MAX_REGISTRATIONS} can be made together, all or \
                 nothing: split the file",
                self.file.display()
            );
            if count > MAX_REGISTRATIONS { Err(Error::Usage(message)) } else { Ok(()) }
        };
        within_limit(table.rows.len())?;
        let defaults = Defaults {
            namespace: self.namespace.clone(),
            default_namespace: self.default_namespace.clone(),
            acknowledge: self.acknowledge.codes(),
            labels: self.labels.clone(),
            ttl: self.lease.ttl,
            transports: self.transports.clone(),
            shorten_names: self.shorten_names,
        };
        let registrations = registrations(&table, &columns, &defaults).map_err(|faults| {
            for line in told(&faults) {
                output::notice(&line);
            }
            let (file, count) = (self.file.display(), faults.len());
            Error::Usage(format!("{file}: faults in its rows: {count}; nothing was sent"))
        })?;
        within_limit(registrations.len())?;
        if registrations.is_empty() {
            let line = table.header.line;
            let message =
                format!("{} has no rows under the header on line {line}", self.file.display());
            return Err(Error::Usage(message));
        }
        Ok(registrations)
    }

    /// Registers all of it if all of it is accepted, and tells what came of it.
    async fn register(self, session: &Session, mut report: Report) -> Result<ExitStatus, Error> {
        let write = &self.write;
        let format = write.output.output;
        let refused = report.refused();
        // What was asked for under this id may have been done, and then nothing of it is free.
        let may_be_done = !write.request_id.is_empty();
        if write.dry_run || refused > 0 && !may_be_done {
            return judged(&report, format, write.dry_run);
        }
        if refused == 0 && format == Format::Table {
            output::show(format, &report)?;
        }
        let requests = report.registrations.iter().map(|asked| asked.request.clone());
        let request = proto::BatchRegisterPortsRequest {
            requests: requests.collect(),
            validate_only: false,
            request_id: write.request_id.clone(),
            reason: write.reason.clone(),
        };
        let answer = session.call(session.admin().batch_register_ports(request)).await;
        let answer = match answer {
            Err(Error::Refused(_)) if refused > 0 => return judged(&report, format, false),
            answer => answer.map_err(|fault| at_line(fault, &report.registrations))?,
        };
        report.assignments = answer.assignments;
        if format != Format::Table {
            return output::show(format, &report);
        }
        output::print(&format!(
            "Imported {} registrations ({} assignments) at revision {}.\n",
            report.registrations.len(),
            report.assignments.len(),
            answer.revision
        ))
    }
}

/// Tells the verdicts of what is not registered, and what would help.
fn judged(report: &Report, format: Format, is_dry_run: bool) -> Result<ExitStatus, Error> {
    output::show(format, report)?;
    let (refused, all) = (report.refused(), report.verdicts.len());
    if refused > 0 {
        let what = if is_dry_run { "would be imported" } else { "is imported" };
        output::notice(&format!(
            "portbook: {refused} of {all} registrations are not accepted, so nothing {what}"
        ));
    }
    if let Some(flags) = report.help() {
        output::notice(&format!("what would help: {flags}"));
    }
    Ok(ExitStatus::accepted(refused == 0))
}

/// The request without what is not looked at in a check: a batch stays small.
fn bare(request: &proto::RegisterPortRequest) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest {
        namespace: request.namespace.clone(),
        service_name: request.service_name.clone(),
        ports: request.ports,
        transports: request.transports.clone(),
        acknowledge: request.acknowledge.clone(),
        pool: request.pool.clone(),
        ..proto::RegisterPortRequest::default()
    }
}

/// The refusal of one of a batch, with its line.
fn at_line(fault: Error, registrations: &[Registration]) -> Error {
    match fault.index().and_then(|index| registrations.get(index)) {
        Some(asked) => Error::AtLine { line: asked.line, source: Box::new(fault.without_index()) },
        None => fault,
    }
}

fn usage(file: &Path, fault: &dyn std::error::Error) -> Error {
    let because = fault.source().map(|source| format!(": {source}"));
    Error::Usage(format!("{}: {fault}{}", file.display(), because.unwrap_or_default()))
}

/// The faults, a line each; past the limit only how many there are.
fn told(faults: &[Fault]) -> Vec<String> {
    let shown = faults.iter().take(MOST_FAULTS);
    let mut lines: Vec<_> =
        shown.map(|fault| format!("line {}: {}", fault.line, fault.message)).collect();
    let rest = faults.len() - lines.len();
    lines.extend((rest > 0).then(|| format!("and {rest} more")));
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        import: ImportArgs,
    }

    fn planned(bytes: &[u8], flags: &[&str]) -> Result<Vec<Registration>, String> {
        let words = ["import", "ports"].iter().chain(flags);
        let line = Line::try_parse_from(words).unwrap_or_else(|fault| panic!("{fault}"));
        line.import.plan(bytes).map_err(|fault| {
            assert!(matches!(fault, Error::Usage(_)), "{fault:?}");
            fault.report()
        })
    }

    #[test]
    fn a_file_of_another_system_is_read() {
        let text = b"\xef\xbb\xbfPort;Protocol;Service\r\n9100;UDP;etcd\r\n9101;;crio\r\n";
        let all = planned(text, &["--transport", "sctp,udp", "--acknowledge", "cooling-down"]);
        let all = all.unwrap();
        let lines: Vec<_> = all.iter().map(|asked| (asked.line, &*asked.transports)).collect();
        assert_eq!(lines, [(2, &[Transport::Udp][..]), (3, &[Transport::Sctp, Transport::Udp])]);
        assert_eq!(all[0].request.acknowledge, [i32::from(proto::FindingCode::CoolingDown)]);
    }

    #[test]
    fn what_can_not_be_imported_is_told_and_nothing_is_sent() {
        for (bytes, told) in [
            (&b""[..], "ports: there is nothing in it"),
            (b"Port,Service\n", "ports has no rows under the header on line 1"),
            (b"\xff\xfeP\0", "ports: it is UTF-16: save it as UTF-8"),
            (b"Port,Service\n1,\0", "ports: it is not text: there is a zero byte on line 2"),
            (b"Port,Service\n70000,a\n", "ports: faults in its rows: 1; nothing was sent"),
        ] {
            assert_eq!(planned(bytes, &[]).unwrap_err(), told);
        }
        let fault = planned(b"Port,Service,Colour\n1,a,red\n", &[]).unwrap_err();
        assert!(fault.contains("not known: \"Colour\"; --ignore-column"), "{fault}");
        assert!(planned(b"Port,Service,Colour\n1,a,red\n", &["--ignore-column", "colour"]).is_ok());
        let fault = planned(b"Dear all,\nsee below.\n", &[]).unwrap_err();
        assert!(fault.starts_with("ports: no table of registrations is found"), "{fault}");
    }

    proptest! {
        /// Tables with bytes of them changed, taken out or repeated, and files of anything.
        #[test]
        fn no_file_makes_it_panic(
            good in proptest::sample::select(vec![
                &b"Port,Protocol,Service,Description\n9100,udp,etcd,\"a, b\"\n9101-9104,,crio,\n"[..],
                b"\xef\xbb\xbfPort;Protocol;Service\r\n9100;UDP;etcd\r\n9101;TCP/UDP;crio\r\n",
                b"port\ttransport\tname\n80\ttcp\thttp\n443\ttcp,udp\thttps\n",
                b"| Port(s) | Protocol | Process | Owning team |\n|---|:-:|---|---|\n\
                  | 9112 | TCP | [net-metrics](x) | `net` |\n| 9114-9117 | TCP/UDP | net\\|db | |\n",
            ]),
            mistakes in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..4_u8), 0..8),
            times in prop_oneof![8 => Just(1_usize), 1 => 2..40_usize],
            anything in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = good.repeat(times);
            for (place, byte, kind) in mistakes {
                let place = place % bytes.len().max(1);
                match kind {
                    0 => bytes.insert(place.min(bytes.len()), byte),
                    1 => bytes.truncate(place.max(1)),
                    2 if place < bytes.len() => drop(bytes.remove(place)),
                    _ if place < bytes.len() => bytes[place] = byte,
                    _ => {}
                }
            }
            let _ = planned(&bytes, &["--transport", "tcp"]);
            let _ = planned(&anything, &[]);
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_before_it_is_read_closely() {
        let rows = |count: u32| {
            let rows = (0..count).map(|row| format!("{},a\n", row % 65_536));
            ["Port,Service\n".to_owned()].into_iter().chain(rows).collect::<String>()
        };
        assert_eq!(planned(rows(1000).as_bytes(), &[]).unwrap().len(), 1000);
        let fault = planned(rows(100_000).as_bytes(), &[]).unwrap_err();
        assert!(fault.starts_with("ports has 100000 registrations, and at most 1000"), "{fault}");
        let lists = rows(600).replace(",a", " 1024,a");
        let fault = planned(lists.as_bytes(), &[]).unwrap_err();
        assert!(fault.starts_with("ports has 1200 registrations"), "{fault}");
    }

    #[test]
    fn faults_are_told_up_to_a_limit() {
        let fault = |line| Fault { line, message: "x".into() };
        let lines = told(&(1..=25).map(fault).collect::<Vec<_>>());
        assert_eq!((lines.len(), &*lines[0], &*lines[20]), (21, "line 1: x", "and 5 more"));
        assert_eq!(told(&[fault(7)]), ["line 7: x"]);
    }

    #[test]
    fn a_check_carries_only_what_is_looked_at() {
        let asked = planned(b"Port,Service,Notes\n1024,a,long\n", &["--ttl", "1h"]).unwrap();
        let bare = bare(&asked[0].request);
        assert!(bare.description.is_empty() && bare.ttl.is_none());
        assert_eq!((bare.service_name, bare.ports), ("a".into(), asked[0].request.ports));
    }
}
