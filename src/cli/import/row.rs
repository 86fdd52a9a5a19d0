//! Rows: what each asks to be registered, or what is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Display;

use itertools::Itertools;

use super::cell;
use super::columns::Column;
use super::name::shortened;
use super::table::{Row, Table};
use crate::cli::time_args;
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;
use crate::registry::port::{PortRange, Transport};
use crate::registry::service_name::ServiceName;
use crate::registry::text::{Labels, Text};

/// The most bytes of a description, an assignee, a contact.
const SHORT: usize = 255;
/// The most bytes of a service name that can be judged.
const MAX_NAME: usize = 128;

/// What holds for all rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// In place of what rows say.
    pub(super) namespace: Option<String>,
    /// Where rows say none.
    pub(super) default_namespace: String,
    pub(super) acknowledge: Vec<i32>,
    /// In place of labels of the same keys.
    pub(super) labels: Vec<(String, String)>,
    /// In place of what rows say.
    pub(super) ttl: Option<prost_types::Duration>,
    /// Where rows say none.
    pub(super) transports: Vec<Transport>,
    pub(super) shorten_names: bool,
}

/// What a row asks for; it may ask for several ports.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Registration {
    pub(super) line: usize,
    pub(super) ports: PortRange,
    pub(super) transports: Vec<Transport>,
    pub(super) request: proto::RegisterPortRequest,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

/// What the rows ask for, or all that is wrong with them.
pub(super) fn registrations(
    table: &Table,
    columns: &[Column],
    defaults: &Defaults,
) -> Result<Vec<Registration>, Vec<Fault>> {
    let mut all = Vec::new();
    let mut faults = Vec::new();
    for row in &table.rows {
        let reader = Reader { row, header: &table.header.cells, columns, faults: Vec::new() };
        match reader.read(defaults) {
            Ok(registrations) => all.extend(registrations),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// Reads one row and notes its faults.
struct Reader<'a> {
    row: &'a Row,
    header: &'a [String],
    columns: &'a [Column],
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn read(mut self, defaults: &Defaults) -> Result<Vec<Registration>, Vec<Fault>> {
        self.check_strays();
        let asked = self.ports();
        let transports = self.transports(defaults);
        let request = self.request(defaults);
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let registration = |(ports, named): (PortRange, Vec<Transport>)| {
            let transports = if named.is_empty() { transports.clone() } else { named };
            let numbers = transports.iter().map(|&of| convert::transport(Some(of)).into());
            let request = proto::RegisterPortRequest {
                ports: Some(convert::port_range(ports)),
                transports: numbers.collect(),
                ..request.clone()
            };
            Registration { line: self.row.line, ports, transports, request }
        };
        Ok(asked.into_iter().map(registration).collect())
    }

    fn fault(&mut self, message: impl Display) {
        self.faults.push(Fault { line: self.row.line, message: message.to_string() });
    }

    /// The texts of the columns that stand for this, with single spaces; a row may be shorter than
    /// its header.
    fn texts(&self, column: Column) -> impl Iterator<Item = (&str, String)> {
        let cells = self.header.iter().zip(self.columns).zip(&self.row.cells);
        let wanted = cells.filter(move |((_, of), _)| **of == column);
        wanted
            .map(|((name, _), cell)| (name.as_str(), cell.split_whitespace().join(" ")))
            .filter(|(_, text)| !text.is_empty())
    }

    fn text(&self, column: Column) -> String {
        self.texts(column).map(|(_, text)| text).join("; ")
    }

    fn has(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    /// Cells beside the table, and rows that are no registrations.
    fn check_strays(&mut self) {
        let beyond = self.row.cells.iter().skip(self.columns.len());
        let is_stray = beyond.clone().any(|cell| !cell.trim().is_empty());
        if is_stray || self.texts(Column::Unnamed).next().is_some() {
            let (cells, width) = (self.row.cells.len(), self.header.len());
            self.fault(format_args!(
                "a cell stands under no header: the row has {cells} cells, the header {width}"
            ));
        }
        let source = self.text(Column::Source);
        if ["iana", "common"].contains(&source.to_lowercase().as_str()) {
            self.fault(format_args!(
                "the record is from {source}: only registrations can be imported \
                 (portbook list --source custom)"
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
            self.fault("there is no port");
            return Vec::new();
        }
        match cell::ports(&text) {
            Ok(ports) => ports,
            Err(fault) => {
                self.fault(format_args!("the port {text:?} is not understood: {fault}"));
                Vec::new()
            }
        }
    }

    fn transports(&mut self, defaults: &Defaults) -> Vec<Transport> {
        match cell::transports(&self.text(Column::Transports)) {
            Ok(transports) if transports.is_empty() => defaults.transports.clone(),
            Ok(transports) => transports,
            Err(fault) => {
                self.fault(fault);
                Vec::new()
            }
        }
    }

    /// All but the ports and transports.
    fn request(&mut self, defaults: &Defaults) -> proto::RegisterPortRequest {
        let (service_name, full_name) = self.service_name(defaults);
        let (mut description, notes) = self.remarks();
        let mut labels = self.labels(defaults);
        if let Some(full_name) = full_name {
            if description.is_empty() {
                description.clone_from(&full_name);
            }
            labels.entry("process".into()).or_insert(full_name);
        }
        if let Err(fault) = Labels::parse(labels.clone()) {
            self.fault(fault);
        }
        let ttl = defaults.ttl.or_else(|| self.ttl());
        let namespace = defaults
            .namespace
            .clone()
            .unwrap_or_else(|| self.namespace(&defaults.default_namespace));
        proto::RegisterPortRequest {
            namespace,
            service_name,
            description: self.limited::<SHORT>("description", description),
            assignee: self.limited::<SHORT>("assignee", self.text(Column::Assignee)),
            contact: self.limited::<SHORT>("contact", self.text(Column::Contact)),
            reference: self.limited::<512>("reference", self.text(Column::Reference)),
            assignment_notes: self.limited::<2000>("notes", notes),
            labels,
            acknowledge: defaults.acknowledge.clone(),
            ttl,
            pool: self.text(Column::Pool),
            ..proto::RegisterPortRequest::default()
        }
    }

    fn limited<const MAX: usize>(&mut self, what: &str, text: String) -> String {
        if let Err(fault) = Text::<MAX>::parse(text.as_str()) {
            self.fault(format_args!("the {what} {fault}"));
        }
        text
    }

    /// The service name, and the full one where it was shortened.
    fn service_name(&mut self, defaults: &Defaults) -> (String, Option<String>) {
        let name = self.text(Column::Service);
        if name.is_empty() {
            self.fault("there is no service name");
        } else if defaults.shorten_names && name.parse::<ServiceName>().is_err() {
            match shortened(&name) {
                Some(short) => return (short, Some(name)),
                None => self.fault(format_args!("{name:?} has no letter to make a name of")),
            }
        } else if name.len() > MAX_NAME {
            self.fault(format_args!("the service name has more than {MAX_NAME} bytes"));
        }
        (name, None)
    }

    /// The description and the notes.
    fn remarks(&self) -> (String, String) {
        let (description, notes) = (self.text(Column::Description), self.text(Column::Notes));
        let (description, notes) = match (self.has(Column::Description), self.has(Column::Notes)) {
            (true, true) => (description, notes),
            _ => {
                let only = description + &notes;
                if only.len() > SHORT { (String::new(), only) } else { (only, String::new()) }
            }
        };
        let asides = self.texts(Column::Aside).map(|(name, text)| format!("{name}: {text}"));
        let notes = Some(notes).filter(|notes| !notes.is_empty()).into_iter().chain(asides);
        (description, notes.collect::<Vec<_>>().join("; "))
    }

    fn labels(&mut self, defaults: &Defaults) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for pair in self.text(Column::Labels).split(';').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) => {
                    labels.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                None => self.fault(format_args!("the label {pair:?} is not written as key=value")),
            }
        }
        labels.extend(defaults.labels.iter().cloned());
        labels
    }

    fn ttl(&mut self) -> Option<prost_types::Duration> {
        let text = Some(self.text(Column::Ttl)).filter(|text| !text.is_empty())?;
        match time_args::duration(&text) {
            Ok(length) => Some(length),
            Err(fault) => {
                self.fault(format_args!("the ttl {text:?} is not understood: {fault}"));
                None
            }
        }
    }

    fn namespace(&mut self, default: &str) -> String {
        let name = self.text(Column::Namespace);
        if name.is_empty() {
            return default.to_owned();
        }
        if let Err(fault) = name.parse::<NamespaceName>() {
            self.fault(fault);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::columns;
    use crate::cli::import::table::{Form, read};

    fn tcp() -> Defaults {
        Defaults {
            default_namespace: "default".into(),
            transports: vec![Transport::Tcp],
            ..Defaults::default()
        }
    }

    fn imported(text: &str, defaults: &Defaults) -> Result<Vec<Registration>, Vec<Fault>> {
        let (table, _) = read(text, Form::Auto, 1).unwrap();
        let columns = columns::read(table.header.line, &table.header.cells, &[]).unwrap();
        registrations(&table, &columns, defaults)
    }

    fn one(text: &str, defaults: &Defaults) -> Registration {
        let all = imported(text, defaults).unwrap_or_else(|faults| panic!("{faults:?}"));
        all.into_iter().exactly_one().unwrap()
    }

    fn told(all: &[Registration]) -> Vec<String> {
        let told = all.iter().map(|registration| {
            let transports = registration.transports.iter().join(",");
            let name = &registration.request.service_name;
            format!("{}: {name} {}/{transports}", registration.line, registration.ports)
        });
        told.collect()
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
            told(&all),
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
    fn names_are_shortened_only_when_asked_and_the_full_one_is_kept() {
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
    fn all_faults_are_told_with_their_lines() {
        let text = "Port,Protocol,Service,Labels,Contact,\n\
                    70000,tcp,a,,,\n\
                    ,http,,x,,\n\
                    1024,tcp,b,,,stray\n\
                    1024,tcp,c,,,,,too many\n\
                    1024\n";
        let faults = imported(text, &tcp()).unwrap_err();
        let told: Vec<_> =
            faults.iter().map(|fault| format!("{}: {}", fault.line, fault.message)).collect();
        assert_eq!(
            told,
            [
                "2: the port \"70000\" is not understood: \"70000\" is not a valid port number: expected 0-65535",
                "3: there is no port",
                "3: \"http\" is not a transport: expected tcp, udp, sctp or dccp",
                "3: there is no service name",
                "3: the label \"x\" is not written as key=value",
                "4: a cell stands under no header: the row has 6 cells, the header 6",
                "5: a cell stands under no header: the row has 8 cells, the header 6",
                "6: there is no service name",
            ]
        );
        let long = format!("Port,Name,Contact\n1024,a,{}\n", "x".repeat(256));
        let faults = imported(&long, &tcp()).unwrap_err();
        assert_eq!(faults[0].message, "the contact has 256 bytes: at most 255 are allowed");
    }

    #[test]
    fn an_export_is_imported_and_iana_s_records_are_not() {
        let header = "uid,source,service_name,first_port,last_port,transport,state";
        let text =
            format!("{header}\n0197,CUSTOM,a,7000,7009,udp,ASSIGNED\n,CUSTOM,b,7010,7010,tcp,\n");
        let all = imported(&text, &tcp()).unwrap();
        assert_eq!(told(&all), ["2: a 7000-7009/udp", "3: b 7010/tcp"]);
        let text = format!("{header}\n,IANA,https,443,443,tcp,ASSIGNED\n");
        let faults = imported(&text, &tcp()).unwrap_err();
        assert!(faults[0].message.contains("list --source custom"), "{faults:?}");
    }
}
