//! Proto to domain: requests are parsed here, field by field, so that the domain is asked with
//! valid values only and a client hears of all its faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use super::proto::{self, ErrorReason};
use super::status::{CallError, FieldFault};
use crate::registry::assignment::{NamespaceName, Source, State, Uid};
use crate::registry::command::{Command, Details, Edits, Register, Release, Update};
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::list::Filter;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::service_name::ServiceName;
use crate::registry::text::{Labels, Text};
use crate::store::RequestKey;

/// The most bytes of a name or a query.
const MAX_NAME: usize = 128;
/// The most questions of a batch, and ports of a block.
pub const MAX_BATCH: usize = 10_000;

/// Reads a request, and refuses it with all of its faults together if it has any. What reads it
/// answers `None` only after it has noted a fault.
///
/// # Errors
/// If a field is missing or not valid.
pub fn parse<T>(read: impl FnOnce(&mut Fields) -> Option<T>) -> Result<T, CallError> {
    let mut fields = Fields::default();
    match read(&mut fields) {
        Some(value) if fields.0.is_empty() => Ok(value),
        _ => Err(CallError::Fields(fields.0)),
    }
}

/// Collects what is wrong with the fields of one request.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldFault>);

impl Fields {
    /// The value, or a fault of the field.
    pub fn take<T, E: Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|fault| self.fault(field, &fault)).ok()
    }

    /// Notes a fault of the field.
    pub fn fault(&mut self, field: &str, description: &impl Display) {
        self.fault_because(field, description, ErrorReason::InvalidField);
    }

    fn fault_because(&mut self, field: &str, description: &impl Display, reason: ErrorReason) {
        let description = description.to_string();
        self.0.push(FieldFault { field: field.to_owned(), description, reason });
    }

    /// A port that has to be given.
    pub fn port(&mut self, field: &str, number: Option<u32>) -> Option<Port> {
        match number {
            Some(number) => self.take(field, Port::try_from(number)),
            None => {
                self.fault(field, &"is missing: a port number, 0-65535, is asked for");
                None
            }
        }
    }

    /// A transport; none stands for UNSPECIFIED.
    pub fn transport(&mut self, field: &str, number: i32) -> Option<Option<Transport>> {
        match proto::Transport::try_from(number) {
            Ok(proto::Transport::Unspecified) => Some(None),
            Ok(proto::Transport::Tcp) => Some(Some(Transport::Tcp)),
            Ok(proto::Transport::Udp) => Some(Some(Transport::Udp)),
            Ok(proto::Transport::Sctp) => Some(Some(Transport::Sctp)),
            Ok(proto::Transport::Dccp) => Some(Some(Transport::Dccp)),
            Err(_) => {
                self.fault(field, &format!("{number} is no Transport"));
                None
            }
        }
    }

    /// A namespace; empty stands for the default one.
    pub fn namespace(&mut self, field: &str, name: &str) -> Option<NamespaceName> {
        if name.is_empty() {
            return Some(NamespaceName::default());
        }
        self.take(field, name.parse())
    }

    /// A run of ports; `last` may be left out.
    pub fn port_range(&mut self, field: &str, range: proto::PortRange) -> Option<PortRange> {
        let first = self.port(&format!("{field}.first"), range.first);
        let last = match range.last {
            Some(last) => self.port(&format!("{field}.last"), Some(last)),
            None => first,
        };
        self.take(field, PortRange::new(first?, last?))
    }

    /// A name or query that has to be given.
    pub fn name<'n>(&mut self, field: &str, name: &'n str) -> Option<&'n str> {
        let name = name.trim();
        if name.is_empty() {
            self.fault(field, &"is missing");
            return None;
        }
        self.short(field, name)
    }

    /// A name that may be empty.
    fn short<'n>(&mut self, field: &str, name: &'n str) -> Option<&'n str> {
        if name.len() > MAX_NAME {
            self.fault(field, &format!("has {} bytes: at most {MAX_NAME} are allowed", name.len()));
            return None;
        }
        if name.chars().any(char::is_control) {
            self.fault(field, &"has a control character in it, which is not allowed");
            return None;
        }
        Some(name)
    }

    /// A size with a default and a most that larger ones are read as (AIP-158).
    pub fn size(&mut self, field: &str, size: i32, default: usize, most: usize) -> Option<usize> {
        match usize::try_from(size) {
            Ok(0) => Some(default),
            Ok(size) => Some(size.min(most)),
            Err(_) => {
                self.fault(field, &format!("is {size}: 0 or more is asked for"));
                None
            }
        }
    }

    /// How many things there are, from 1 to the most of a batch.
    pub fn batch(&mut self, field: &str, length: usize) -> Option<()> {
        if (1..=MAX_BATCH).contains(&length) {
            return Some(());
        }
        self.fault(field, &format!("has {length} entries: 1-10,000 are allowed"));
        None
    }

    /// A text or value that may be left empty.
    fn optional<T: FromStr>(&mut self, field: &str, text: &str) -> Option<Option<T>>
    where
        T::Err: Display,
    {
        if text.is_empty() { Some(None) } else { self.take(field, text.parse()).map(Some) }
    }

    fn text<const MAX: usize>(&mut self, field: &str, text: String) -> Option<Text<MAX>> {
        self.take(field, Text::parse(text))
    }

    fn labels(&mut self, field: &str, pairs: BTreeMap<String, String>) -> Option<Labels> {
        self.take(field, Labels::parse(pairs))
    }

    fn service_name(&mut self, field: &str, name: &str) -> Option<ServiceName> {
        match name.parse() {
            Ok(name) => Some(name),
            Err(fault) => {
                self.fault_because(field, &fault, ErrorReason::InvalidServiceName);
                None
            }
        }
    }

    fn acknowledge(&mut self, numbers: &[i32]) -> Option<BTreeSet<FindingCode>> {
        const FIELD: &str = "acknowledge";
        let mut codes = BTreeSet::new();
        for &number in numbers {
            let named = proto::FindingCode::try_from(number).ok().and_then(|code| {
                FindingCode::named(code.as_str_name().trim_start_matches("FINDING_CODE_"))
            });
            match named {
                Some(code) if code.severity() == Severity::Blocker => {
                    self.fault(FIELD, &format!("{code} can't be acknowledged"));
                    return None;
                }
                Some(code) => {
                    codes.insert(code);
                }
                None => {
                    self.fault(FIELD, &format!("{number} is no FindingCode to acknowledge"));
                    return None;
                }
            }
        }
        Some(codes)
    }

    /// A transport for each registration: at least one, each once.
    fn transports_to_take(&mut self, numbers: &[i32]) -> Option<Vec<Transport>> {
        const FIELD: &str = "transports";
        if numbers.is_empty() {
            self.fault(FIELD, &"is missing: at least one transport is asked for");
            return None;
        }
        let mut transports = Vec::new();
        for &number in numbers {
            match self.transport(FIELD, number)? {
                Some(transport) if transports.contains(&transport) => {
                    self.fault(FIELD, &format!("has {transport} twice"));
                    return None;
                }
                Some(transport) => transports.push(transport),
                None => {
                    self.fault(FIELD, &"has UNSPECIFIED in it: say which transports");
                    return None;
                }
            }
        }
        Some(transports)
    }

    /// The id and the reason that every write may carry.
    fn note(&mut self, request_id: String, reason: String, fingerprint: [u8; 32]) -> Option<Note> {
        let is_id = |id: &str| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_id(&request_id) {
            self.fault("request_id", &"is not 1-64 visible ASCII characters");
        }
        let reason = self.text::<512>("reason", reason);
        let request =
            (!request_id.is_empty()).then_some(RequestKey { id: request_id, fingerprint });
        Some(Note { request, reason: reason?.as_str().to_owned() })
    }
}

/// What comes with every write.
#[derive(Debug)]
pub struct Note {
    /// How to know the request again.
    pub request: Option<RequestKey>,
    /// Why.
    pub reason: String,
}

/// A registration.
pub fn register(
    fields: &mut Fields,
    request: proto::RegisterPortRequest,
    fingerprint: [u8; 32],
) -> Option<(Command, Note)> {
    let namespace = fields.namespace("namespace", &request.namespace);
    let service_name = fields.service_name("service_name", &request.service_name);
    let ports = match request.ports {
        Some(ports) => fields.port_range("ports", ports),
        None => {
            fields.fault("ports", &"is missing: a port or a run of ports is asked for");
            None
        }
    };
    let transports = fields.transports_to_take(&request.transports);
    let description = fields.text("description", request.description);
    let assignee = fields.text("assignee", request.assignee);
    let contact = fields.text("contact", request.contact);
    let reference = fields.text("reference", request.reference);
    let assignment_notes = fields.text("assignment_notes", request.assignment_notes);
    let labels = fields.labels("labels", request.labels);
    let acknowledge = fields.acknowledge(&request.acknowledge);
    let note = fields.note(request.request_id, request.reason, fingerprint);
    let register = Register {
        namespace: namespace?,
        service_name: service_name?,
        ports: ports?,
        transports: transports?,
        details: Details {
            description: description?,
            assignee: assignee?,
            contact: contact?,
            reference: reference?,
            assignment_notes: assignment_notes?,
            labels: labels?,
        },
        acknowledge: acknowledge?,
    };
    Some((Command::Register(register), note?))
}

/// A change of what is said of a registration.
pub fn update(
    fields: &mut Fields,
    request: proto::UpdateAssignmentRequest,
    fingerprint: [u8; 32],
) -> Option<(Command, Note)> {
    let acknowledge = fields.acknowledge(&request.acknowledge);
    let note = fields.note(request.request_id, request.reason, fingerprint);
    let Some(assignment) = request.assignment else {
        fields.fault("assignment", &"is missing");
        return None;
    };
    let uid = fields.take("assignment.uid", assignment.uid.parse::<Uid>());
    let etag = fields.optional("assignment.etag", &assignment.etag);
    let mask = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let edits = edits(fields, assignment, &mask);
    let update = Update { uid: uid?, etag: etag?, edits: edits?, acknowledge: acknowledge? };
    Some((Command::Update(update), note?))
}

const EDITABLE: [&str; 7] = [
    "service_name",
    "description",
    "assignee",
    "contact",
    "reference",
    "assignment_notes",
    "labels",
];

/// The fields of the mask; without a mask those that are not empty (AIP-134).
fn edits(fields: &mut Fields, assignment: proto::Assignment, mask: &[String]) -> Option<Edits> {
    for path in mask {
        if path == "*" && mask.len() > 1 {
            fields.fault("update_mask", &"has * beside other paths");
        } else if path != "*" && !EDITABLE.contains(&path.as_str()) {
            let known = EDITABLE.join(", ");
            fields.fault(
                "update_mask",
                &format!("{path:?} can't be changed: {known} can, or * for all"),
            );
        }
    }
    let is_wanted = |path: &str, is_empty: bool| match mask {
        [] => !is_empty,
        [all] if all == "*" => true,
        paths => paths.iter().any(|wanted| wanted == path),
    };
    macro_rules! wanted {
        ($field:ident, $parse:expr) => {
            if is_wanted(stringify!($field), assignment.$field.is_empty()) {
                let path = concat!("assignment.", stringify!($field));
                Some($parse(&mut *fields, path, assignment.$field))
            } else {
                None
            }
        };
    }
    let service_name = wanted!(service_name, |fields: &mut Fields, path, name: String| {
        fields.service_name(path, &name)
    });
    let description = wanted!(description, Fields::text);
    let assignee = wanted!(assignee, Fields::text);
    let contact = wanted!(contact, Fields::text);
    let reference = wanted!(reference, Fields::text);
    let assignment_notes = wanted!(assignment_notes, Fields::text);
    let labels = wanted!(labels, Fields::labels);
    // A wanted field whose value is not valid has noted its fault and stops here.
    Some(Edits {
        service_name: flip(service_name)?,
        description: flip(description)?,
        assignee: flip(assignee)?,
        contact: flip(contact)?,
        reference: flip(reference)?,
        assignment_notes: flip(assignment_notes)?,
        labels: flip(labels)?,
    })
}

/// Whether it was wanted, of what was read: none if it was wanted and not valid.
fn flip<T>(wanted: Option<Option<T>>) -> Option<Option<T>> {
    match wanted {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

/// What to give back.
pub fn release(
    fields: &mut Fields,
    request: proto::ReleasePortRequest,
    fingerprint: [u8; 32],
) -> Option<(Command, Note)> {
    let note = fields.note(request.request_id, request.reason, fingerprint);
    let etag = fields.optional("etag", &request.etag);
    let release = match request.port {
        Some(_) if !request.uid.is_empty() => {
            fields.fault("port", &"is given together with uid: give one of them");
            None
        }
        None if request.uid.is_empty() => {
            fields.fault("uid", &"is missing: a uid, or a port, is asked for");
            None
        }
        None => {
            let uid = fields.take("uid", request.uid.parse());
            if !request.namespace.is_empty() || request.transport != 0 {
                fields.fault(
                    "uid",
                    &"is given together with namespace or transport, which go with port",
                );
            }
            uid.zip(etag).map(|(uid, etag)| Release::Uid { uid, etag })
        }
        Some(number) => {
            if !request.etag.is_empty() {
                fields.fault("etag", &"goes with uid, not with port");
            }
            let namespace = fields.namespace("namespace", &request.namespace);
            let port = fields.port("port", Some(number));
            let transport = fields.transport("transport", request.transport);
            Some(Release::Port { namespace: namespace?, port: port?, transport: transport? })
        }
    };
    Some((Command::Release(release?), note?))
}

/// Which records to list.
pub fn filter(fields: &mut Fields, filter: proto::AssignmentFilter) -> Option<Filter> {
    let namespace = if filter.namespace == "-" {
        Some(None)
    } else {
        fields.namespace("filter.namespace", &filter.namespace).map(Some)
    };
    let sources = each(&filter.sources, |number| fields.source("filter.sources", number));
    let states = each(&filter.states, |number| fields.state("filter.states", number));
    let transports =
        each(&filter.transports, |number| fields.transport("filter.transports", number));
    let ports = match filter.ports {
        Some(ports) => fields.port_range("filter.ports", ports).map(Some),
        None => Some(None),
    };
    let prefix = fields.short("filter.service_name_prefix", &filter.service_name_prefix);
    let assignee = fields.text::<255>("filter.assignee", filter.assignee);
    let labels = fields.labels("filter.labels", filter.labels);
    Some(Filter {
        namespace: namespace?,
        sources: sources?,
        states: states?,
        transports: transports?,
        ports: ports?,
        service_name_prefix: prefix?.to_lowercase(),
        assignee: assignee?.as_str().to_lowercase(),
        labels: labels?,
    })
}

fn each<T>(numbers: &[i32], read: impl FnMut(i32) -> Option<T>) -> Option<Vec<T>> {
    numbers.iter().copied().map(read).collect()
}

impl Fields {
    fn source(&mut self, field: &str, number: i32) -> Option<Source> {
        match proto::Source::try_from(number) {
            Ok(proto::Source::Custom) => Some(Source::Custom),
            Ok(proto::Source::Iana) => Some(Source::Iana),
            Ok(proto::Source::Common) => Some(Source::Common),
            Ok(proto::Source::Unspecified) | Err(_) => {
                self.fault(field, &format!("{number} is no Source to look for"));
                None
            }
        }
    }

    fn state(&mut self, field: &str, number: i32) -> Option<State> {
        match proto::State::try_from(number) {
            Ok(proto::State::Assigned) => Some(State::Assigned),
            Ok(proto::State::Reserved) => Some(State::Reserved),
            Ok(proto::State::Unassigned) => Some(State::Unassigned),
            Ok(proto::State::Unlisted) => Some(State::Unlisted),
            Ok(proto::State::Unspecified) | Err(_) => {
                self.fault(field, &format!("{number} is no State to look for"));
                None
            }
        }
    }
}
