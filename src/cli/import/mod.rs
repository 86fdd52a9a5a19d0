//! `portbook import`: registers all rows of a CSV file or a Markdown table, or none of them.
//!
//! The complete file is parsed before the first request, and checked by the server before anything
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

use std::path::PathBuf;

use clap::Args;

use super::args::{AcknowledgeArgs, LeaseArgs, WriteArgs};
use super::output::{self, Format};
use super::rpc::WriteRequest;
use super::session::Session;
use super::{Error, ExitStatus, parse};
use crate::grpc::fields::MAX_REGISTRATIONS;
use crate::grpc::proto;
use crate::registry::name::NamespaceName;
use crate::registry::port::Transport;
use crate::store::error_chain;
use report::Report;
use row::{Defaults, Registration, RowError, registrations};
use table::FileFormat;

/// The maximum number of errors to print.
const MAX_ERRORS: usize = 20;

/// The arguments of `portbook import`.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The file, or - for stdin: CSV with commas, semicolons or tabs, a Markdown document with a
    /// table, or the output of portbook list --source custom --all --output csv. UTF-8, at most
    /// 64 MiB.
    file: PathBuf,

    /// The format of the file.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = FileFormat::Auto)]
    format: FileFormat,

    /// The number of the table to read, from 1, if the Markdown document has several tables with
    /// ports and service names.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse::positive)]
    table: usize,

    /// The namespace of all rows. Overrides a namespace column.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// The namespace of rows without a namespace.
    #[arg(
        long,
        env = "PORTBOOK_NAMESPACE",
        value_name = "NAME",
        default_value = NamespaceName::DEFAULT
    )]
    default_namespace: String,

    /// The transports of rows without a transport: tcp, udp, sctp or dccp; several separated by
    /// commas.
    #[arg(
        long = "transport",
        value_name = "TRANSPORT",
        value_delimiter = ',',
        default_value = "tcp"
    )]
    transports: Vec<Transport>,

    /// Shorten names that are not valid service names: kube-controller-manager becomes
    /// kube-controller. The full name is stored in the label process, and as the description if the
    /// row has none.
    #[arg(long)]
    shorten_names: bool,

    /// Skip rows whose service already holds exactly these ports, for example to import a table
    /// again after rows were added.
    #[arg(long)]
    skip_held: bool,

    /// A column to ignore; repeatable.
    #[arg(long = "ignore-column", value_name = "NAME")]
    ignored: Vec<String>,

    /// A label for all registrations; repeatable. Overrides the same key of a row.
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
        let session = Session::connect(&self.write.call.server).await?;
        let request = proto::BatchCheckPortsRequest {
            requests: registrations
                .iter()
                .map(|registration| check(&registration.request))
                .collect(),
        };
        let checked = session.send(request).await;
        let verdicts = checked.map_err(|error| at_line(error, &registrations))?.verdicts;
        if verdicts.len() != registrations.len() {
            return Err(Error::IncompleteResponse);
        }
        let mut report = Report { registrations, verdicts, assignments: Vec::new() };
        if self.skip_held {
            let count = report.skip_held();
            output::notice(&format!("portbook: {count} already registered and skipped"));
        }
        let format = self.write.call.output.output;
        if report.registrations.is_empty() && format == Format::Table {
            return Ok(ExitStatus::Success);
        }
        if report.registrations.is_empty() {
            return output::show(format, &report);
        }
        self.register(&session, report).await
    }

    /// Parses the file.
    fn plan(&self, bytes: &[u8]) -> Result<Vec<Registration>, Error> {
        let usage = |error: &dyn std::error::Error| {
            Error::Usage(format!("{}: {}", self.file.display(), error_chain(error)))
        };
        let text = source::text(bytes).map_err(|error| usage(&error))?;
        let (table, others) =
            table::read(&text, self.format, self.table).map_err(|error| usage(&error))?;
        for line in others {
            output::notice(&format!(
                "portbook: the table on line {line} is not imported: to select it, use --table N"
            ));
        }
        let columns = columns::read(table.header.line, &table.header.cells, &self.ignored);
        let columns = columns.map_err(|error| usage(&error))?;
        let within_limit = |count: usize| {
            let message = format!(
                "{} has {count} registrations, the maximum is {MAX_REGISTRATIONS}: split the file",
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
        let registrations = registrations(&table, &columns, &defaults).map_err(|errors| {
            for line in error_lines(&errors) {
                output::notice(&line);
            }
            let (file, count) = (self.file.display(), errors.len());
            Error::Usage(format!("{file}: invalid values: {count}; nothing was registered"))
        })?;
        within_limit(registrations.len())?;
        if registrations.is_empty() {
            let line = table.header.line;
            let message =
                format!("{} has no rows after the header on line {line}", self.file.display());
            return Err(Error::Usage(message));
        }
        Ok(registrations)
    }

    /// Registers all registrations if all are accepted, and prints the result.
    async fn register(self, session: &Session, mut report: Report) -> Result<ExitStatus, Error> {
        let write = &self.write;
        let format = write.call.output.output;
        let refused = report.refused();
        // The import may have been committed with this request id. Then its ports are not free, and
        // the server returns the first response again.
        let may_be_committed = !write.request_id.is_empty();
        if write.dry_run || refused > 0 && !may_be_committed {
            return print_verdicts(&report, format, write.dry_run);
        }
        if refused == 0 && format == Format::Table {
            output::show(format, &report)?;
        }
        let requests = report.registrations.iter().map(|registration| registration.request.clone());
        let request =
            proto::BatchRegisterPortsRequest { requests: requests.collect(), ..Default::default() };
        let result = session.send(request.with(write)).await;
        let response = match result {
            Err(Error::Refused(_)) if refused > 0 => return print_verdicts(&report, format, false),
            result => result.map_err(|error| at_line(error, &report.registrations))?,
        };
        report.assignments = response.assignments;
        if format != Format::Table {
            return output::show(format, &report);
        }
        output::print(&format!(
            "Imported {} registrations ({} assignments) at revision {}.\n",
            report.registrations.len(),
            report.assignments.len(),
            response.revision
        ))
    }
}

/// Prints the verdicts of an import that registers nothing, and the flags that may help.
fn print_verdicts(report: &Report, format: Format, is_dry_run: bool) -> Result<ExitStatus, Error> {
    output::show(format, report)?;
    let (refused, all) = (report.refused(), report.verdicts.len());
    if refused > 0 {
        let verb = if is_dry_run { "would be" } else { "was" };
        output::notice(&format!(
            "portbook: {refused} of {all} registrations are not accepted: nothing {verb} imported"
        ));
    }
    if let Some(flags) = report.flags() {
        output::notice(&format!("to override: {flags}"));
    }
    Ok(ExitStatus::accepted(refused == 0))
}

/// The fields that a check evaluates. All others are left out to keep the batch small.
fn check(request: &proto::RegisterPortRequest) -> proto::RegisterPortRequest {
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

/// Adds the line of the rejected registration to an error of a batch.
fn at_line(error: Error, registrations: &[Registration]) -> Error {
    match error.index().and_then(|index| registrations.get(index)) {
        Some(registration) => {
            Error::AtLine { line: registration.line, source: Box::new(error.without_index()) }
        }
        None => error,
    }
}

/// The errors, one per line, at most `MAX_ERRORS`, then the number of the others.
fn error_lines(errors: &[RowError]) -> Vec<String> {
    let shown = errors.iter().take(MAX_ERRORS);
    let mut lines: Vec<_> =
        shown.map(|error| format!("line {}: {}", error.line, error.message)).collect();
    let rest = errors.len() - lines.len();
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
        let args = ["import", "ports"].iter().chain(flags);
        let line = Line::try_parse_from(args).unwrap_or_else(|error| panic!("{error}"));
        line.import.plan(bytes).map_err(|error| {
            assert!(matches!(error, Error::Usage(_)), "{error:?}");
            error.report()
        })
    }

    #[test]
    fn byte_order_mark_semicolons_and_crlf_are_accepted() {
        let text = b"\xef\xbb\xbfPort;Protocol;Service\r\n9100;UDP;etcd\r\n9101;;crio\r\n";
        let all = planned(text, &["--transport", "sctp,udp", "--acknowledge", "cooling-down"]);
        let all = all.unwrap();
        let lines: Vec<_> = all.iter().map(|row| (row.line, &*row.transports)).collect();
        assert_eq!(lines, [(2, &[Transport::Udp][..]), (3, &[Transport::Sctp, Transport::Udp])]);
        assert_eq!(all[0].request.acknowledge, [i32::from(proto::FindingCode::CoolingDown)]);
    }

    #[test]
    fn invalid_files_are_rejected_with_a_reason() {
        for (bytes, expected) in [
            (&b""[..], "ports: the file is empty"),
            (b"Port,Service\n", "ports has no rows after the header on line 1"),
            (b"\xff\xfeP\0", "ports: the file is UTF-16: save it as UTF-8"),
            (b"Port,Service\n1,\0", "ports: the file is not text: zero byte on line 2"),
            (b"Port,Service\n70000,a\n", "ports: invalid values: 1; nothing was registered"),
        ] {
            assert_eq!(planned(bytes, &[]).unwrap_err(), expected);
        }
        let error = planned(b"Port,Service,Colour\n1,a,red\n", &[]).unwrap_err();
        assert!(error.contains("unknown columns on line 1: \"Colour\""), "{error}");
        assert!(planned(b"Port,Service,Colour\n1,a,red\n", &["--ignore-column", "colour"]).is_ok());
        let error = planned(b"Dear all,\nsee below.\n", &[]).unwrap_err();
        assert!(error.starts_with("ports: no table of registrations"), "{error}");
    }

    proptest! {
        /// Valid tables with changed, removed or repeated bytes, and arbitrary files.
        #[test]
        fn parsing_a_file_never_panics(
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
            for (index, byte, kind) in mistakes {
                let index = index % bytes.len().max(1);
                match kind {
                    0 => bytes.insert(index.min(bytes.len()), byte),
                    1 => bytes.truncate(index.max(1)),
                    2 if index < bytes.len() => drop(bytes.remove(index)),
                    _ if index < bytes.len() => bytes[index] = byte,
                    _ => {}
                }
            }
            let _ = planned(&bytes, &["--transport", "tcp"]);
            let _ = planned(&anything, &[]);
        }
    }

    #[test]
    fn too_many_registrations_are_rejected() {
        let rows = |count: u32| {
            let rows = (0..count).map(|row| format!("{},a\n", row % 65_536));
            ["Port,Service\n".to_owned()].into_iter().chain(rows).collect::<String>()
        };
        assert_eq!(planned(rows(1000).as_bytes(), &[]).unwrap().len(), 1000);
        let error = planned(rows(100_000).as_bytes(), &[]).unwrap_err();
        assert_eq!(error, "ports has 100000 registrations, the maximum is 1000: split the file");
        let lists = rows(600).replace(",a", " 1024,a");
        let error = planned(lists.as_bytes(), &[]).unwrap_err();
        assert!(error.starts_with("ports has 1200 registrations"), "{error}");
    }

    #[test]
    fn errors_are_printed_up_to_a_limit() {
        let error = |line| RowError { line, message: "x".into() };
        let lines = error_lines(&(1..=25).map(error).collect::<Vec<_>>());
        assert_eq!((lines.len(), &*lines[0], &*lines[20]), (21, "line 1: x", "and 5 more"));
        assert_eq!(error_lines(&[error(7)]), ["line 7: x"]);
    }

    #[test]
    fn a_check_contains_only_the_evaluated_fields() {
        let planned = planned(b"Port,Service,Notes\n1024,a,long\n", &["--ttl", "1h"]).unwrap();
        let check = check(&planned[0].request);
        assert!(check.description.is_empty() && check.ttl.is_none());
        assert_eq!((check.service_name, check.ports), ("a".into(), planned[0].request.ports));
    }
}
