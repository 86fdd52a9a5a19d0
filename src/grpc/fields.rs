//! Fields of requests: each is parsed on its own, so that a client hears of all its faults at once.

#![expect(clippy::missing_errors_doc, reason = "each fails by noting the fault of its field")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use super::convert;
use super::proto::{self, ErrorReason};
use super::status::{CallError, FieldFault};
use crate::registry::assignment::{NamespaceName, Source, State};
use crate::registry::finding::{FindingCode, Severity};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::service_name::ServiceName;
use crate::registry::text::{Labels, Text};

/// The most bytes of a name or a query.
const MAX_NAME: usize = 128;
/// The most questions of a batch, and ports of a block.
pub const MAX_BATCH: usize = 10_000;

/// Reads a request, and refuses it with all of its faults together if it has any.
///
/// # Errors
/// If a field is missing or not valid.
pub fn parse<T>(read: impl FnOnce(&mut Fields) -> Read<T>) -> Result<T, CallError> {
    let mut fields = Fields::default();
    match read(&mut fields) {
        Ok(value) if fields.0.is_empty() => Ok(value),
        _ => Err(CallError::Fields(fields.0)),
    }
}

/// A value, or that its fault was noted.
pub type Read<T> = Result<T, Noted>;

/// A fault was noted. Only [`Fields::fault`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Noted(());

/// Collects what is wrong with the fields of one request.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldFault>);

impl Fields {
    /// Notes a fault of the field.
    pub fn fault(&mut self, field: &str, description: impl Display) -> Noted {
        self.fault_because(field, description, ErrorReason::InvalidField)
    }

    fn fault_because(
        &mut self,
        field: &str,
        description: impl Display,
        reason: ErrorReason,
    ) -> Noted {
        let description = description.to_string();
        self.0.push(FieldFault { field: field.to_owned(), description, reason });
        Noted(())
    }

    /// The value, or a fault of the field.
    pub fn take<T, E: Error>(&mut self, field: &str, parsed: Result<T, E>) -> Read<T> {
        parsed.map_err(|fault| match fault.source() {
            Some(source) => self.fault(field, format!("{fault}: {source}")),
            None => self.fault(field, fault),
        })
    }

    /// A value that may be left empty.
    pub fn optional<T>(&mut self, field: &str, text: &str) -> Read<Option<T>>
    where
        T: FromStr<Err: Error>,
    {
        if text.is_empty() { Ok(None) } else { self.take(field, text.parse()).map(Some) }
    }

    /// A port that has to be given.
    pub fn port(&mut self, field: &str, number: Option<u32>) -> Read<Port> {
        match number {
            Some(number) => self.take(field, Port::try_from(number)),
            None => Err(self.fault(field, "is missing: a port number, 0-65535, is asked for")),
        }
    }

    /// A run of ports that has to be given; `last` may be left out.
    pub fn port_range(&mut self, field: &str, range: Option<proto::PortRange>) -> Read<PortRange> {
        let Some(range) = range else {
            return Err(self.fault(field, "is missing: a port or a run of ports is asked for"));
        };
        let first = self.port(&format!("{field}.first"), range.first);
        let last = match range.last {
            Some(last) => self.port(&format!("{field}.last"), Some(last)),
            None => first,
        };
        self.take(field, PortRange::new(first?, last?))
    }

    /// A transport; none stands for UNSPECIFIED.
    pub fn transport(&mut self, field: &str, number: i32) -> Read<Option<Transport>> {
        match proto::Transport::try_from(number) {
            Ok(proto::Transport::Unspecified) => Ok(None),
            Ok(proto::Transport::Tcp) => Ok(Some(Transport::Tcp)),
            Ok(proto::Transport::Udp) => Ok(Some(Transport::Udp)),
            Ok(proto::Transport::Sctp) => Ok(Some(Transport::Sctp)),
            Ok(proto::Transport::Dccp) => Ok(Some(Transport::Dccp)),
            Err(_) => Err(self.fault(field, format!("{number} is no Transport"))),
        }
    }

    /// The transports of a registration: at least one, each once, each said.
    pub fn transports_to_take(&mut self, field: &str, numbers: &[i32]) -> Read<Vec<Transport>> {
        if numbers.is_empty() {
            return Err(self.fault(field, "is missing: at least one transport is asked for"));
        }
        let mut transports = Vec::new();
        for &number in numbers {
            match self.transport(field, number)? {
                Some(transport) if transports.contains(&transport) => {
                    return Err(self.fault(field, format!("has {transport} twice")));
                }
                Some(transport) => transports.push(transport),
                None => {
                    return Err(self.fault(field, "has UNSPECIFIED in it: say which transports"));
                }
            }
        }
        Ok(transports)
    }

    /// A namespace; empty stands for the default one.
    pub fn namespace(&mut self, field: &str, name: &str) -> Read<NamespaceName> {
        self.optional(field, name).map(Option::unwrap_or_default)
    }

    /// A name or query that has to be given.
    pub fn name<'n>(&mut self, field: &str, name: &'n str) -> Read<&'n str> {
        match name.trim() {
            "" => Err(self.fault(field, "is missing")),
            name => self.short(field, name),
        }
    }

    /// A name that may be empty.
    pub fn short<'n>(&mut self, field: &str, name: &'n str) -> Read<&'n str> {
        self.take(field, Text::<MAX_NAME>::parse(name)).map(|_| name)
    }

    /// A service name that may be registered.
    pub fn service_name(&mut self, field: &str, name: &str) -> Read<ServiceName> {
        name.parse()
            .map_err(|fault| self.fault_because(field, fault, ErrorReason::InvalidServiceName))
    }

    /// A text within its limit.
    pub fn text<const MAX: usize>(&mut self, field: &str, text: String) -> Read<Text<MAX>> {
        self.take(field, Text::parse(text))
    }

    /// Labels within their limits.
    pub fn labels(&mut self, field: &str, pairs: BTreeMap<String, String>) -> Read<Labels> {
        self.take(field, Labels::parse(pairs))
    }

    /// A source to look for.
    pub fn source(&mut self, field: &str, number: i32) -> Read<Source> {
        match proto::Source::try_from(number) {
            Ok(proto::Source::Custom) => Ok(Source::Custom),
            Ok(proto::Source::Iana) => Ok(Source::Iana),
            Ok(proto::Source::Common) => Ok(Source::Common),
            Ok(proto::Source::Unspecified) | Err(_) => {
                Err(self.fault(field, format!("{number} is no Source to look for")))
            }
        }
    }

    /// A state to look for.
    pub fn state(&mut self, field: &str, number: i32) -> Read<State> {
        match proto::State::try_from(number) {
            Ok(proto::State::Assigned) => Ok(State::Assigned),
            Ok(proto::State::Reserved) => Ok(State::Reserved),
            Ok(proto::State::Unassigned) => Ok(State::Unassigned),
            Ok(proto::State::Unlisted) => Ok(State::Unlisted),
            Ok(proto::State::Unspecified) | Err(_) => {
                Err(self.fault(field, format!("{number} is no State to look for")))
            }
        }
    }

    /// The findings that a caller accepts.
    pub fn acknowledge(&mut self, field: &str, numbers: &[i32]) -> Read<BTreeSet<FindingCode>> {
        let mut codes = BTreeSet::new();
        for &number in numbers {
            let code = FindingCode::ALL
                .into_iter()
                .find(|code| i32::from(convert::finding_code(*code)) == number);
            match code {
                Some(code) if code.severity() == Severity::Blocker => {
                    return Err(self.fault(field, format!("{code} can't be acknowledged")));
                }
                Some(code) => codes.insert(code),
                None => {
                    let fault = format!("{number} is no FindingCode to acknowledge");
                    return Err(self.fault(field, fault));
                }
            };
        }
        Ok(codes)
    }

    /// A size with a default, and a most that larger ones are read as (AIP-158).
    pub fn size(&mut self, field: &str, size: i32, default: usize, most: usize) -> Read<usize> {
        match usize::try_from(size) {
            Ok(0) => Ok(default),
            Ok(size) => Ok(size.min(most)),
            Err(_) => Err(self.fault(field, format!("is {size}: 0 or more is asked for"))),
        }
    }

    /// That there are as many things as a batch may have.
    pub fn batch(&mut self, field: &str, length: usize) -> Read<()> {
        if (1..=MAX_BATCH).contains(&length) {
            return Ok(());
        }
        Err(self.fault(field, format!("has {length} entries: 1-10,000 are allowed")))
    }
}
