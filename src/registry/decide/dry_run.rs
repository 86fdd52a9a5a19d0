//! Dry runs: the outcomes that registrations would have if they were made one after the other.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::assignment::new_assignments;
use super::{Context, Refusal};
use crate::registry::assignment::{Registration, Uid};
use crate::registry::details::DetailEdits;
use crate::registry::finding::FindingCode;
use crate::registry::judge::{RegistrationQuery, judge};
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::port::{PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::verdict::{Outcome, SearchBudget, Verdict, check};

/// A registration to evaluate.
#[derive(Clone, Debug)]
pub struct ProposedRegistration {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The service name; an invalid name is a finding. None for a service in no registry.
    pub service_name: Option<String>,
    /// The ports.
    pub ports: PortRange,
    /// The transports.
    pub transports: Vec<Transport>,
    /// The pool through which the ports are requested, if any.
    pub pool: Option<PoolName>,
    /// The acknowledged findings.
    pub acknowledge: BTreeSet<FindingCode>,
}

impl ProposedRegistration {
    fn query<'a>(
        &'a self,
        view: View<'a>,
        now: Timestamp,
    ) -> Result<RegistrationQuery<'a>, Refusal> {
        let pool = self.pool.as_ref().map(|name| view.pool(name)).transpose()?;
        Ok(RegistrationQuery {
            service_name: self.service_name.as_deref(),
            ports: self.ports,
            transports: &self.transports,
            pool: pool.map(|pool| &**pool),
            now,
        })
    }
}

/// The outcome of a single registration, and free alternatives.
///
/// # Errors
/// If the namespace or the pool does not exist.
pub fn check_one(
    snapshot: &Snapshot,
    proposed: &ProposedRegistration,
    now: Timestamp,
    budget: &mut SearchBudget,
) -> Result<Verdict, Refusal> {
    let view = snapshot.view(&proposed.namespace)?;
    Ok(check(view, &proposed.query(view, now)?, &proposed.acknowledge, budget))
}

/// The outcomes of several registrations, each judged on the state after those before it, except
/// for those that would be refused whatever they acknowledged. Evidence that is itself one of these
/// registrations has the placeholder uid of its index.
///
/// # Errors
/// If a namespace or a pool does not exist.
pub fn try_all(
    snapshot: &Snapshot,
    all: &[ProposedRegistration],
    now: Timestamp,
) -> Result<Vec<Verdict>, Refusal> {
    let mut state = snapshot.clone();
    let mut verdicts = Vec::with_capacity(all.len());
    for (index, proposed) in all.iter().enumerate() {
        let (verdict, next) = try_one(&state, proposed, index, now)
            .map_err(|refusal| Refusal::InBatch { index, refusal: Box::new(refusal) })?;
        verdicts.push(verdict);
        state = next;
    }
    Ok(verdicts)
}

fn try_one(
    state: &Snapshot,
    proposed: &ProposedRegistration,
    index: usize,
    now: Timestamp,
) -> Result<(Verdict, Snapshot), Refusal> {
    let view = state.view(&proposed.namespace)?;
    let query = proposed.query(view, now)?;
    let verdict = Verdict::of(proposed.ports, judge(view, &query), &proposed.acknowledge);
    if verdict.outcome == Outcome::Refused {
        return Ok((verdict, state.clone()));
    }
    let mut new_uid = || Uid::placeholder(index as u32);
    let mut context = Context { now, new_uid: &mut new_uid };
    let changes =
        new_assignments(state, &query, &mut context, &DetailEdits::default(), |registration| {
            Registration { namespace: proposed.namespace.clone(), ..registration }
        });
    let next = state.after(state.revision(), &changes);
    Ok((verdict, next))
}
