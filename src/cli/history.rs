//! `portbook history`: the change history.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::args::CallArgs;
use super::output::change::{self, assignment, details, kind};
use super::output::{self, enum_names, table};
use super::pages::{Page, list_all};
use super::parse::HistorySubject;
use super::{Error, ExitStatus, time_args};
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;

/// The arguments of `portbook history`.
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// Only changes to registrations on these ports (7450, 7450/tcp, 7000-7010), of this service
    /// (billing, billing/udp), or with this uid.
    subject: Option<HistorySubject>,

    /// The namespace, or - for all namespaces. A uid is searched in all namespaces.
    #[arg(long, env = "PORTBOOK_NAMESPACE", value_name = "NAME", default_value = NamespaceName::DEFAULT)]
    namespace: String,

    /// Only changes by this actor: the name of a token, or portbook for expired leases.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    actor: String,

    /// Only changes of these kinds; several separated by commas.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', ignore_case = true,
          value_parser = enum_names::parser::<proto::ChangeKind>())]
    kinds: Vec<proto::ChangeKind>,

    /// Only changes since this time (2026-03-31T12:00:00Z; local time without a zone), the start of
    /// a day (2026-03-31), or a duration ago (7d).
    #[arg(long, value_name = "TIME", value_parser = time_args::since)]
    since: Option<Timestamp>,

    /// Only changes before this time: same format as --since, but a day includes all of that day.
    #[arg(long, value_name = "TIME", value_parser = time_args::until)]
    until: Option<Timestamp>,

    /// The maximum number of changes to show.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Show all changes.
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// Show the oldest change first instead of the newest.
    #[arg(long)]
    oldest_first: bool,

    #[command(flatten)]
    call: CallArgs,
}

impl HistoryArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let limit = if self.all { u32::MAX } else { self.limit };
        let call = self.call.clone();
        let request = self.request();
        let has_namespace = request.filter.as_ref().is_some_and(|filter| filter.namespace == "-");
        let session = call.connect().await?;
        let Page { items: changes, next, .. } = list_all(&session, limit, &request).await?;
        let shown = changes.len();
        call.show(&History { changes, has_namespace })?;
        if !next.is_empty() {
            output::notice(&format!(
                "{shown} changes shown, more exist: use --limit N for more or --all for all"
            ));
        }
        Ok(output::found_status(shown > 0))
    }

    fn request(self) -> proto::ListChangesRequest {
        let Self { subject, namespace, actor, kinds, since, until, oldest_first, .. } = self;
        let is_uid = matches!(subject, Some(HistorySubject::Uid(_)));
        let filter = proto::ChangeFilter {
            // A uid identifies a registration in any namespace.
            namespace: if is_uid { "-".to_owned() } else { namespace },
            actor,
            kinds: kinds.into_iter().map(i32::from).collect(),
            start_time: since.map(time_args::timestamp),
            end_time: until.map(time_args::timestamp),
            ..proto::ChangeFilter::default()
        };
        let filter = match subject {
            None => filter,
            Some(HistorySubject::Uid(uid)) => {
                proto::ChangeFilter { uid: uid.to_string(), ..filter }
            }
            Some(HistorySubject::Ports(ports, transport)) => proto::ChangeFilter {
                ports: Some(convert::port_range(ports)),
                transport: convert::transport(transport).into(),
                ..filter
            },
            Some(HistorySubject::Name(service_name, transport)) => proto::ChangeFilter {
                service_name,
                transport: convert::transport(transport).into(),
                ..filter
            },
        };
        proto::ListChangesRequest {
            filter: Some(filter),
            newest_first: !oldest_first,
            ..proto::ListChangesRequest::default()
        }
    }
}

struct History {
    changes: Vec<proto::Change>,
    has_namespace: bool,
}

impl History {
    fn cells(&self, change: &proto::Change) -> Vec<String> {
        let record = assignment(change);
        let mut cells = vec![
            change.revision.to_string(),
            change.time.map_or_else(|| "-".into(), table::time),
            table::cell(&change.actor),
            kind(change),
            table::cell(record.map_or("", |record| &record.service_name)),
            table::ports(record.and_then(|record| record.ports)),
            enum_names::phrase(record.map_or_else(Default::default, proto::Assignment::transport)),
        ];
        cells.extend(self.has_namespace.then(|| table::cell(change::namespace_name(change))));
        cells.extend([table::cell(&change.reason), details(change)]);
        cells
    }
}

impl output::View for History {
    fn table(&self) -> String {
        if self.changes.is_empty() {
            return String::new();
        }
        let mut header =
            vec!["REVISION", "TIME", "ACTOR", "CHANGE", "SERVICE", "PORT", "TRANSPORT"];
        header.extend(self.has_namespace.then_some("NAMESPACE"));
        header.extend(["REASON", "DETAILS"]);
        table::render(&header, self.changes.iter().map(|change| self.cells(change)))
    }

    fn objects(&self) -> Vec<Value> {
        self.changes.iter().map(change::object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        self.changes.iter().map(change::row).collect()
    }

    fn empty_row(&self) -> Value {
        change::row(&proto::Change::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse_line;
    use crate::cli::output::View;

    fn filter_of(line: &str) -> (proto::ChangeFilter, bool) {
        let args: HistoryArgs = parse_line(line).unwrap_or_else(|error| panic!("{error}"));
        let request = args.request();
        (request.filter.unwrap(), request.newest_first)
    }

    #[test]
    fn arguments_become_a_filter() {
        let (filter, newest_first) = filter_of("");
        assert_eq!(
            filter,
            proto::ChangeFilter { namespace: "default".into(), ..Default::default() }
        );
        assert!(newest_first);
        let (filter, newest_first) =
            filter_of("7450-7460/udp --kind expired,pool-created --namespace - --oldest-first");
        assert_eq!(filter.ports, Some(proto::PortRange { first: Some(7450), last: Some(7460) }));
        assert_eq!(filter.transport(), proto::Transport::Udp);
        let kinds = [proto::ChangeKind::Expired, proto::ChangeKind::PoolCreated].map(i32::from);
        assert_eq!((filter.namespace.as_str(), filter.kinds), ("-", kinds.to_vec()));
        assert!(!newest_first);
        let uid = "0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e";
        let (filter, _) = filter_of(uid);
        assert_eq!((filter.namespace.as_str(), filter.uid.as_str()), ("-", uid));
        let (filter, _) = filter_of("billing/tcp --since 2026-03-31T00:00:00Z --actor ci");
        assert_eq!((filter.service_name.as_str(), filter.actor.as_str()), ("billing", "ci"));
        assert_eq!(filter.start_time.unwrap().to_string(), "2026-03-31T00:00:00Z");
    }

    #[test]
    fn every_kind_can_be_specified() {
        for kind in (1..).map_while(|number| proto::ChangeKind::try_from(number).ok()) {
            let name = enum_names::phrase(kind).replace(' ', "-");
            assert_eq!(filter_of(&format!("--kind {name}")).0.kinds, [i32::from(kind)], "{name}");
        }
    }

    #[test]
    fn a_change_is_a_row() {
        let record = proto::Assignment {
            namespace: "prod".into(),
            service_name: "billing".into(),
            ports: Some(proto::PortRange { first: Some(7450), last: Some(7450) }),
            transport: proto::Transport::Tcp.into(),
            ..proto::Assignment::default()
        };
        let released = proto::Change {
            revision: 7,
            time: Some(prost_types::Timestamp { seconds: 0, nanos: 1000 }),
            actor: "ci".into(),
            reason: "moved".into(),
            kind: proto::ChangeKind::Released.into(),
            before: Some(record),
            ..proto::Change::default()
        };
        let created = proto::Change {
            revision: 6,
            kind: proto::ChangeKind::NamespaceCreated.into(),
            namespace_after: Some(proto::Namespace { name: "prod".into(), ..Default::default() }),
            ..proto::Change::default()
        };
        let history = History { changes: vec![released, created], has_namespace: true };
        let expected = "\
REVISION  TIME                  ACTOR  CHANGE             SERVICE  PORT  TRANSPORT  NAMESPACE  REASON  DETAILS
7         1970-01-01T00:00:00Z  ci     released           billing  7450  tcp        prod       moved
6         -                     -      namespace created  -        -     -          prod       -       prod
";
        assert_eq!(history.table(), expected);
    }
}
