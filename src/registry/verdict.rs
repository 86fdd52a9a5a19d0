//! Verdicts: the outcome that a registration would have, and free alternatives.

use std::collections::BTreeSet;

use super::finding::{Finding, FindingCode, Severity, blocking};
use super::judge::{RegistrationQuery, is_free, judge};
use super::port::{Port, PortRange};
use super::snapshot::View;

/// The outcome of a registration that acknowledges some codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It would be accepted.
    Accepted,
    /// It would be accepted if it acknowledged more.
    AcknowledgementRequired,
    /// It would be refused.
    Refused,
}

/// The evaluation of a requested port range.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The ports.
    pub ports: PortRange,
    /// The outcome of the registration.
    pub outcome: Outcome,
    /// The findings.
    pub findings: Vec<Finding>,
    /// Free port ranges nearby.
    pub alternatives: Vec<PortRange>,
}

impl Verdict {
    /// The verdict based on these findings, without alternatives.
    #[must_use]
    pub fn of(
        ports: PortRange,
        findings: Vec<Finding>,
        acknowledged: &BTreeSet<FindingCode>,
    ) -> Self {
        let most_severe = blocking(&findings, acknowledged).first().map(|finding| finding.severity);
        let outcome = match most_severe {
            None | Some(Severity::Note) => Outcome::Accepted,
            Some(Severity::Acknowledge) => Outcome::AcknowledgementRequired,
            Some(Severity::Blocker) => Outcome::Refused,
        };
        Self { ports, outcome, findings, alternatives: Vec::new() }
    }
}

/// The verdict, with alternatives unless the registration would be accepted.
#[must_use]
pub fn check(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    budget: &mut SearchBudget,
) -> Verdict {
    let mut verdict = Verdict::of(query.ports, judge(view, query), acknowledged);
    if verdict.outcome != Outcome::Accepted {
        verdict.alternatives = alternatives(view, query, acknowledged, budget);
    }
    verdict
}

/// The number of ports that may still be examined for alternatives.
#[derive(Clone, Copy, Debug)]
pub struct SearchBudget(u32);

impl Default for SearchBudget {
    /// One for each port number.
    fn default() -> Self {
        Self(EXAMINED_PORTS)
    }
}

/// The maximum number of alternatives.
const MAX_ALTERNATIVES: usize = 5;
/// The maximum number of ports examined for them.
const EXAMINED_PORTS: u32 = 65_536;

/// The nearest port ranges of the same width that are free.
fn alternatives(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    acknowledged: &BTreeSet<FindingCode>,
    budget: &mut SearchBudget,
) -> Vec<PortRange> {
    let width = query.ports.width();
    let first = i64::from(query.ports.first().number());
    let range = |start: i64| {
        let start = u16::try_from(start).ok()?;
        let last = u16::try_from(u32::from(start) + width - 1).ok()?;
        PortRange::new(Port::new(start), Port::new(last)).ok()
    };
    let nearby =
        (1..=i64::from(EXAMINED_PORTS)).flat_map(|distance| [first + distance, first - distance]);
    let mut found: Vec<PortRange> = Vec::new();
    for ports in nearby.filter_map(range) {
        if found.len() == MAX_ALTERNATIVES || budget.0 < width {
            break;
        }
        budget.0 -= width;
        // Alternatives do not overlap each other.
        let is_new = found.iter().all(|other| !other.overlaps(ports));
        if is_new && is_free(view, &RegistrationQuery { ports, ..*query }, acknowledged) {
            found.push(ports);
        }
    }
    found
}
