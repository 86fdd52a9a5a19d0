//! Columns: maps headers to the fields of a registration.

use itertools::Itertools;

use crate::registry::details::TextField;

/// The content of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Ports,
    FirstPort,
    LastPort,
    Transports,
    Service,
    Detail(TextField),
    Labels,
    Namespace,
    Pool,
    Ttl,
    Source,
    /// Added to the notes as `header: text`.
    ExtraNote,
    /// Without a header: its cells must be empty.
    Unnamed,
    /// Output-only fields of an export, and columns of `--ignore-column`.
    Ignored,
}

/// The known headers, normalized. The last ones are output-only columns of
/// `portbook list --output csv`.
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
        Column::Detail(TextField::Assignee),
        &["owner", "owners", "owned by", "owner team", "team", "owning team", "assignee"],
    ),
    (Column::Detail(TextField::Contact), &["contact", "contacts"]),
    (Column::Detail(TextField::Description), &["description", "purpose"]),
    (
        Column::Detail(TextField::AssignmentNotes),
        &["notes", "note", "comment", "comments", "remark", "remarks", "assignment notes"],
    ),
    (Column::Detail(TextField::Reference), &["reference", "references", "link", "links"]),
    (Column::Detail(TextField::Url), &["url", "urls"]),
    (Column::Labels, &["labels"]),
    (Column::Namespace, &["namespace"]),
    (Column::Pool, &["pool"]),
    (Column::Ttl, &["ttl"]),
    (Column::Source, &["source"]),
    (Column::ExtraNote, &["since", "previously allocated"]),
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

/// Why a header is not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error(
        "unknown columns on line {line}: {names}; to ignore a column: --ignore-column NAME; known \
         columns: {}",
        known()
    )]
    Unknown { line: usize, names: String },
    #[error(
        "the columns {first:?} and {second:?} have the same meaning: ignore one with \
         --ignore-column NAME"
    )]
    Duplicate { first: String, second: String },
    #[error("the header on line {line} has no column for the {field}; known columns: {}", known())]
    Missing { line: usize, field: &'static str },
    #[error("--ignore-column {0:?}: the header has no such column")]
    UnknownIgnored(String),
}

/// The known headers, except output-only ones.
pub(super) fn known() -> String {
    let columns = KNOWN.iter().filter(|(column, _)| *column != Column::Ignored);
    columns.flat_map(|(_, names)| *names).join(", ")
}

/// The column of a header, if it is known.
fn column(header: &str) -> Option<Column> {
    let name = normalized(header);
    if name.is_empty() {
        return Some(Column::Unnamed);
    }
    KNOWN.iter().find(|(_, names)| names.contains(&name.as_str())).map(|&(column, _)| column)
}

/// Lower case, single spaces and no punctuation: `Port(s)` and `ports` are equal.
fn normalized(header: &str) -> String {
    let text = header.to_lowercase().replace("(s)", "s");
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).join(" ")
}

/// The number of known headers.
pub(super) fn count(header: &[String]) -> usize {
    let is_known = |name: &&String| !matches!(column(name), None | Some(Column::Unnamed));
    header.iter().filter(is_known).count()
}

/// Whether the headers contain ports, and whether they contain service names.
pub(super) fn has_ports_and_services(header: &[String]) -> (bool, bool) {
    let has = |wanted: &[Column]| {
        header.iter().filter_map(|name| column(name)).any(|found| wanted.contains(&found))
    };
    (has(&[Column::Ports, Column::FirstPort]), has(&[Column::Service]))
}

/// The columns of a header.
pub(super) fn read(
    line: usize,
    header: &[String],
    ignored: &[String],
) -> Result<Vec<Column>, HeaderError> {
    let is_ignored =
        |name: &str| ignored.iter().any(|ignored| normalized(ignored) == normalized(name));
    let exists =
        |ignored: &&String| header.iter().any(|name| normalized(name) == normalized(ignored));
    if let Some(name) = ignored.iter().find(|name| !exists(name)) {
        return Err(HeaderError::UnknownIgnored(name.clone()));
    }
    let columns: Vec<_> = header
        .iter()
        .map(|name| if is_ignored(name) { Some(Column::Ignored) } else { column(name) })
        .collect();
    let unknown = header.iter().zip(&columns).filter(|(_, column)| column.is_none());
    let names = unknown.map(|(name, _)| format!("{name:?}")).join(", ");
    if !names.is_empty() {
        return Err(HeaderError::Unknown { line, names });
    }
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    let may_repeat = [
        Column::Detail(TextField::AssignmentNotes),
        Column::ExtraNote,
        Column::Unnamed,
        Column::Ignored,
    ];
    let single = header.iter().zip(&columns).filter(|(_, column)| !may_repeat.contains(column));
    for ((first, of), (second, with)) in single.tuple_combinations() {
        if of == with {
            return Err(HeaderError::Duplicate { first: first.clone(), second: second.clone() });
        }
    }
    let has = |column| columns.contains(&column);
    if !has(Column::Ports) && !has(Column::FirstPort) {
        return Err(HeaderError::Missing { line, field: "ports" });
    }
    if !has(Column::Service) {
        return Err(HeaderError::Missing { line, field: "service name" });
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
    fn headers_ignore_case_and_punctuation() {
        let columns =
            read(1, &header("Port(s) | PROTOCOL | Process | Owning_Team | Since | notes"), &[]);
        assert_eq!(
            columns.unwrap(),
            [
                Column::Ports,
                Column::Transports,
                Column::Service,
                Column::Detail(TextField::Assignee),
                Column::ExtraNote,
                Column::Detail(TextField::AssignmentNotes)
            ]
        );
        assert_eq!(has_ports_and_services(&header("Port range|x")), (true, false));
        assert_eq!(has_ports_and_services(&header("first_port|service_name")), (true, true));
        assert_eq!(count(&header("port|name||colour")), 2);
    }

    #[test]
    fn every_descriptive_field_has_a_column() {
        for field in TextField::ALL {
            let columns = read(1, &header(&format!("port|service|{}", field.name())), &[]);
            assert_eq!(columns.unwrap()[2], Column::Detail(field));
        }
    }

    #[test]
    fn every_column_of_an_export_is_known() {
        let record = record::object(&proto::Assignment::default());
        let header: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        assert_eq!(count(&header), header.len());
        assert!(read(1, &header, &[]).is_ok());
    }

    #[test]
    fn errors_name_the_columns() {
        let names = header("Port|Service|Colour|Vendor");
        let error = read(3, &names, &[]).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("\"Colour\", \"Vendor\""), "{error}");
        assert!(error.contains("--ignore-column") && error.contains("owning team"), "{error}");
        let ignored = ["colour".to_owned(), "VENDOR".to_owned()];
        assert_eq!(read(3, &names, &ignored).unwrap()[2..], [Column::Ignored; 2]);
        assert_eq!(
            read(3, &names, &["size".into()]),
            Err(HeaderError::UnknownIgnored("size".into()))
        );
        let duplicate = read(1, &header("Port|Service|Process"), &[]).unwrap_err();
        assert_eq!(
            duplicate,
            HeaderError::Duplicate { first: "Service".into(), second: "Process".into() }
        );
        assert!(read(1, &header("Port|Service|Process"), &["process".into()]).is_ok());
        assert!(read(1, &header("Port|Service|Notes|Comment"), &[]).is_ok());
        for (text, field) in [("Port|Owner", "service name"), ("Service|Owner", "ports")] {
            assert_eq!(read(1, &header(text), &[]), Err(HeaderError::Missing { line: 1, field }));
        }
    }
}
