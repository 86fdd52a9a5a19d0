//! `portbook list`: the records that match a filter.

use clap::Args;
use serde_json::Value;

use super::args::{AsOfArgs, OutputArgs, ReadArgs};
use super::output::table::Columns;
use super::output::{self, enum_names, record, table};
use super::pages::{Page, list_all};
use super::parse;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;
use crate::registry::port::PortRange;

/// The arguments of `portbook list`.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only records from these sources; several separated by commas.
    #[arg(long = "source", value_name = "SOURCE", value_delimiter = ',', ignore_case = true,
          value_parser = enum_names::parser::<proto::Source>())]
    sources: Vec<proto::Source>,

    /// Only records with these states; several separated by commas.
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', ignore_case = true,
          value_parser = enum_names::parser::<proto::State>())]
    states: Vec<proto::State>,

    /// Only records for these transports; several separated by commas. none: records without a
    /// transport.
    #[arg(long = "transport", value_name = "TRANSPORT", value_delimiter = ',', ignore_case = true,
          value_parser = enum_names::parser_or_none::<proto::Transport>())]
    transports: Vec<proto::Transport>,

    /// Only records that overlap these ports: 443 or 5000-5010.
    #[arg(long, value_name = "PORTS", value_parser = parse::port_range)]
    ports: Option<PortRange>,

    /// Only service names that start with this text, ignoring case.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Only records whose assignee contains this text, ignoring case.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    assignee: String,

    /// Only registrations with this label; repeatable: all labels must match.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,

    /// Only registrations that were allocated from this pool.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pool: String,

    /// The maximum number of records to show, at least 1.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Show all records.
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// The namespace whose registrations to list, or - for all namespaces.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    namespace: String,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self {
            sources,
            states,
            transports,
            ports,
            prefix,
            assignee,
            labels,
            pool,
            limit,
            all,
            namespace,
            as_of: AsOfArgs { as_of },
            read,
            output: OutputArgs { output },
        } = self;
        let columns = Columns { namespace: namespace == "-", reason: false };
        let filter = proto::AssignmentFilter {
            namespace,
            sources: sources.into_iter().map(i32::from).collect(),
            states: states.into_iter().map(i32::from).collect(),
            transports: transports.into_iter().map(i32::from).collect(),
            ports: ports.map(convert::port_range),
            service_name_prefix: prefix,
            assignee,
            labels: labels.into_iter().collect(),
            pool,
        };
        let session = Session::open(&read).await?;
        let limit = if all { u32::MAX } else { limit };
        let request =
            proto::ListAssignmentsRequest { filter: Some(filter), as_of, ..Default::default() };
        let Page { items: records, total, .. } = list_all(&session, limit, &request).await?;
        let shown = records.len();
        let list = List { records, columns };
        output::show(output, &list)?;
        if shown < total as usize {
            output::notice(&format!(
                "{shown} of {total} records shown; to show more: --limit N or --all"
            ));
        }
        Ok(output::found_status(shown > 0))
    }
}

struct List {
    records: Vec<proto::Assignment>,
    columns: Columns,
}

impl output::View for List {
    fn table(&self) -> String {
        if self.records.is_empty() {
            return String::new();
        }
        table::records(&self.records, self.columns)
    }

    fn objects(&self) -> Vec<Value> {
        record::objects(&self.records)
    }
}
