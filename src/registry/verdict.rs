//! Verdicts: what would come of a registration, and what could be had instead.

use std::collections::BTreeSet;

use super::finding::{Finding, FindingCode, Severity, blocking};
use super::judge::{RegistrationQuery, is_free, judge};
use super::port::{Port, PortRange};
use super::snapshot::View;

/// What would come of a request that acknowledges some codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It would be accepted.
    Accepted,
    /// It would be accepted if it acknowledged more.
    AcknowledgementRequired,
    /// It would be refused.
    Refused,
}

/// Everything there is to say of a run of ports.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The ports.
    pub ports: PortRange,
    /// What would come of it.
    pub outcome: Outcome,
    /// What the rules have to say.
    pub findings: Vec<Finding>,
    /// Runs nearby that could be had.
    pub alternatives: Vec<PortRange>,
}

impl Verdict {
    /// The verdict that follows from findings, without alternatives.
    #[must_use]
    pub fn of(
        ports: PortRange,
        findings: Vec<Finding>,
        acknowledged: &BTreeSet<FindingCode>,
    ) -> Self {
        let heaviest = blocking(&findings, acknowledged).first().map(|finding| finding.severity);
        let outcome = match heaviest {
            None | Some(Severity::Note) => Outcome::Accepted,
            Some(Severity::Acknowledge) => Outcome::AcknowledgementRequired,
            Some(Severity::Blocker) => Outcome::Refused,
        };
        Self { ports, outcome, findings, alternatives: Vec::new() }
    }
}

/// The verdict, with alternatives where they are needed.
#[must_use]
pub fn check(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    looks: &mut SearchBudget,
) -> Verdict {
    let mut verdict = Verdict::of(asked.ports, judge(view, asked), acknowledged);
    if verdict.outcome != Outcome::Accepted {
        verdict.alternatives = alternatives(view, asked, acknowledged, looks);
    }
    verdict
}

/// How many ports may still be looked at for alternatives.
#[derive(Clone, Copy, Debug)]
pub struct SearchBudget(u32);

impl Default for SearchBudget {
    /// As many as there are.
    fn default() -> Self {
        Self(LOOKED_AT)
    }
}

/// How many alternatives are told.
const ALTERNATIVES: usize = 5;
/// How many ports are looked at for them.
const LOOKED_AT: u32 = 65_536;

/// The nearest runs of the same width against which nothing speaks.
fn alternatives(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    looks: &mut SearchBudget,
) -> Vec<PortRange> {
    let width = asked.ports.width();
    let first = i64::from(asked.ports.first().number());
    let run = |start: i64| {
        let start = u16::try_from(start).ok()?;
        let last = u16::try_from(u32::from(start) + width - 1).ok()?;
        PortRange::new(Port::new(start), Port::new(last)).ok()
    };
    let nearby = (1..=i64::from(LOOKED_AT)).flat_map(|far| [first + far, first - far]);
    let mut found: Vec<PortRange> = Vec::new();
    for ports in nearby.filter_map(run) {
        if found.len() == ALTERNATIVES || looks.0 < width {
            break;
        }
        looks.0 -= width;
        // Two that overlap each other are one offer, not two.
        let is_new = found.iter().all(|other| !other.overlaps(ports));
        if is_new && is_free(view, &RegistrationQuery { ports, ..*asked }, acknowledged) {
            found.push(ports);
        }
    }
    found
}
