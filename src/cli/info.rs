//! `portbook info`: version, revision and record counts of the registry.

use clap::Args;
use serde_json::{Value, json};

use super::args::{OutputArgs, ReadArgs};
use super::output::{self, clean, enum_names, table};
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::proto::{
    GetRegistryInfoRequest, GetRegistryInfoResponse, SourceCounts, State, Transport,
};

/// The arguments of `portbook info`.
#[derive(Args, Debug)]
pub(super) struct InfoArgs {
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl InfoArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::open(&self.read).await?;
        let request = GetRegistryInfoRequest {};
        let response = session.send(request).await?;
        output::show(self.output.output, &response)
    }
}

const STATES: [State; 4] = [State::Assigned, State::Reserved, State::Unassigned, State::Unlisted];
const TRANSPORTS: [Transport; 5] =
    [Transport::Tcp, Transport::Udp, Transport::Sctp, Transport::Dccp, Transport::Unspecified];

impl SourceCounts {
    fn on(&self, transport: Transport) -> u32 {
        let counts = self.transports.iter().filter(|count| count.transport() == transport);
        counts.map(|count| count.assignments).sum()
    }

    fn with(&self, state: State) -> u32 {
        let counts = self.states.iter().filter(|count| count.state() == state);
        counts.map(|count| count.assignments).sum()
    }

    fn object(&self) -> Value {
        json!({
            "source": enum_names::name(self.source()),
            "assignments": self.assignments,
            "with_port": self.with_port,
            "without_port": self.without_port,
            "port_ranges": self.port_ranges,
            "with_service_name": self.with_service_name,
            "without_service_name": self.without_service_name,
            "distinct_service_names": self.distinct_service_names,
            "tcp": self.on(Transport::Tcp),
            "udp": self.on(Transport::Udp),
            "sctp": self.on(Transport::Sctp),
            "dccp": self.on(Transport::Dccp),
            "no_transport": self.on(Transport::Unspecified),
            "assigned": self.with(State::Assigned),
            "reserved": self.with(State::Reserved),
            "unassigned": self.with(State::Unassigned),
            "unlisted": self.with(State::Unlisted),
        })
    }
}

impl output::View for GetRegistryInfoResponse {
    fn table(&self) -> String {
        let fields = [
            ("version", self.version.clone()),
            ("revision", self.revision.to_string()),
            ("IANA date", self.iana_date.clone()),
            ("guides", self.guides.to_string()),
            ("database", self.database_id.clone()),
        ];
        let fields = fields.map(|(name, value)| vec![name.to_owned(), clean(&value)]);
        let header: Vec<_> =
            "SOURCE RECORDS ASSIGNED RESERVED UNASSIGNED UNLISTED TCP UDP SCTP DCCP NONE"
                .split(' ')
                .collect();
        let counts = self.sources.iter().map(|counts| {
            let numbers = [counts.assignments]
                .into_iter()
                .chain(STATES.map(|state| counts.with(state)))
                .chain(TRANSPORTS.map(|transport| counts.on(transport)));
            let source = enum_names::name(counts.source()).unwrap_or("-").to_owned();
            [source].into_iter().chain(numbers.map(|number| number.to_string())).collect()
        });
        format!("{}\n{}", table::render(table::NO_HEADER, fields), table::render(&header, counts))
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    /// The counts, one row for each source.
    fn csv_rows(&self) -> Vec<Value> {
        self.sources.iter().map(SourceCounts::object).collect()
    }

    fn json(&self) -> Value {
        json!({
            "version": self.version,
            "revision": self.revision,
            "iana_date": self.iana_date,
            "iana_sha256": self.iana_sha256,
            "guides": self.guides,
            "database_id": self.database_id,
            "sources": self.csv_rows(),
        })
    }
}
