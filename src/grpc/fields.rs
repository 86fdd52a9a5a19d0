//! Parses the fields of requests and collects all violations, so that a client receives them at once.

#![expect(clippy::missing_errors_doc, reason = "each fails if its field is invalid")]

mod enums;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::convert;
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
/// The most queries of a batch, and ports of a block.
pub const MAX_BATCH: usize = 10_000;

/// The default and the maximum page size.
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// The most registrations of a batch.
pub const MAX_REGISTRATIONS: usize = 1000;
/// The most ports, counted per transport, that one call may check: all of them.
const MAX_PORTS: usize = 4 * 65_536;

/// Parses a request. The error contains all violations.
///
/// # Errors
/// If a field is missing or not valid.
pub fn parse<T>(read: impl FnOnce(&mut Fields) -> Parsed<T>) -> Result<T, CallError> {
    let mut fields = Fields::default();
    match read(&mut fields) {
        Ok(value) if fields.violations.is_empty() => Ok(value),
        _ => Err(CallError::Fields(fields.violations)),
    }
}

/// A value, unless a violation was recorded.
pub type Parsed<T> = Result<T, Invalid>;

/// A violation was recorded. Only [`Fields::invalid`] creates one.
#[derive(Clone, Copy, Debug)]
pub struct Invalid(());

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<FieldViolation>,
    /// The path of the current message with a trailing dot, if it is nested.
    prefix: String,
}

impl Fields {
    /// Parses a nested message.
    pub fn within<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.clone();
        self.prefix = format!("{outer}{field}.");
        let value = read(self);
        self.prefix = outer;
        value
    }

    /// Records a violation of a field.
    pub fn invalid(&mut self, field: &str, description: impl Display) -> Invalid {
        self.invalid_because(field, description, ErrorReason::InvalidField)
    }

    fn invalid_because(
        &mut self,
        field: &str,
        description: impl Display,
        reason: ErrorReason,
    ) -> Invalid {
        let description = description.to_string();
        self.violations.push(FieldViolation {
            field: format!("{}{field}", self.prefix),
            description,
            reason,
        });
        Invalid(())
    }

    /// The value; an error is recorded as a violation.
    pub fn parsed<T, E: Error>(&mut self, field: &str, parsed: Result<T, E>) -> Parsed<T> {
        parsed.map_err(|error| match error.source() {
            Some(source) => self.invalid(field, format!("{error}: {source}")),
            None => self.invalid(field, error),
        })
    }

    /// A required message.
    pub fn message<T>(&mut self, field: &str, message: Option<T>) -> Parsed<T> {
        message.ok_or_else(|| self.invalid(field, "is missing"))
    }

    /// An optional value.
    pub fn optional<T>(&mut self, field: &str, text: &str) -> Parsed<Option<T>>
    where
        T: FromStr<Err: Error>,
    {
        if text.is_empty() { Ok(None) } else { self.parsed(field, text.parse()).map(Some) }
    }

    /// A required port.
    pub fn port(&mut self, field: &str, number: Option<u32>) -> Parsed<Port> {
        match number {
            Some(number) => self.parsed(field, Port::try_from(number)),
            None => Err(self.invalid(field, "is missing: expected a port number, 0-65535")),
        }
    }

    /// A required port range; `last` defaults to `first`.
    pub fn port_range(
        &mut self,
        field: &str,
        range: Option<proto::PortRange>,
    ) -> Parsed<PortRange> {
        let Some(range) = range else {
            return Err(self.invalid(field, "is missing: expected a port or a port range"));
        };
        let first = self.port(&format!("{field}.first"), range.first);
        let last = match range.last {
            Some(last) => self.port(&format!("{field}.last"), Some(last)),
            None => first,
        };
        self.parsed(field, PortRange::new(first?, last?))
    }

    /// A transport; UNSPECIFIED is none.
    pub fn transport(&mut self, field: &str, number: i32) -> Parsed<Option<Transport>> {
        match proto::Transport::try_from(number) {
            Ok(transport) => Ok(convert::transport_from(transport)),
            Err(_) => Err(self.invalid(field, format!("{number} is not a valid Transport"))),
        }
    }

    /// The transports of a registration: at least one, each once, none UNSPECIFIED.
    pub fn transports_to_register(
        &mut self,
        field: &str,
        numbers: &[i32],
    ) -> Parsed<Vec<Transport>> {
        if numbers.is_empty() {
            return Err(self.invalid(field, "is missing: expected at least one transport"));
        }
        let mut transports = Vec::new();
        for &number in numbers {
            match self.transport(field, number)? {
                Some(transport) if transports.contains(&transport) => {
                    return Err(self.invalid(field, format!("contains {transport} twice")));
                }
                Some(transport) => transports.push(transport),
                None => {
                    return Err(self.invalid(field, "contains UNSPECIFIED: name the transports"));
                }
            }
        }
        Ok(transports)
    }

    /// A namespace; empty means the default one.
    pub fn namespace(&mut self, field: &str, name: &str) -> Parsed<NamespaceName> {
        self.optional(field, name).map(Option::unwrap_or_default)
    }

    /// A required name.
    pub fn required<T>(&mut self, field: &str, name: &str) -> Parsed<T>
    where
        T: FromStr<Err: Error>,
    {
        match self.optional(field, name)? {
            Some(name) => Ok(name),
            None => Err(self.invalid(field, "is missing")),
        }
    }

    /// A namespace to query; `-` means all of them.
    pub fn namespace_or_all(&mut self, field: &str, name: &str) -> Parsed<Option<NamespaceName>> {
        match name {
            "-" => Ok(None),
            name => self.namespace(field, name).map(Some),
        }
    }

    /// The time to live of a registration; none means no expiry.
    pub fn ttl(&mut self, field: &str, ttl: Option<prost_types::Duration>) -> Parsed<Option<Ttl>> {
        ttl.map(|ttl| self.duration(field, ttl)).transpose()
    }

    /// The cool-down of ports.
    pub fn cool_down(
        &mut self,
        field: &str,
        cool_down: Option<prost_types::Duration>,
    ) -> Parsed<CoolDown> {
        let parsed = cool_down.map(|cool_down| self.duration(field, cool_down)).transpose();
        parsed.map(Option::unwrap_or_default)
    }

    /// How long the previous secret remains valid.
    pub fn overlap(
        &mut self,
        field: &str,
        overlap: Option<prost_types::Duration>,
    ) -> Parsed<Overlap> {
        self.duration(field, overlap.unwrap_or_default())
    }

    fn duration<const MIN: i64, const MAX: i64>(
        &mut self,
        field: &str,
        duration: prost_types::Duration,
    ) -> Parsed<BoundedDuration<MIN, MAX>> {
        let prost_types::Duration { seconds, nanos } = duration;
        let has_one_sign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
        if nanos.unsigned_abs() > 999_999_999 || !has_one_sign {
            let description = "is not a valid duration: nanos must have the sign of seconds and be less \
                               than one second";
            return Err(self.invalid(field, description));
        }
        self.parsed(field, BoundedDuration::new(SignedDuration::new(seconds, nanos)))
    }

    /// A time, truncated to microseconds.
    pub fn time(&mut self, field: &str, time: prost_types::Timestamp) -> Parsed<Timestamp> {
        let prost_types::Timestamp { seconds, nanos } = time;
        let valid = (0..1_000_000_000).contains(&nanos).then(|| Timestamp::new(seconds, nanos));
        match valid {
            Some(Ok(time)) => {
                self.parsed(field, Timestamp::from_microsecond(time.as_microsecond()))
            }
            _ => Err(self.invalid(field, "is not a valid time between the years -9999 and 9999")),
        }
    }

    /// Port ranges within 1-65535 that do not overlap.
    pub fn port_set(
        &mut self,
        field: &str,
        ranges: &[proto::PortRange],
        allowed: RangeInclusive<usize>,
    ) -> Parsed<PortSet> {
        if !allowed.contains(&ranges.len()) {
            let (min, max) = (allowed.start(), allowed.end());
            let description = format!("has {} ranges: {min}-{max} are allowed", ranges.len());
            return Err(self.invalid(field, description));
        }
        let ranges: Vec<_> = ranges
            .iter()
            .enumerate()
            .map(|(index, range)| {
                let path = format!("{field}[{index}]");
                let range = self.port_range(&path, Some(*range))?;
                if range.contains(Port::ZERO) {
                    return Err(self.invalid(&path, "contains port 0: expected 1-65535"));
                }
                Ok(range)
            })
            .collect();
        let ranges = ranges.into_iter().collect::<Parsed<_>>()?;
        self.parsed(field, PortSet::new(ranges))
    }

    /// Checks that a call does not request more ports than allowed.
    pub fn port_count(
        &mut self,
        field: &str,
        requested: impl Iterator<Item = (PortRange, usize)>,
    ) -> Parsed<()> {
        let ports: usize =
            requested.map(|(range, transports)| range.width() as usize * transports).sum();
        if ports <= MAX_PORTS {
            return Ok(());
        }
        let description =
            format!("has {ports} ports, counted per transport: a call may have {MAX_PORTS}");
        Err(self.invalid(field, description))
    }

    /// A required name or query.
    pub fn name<'n>(&mut self, field: &str, name: &'n str) -> Parsed<&'n str> {
        match name.trim() {
            "" => Err(self.invalid(field, "is missing")),
            name => self.short_text(field, name),
        }
    }

    /// An optional name or query.
    pub fn short_text<'n>(&mut self, field: &str, name: &'n str) -> Parsed<&'n str> {
        self.parsed(field, Text::<MAX_NAME>::parse(name)).map(|_| name)
    }

    /// A valid service name.
    pub fn service_name(&mut self, field: &str, name: &str) -> Parsed<ServiceName> {
        name.parse()
            .map_err(|error| self.invalid_because(field, error, ErrorReason::InvalidServiceName))
    }

    /// A text within its limit.
    pub fn text<const MAX: usize>(&mut self, field: &str, text: String) -> Parsed<Text<MAX>> {
        self.parsed(field, Text::parse(text))
    }

    /// Labels within their limits.
    pub fn labels(&mut self, field: &str, pairs: BTreeMap<String, String>) -> Parsed<Labels> {
        self.parsed(field, Labels::parse(pairs))
    }

    /// The size of a page.
    pub fn page_size(&mut self, size: i32) -> Parsed<usize> {
        self.size("page_size", size, DEFAULT_PAGE, MAX_PAGE)
    }

    /// A number of items; 0 means the default, and larger values are reduced to the maximum (AIP-158).
    pub fn size(&mut self, field: &str, size: i32, default: usize, max: usize) -> Parsed<usize> {
        match usize::try_from(size) {
            Ok(0) => Ok(default),
            Ok(size) => Ok(size.min(max)),
            Err(_) => Err(self.invalid(field, format!("is {size}: expected 0 or more"))),
        }
    }

    /// Checks the size of a batch.
    pub fn batch_size(&mut self, field: &str, length: usize, max: usize) -> Parsed<()> {
        if (1..=max).contains(&length) {
            return Ok(());
        }
        Err(self.invalid(field, format!("has {length} entries: 1-{max} are allowed")))
    }
}
