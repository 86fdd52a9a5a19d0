//! Tables for people: one row for a service on its ports, its transports together.

use std::collections::HashMap;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::{clean, enum_names};
use crate::grpc::proto;

/// Records that a person would call one.
#[derive(Debug)]
struct Row<'a> {
    first: &'a proto::Assignment,
    transports: Vec<String>,
    reason: Option<&'static str>,
}

/// What tells rows apart.
type Key<'a> = (
    i32,
    i32,
    &'a str,
    &'a str,
    Option<proto::PortRange>,
    Option<prost_types::Timestamp>,
    [&'a str; 2],
);

/// Which columns a table has beside those that all have.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Columns {
    /// The namespace.
    pub(in crate::cli) namespace: bool,
    /// Why it was found.
    pub(in crate::cli) reason: bool,
}

/// The records as a table.
pub(in crate::cli) fn records(records: &[proto::Assignment], columns: Columns) -> String {
    search_hits(records.iter().map(|record| (record, None)), columns)
}

/// The records as a table, each with the reason why it was found.
pub(in crate::cli) fn search_hits<'a>(
    records: impl IntoIterator<Item = (&'a proto::Assignment, Option<&'static str>)>,
    columns: Columns,
) -> String {
    let rows = grouped(records);
    let has_assignee = rows.iter().any(|row| !assignee(row.first).is_empty());
    let has_lease = rows.iter().any(|row| row.first.expire_time.is_some());
    let pick =
        |always: [String; 4], namespace, assignee, until, reason, description| -> Vec<String> {
            let optional = [
                columns.namespace.then_some(namespace),
                has_assignee.then_some(assignee),
                has_lease.then_some(until),
                columns.reason.then_some(reason),
            ];
            always.into_iter().chain(optional.into_iter().flatten()).chain([description]).collect()
        };
    let word = |text: &str| clean(if text.is_empty() { "-" } else { text });
    let header = pick(
        ["SERVICE", "PORT", "TRANSPORT", "SOURCE"].map(String::from),
        "NAMESPACE".into(),
        "ASSIGNEE".into(),
        "UNTIL".into(),
        "MATCH".into(),
        "DESCRIPTION".into(),
    );
    let rows = rows.iter().map(|row| {
        pick(
            [
                word(&row.first.service_name),
                ports(row.first.ports),
                row.transports.join(", "),
                word(enum_names::source(row.first.source).unwrap_or_default()),
            ],
            word(&row.first.namespace),
            word(assignee(row.first)),
            word(&row.first.expire_time.map(time).unwrap_or_default()),
            word(row.reason.unwrap_or_default()),
            clean(&row.first.description),
        )
    });
    render(Some(header), rows)
}

/// Who holds a registration. IANA's assignees are the people who once applied, which is no help.
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

/// A time in RFC 3339, to the second.
pub(in crate::cli) fn time(time: prost_types::Timestamp) -> String {
    prost_types::Timestamp { nanos: 0, ..time }.to_string()
}

fn grouped<'a>(
    records: impl IntoIterator<Item = (&'a proto::Assignment, Option<&'static str>)>,
) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut places: HashMap<Key<'a>, usize> = HashMap::new();
    for (record, reason) in records {
        let proto::Assignment {
            source, state, namespace, service_name, ports, expire_time, ..
        } = record;
        // Teams describe each transport of a registration as they like; IANA's wordings differ by
        // accident.
        let said =
            if is_custom(record) { [&*record.assignee, &*record.description] } else { [""; 2] };
        let key = (
            *source,
            *state,
            namespace.as_str(),
            service_name.as_str(),
            *ports,
            *expire_time,
            said,
        );
        let transport = enum_names::transport(record.transport).unwrap_or_else(|| "-".into());
        let place = places.get(&key).copied();
        match place.and_then(|place| rows.get_mut(place)) {
            // The same transport again is another record, such as the two of `rdp` without a port.
            Some(row) if !row.transports.contains(&transport) => row.transports.push(transport),
            _ => {
                places.insert(key, rows.len());
                rows.push(Row { first: record, transports: vec![transport], reason });
            }
        }
    }
    rows
}

/// A table without borders, each line ended. Wraps on a terminal only.
pub(in crate::cli) fn render(
    header: Option<Vec<String>>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    // A terminal that says it has no columns does not know how many it has.
    let arrangement = match Table::new().width() {
        Some(0) => ContentArrangement::Disabled,
        _ => ContentArrangement::Dynamic,
    };
    table.load_style(NOTHING).set_content_arrangement(arrangement);
    if let Some(header) = header {
        table.set_header(header);
    }
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Facts, one a line; those that are not known are left out.
pub(in crate::cli) fn properties(
    facts: impl IntoIterator<Item = (&'static str, String)>,
) -> String {
    let known = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    render(None, known.map(|(name, fact)| vec![name.to_owned(), fact]))
}

/// A text that wraps between words on a terminal.
pub(in crate::cli) fn wrapped(text: &str) -> String {
    render(None, [vec![clean(text)]])
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
    fn leases_that_end_at_different_times_are_rows_of_their_own() {
        let until = |seconds| proto::Assignment {
            expire_time: Some(prost_types::Timestamp { seconds, nanos: 1000 }),
            ..record("a", 7000, proto::Transport::Tcp)
        };
        let udp = proto::Assignment { transport: proto::Transport::Udp.into(), ..until(60) };
        let text = super::records(&[until(0), udp], Columns::default());
        let expected = "\
SERVICE  PORT  TRANSPORT  SOURCE  UNTIL                 DESCRIPTION
a        7000  tcp        IANA    1970-01-01T00:00:00Z  About a
a        7000  udp        IANA    1970-01-01T00:01:00Z  About a
";
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn grouping_loses_nothing_and_repeats_nothing(
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
            let mut given: Vec<_> = records
                .iter()
                .map(|record| {
                    let transport = enum_names::transport(record.transport);
                    (ports(record.ports), transport.unwrap_or_else(|| "-".into()))
                })
                .collect();
            shown.sort();
            given.sort();
            prop_assert_eq!(shown, given);
        }
    }
}
