//! Columns: what their headers stand for.

use itertools::Itertools;

/// What a column says of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Ports,
    FirstPort,
    LastPort,
    Transports,
    Service,
    Assignee,
    Contact,
    Description,
    Notes,
    Reference,
    Labels,
    Namespace,
    Pool,
    Ttl,
    Source,
    /// Told in the notes under its own name.
    Aside,
    /// Without a header: nothing may stand there.
    Unnamed,
    /// What only answers have, or what is not wanted.
    Ignored,
}

/// The headers that are known, in lower case and with plain spaces. The last ones are what
/// `portbook list --output csv` has beside the others.
const KNOWN: &[(Column, &[&str])] = &[
    (
        Column::Ports,
        &["port", "ports", "port range", "port ranges", "range", "port number", "port numbers"],
    ),
    (Column::FirstPort, &["first port"]),
    (Column::LastPort, &["last port"]),
    (
        Column::Transports,
        &["transport", "transports", "protocol", "protocols", "proto", "transport protocol"],
    ),
    (
        Column::Service,
        &[
            "service",
            "service name",
            "process",
            "process name",
            "name",
            "app",
            "app name",
            "application",
            "component",
        ],
    ),
    (
        Column::Assignee,
        &["owner", "owners", "owned by", "owner team", "team", "owning team", "assignee"],
    ),
    (Column::Contact, &["contact", "contacts"]),
    (Column::Description, &["description", "purpose"]),
    (
        Column::Notes,
        &["notes", "note", "comment", "comments", "remark", "remarks", "assignment notes"],
    ),
    (Column::Reference, &["reference", "references", "link", "links"]),
    (Column::Labels, &["labels"]),
    (Column::Namespace, &["namespace"]),
    (Column::Pool, &["pool"]),
    (Column::Ttl, &["ttl"]),
    (Column::Source, &["source"]),
    (Column::Aside, &["since", "previously allocated"]),
    (
        Column::Ignored,
        &[
            "uid",
            "aliases",
            "state",
            "registration date",
            "modification date",
            "service code",
            "unauthorized use reported",
            "guide",
            "create time",
            "update time",
            "etag",
            "revision",
            "expire time",
            "instance",
        ],
    ),
];

/// What is wrong with a header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error(
        "the header on line {line} has columns that are not known: {names}; --ignore-column NAME \
         leaves one out; known are {}",
        known()
    )]
    Unknown { line: usize, names: String },
    #[error(
        "the columns {first:?} and {second:?} say the same: leave one out with --ignore-column"
    )]
    Twice { first: String, second: String },
    #[error(
        "the header on line {line} has no column for the {what}; known columns are {}",
        known()
    )]
    Missing { line: usize, what: &'static str },
    #[error("there is no column {0:?} to ignore")]
    NothingToIgnore(String),
}

/// The headers that people use.
pub(super) fn known() -> String {
    let columns = KNOWN.iter().filter(|(column, _)| *column != Column::Ignored);
    columns.flat_map(|(_, names)| *names).join(", ")
}

/// What a header stands for.
fn named(header: &str) -> Option<Column> {
    let name = folded(header);
    if name.is_empty() {
        return Some(Column::Unnamed);
    }
    KNOWN.iter().find(|(_, names)| names.contains(&name.as_str())).map(|&(column, _)| column)
}

/// A header without what people write differently: `Port(s)` and `ports` are the same.
fn folded(header: &str) -> String {
    let text = header.to_lowercase().replace("(s)", "s");
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).join(" ")
}

/// How many of these headers are known.
pub(super) fn count(header: &[String]) -> usize {
    let is_known = |name: &&String| !matches!(named(name), None | Some(Column::Unnamed));
    header.iter().filter(is_known).count()
}

/// Whether these headers name ports, and services.
pub(super) fn names(header: &[String]) -> (bool, bool) {
    let has = |wanted: &[Column]| {
        header.iter().filter_map(|name| named(name)).any(|column| wanted.contains(&column))
    };
    (has(&[Column::Ports, Column::FirstPort]), has(&[Column::Service]))
}

/// What each of these headers stands for.
pub(super) fn read(
    line: usize,
    header: &[String],
    ignored: &[String],
) -> Result<Vec<Column>, HeaderError> {
    let is_ignored = |name: &str| ignored.iter().any(|ignored| folded(ignored) == folded(name));
    let is_there = |ignored: &&String| header.iter().any(|name| folded(name) == folded(ignored));
    if let Some(name) = ignored.iter().find(|name| !is_there(name)) {
        return Err(HeaderError::NothingToIgnore(name.clone()));
    }
    let columns: Vec<_> = header
        .iter()
        .map(|name| if is_ignored(name) { Some(Column::Ignored) } else { named(name) })
        .collect();
    let strange = header.iter().zip(&columns).filter(|(_, column)| column.is_none());
    let names = strange.map(|(name, _)| format!("{name:?}")).join(", ");
    if !names.is_empty() {
        return Err(HeaderError::Unknown { line, names });
    }
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    let may_repeat = [Column::Notes, Column::Aside, Column::Unnamed, Column::Ignored];
    let single = header.iter().zip(&columns).filter(|(_, column)| !may_repeat.contains(column));
    for ((first, of), (second, with)) in single.tuple_combinations() {
        if of == with {
            return Err(HeaderError::Twice { first: first.clone(), second: second.clone() });
        }
    }
    let has = |column| columns.contains(&column);
    if !has(Column::Ports) && !has(Column::FirstPort) {
        return Err(HeaderError::Missing { line, what: "ports" });
    }
    if !has(Column::Service) {
        return Err(HeaderError::Missing { line, what: "service name" });
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::record;
    use crate::grpc::proto;

    fn header(text: &str) -> Vec<String> {
        text.split('|').map(|name| name.trim().to_owned()).collect()
    }

    #[test]
    fn headers_are_read_however_they_are_written() {
        let columns =
            read(1, &header("Port(s) | PROTOCOL | Process | Owning_Team | Since | notes"), &[]);
        assert_eq!(
            columns.unwrap(),
            [
                Column::Ports,
                Column::Transports,
                Column::Service,
                Column::Assignee,
                Column::Aside,
                Column::Notes
            ]
        );
        assert_eq!(names(&header("Port range|x")), (true, false));
        assert_eq!(names(&header("first_port|service_name")), (true, true));
        assert_eq!(count(&header("port|name||what else")), 2);
    }

    #[test]
    fn every_column_of_an_export_is_known() {
        let record = record::object(&proto::Assignment::default());
        let header: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        assert_eq!(count(&header), header.len());
        assert!(read(1, &header, &[]).is_ok());
    }

    #[test]
    fn a_header_that_is_not_understood_is_told_with_what_would_be() {
        let names = header("Port|Service|Colour|Vendor");
        let fault = read(3, &names, &[]).unwrap_err().to_string();
        assert!(fault.contains("line 3") && fault.contains("\"Colour\", \"Vendor\""), "{fault}");
        assert!(fault.contains("--ignore-column") && fault.contains("owning team"), "{fault}");
        let ignored = ["colour".to_owned(), "VENDOR".to_owned()];
        assert_eq!(read(3, &names, &ignored).unwrap()[2..], [Column::Ignored; 2]);
        assert_eq!(
            read(3, &names, &["size".into()]),
            Err(HeaderError::NothingToIgnore("size".into()))
        );
        let twice = read(1, &header("Port|Service|Process"), &[]).unwrap_err();
        assert_eq!(twice, HeaderError::Twice { first: "Service".into(), second: "Process".into() });
        assert!(read(1, &header("Port|Service|Process"), &["process".into()]).is_ok());
        assert!(read(1, &header("Port|Service|Notes|Comment"), &[]).is_ok());
        for (text, what) in [("Port|Owner", "service name"), ("Service|Owner", "ports")] {
            assert_eq!(read(1, &header(text), &[]), Err(HeaderError::Missing { line: 1, what }));
        }
    }
}
