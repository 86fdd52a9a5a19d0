//! `portbook search`: full-text search for services.

use clap::Args;
use serde_json::{Value, json};

use super::args::{NamespaceArgs, OutputArgs, ReadArgs};
use super::output::table::Columns;
use super::output::{self, enum_names, record, table};
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::proto;

/// The arguments of `portbook search`.
#[derive(Args, Debug)]
pub(super) struct SearchArgs {
    /// Words of the name or description of the service, complete or in part, or a port.
    #[arg(required = true)]
    words: Vec<String>,

    /// The maximum number of services to show, 1-100.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=100))]
    limit: i32,

    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl SearchArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { words, limit, namespace, read, output } = self;
        let session = Session::open(&read).await?;
        let request = proto::SearchAssignmentsRequest {
            query: words.join(" "),
            limit,
            namespace: namespace.namespace,
        };
        let response = session.send(request).await?;
        let is_found = !response.hits.is_empty();
        output::show(output.output, &Hits(response.hits))?;
        Ok(output::found_status(is_found))
    }
}

struct Hits(Vec<proto::SearchHit>);

impl output::View for Hits {
    fn table(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let records = self.0.iter().flat_map(|hit| {
            let reason = enum_names::match_reason(hit.reason());
            hit.assignments.iter().map(move |record| (record, reason))
        });
        table::search_hits(records, Columns { namespace: false, reason: true })
    }

    /// All records of the hits, each with its match.
    fn objects(&self) -> Vec<Value> {
        let records = self.0.iter().flat_map(|hit| {
            hit.assignments.iter().map(move |assignment| {
                let mut object = record::object(assignment);
                object["match"] = json!(enum_names::match_reason(hit.reason()));
                object["matched_text"] = json!(record::text(&hit.matched_text));
                object
            })
        });
        records.collect()
    }
}
