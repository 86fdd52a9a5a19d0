//! Rows: converts each row to registrations, or lists its errors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::mem;

use itertools::Itertools;

use super::cell;
use super::columns::Column;
use super::name::shortened;
use super::table::{Row, Table};
use crate::cli::{details, time_args};
use crate::grpc::details::DetailedMessage;
use crate::grpc::{convert, proto};
use crate::registry::details::TextField;
use crate::registry::name::NamespaceName;
use crate::registry::port::{PortRange, Transport};
use crate::registry::service_name::ServiceName;
use crate::registry::text::Labels;

/// The maximum length of a service name that the server checks, in bytes.
const MAX_NAME: usize = 128;

/// Values that apply to all rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// Overrides the namespace of rows.
    pub(super) namespace: Option<String>,
    /// For rows without a namespace.
    pub(super) default_namespace: String,
    pub(super) acknowledge: Vec<i32>,
    /// Override the labels of rows with the same keys.
    pub(super) labels: Vec<(String, String)>,
    /// Overrides the ttl of rows.
    pub(super) ttl: Option<prost_types::Duration>,
    /// For rows without a transport.
    pub(super) transports: Vec<Transport>,
    pub(super) shorten_names: bool,
}

/// A registration of a row. A row with several ports has several registrations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Registration {
    pub(super) line: usize,
    pub(super) ports: PortRange,
    pub(super) transports: Vec<Transport>,
    pub(super) request: proto::RegisterPortRequest,
}

/// An error in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The registrations of all rows, or all errors.
pub(super) fn registrations(
    table: &Table,
    columns: &[Column],
    defaults: &Defaults,
) -> Result<Vec<Registration>, Vec<RowError>> {
    let mut all = Vec::new();
    let mut errors = Vec::new();
    for row in &table.rows {
        let reader = Reader { row, header: &table.header.cells, columns, errors: Vec::new() };
        match reader.read(defaults) {
            Ok(registrations) => all.extend(registrations),
            Err(row_errors) => errors.extend(row_errors),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

/// Reads one row and collects its errors.
struct Reader<'a> {
    row: &'a Row,
    header: &'a [String],
    columns: &'a [Column],
    errors: Vec<RowError>,
}

impl Reader<'_> {
    fn read(mut self, defaults: &Defaults) -> Result<Vec<Registration>, Vec<RowError>> {
        self.check_cells();
        let ports = self.ports();
        let transports = self.transports(defaults);
        let request = self.request(defaults);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let registration = |(ports, own): (PortRange, Vec<Transport>)| {
            let transports = if own.is_empty() { transports.clone() } else { own };
            let numbers = transports.iter().map(|&of| convert::transport(Some(of)).into());
            let request = proto::RegisterPortRequest {
                ports: Some(convert::port_range(ports)),
                transports: numbers.collect(),
                ..request.clone()
            };
            Registration { line: self.row.line, ports, transports, request }
        };
        Ok(ports.into_iter().map(registration).collect())
    }

    fn error(&mut self, message: impl Display) {
        self.errors.push(RowError { line: self.row.line, message: message.to_string() });
    }

    /// The non-empty cells of a column with their headers, with single spaces. A row may be shorter
    /// than its header.
    fn texts(&self, column: Column) -> impl Iterator<Item = (&str, String)> {
        let cells = self.header.iter().zip(self.columns).zip(&self.row.cells);
        let matching = cells.filter(move |((_, of), _)| **of == column);
        matching
            .map(|((name, _), cell)| (name.as_str(), cell.split_whitespace().join(" ")))
            .filter(|(_, text)| !text.is_empty())
    }

    fn text(&self, column: Column) -> String {
        self.texts(column).map(|(_, text)| text).join("; ")
    }

    fn has(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    /// Rejects cells without a header, and records that are not registrations.
    fn check_cells(&mut self) {
        let mut extra = self.row.cells.iter().skip(self.columns.len());
        let has_extra = extra.any(|cell| !cell.trim().is_empty());
        if has_extra || self.texts(Column::Unnamed).next().is_some() {
            let (cells, width) = (self.row.cells.len(), self.header.len());
            self.error(format_args!(
                "a cell has no header: the row has {cells} cells, the header has {width}"
            ));
        }
        let source = self.text(Column::Source);
        if ["iana", "common"].contains(&source.to_lowercase().as_str()) {
            self.error(format_args!(
                "the source of the record is {source}: only custom registrations can be imported \
                 (export them with portbook list --source custom)"
            ));
        }
    }

    fn ports(&mut self) -> Vec<(PortRange, Vec<Transport>)> {
        let (first, last) = (self.text(Column::FirstPort), self.text(Column::LastPort));
        let text = match (self.text(Column::Ports), first, last) {
            (ports, first, _) if first.is_empty() => ports,
            (_, first, last) if last.is_empty() => first,
            (_, first, last) => format!("{first}-{last}"),
        };
        if text.is_empty() {
            self.error("the port is missing");
            return Vec::new();
        }
        match cell::ports(&text) {
            Ok(ports) => ports,
            Err(error) => {
                self.error(format_args!("port {text:?}: {error}"));
                Vec::new()
            }
        }
    }

    fn transports(&mut self, defaults: &Defaults) -> Vec<Transport> {
        match cell::transports(&self.text(Column::Transports)) {
            Ok(transports) if transports.is_empty() => defaults.transports.clone(),
            Ok(transports) => transports,
            Err(error) => {
                self.error(error);
                Vec::new()
            }
        }
    }

    /// The request without ports and transports.
    fn request(&mut self, defaults: &Defaults) -> proto::RegisterPortRequest {
        let (service_name, full_name) = self.service_name(defaults);
        let (mut description, mut notes) = self.description_and_notes();
        let mut labels = self.labels(defaults);
        if let Some(full_name) = full_name {
            if description.is_empty() {
                description.clone_from(&full_name);
            }
            labels.entry("process".into()).or_insert(full_name);
        }
        if let Err(error) = Labels::parse(labels.clone()) {
            self.error(error);
        }
        let ttl = defaults.ttl.or_else(|| self.ttl());
        let namespace = defaults
            .namespace
            .clone()
            .unwrap_or_else(|| self.namespace(&defaults.default_namespace));
        let mut request = proto::RegisterPortRequest {
            namespace,
            service_name,
            labels,
            acknowledge: defaults.acknowledge.clone(),
            ttl,
            pool: self.text(Column::Pool),
            ..proto::RegisterPortRequest::default()
        };
        for field in TextField::ALL {
            let text = match field {
                TextField::Description => mem::take(&mut description),
                TextField::AssignmentNotes => mem::take(&mut notes),
                other => self.text(Column::Detail(other)),
            };
            if let Err(error) = field.check(&text) {
                self.error(format_args!("the {} {error}", details::display_name(field)));
            }
            *request.text_mut(field) = text;
        }
        request
    }

    /// The service name, and the full name if it was shortened.
    fn service_name(&mut self, defaults: &Defaults) -> (String, Option<String>) {
        let name = self.text(Column::Service);
        if name.is_empty() {
            self.error("the service name is missing");
        } else if defaults.shorten_names && name.parse::<ServiceName>().is_err() {
            match shortened(&name) {
                Some(short) => return (short, Some(name)),
                None => self.error(format_args!(
                    "{name:?} cannot be shortened to a service name: it has no letter in its first \
                     {} characters",
                    ServiceName::MAX_LENGTH
                )),
            }
        } else if name.len() > MAX_NAME {
            self.error(format_args!("the service name is longer than {MAX_NAME} bytes"));
        }
        (name, None)
    }

    /// The description and the notes.
    fn description_and_notes(&self) -> (String, String) {
        const DESCRIPTION: Column = Column::Detail(TextField::Description);
        const NOTES: Column = Column::Detail(TextField::AssignmentNotes);
        let (description, notes) = (self.text(DESCRIPTION), self.text(NOTES));
        let (description, notes) = match (self.has(DESCRIPTION), self.has(NOTES)) {
            (true, true) => (description, notes),
            _ => {
                let only = description + &notes;
                if only.len() > TextField::Description.max_bytes() {
                    (String::new(), only)
                } else {
                    (only, String::new())
                }
            }
        };
        let extra = self.texts(Column::ExtraNote).map(|(name, text)| format!("{name}: {text}"));
        let notes = Some(notes).filter(|notes| !notes.is_empty()).into_iter().chain(extra);
        (description, notes.collect::<Vec<_>>().join("; "))
    }

    fn labels(&mut self, defaults: &Defaults) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for pair in self.text(Column::Labels).split(';').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) => {
                    labels.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                None => self.error(format_args!("label {pair:?}: expected KEY=VALUE")),
            }
        }
        labels.extend(defaults.labels.iter().cloned());
        labels
    }

    fn ttl(&mut self) -> Option<prost_types::Duration> {
        let text = Some(self.text(Column::Ttl)).filter(|text| !text.is_empty())?;
        match time_args::duration(&text) {
            Ok(ttl) => Some(ttl),
            Err(error) => {
                self.error(format_args!("ttl {text:?}: {error}"));
                None
            }
        }
    }

    fn namespace(&mut self, default: &str) -> String {
        let name = self.text(Column::Namespace);
        if name.is_empty() {
            return default.to_owned();
        }
        if let Err(error) = name.parse::<NamespaceName>() {
            self.error(error);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::columns;
    use crate::cli::import::table::{FileFormat, read};

    fn tcp() -> Defaults {
        Defaults {
            default_namespace: "default".into(),
            transports: vec![Transport::Tcp],
            ..Defaults::default()
        }
    }

    fn imported(text: &str, defaults: &Defaults) -> Result<Vec<Registration>, Vec<RowError>> {
        let (table, _) = read(text, FileFormat::Auto, 1).unwrap();
        let columns = columns::read(table.header.line, &table.header.cells, &[]).unwrap();
        registrations(&table, &columns, defaults)
    }

    fn one(text: &str, defaults: &Defaults) -> Registration {
        let all = imported(text, defaults).unwrap_or_else(|errors| panic!("{errors:?}"));
        all.into_iter().exactly_one().unwrap()
    }

    fn printed(all: &[Registration]) -> Vec<String> {
        let lines = all.iter().map(|registration| {
            let transports = registration.transports.iter().join(",");
            let name = &registration.request.service_name;
            format!("{}: {name} {}/{transports}", registration.line, registration.ports)
        });
        lines.collect()
    }

    const WIKI: &str = "\
| Port(s)   | Protocol | Process               | Owning Team | Since | Notes |
|-----------|----------|-----------------------|-------------|-------|-------|
| 2379-2380 | TCP      | [etcd](https://e.io)  | etcd        |       | control plane only |
| 9100–9101 | TCP, UDP | `node_exporter`       | monitoring  | 4.3   | metrics |
| 9537, 9538 |         | crio                  | node || a \\| b |
| 53        | both     | dns |
";

    #[test]
    fn a_wiki_table_is_imported() {
        let all = imported(WIKI, &tcp()).unwrap();
        assert_eq!(
            printed(&all),
            [
                "3: etcd 2379-2380/tcp",
                "4: node_exporter 9100-9101/tcp,udp",
                "5: crio 9537/tcp",
                "5: crio 9538/tcp",
                "6: dns 53/tcp,udp",
            ]
        );
        let request = &all[1].request;
        assert_eq!((&*request.assignee, &*request.description), ("monitoring", "metrics"));
        assert_eq!(request.assignment_notes, "Since: 4.3");
        assert_eq!(
            (&*all[2].request.description, &*all[2].request.namespace),
            ("a | b", "default")
        );
        assert_eq!(
            (request.transports.clone(), request.ports.unwrap().last),
            (vec![1, 2], Some(9101))
        );
    }

    #[test]
    fn names_are_shortened_only_with_the_flag_and_the_full_name_is_stored() {
        let text = "Port,Service,Notes\n10257,kube-controller-manager,\n10258,etcd,x\n";
        let all = imported(text, &tcp()).unwrap();
        assert_eq!(all[0].request.service_name, "kube-controller-manager");
        assert!(all[0].request.labels.is_empty());
        let defaults = Defaults { shorten_names: true, ..tcp() };
        let all = imported(text, &defaults).unwrap();
        let request = &all[0].request;
        assert_eq!(request.service_name, "kube-controller");
        assert_eq!(request.description, "kube-controller-manager");
        assert_eq!(request.labels["process"], "kube-controller-manager");
        assert_eq!(all[1].request.service_name, "etcd");
        assert!(all[1].request.labels.is_empty());
    }

    #[test]
    fn texts_go_where_they_fit() {
        let long = "x".repeat(256);
        let only = one(&format!("Port,Name,Purpose\n1024,a,{long}\n"), &tcp()).request;
        assert_eq!((only.description.len(), only.assignment_notes.len()), (0, 256));
        let both = "Port,Name,Description,Notes,Comment,Previously allocated\n\
                    1024,a,\"what\nit is\",n,c,3000\n";
        let both = one(both, &tcp()).request;
        assert_eq!(both.description, "what it is");
        assert_eq!(both.assignment_notes, "n; c; Previously allocated: 3000");
    }

    #[test]
    fn flags_count_before_what_rows_say() {
        let text = "Port,Name,Namespace,TTL,Labels,Pool\n1024,a,prod,3600s,tier=1;area=eu,web\n";
        let request = one(text, &tcp()).request;
        assert_eq!((&*request.namespace, &*request.pool), ("prod", "web"));
        assert_eq!(request.ttl.unwrap().seconds, 3600);
        assert_eq!(request.labels["area"], "eu");
        let defaults = Defaults {
            namespace: Some("staging".into()),
            labels: vec![("tier".into(), "2".into())],
            ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..tcp()
        };
        let request = one(text, &defaults).request;
        assert_eq!((&*request.namespace, request.ttl.unwrap().seconds), ("staging", 60));
        assert_eq!((&*request.labels["tier"], &*request.labels["area"]), ("2", "eu"));
    }

    #[test]
    fn all_errors_are_reported_with_their_lines() {
        let text = "Port,Protocol,Service,Labels,Contact,\n\
                    70000,tcp,a,,,\n\
                    ,http,,x,,\n\
                    1024,tcp,b,,,stray\n\
                    1024,tcp,c,,,,,too many\n\
                    1024\n";
        let errors = imported(text, &tcp()).unwrap_err();
        let lines: Vec<_> =
            errors.iter().map(|error| format!("{}: {}", error.line, error.message)).collect();
        assert_eq!(
            lines,
            [
                "2: port \"70000\": \"70000\" is not a valid port number: expected 0-65535",
                "3: the port is missing",
                "3: \"http\" is not a transport: expected tcp, udp, sctp or dccp",
                "3: the service name is missing",
                "3: label \"x\": expected KEY=VALUE",
                "4: a cell has no header: the row has 6 cells, the header has 6",
                "5: a cell has no header: the row has 8 cells, the header has 6",
                "6: the service name is missing",
            ]
        );
        let long = format!("Port,Name,Contact\n1024,a,{}\n", "x".repeat(256));
        let errors = imported(&long, &tcp()).unwrap_err();
        assert_eq!(errors[0].message, "the contact has 256 bytes: at most 255 are allowed");
    }

    #[test]
    fn an_export_is_imported_and_iana_s_records_are_not() {
        let header = "uid,source,service_name,first_port,last_port,transport,state";
        let text =
            format!("{header}\n0197,CUSTOM,a,7000,7009,udp,ASSIGNED\n,CUSTOM,b,7010,7010,tcp,\n");
        let all = imported(&text, &tcp()).unwrap();
        assert_eq!(printed(&all), ["2: a 7000-7009/udp", "3: b 7010/tcp"]);
        let text = format!("{header}\n,IANA,https,443,443,tcp,ASSIGNED\n");
        let errors = imported(&text, &tcp()).unwrap_err();
        assert!(errors[0].message.contains("list --source custom"), "{errors:?}");
    }
}
