//! Fields of requests: each is parsed on its own, so that a client hears of all its faults at once.

#![expect(clippy::missing_errors_doc, reason = "each fails by noting the fault of its field")]

mod enums;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::proto::{self, ErrorReason};
use super::status::{CallError, FieldViolation};
use crate::access::Overlap;
use crate::registry::lease::{BoundedDuration, CoolDown, Ttl};
use crate::registry::name::NamespaceName;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::port_set::PortSet;
use crate::registry::service_name::ServiceName;
use crate::registry::text::{Labels, Text};

/// The most bytes of a name or a query.
const MAX_NAME: usize = 128;
/// The most questions of a batch, and ports of a block.
pub const MAX_BATCH: usize = 10_000;

/// How many items a page has, if nothing is said, and at the most.
pub const DEFAULT_PAGE: usize = 50;
/// See [`DEFAULT_PAGE`].
pub const MAX_PAGE: usize = 1000;
/// The most registrations of a batch.
pub const MAX_REGISTRATIONS: usize = 1000;
/// The most ports, counted on each transport, that one call may have judged: all there are.
const MAX_JUDGED: usize = 4 * 65_536;

/// Reads a request, and refuses it with all of its faults together if it has any.
///
/// # Errors
/// If a field is missing or not valid.
pub fn parse<T>(read: impl FnOnce(&mut Fields) -> Read<T>) -> Result<T, CallError> {
    let mut fields = Fields::default();
    match read(&mut fields) {
        Ok(value) if fields.faults.is_empty() => Ok(value),
        _ => Err(CallError::Fields(fields.faults)),
    }
}

/// A value, or that its fault was noted.
pub type Read<T> = Result<T, Noted>;

/// A fault was noted. Only [`Fields::fault`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Noted(());

/// Collects what is wrong with the fields of one request.
#[derive(Debug, Default)]
pub struct Fields {
    faults: Vec<FieldViolation>,
    /// The path of the message that is read, with its dot, if it is part of another.
    prefix: String,
}

impl Fields {
    /// Reads a message that is part of the one that is read.
    pub fn within<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.clone();
        self.prefix = format!("{outer}{field}.");
        let value = read(self);
        self.prefix = outer;
        value
    }

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
        self.faults.push(FieldViolation {
            field: format!("{}{field}", self.prefix),
            description,
            reason,
        });
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

    /// A name that has to be given.
    pub fn required<T>(&mut self, field: &str, name: &str) -> Read<T>
    where
        T: FromStr<Err: Error>,
    {
        match self.optional(field, name)? {
            Some(name) => Ok(name),
            None => Err(self.fault(field, "is missing")),
        }
    }

    /// A namespace to look at; none stands for all of them.
    pub fn namespaces(&mut self, field: &str, name: &str) -> Read<Option<NamespaceName>> {
        match name {
            "-" => Ok(None),
            name => self.namespace(field, name).map(Some),
        }
    }

    /// How long ports are held, if not without end.
    pub fn ttl(&mut self, field: &str, ttl: Option<prost_types::Duration>) -> Read<Option<Ttl>> {
        ttl.map(|ttl| self.duration(field, ttl)).transpose()
    }

    /// How long ports rest.
    pub fn cool_down(
        &mut self,
        field: &str,
        cool_down: Option<prost_types::Duration>,
    ) -> Read<CoolDown> {
        let given = cool_down.map(|cool_down| self.duration(field, cool_down)).transpose();
        given.map(Option::unwrap_or_default)
    }

    /// How long a secret is taken beside the next one.
    pub fn overlap(
        &mut self,
        field: &str,
        overlap: Option<prost_types::Duration>,
    ) -> Read<Overlap> {
        self.duration(field, overlap.unwrap_or_default())
    }

    fn duration<const MIN: i64, const MAX: i64>(
        &mut self,
        field: &str,
        duration: prost_types::Duration,
    ) -> Read<BoundedDuration<MIN, MAX>> {
        let prost_types::Duration { seconds, nanos } = duration;
        let has_one_sign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
        if nanos.unsigned_abs() > 999_999_999 || !has_one_sign {
            let fault = "is no duration: nanos have the sign of the seconds, and are less than one";
            return Err(self.fault(field, fault));
        }
        self.take(field, BoundedDuration::new(SignedDuration::new(seconds, nanos)))
    }

    /// A time, to the microsecond.
    pub fn time(&mut self, field: &str, time: prost_types::Timestamp) -> Read<Timestamp> {
        let prost_types::Timestamp { seconds, nanos } = time;
        let known = (0..1_000_000_000).contains(&nanos).then(|| Timestamp::new(seconds, nanos));
        match known {
            Some(Ok(time)) => self.take(field, Timestamp::from_microsecond(time.as_microsecond())),
            _ => Err(self.fault(field, "is no time between the years -9999 and 9999")),
        }
    }

    /// Runs of ports that do not overlap, each of them within 1-65535.
    pub fn port_set(
        &mut self,
        field: &str,
        runs: &[proto::PortRange],
        allowed: RangeInclusive<usize>,
    ) -> Read<PortSet> {
        if !allowed.contains(&runs.len()) {
            let (least, most) = (allowed.start(), allowed.end());
            let fault = format!("has {} runs: {least}-{most} are allowed", runs.len());
            return Err(self.fault(field, fault));
        }
        let runs: Vec<_> = runs
            .iter()
            .enumerate()
            .map(|(place, run)| {
                let path = format!("{field}[{place}]");
                let run = self.port_range(&path, Some(*run))?;
                if run.contains(Port::ZERO) {
                    return Err(self.fault(&path, "has port 0 in it: 1-65535 are asked for"));
                }
                Ok(run)
            })
            .collect();
        let runs = runs.into_iter().collect::<Read<_>>()?;
        self.take(field, PortSet::new(runs))
    }

    /// That no more ports are to be judged than one call may ask for.
    pub fn judged(
        &mut self,
        field: &str,
        asked: impl Iterator<Item = (PortRange, usize)>,
    ) -> Read<()> {
        let ports: usize = asked.map(|(run, transports)| run.width() as usize * transports).sum();
        if ports <= MAX_JUDGED {
            return Ok(());
        }
        let fault = format!(
            "asks for {ports} ports, counted on each transport: {MAX_JUDGED} are allowed in one call"
        );
        Err(self.fault(field, fault))
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

    /// A size with a default, and a most that larger ones are read as (AIP-158).
    pub fn size(&mut self, field: &str, size: i32, default: usize, most: usize) -> Read<usize> {
        match usize::try_from(size) {
            Ok(0) => Ok(default),
            Ok(size) => Ok(size.min(most)),
            Err(_) => Err(self.fault(field, format!("is {size}: 0 or more is asked for"))),
        }
    }

    /// That there are as many things as a batch may have.
    pub fn batch(&mut self, field: &str, length: usize, most: usize) -> Read<()> {
        if (1..=most).contains(&length) {
            return Ok(());
        }
        Err(self.fault(field, format!("has {length} entries: 1-{most} are allowed")))
    }
}
