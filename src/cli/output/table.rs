//! Tables for people: one row for a service and its ports, with all transports.

use std::collections::HashMap;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::{clean, enum_names};
use crate::grpc::proto;

/// A row: records that differ only in their transport.
#[derive(Debug)]
struct Row<'a> {
    first: &'a proto::Assignment,
    transports: Vec<String>,
    reason: Option<&'static str>,
}

/// The fields by which records are grouped into rows.
type Key<'a> = (
    i32,
    i32,
    &'a str,
    &'a str,
    Option<proto::PortRange>,
    Option<prost_types::Timestamp>,
    [&'a str; 2],
);

/// The optional columns of a table.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Columns {
    /// The namespace.
    pub(in crate::cli) namespace: bool,
    /// The reason for the match.
    pub(in crate::cli) reason: bool,
}

/// The records as a table.
pub(in crate::cli) fn records(records: &[proto::Assignment], columns: Columns) -> String {
    search_hits(records.iter().map(|record| (record, None)), columns)
}

/// The records as a table, each with the reason for the match.
pub(in crate::cli) fn search_hits<'a>(
    records: impl IntoIterator<Item = (&'a proto::Assignment, Option<&'static str>)>,
    columns: Columns,
) -> String {
    let rows = grouped(records);
    let has_assignee = rows.iter().any(|row| !assignee(row.first).is_empty());
    let has_lease = rows.iter().any(|row| row.first.expire_time.is_some());
    let cells =
        |required: [String; 4], namespace, assignee, expires, reason, description| -> Vec<String> {
            let optional = [
                columns.namespace.then_some(namespace),
                has_assignee.then_some(assignee),
                has_lease.then_some(expires),
                columns.reason.then_some(reason),
            ];
            required
                .into_iter()
                .chain(optional.into_iter().flatten())
                .chain([description])
                .collect()
        };
    let header = cells(
        ["SERVICE", "PORT", "TRANSPORT", "SOURCE"].map(String::from),
        "NAMESPACE".into(),
        "ASSIGNEE".into(),
        "EXPIRES".into(),
        "MATCH".into(),
        "DESCRIPTION".into(),
    );
    let rows = rows.iter().map(|row| {
        cells(
            [
                cell(&row.first.service_name),
                ports(row.first.ports),
                row.transports.join(", "),
                cell(enum_names::name(row.first.source()).unwrap_or_default()),
            ],
            cell(&row.first.namespace),
            cell(assignee(row.first)),
            cell(&row.first.expire_time.map(time).unwrap_or_default()),
            cell(row.reason.unwrap_or_default()),
            clean(&row.first.description),
        )
    });
    render(&header, rows)
}

/// The assignee of a custom registration. IANA's assignees are the original applicants, so they
/// are not shown.
fn assignee(record: &proto::Assignment) -> &str {
    if is_custom(record) { &record.assignee } else { "" }
}

fn is_custom(record: &proto::Assignment) -> bool {
    record.source == i32::from(proto::Source::Custom)
}

/// `443`, `5000-5010` or `-`.
pub(in crate::cli) fn ports(ports: Option<proto::PortRange>) -> String {
    match ports {
        Some(proto::PortRange { first: Some(first), last: Some(last) }) if first != last => {
            format!("{first}-{last}")
        }
        Some(proto::PortRange { first: Some(first), .. }) => first.to_string(),
        _ => "-".into(),
    }
}

/// A text in a cell; `-` if it is empty.
pub(in crate::cli) fn cell(text: &str) -> String {
    clean(if text.is_empty() { "-" } else { text })
}

/// A time in RFC 3339, to the second.
pub(in crate::cli) fn time(time: prost_types::Timestamp) -> String {
    prost_types::Timestamp { nanos: 0, ..time }.to_string()
}

fn grouped<'a>(
    records: impl IntoIterator<Item = (&'a proto::Assignment, Option<&'static str>)>,
) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut indexes: HashMap<Key<'a>, usize> = HashMap::new();
    for (record, reason) in records {
        let proto::Assignment {
            source, state, namespace, service_name, ports, expire_time, ..
        } = record;
        // For custom registrations these differences are intended; in IANA's records they are
        // accidental.
        let descriptive =
            if is_custom(record) { [&*record.assignee, &*record.description] } else { [""; 2] };
        let key = (
            *source,
            *state,
            namespace.as_str(),
            service_name.as_str(),
            *ports,
            *expire_time,
            descriptive,
        );
        let transport = enum_names::phrase(record.transport());
        let index = indexes.get(&key).copied();
        match index.and_then(|index| rows.get_mut(index)) {
            // A second record with the same transport gets a separate row, such as `rdp` without a port.
            Some(row) if !row.transports.contains(&transport) => row.transports.push(transport),
            _ => {
                indexes.insert(key, rows.len());
                rows.push(Row { first: record, transports: vec![transport], reason });
            }
        }
    }
    rows
}

/// The header of a table without one.
pub(in crate::cli) const NO_HEADER: &[&str] = &[];

/// A table without borders. Every line ends with a newline; lines wrap only on a terminal.
pub(in crate::cli) fn render(
    header: &[impl ToString],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    // A terminal that reports 0 columns does not know its width.
    let arrangement = match Table::new().width() {
        Some(0) => ContentArrangement::Disabled,
        _ => ContentArrangement::Dynamic,
    };
    table.load_style(NOTHING).set_content_arrangement(arrangement);
    if !header.is_empty() {
        table.set_header(header.iter().map(ToString::to_string));
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// One line per property; empty values are omitted.
pub(in crate::cli) fn properties(
    properties: impl IntoIterator<Item = (&'static str, String)>,
) -> String {
    let rows = properties.into_iter().filter(|(_, value)| !value.is_empty());
    render(NO_HEADER, rows.map(|(name, value)| vec![name.to_owned(), value]))
}

/// A text that wraps at word boundaries on a terminal.
pub(in crate::cli) fn wrapped(text: &str) -> String {
    render(NO_HEADER, [vec![clean(text)]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(name: &str, port: u32, transport: proto::Transport) -> proto::Assignment {
        proto::Assignment {
            source: proto::Source::Iana.into(),
            service_name: name.into(),
            ports: Some(proto::PortRange { first: Some(port), last: Some(port) }),
            transport: transport.into(),
            description: format!("About {name}"),
            ..proto::Assignment::default()
        }
    }

    #[test]
    fn a_service_has_one_row_with_all_its_transports() {
        use proto::Transport::{Sctp, Tcp, Udp, Unspecified};
        let mine = proto::Assignment {
            source: proto::Source::Custom.into(),
            namespace: "payments".into(),
            assignee: "Team\u{1b} A".into(),
            ..record("https", 443, Tcp)
        };
        let portless = proto::Assignment { ports: None, ..record("", 0, Unspecified) };
        let theirs =
            proto::Assignment { transport: Udp.into(), assignee: String::new(), ..mine.clone() };
        let records = [
            mine,
            theirs,
            record("https", 443, Tcp),
            record("other", 443, Tcp),
            record("https", 443, Udp),
            record("https", 443, Sctp),
            portless,
        ];
        let text = super::records(&records, Columns { namespace: true, reason: false });
        let expected = "\
SERVICE  PORT  TRANSPORT       SOURCE  NAMESPACE  ASSIGNEE  DESCRIPTION
https    443   tcp             CUSTOM  payments   Team� A   About https
https    443   udp             CUSTOM  payments   -         About https
https    443   tcp, udp, sctp  IANA    -          -         About https
other    443   tcp             IANA    -          -         About other
-        -     -               IANA    -          -         About
";
        assert_eq!(text, expected);
    }

    #[test]
    fn leases_with_different_expiry_times_have_separate_rows() {
        let expiring = |seconds| proto::Assignment {
            expire_time: Some(prost_types::Timestamp { seconds, nanos: 1000 }),
            ..record("a", 7000, proto::Transport::Tcp)
        };
        let udp = proto::Assignment { transport: proto::Transport::Udp.into(), ..expiring(60) };
        let text = super::records(&[expiring(0), udp], Columns::default());
        let expected = "\
SERVICE  PORT  TRANSPORT  SOURCE  EXPIRES               DESCRIPTION
a        7000  tcp        IANA    1970-01-01T00:00:00Z  About a
a        7000  udp        IANA    1970-01-01T00:01:00Z  About a
";
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn grouping_neither_drops_nor_repeats_a_record(
            picks in proptest::collection::vec((0..3u32, 0..5i32), 0..30)
        ) {
            let records: Vec<_> = picks
                .iter()
                .map(|&(port, transport)| proto::Assignment {
                    transport,
                    ..record("x", port, proto::Transport::Unspecified)
                })
                .collect();
            let rows = grouped(records.iter().map(|record| (record, None)));
            let mut shown: Vec<_> = rows
                .iter()
                .flat_map(|row| row.transports.iter().map(|transport| (ports(row.first.ports), transport.clone())))
                .collect();
            let mut expected: Vec<_> = records
                .iter()
                .map(|record| {
                    (ports(record.ports), enum_names::phrase(record.transport()))
                })
                .collect();
            shown.sort();
            expected.sort();
            prop_assert_eq!(shown, expected);
        }
    }
}
