//! The rules of registration (RFC 6335, RFC 7605): what speaks against giving ports to a service.
//!
//! Whoever asks whether a port may be had, and whoever asks to have it, is judged here.

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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RegistrationQuery<'a> {
    /// For which service; none for one that nobody knows.
    pub service_name: Option<&'a str>,
    /// Which ports.
    pub ports: PortRange,
    /// On which transports.
    pub transports: &'a [Transport],
    /// Through which pool, if through one.
    pub pool: Option<&'a SharedPool>,
    /// When.
    pub now: Timestamp,
}

/// Everything the rules have to say: blockers first, then what is to be acknowledged, then notes;
/// each in the order of [`FindingCode::ALL`] and of the transports.
#[must_use]
pub fn judge(view: View<'_>, asked: &RegistrationQuery<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = findings(view, asked).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whether nothing stands in the way if these codes are acknowledged.
#[must_use]
pub fn is_free(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
) -> bool {
    !is_blocked(view, asked, acknowledged, FindingCode::ALL)
}

/// Whether one of these rules stands in the way. What would be told as a note is not looked for.
pub fn is_blocked(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    codes: impl IntoIterator<Item = FindingCode>,
) -> bool {
    let mut cases = cases(view, asked, codes);
    cases.any(|(code, case)| {
        code.is_blocking(case.weigh(code), acknowledged) && case.find(code).is_some()
    })
}

fn findings<'a>(
    view: View<'a>,
    asked: &'a RegistrationQuery<'a>,
) -> impl Iterator<Item = Finding> + use<'a> {
    cases(view, asked, FindingCode::ALL).filter_map(move |(code, case)| {
        let Found { message, evidence } = case.find(code)?;
        let (severity, transport) = (case.weigh(code), case.transport);
        Some(Finding { code, severity, message, ports: asked.ports, transport, evidence })
    })
}

/// Each rule, and what it is applied to: the ports on each transport.
fn cases<'a, C: IntoIterator<Item = FindingCode>>(
    view: View<'a>,
    asked: &'a RegistrationQuery<'a>,
    codes: C,
) -> impl Iterator<Item = (FindingCode, Case<'a>)> + use<'a, C> {
    let service = asked.service_name.map_or(Cow::Borrowed(""), fold);
    codes.into_iter().cartesian_product(asked.transports).map(move |(code, &transport)| {
        (code, Case { view, asked, service: service.clone(), transport })
    })
}

/// What is judged.
struct Case<'a> {
    view: View<'a>,
    asked: &'a RegistrationQuery<'a>,
    service: Cow<'a, str>,
    transport: Transport,
}

/// A sentence, and what it comes from.
struct Found {
    message: String,
    evidence: Evidence,
}

impl Found {
    fn on_record(message: String, record: &Arc<Record>) -> Self {
        let evidence = Evidence { record: Some(Arc::clone(record)), ..Evidence::default() };
        Self { message, evidence }
    }
}

impl<'a> Case<'a> {
    /// How much a finding weighs here.
    fn weigh(&self, code: FindingCode) -> Severity {
        let policy = &self.view.namespace().policy;
        let accepted_by_pool = self.asked.pool.is_some_and(|pool| {
            // Pools are there to give ports to services that IANA knows elsewhere.
            pool.accept.contains(&code) || code == FindingCode::ServiceNameElsewhere
        });
        match code.severity() {
            Severity::Blocker => Severity::Blocker,
            _ if policy.forbid.contains(&code) => Severity::Blocker,
            Severity::Acknowledge if accepted_by_pool || policy.accept.contains(&code) => {
                Severity::Note
            }
            by_itself => by_itself,
        }
    }

    fn find(&self, code: FindingCode) -> Option<Found> {
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
                "49152-65535 are Dynamic Ports: any program may be given one at any time, so they \
                 must not identify a service (RFC 6335, section 8.1.2)",
            ),
            FindingCode::ServiceNameElsewhere => self.service_name_elsewhere(),
            FindingCode::CommonUse => self.common_use(),
            FindingCode::TransportTwin => self.transport_twin(),
            FindingCode::UnauthorizedUse => self.unauthorized_use(),
            FindingCode::EphemeralRange => self.range(
                32768,
                60999,
                "Linux takes outgoing ports from 32768-60999 by default, so the port may be busy \
                 when the service starts",
            ),
            FindingCode::NodePortRange => {
                self.range(30000, 32767, "Kubernetes takes node ports from 30000-32767 by default")
            }
            FindingCode::Experimental => self.range(
                1021,
                1022,
                "1021 and 1022 are set aside for experiments (RFC 4727, section 6)",
            ),
        }
    }

    /// A finding that follows from the numbers alone.
    fn range(&self, first: u16, last: u16, sentence: &str) -> Option<Found> {
        let ports = PortRange::new(Port::new(first), Port::new(last)).ok()?;
        let evidence = Evidence { ports: Some(ports), ..Evidence::default() };
        let found = || Found { message: sentence.to_owned(), evidence };
        self.asked.ports.overlaps(ports).then(found)
    }

    fn invalid_service_name(&self) -> Option<Found> {
        let fault = self.asked.service_name?.parse::<ServiceName>().err()?;
        Some(Found { message: fault.to_string(), evidence: Evidence::default() })
    }

    fn port_taken(&self) -> Option<Found> {
        let holder = self.view.holders_in(self.asked.ports, self.transport).next()?;
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
        Some(Found::on_record(sentence, holder))
    }

    fn port_in_pool(&self) -> Option<Found> {
        if self.asked.pool.is_some() {
            return None;
        }
        let pool = self.view.pool_in(self.asked.ports, self.transport)?;
        let runs = pool.member_ports().ranges();
        let met = runs.iter().find(|run| run.overlaps(self.asked.ports))?;
        let message = format!(
            "{met}/{} is part of pool {}: ask for the port through it",
            self.transport, pool.name
        );
        let evidence =
            Evidence { pool: Some(pool.name.clone()), ports: Some(*met), ..Evidence::default() };
        Some(Found { message, evidence })
    }

    fn outside_pool(&self) -> Option<Found> {
        let pool =
            self.asked.pool.filter(|pool| !pool.contains(self.asked.ports, self.transport))?;
        let message =
            format!("pool {} does not have {}/{}", pool.name, self.asked.ports, self.transport);
        let evidence = Evidence { pool: Some(pool.name.clone()), ..Evidence::default() };
        Some(Found { message, evidence })
    }

    fn cooling_down(&self) -> Option<Found> {
        let resting = self.view.cooling_down_in(self.asked.ports, self.transport, self.asked.now);
        let of_others = resting.filter(|(_, resting)| !self.is_same_service(&resting.record));
        // Of several on the lowest port, the one that rests longest.
        let (port, resting) =
            of_others.min_by_key(|(port, resting)| (*port, Reverse(resting.until)))?;
        let message = format!(
            "{port}/{} was given back by {} and rests until {:.0}: clients may still call the old \
             holder",
            self.transport,
            named(&resting.record),
            resting.until
        );
        let evidence = Evidence { end_time: Some(resting.until), ..Evidence::default() };
        let record = Some(Arc::clone(&resting.record));
        Some(Found { message, evidence: Evidence { record, ..evidence } })
    }

    /// The records of a source on the ports that may be of this transport.
    fn reference_records(&self, source: Source) -> impl Iterator<Item = (Port, &'a Arc<Record>)> {
        let reference = self.view.reference();
        let transport = self.transport;
        self.asked.ports.iter().flat_map(move |port| {
            reference
                .at(port)
                .filter(move |record| {
                    record.source() == source && record.may_be_on(Some(transport))
                })
                .map(move |record| (port, record))
        })
    }

    fn is_same_service(&self, record: &Record) -> bool {
        let is_own_name = |name: &Arc<str>| fold(name) == self.service;
        record.service_name.iter().chain(record.aliases()).any(is_own_name)
    }

    fn iana(&self, state: State, verb: &str) -> Option<Found> {
        // A port on which IANA names this very service, among others, is the service's own.
        let mut first = None;
        let mut count = 0usize;
        for port in self.asked.ports.iter() {
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
        let sentence = if self.asked.ports.width() == 1 {
            format!("IANA {verb} {port}/{}{whom}{said}", self.transport)
        } else {
            format!(
                "IANA {verb} {count} of the ports {} on {}, the first of them {port}{whom}{said}",
                self.asked.ports, self.transport
            )
        };
        Some(Found::on_record(sentence, record))
    }

    fn service_name_elsewhere(&self) -> Option<Found> {
        let known = || {
            let named = self.view.reference().named(&self.service);
            named.filter(|record| record.source() == Source::Iana && record.ports.is_some())
        };
        let ports = || known().filter_map(|record| record.ports).unique();
        let first = known().next()?;
        let asked = self.asked.ports;
        if ports().any(|ports| ports.contains(asked.first()) && ports.contains(asked.last())) {
            return None;
        }
        let sentence = format!(
            "IANA has the name {} for port {}: clients may look for it there",
            named(first),
            ports().join(", ")
        );
        Some(Found::on_record(sentence, first))
    }

    fn common_use(&self) -> Option<Found> {
        let (port, record) = self
            .reference_records(Source::Common)
            .find(|(_, record)| !self.is_same_service(record))?;
        let sentence = format!("{port}/{} is commonly used by {}", self.transport, named(record));
        Some(Found::on_record(sentence, record))
    }

    fn transport_twin(&self) -> Option<Found> {
        let twin = Transport::ALL
            .into_iter()
            .filter(|transport| *transport != self.transport)
            .flat_map(|transport| self.view.holders_in(self.asked.ports, transport))
            .find(|record| !self.is_same_service(record))?;
        let sentence = format!(
            "another service, {}, holds {}/{} in this namespace",
            named(twin),
            twin.ports?,
            twin.transport?
        );
        Some(Found::on_record(sentence, twin))
    }

    fn unauthorized_use(&self) -> Option<Found> {
        self.reference_records(Source::Iana).find_map(|(_, record)| match &record.origin {
            Origin::Iana(columns) if !columns.unauthorized_use_reported.is_empty() => {
                let use_of_it = &columns.unauthorized_use_reported;
                let sentence = format!("IANA knows of unauthorized use: {use_of_it}");
                Some(Found::on_record(sentence, record))
            }
            _ => None,
        })
    }
}

fn named(record: &Record) -> &str {
    record.service_name.as_deref().unwrap_or("a service without a name")
}
