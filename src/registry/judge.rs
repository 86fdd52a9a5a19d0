//! The rules of registration (RFC 6335, RFC 7605): the findings against a requested registration.
//!
//! Checks, registrations and allocations all use these rules.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use itertools::Itertools;
use jiff::Timestamp;

use super::assignment::{Origin, Record, Source, State};
use super::finding::{Evidence, Finding, FindingCode, Severity};
use super::pool::SharedPool;
use super::port::{Port, PortRange, Transport};
use super::service_name::{ServiceName, fold};
use super::snapshot::View;

/// A requested registration.
#[derive(Clone, Copy, Debug)]
pub struct RegistrationQuery<'a> {
    /// The service name; none for a service that is not in any registry.
    pub service_name: Option<&'a str>,
    /// The ports.
    pub ports: PortRange,
    /// The transports.
    pub transports: &'a [Transport],
    /// The pool through which the ports are requested, if any.
    pub pool: Option<&'a SharedPool>,
    /// The time of the request.
    pub now: Timestamp,
}

/// All findings: blockers first, then those to be acknowledged, then notes; each group in the order
/// of [`FindingCode::ALL`] and of the transports.
#[must_use]
pub fn judge(view: View<'_>, query: &RegistrationQuery<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = findings(view, query).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether no finding blocks the registration if these codes are acknowledged.
#[must_use]
pub fn is_free(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
) -> bool {
    !is_blocked(view, query, acknowledged, FindingCode::ALL)
}

/// Whether one of these rules blocks the registration. Rules that could only yield a note are not
/// evaluated.
pub fn is_blocked(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    codes: impl IntoIterator<Item = FindingCode>,
) -> bool {
    let mut checks = checks(view, query, codes);
    checks.any(|(code, check)| {
        code.is_blocking(check.severity(code), acknowledged) && check.find(code).is_some()
    })
}

fn findings<'a>(
    view: View<'a>,
    query: &'a RegistrationQuery<'a>,
) -> impl Iterator<Item = Finding> + use<'a> {
    checks(view, query, FindingCode::ALL).filter_map(move |(code, check)| {
        let RuleMatch { message, evidence } = check.find(code)?;
        let (severity, transport) = (check.severity(code), check.transport);
        Some(Finding { code, severity, message, ports: query.ports, transport, evidence })
    })
}

/// Each combination of a rule and a transport.
fn checks<'a, C: IntoIterator<Item = FindingCode>>(
    view: View<'a>,
    query: &'a RegistrationQuery<'a>,
    codes: C,
) -> impl Iterator<Item = (FindingCode, TransportQuery<'a>)> + use<'a, C> {
    let service = query.service_name.map_or(Cow::Borrowed(""), fold);
    codes.into_iter().cartesian_product(query.transports).map(move |(code, &transport)| {
        (code, TransportQuery { view, query, service: service.clone(), transport })
    })
}

/// A query on one transport.
struct TransportQuery<'a> {
    view: View<'a>,
    query: &'a RegistrationQuery<'a>,
    service: Cow<'a, str>,
    transport: Transport,
}

/// The message of a finding and its evidence.
struct RuleMatch {
    message: String,
    evidence: Evidence,
}

impl RuleMatch {
    fn on_record(message: String, record: &Arc<Record>) -> Self {
        let evidence = Evidence { record: Some(Arc::clone(record)), ..Evidence::default() };
        Self { message, evidence }
    }
}

impl<'a> TransportQuery<'a> {
    /// The severity of a finding under the policies of the namespace and the pool.
    fn severity(&self, code: FindingCode) -> Severity {
        let policy = &self.view.namespace().policy;
        let is_accepted_by_pool = self.query.pool.is_some_and(|pool| {
            // Pools exist to allocate ports to services that IANA assigned elsewhere.
            pool.accept.contains(&code) || code == FindingCode::ServiceNameElsewhere
        });
        match code.severity() {
            Severity::Blocker => Severity::Blocker,
            _ if policy.forbid.contains(&code) => Severity::Blocker,
            Severity::Acknowledge if is_accepted_by_pool || policy.accept.contains(&code) => {
                Severity::Note
            }
            default => default,
        }
    }

    fn find(&self, code: FindingCode) -> Option<RuleMatch> {
        match code {
            FindingCode::InvalidServiceName => self.invalid_service_name(),
            FindingCode::PortZero => {
                self.range(0, 0, "port 0 is reserved and can't be used by a service")
            }
            FindingCode::PortTaken => self.port_taken(),
            FindingCode::PortInPool => self.port_in_pool(),
            FindingCode::OutsidePool => self.outside_pool(),
            FindingCode::CoolingDown => self.cooling_down(),
            FindingCode::SystemPort => self.range(
                1,
                1023,
                "1-1023 are System Ports: most systems let only privileged processes use them",
            ),
            FindingCode::IanaAssigned => self.iana(State::Assigned, "has assigned"),
            FindingCode::IanaReserved => self.iana(State::Reserved, "has reserved"),
            FindingCode::DynamicPort => self.range(
                49152,
                65535,
                "49152-65535 are Dynamic Ports: any program may be assigned one at any time, so \
                 they must not identify a service (RFC 6335, section 8.1.2)",
            ),
            FindingCode::ServiceNameElsewhere => self.service_name_elsewhere(),
            FindingCode::CommonUse => self.common_use(),
            FindingCode::TransportTwin => self.transport_twin(),
            FindingCode::UnauthorizedUse => self.unauthorized_use(),
            FindingCode::EphemeralRange => self.range(
                32768,
                60999,
                "Linux allocates outgoing ports from 32768-60999 by default, so the port may be \
                 busy when the service starts",
            ),
            FindingCode::NodePortRange => self.range(
                30000,
                32767,
                "Kubernetes allocates node ports from 30000-32767 by default",
            ),
            FindingCode::Experimental => self.range(
                1021,
                1022,
                "1021 and 1022 are reserved for experiments (RFC 4727, section 6)",
            ),
        }
    }

    /// A finding that depends on the port numbers alone.
    fn range(&self, first: u16, last: u16, message: &str) -> Option<RuleMatch> {
        let ports = PortRange::new(Port::new(first), Port::new(last)).ok()?;
        let evidence = Evidence { ports: Some(ports), ..Evidence::default() };
        let rule_match = || RuleMatch { message: message.to_owned(), evidence };
        self.query.ports.overlaps(ports).then(rule_match)
    }

    fn invalid_service_name(&self) -> Option<RuleMatch> {
        let error = self.query.service_name?.parse::<ServiceName>().err()?;
        Some(RuleMatch { message: error.to_string(), evidence: Evidence::default() })
    }

    fn port_taken(&self) -> Option<RuleMatch> {
        let holder = self.view.holders_in(self.query.ports, self.transport).next()?;
        let message = format!(
            "{}/{} is held by {} in this namespace{}",
            holder.ports?,
            self.transport,
            name_of(holder),
            if holder.details.assignee.is_empty() {
                String::new()
            } else {
                format!(" (assignee: {})", holder.details.assignee)
            },
        );
        Some(RuleMatch::on_record(message, holder))
    }

    fn port_in_pool(&self) -> Option<RuleMatch> {
        if self.query.pool.is_some() {
            return None;
        }
        let pool = self.view.pool_in(self.query.ports, self.transport)?;
        let ranges = pool.member_ports().ranges();
        let overlap = ranges.iter().find(|range| range.overlaps(self.query.ports))?;
        let message = format!(
            "{overlap}/{} is part of pool {}: request the port through the pool",
            self.transport, pool.name
        );
        let evidence = Evidence {
            pool: Some(pool.name.clone()),
            ports: Some(*overlap),
            ..Evidence::default()
        };
        Some(RuleMatch { message, evidence })
    }

    fn outside_pool(&self) -> Option<RuleMatch> {
        let pool =
            self.query.pool.filter(|pool| !pool.contains(self.query.ports, self.transport))?;
        let message =
            format!("pool {} does not contain {}/{}", pool.name, self.query.ports, self.transport);
        let evidence = Evidence { pool: Some(pool.name.clone()), ..Evidence::default() };
        Some(RuleMatch { message, evidence })
    }

    fn cooling_down(&self) -> Option<RuleMatch> {
        let entries = self.view.cooling_down_in(self.query.ports, self.transport, self.query.now);
        let of_others = entries.filter(|(_, entry)| !self.is_same_service(&entry.record));
        // If there are several on the lowest port, the one that ends last.
        let (port, entry) = of_others.min_by_key(|(port, entry)| (*port, Reverse(entry.until)))?;
        let message = format!(
            "{port}/{} was released by {} and is cooling down until {:.0}: clients may still call \
             the old holder",
            self.transport,
            name_of(&entry.record),
            entry.until
        );
        let evidence = Evidence { end_time: Some(entry.until), ..Evidence::default() };
        let record = Some(Arc::clone(&entry.record));
        Some(RuleMatch { message, evidence: Evidence { record, ..evidence } })
    }

    /// The records of a source on the requested ports that apply to this transport.
    fn reference_records(&self, source: Source) -> impl Iterator<Item = (Port, &'a Arc<Record>)> {
        let reference = self.view.reference();
        let transport = self.transport;
        self.query.ports.iter().flat_map(move |port| {
            reference
                .at(port)
                .filter(move |record| {
                    record.source() == source && record.may_be_on(Some(transport))
                })
                .map(move |record| (port, record))
        })
    }

    fn is_same_service(&self, record: &Record) -> bool {
        let is_same_name = |name: &Arc<str>| fold(name) == self.service;
        record.service_name.iter().chain(record.aliases()).any(is_same_name)
    }

    fn iana(&self, state: State, verb: &str) -> Option<RuleMatch> {
        // A port for which IANA lists this service, possibly among others, yields no finding.
        let mut first = None;
        let mut count = 0usize;
        for port in self.query.ports.iter() {
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
        let assigned_to = match (&record.service_name, state) {
            (Some(name), _) => format!(" to {name}"),
            (None, State::Assigned) => format!(" ({})", record.details.description),
            (None, _) => String::new(),
        };
        let scope = if record.transport.is_some() { "" } else { ", without naming a transport" };
        let message = if self.query.ports.width() == 1 {
            format!("IANA {verb} {port}/{}{assigned_to}{scope}", self.transport)
        } else {
            format!(
                "IANA {verb} {count} of the ports {} on {}, the first of which is \
                 {port}{assigned_to}{scope}",
                self.query.ports, self.transport
            )
        };
        Some(RuleMatch::on_record(message, record))
    }

    fn service_name_elsewhere(&self) -> Option<RuleMatch> {
        let assigned = || {
            let records = self.view.reference().named(&self.service);
            records.filter(|record| record.source() == Source::Iana && record.ports.is_some())
        };
        let ports = || assigned().filter_map(|record| record.ports).unique();
        let first = assigned().next()?;
        let (first_port, last_port) = (self.query.ports.first(), self.query.ports.last());
        if ports().any(|ports| ports.contains(first_port) && ports.contains(last_port)) {
            return None;
        }
        let message = format!(
            "IANA has assigned the name {} to port {}: clients may look for the service there",
            name_of(first),
            ports().join(", ")
        );
        Some(RuleMatch::on_record(message, first))
    }

    fn common_use(&self) -> Option<RuleMatch> {
        let (port, record) = self
            .reference_records(Source::Common)
            .find(|(_, record)| !self.is_same_service(record))?;
        let message = format!("{port}/{} is commonly used by {}", self.transport, name_of(record));
        Some(RuleMatch::on_record(message, record))
    }

    fn transport_twin(&self) -> Option<RuleMatch> {
        let twin = Transport::ALL
            .into_iter()
            .filter(|transport| *transport != self.transport)
            .flat_map(|transport| self.view.holders_in(self.query.ports, transport))
            .find(|record| !self.is_same_service(record))?;
        let message = format!(
            "another service, {}, holds {}/{} in this namespace",
            name_of(twin),
            twin.ports?,
            twin.transport?
        );
        Some(RuleMatch::on_record(message, twin))
    }

    fn unauthorized_use(&self) -> Option<RuleMatch> {
        self.reference_records(Source::Iana).find_map(|(_, record)| match &record.origin {
            Origin::Iana(columns) if !columns.unauthorized_use_reported.is_empty() => {
                let report = &columns.unauthorized_use_reported;
                let message = format!("IANA has a report of unauthorized use: {report}");
                Some(RuleMatch::on_record(message, record))
            }
            _ => None,
        })
    }
}

fn name_of(record: &Record) -> &str {
    record.service_name.as_deref().unwrap_or("a service without a name")
}
