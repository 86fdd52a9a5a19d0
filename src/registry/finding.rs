//! The rules of registration (RFC 6335, RFC 7605) and what they find.

use std::fmt;
use std::sync::Arc;

use super::assignment::{Origin, Record, Source, State};
use super::port::{Port, PortClass, PortRange, Transport};
use super::service_name::fold;
use super::snapshot::View;

/// How much a finding weighs, heaviest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Refused, whatever the request says.
    Blocker,
    /// Refused unless the request acknowledges the code.
    Acknowledge,
    /// Worth knowing.
    Note,
}

/// The rule that a finding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingCode {
    /// Port 0.
    PortZero,
    /// Held by another assignment of the namespace.
    PortTaken,
    /// 1-1023.
    SystemPort,
    /// Assigned by IANA to another service.
    IanaAssigned,
    /// Kept back by IANA.
    IanaReserved,
    /// 49152-65535.
    DynamicPort,
    /// Commonly used by another service.
    CommonUse,
    /// Held by another service on another transport.
    TransportTwin,
    /// Known to be used without authorization.
    UnauthorizedUse,
    /// 32768-60999.
    EphemeralRange,
    /// 30000-32767.
    NodePortRange,
    /// 1021-1022.
    Experimental,
}

impl FindingCode {
    /// Every code, in the order in which findings are reported.
    pub const ALL: [Self; 12] = [
        Self::PortZero,
        Self::PortTaken,
        Self::SystemPort,
        Self::IanaAssigned,
        Self::IanaReserved,
        Self::DynamicPort,
        Self::CommonUse,
        Self::TransportTwin,
        Self::UnauthorizedUse,
        Self::EphemeralRange,
        Self::NodePortRange,
        Self::Experimental,
    ];

    /// How much it weighs.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::PortZero | Self::PortTaken => Severity::Blocker,
            Self::SystemPort | Self::IanaAssigned | Self::IanaReserved | Self::DynamicPort => {
                Severity::Acknowledge
            }
            Self::CommonUse
            | Self::TransportTwin
            | Self::UnauthorizedUse
            | Self::EphemeralRange
            | Self::NodePortRange
            | Self::Experimental => Severity::Note,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PortZero => "PORT_ZERO",
            Self::PortTaken => "PORT_TAKEN",
            Self::SystemPort => "SYSTEM_PORT",
            Self::IanaAssigned => "IANA_ASSIGNED",
            Self::IanaReserved => "IANA_RESERVED",
            Self::DynamicPort => "DYNAMIC_PORT",
            Self::CommonUse => "COMMON_USE",
            Self::TransportTwin => "TRANSPORT_TWIN",
            Self::UnauthorizedUse => "UNAUTHORIZED_USE",
            Self::EphemeralRange => "EPHEMERAL_RANGE",
            Self::NodePortRange => "NODE_PORT_RANGE",
            Self::Experimental => "EXPERIMENTAL",
        }
    }

    /// The code with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that the rules have to say.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub code: FindingCode,
    /// One plain sentence.
    pub message: String,
    /// The ports asked for.
    pub ports: PortRange,
    /// The transport asked for.
    pub transport: Transport,
    /// The record it comes from, if the rule needs one.
    pub evidence: Option<Arc<Record>>,
}

/// What the rules of one severity say of these ports for this service, in the order of
/// [`FindingCode::ALL`], each code at most once.
#[must_use]
pub fn judge(
    view: View<'_>,
    severity: Severity,
    service_name: &str,
    ports: PortRange,
    transport: Transport,
) -> Vec<Finding> {
    let case = Case { view, service: fold(service_name).into_owned(), ports, transport };
    FindingCode::ALL
        .into_iter()
        .filter(|code| code.severity() == severity)
        .filter_map(|code| {
            let (message, evidence) = case.find(code)?;
            Some(Finding { code, message, ports, transport, evidence: evidence.cloned() })
        })
        .collect()
}

/// What is judged.
struct Case<'a> {
    view: View<'a>,
    service: String,
    ports: PortRange,
    transport: Transport,
}

/// A sentence, and the record it comes from.
type Found<'a> = Option<(String, Option<&'a Arc<Record>>)>;

impl<'a> Case<'a> {
    fn find(&self, code: FindingCode) -> Found<'a> {
        let whole = |number: u16| Port::new(number);
        match code {
            FindingCode::PortZero => self.range_note(Port::ZERO, Port::ZERO, || {
                "Port 0 is reserved and can't be used by a service".into()
            }),
            FindingCode::PortTaken => self.port_taken(),
            FindingCode::SystemPort => self.range_note(whole(1), whole(1023), || {
                "1-1023 are System Ports: most systems let only privileged processes use them"
                    .into()
            }),
            FindingCode::IanaAssigned => self.iana(State::Assigned, "has assigned"),
            FindingCode::IanaReserved => self.iana(State::Reserved, "has reserved"),
            FindingCode::DynamicPort => {
                let class = self.ports.last().class();
                (class == PortClass::Dynamic).then(|| {
                    let sentence = "49152-65535 are Dynamic Ports: any program may be given one at \
                                    any time, so they must not identify a service (RFC 6335, \
                                    section 8.1.2)";
                    (sentence.into(), None)
                })
            }
            FindingCode::CommonUse => self.common_use(),
            FindingCode::TransportTwin => self.transport_twin(),
            FindingCode::UnauthorizedUse => self.unauthorized_use(),
            FindingCode::EphemeralRange => self.range_note(whole(32768), whole(60999), || {
                "Linux takes outgoing ports from 32768-60999 by default, so the port may be busy \
                 when the service starts"
                    .into()
            }),
            FindingCode::NodePortRange => self.range_note(whole(30000), whole(32767), || {
                "Kubernetes takes node ports from 30000-32767 by default".into()
            }),
            FindingCode::Experimental => self.range_note(whole(1021), whole(1022), || {
                "1021 and 1022 are set aside for experiments (RFC 4727, section 6)".into()
            }),
        }
    }

    /// A finding that follows from the numbers alone.
    fn range_note(&self, first: Port, last: Port, sentence: impl FnOnce() -> String) -> Found<'a> {
        let range = PortRange::new(first, last).ok()?;
        self.ports.overlaps(range).then(|| (sentence(), None))
    }

    fn port_taken(&self) -> Found<'a> {
        let holder = self.view.holders_in(self.ports, self.transport).next()?;
        let sentence = format!(
            "{}/{} is held by {} in this namespace{}",
            holder.ports?,
            self.transport,
            named(holder),
            if holder.assignee.is_empty() {
                String::new()
            } else {
                format!(" (assignee: {})", holder.assignee)
            },
        );
        Some((sentence, Some(holder)))
    }

    /// The records of a source on the ports that may be of this transport.
    fn reference_records(&self, source: Source) -> impl Iterator<Item = (Port, &'a Arc<Record>)> {
        let reference = self.view.reference();
        self.ports.iter().flat_map(move |port| {
            reference
                .at(port)
                .filter(move |record| {
                    record.source() == source && record.may_be_on(Some(self.transport))
                })
                .map(move |record| (port, record))
        })
    }

    fn is_same_service(&self, record: &Record) -> bool {
        let is_own_name = |name: &Arc<str>| fold(name) == self.service;
        record.service_name.iter().chain(record.aliases()).any(is_own_name)
    }

    fn iana(&self, state: State, verb: &str) -> Found<'a> {
        // A port on which IANA names this very service, among others, is the service's own.
        let mut first = None;
        let mut count = 0usize;
        for port in self.ports.iter() {
            let here = || {
                let reference = self.view.reference();
                reference.at(port).filter(|record| {
                    record.source() == Source::Iana
                        && record.state == state
                        && record.may_be_on(Some(self.transport))
                })
            };
            if here().any(|record| self.is_same_service(record)) {
                continue;
            }
            if let Some(record) = here().next() {
                first.get_or_insert((port, record));
                count += 1;
            }
        }
        let (port, record) = first?;
        let whom = match (&record.service_name, state) {
            (Some(name), _) => format!(" to {name}"),
            (None, State::Assigned) => format!(" ({})", record.description),
            (None, _) => String::new(),
        };
        let said = if record.transport.is_some() { "" } else { ", without naming a transport" };
        let sentence = if self.ports.width() == 1 {
            format!("IANA {verb} {port}/{}{whom}{said}", self.transport)
        } else {
            format!(
                "IANA {verb} {count} of the ports {} on {}, the first of them {port}{whom}{said}",
                self.ports, self.transport
            )
        };
        Some((sentence, Some(record)))
    }

    fn common_use(&self) -> Found<'a> {
        let (port, record) = self
            .reference_records(Source::Common)
            .find(|(_, record)| !self.is_same_service(record))?;
        let sentence = format!("{port}/{} is commonly used by {}", self.transport, named(record));
        Some((sentence, Some(record)))
    }

    fn transport_twin(&self) -> Found<'a> {
        let twin = Transport::ALL
            .into_iter()
            .filter(|transport| *transport != self.transport)
            .flat_map(|transport| self.view.holders_in(self.ports, transport))
            .find(|record| !self.is_same_service(record))?;
        let sentence = format!(
            "another service, {}, holds {}/{} in this namespace",
            named(twin),
            twin.ports?,
            twin.transport?
        );
        Some((sentence, Some(twin)))
    }

    fn unauthorized_use(&self) -> Found<'a> {
        let (_, record) = self.reference_records(Source::Iana).find(|(_, record)| {
            matches!(&record.origin, Origin::Iana(columns)
                if !columns.unauthorized_use_reported.is_empty())
        })?;
        let Origin::Iana(columns) = &record.origin else {
            return None;
        };
        let sentence =
            format!("IANA knows of unauthorized use: {}", columns.unauthorized_use_reported);
        Some((sentence, Some(record)))
    }
}

fn named(record: &Record) -> &str {
    record.service_name.as_deref().unwrap_or("a service without a name")
}
