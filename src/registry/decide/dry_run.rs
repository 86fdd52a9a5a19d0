//! Trials: what would come of registrations that are made one after the other.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::assignment::new_assignments;
use super::{Context, Refusal};
use crate::registry::assignment::{Registration, Uid};
use crate::registry::command::Details;
use crate::registry::finding::FindingCode;
use crate::registry::judge::{RegistrationQuery, judge};
use crate::registry::name::{NamespaceName, PoolName};
use crate::registry::port::{PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::verdict::{Outcome, SearchBudget, Verdict, check};

/// A registration that somebody thinks of.
#[derive(Clone, Debug)]
pub struct ProposedRegistration {
    /// Where to hold the ports.
    pub namespace: NamespaceName,
    /// For which service; what breaks the rule for names is found. None for one that nobody knows.
    pub service_name: Option<String>,
    /// Which ports.
    pub ports: PortRange,
    /// On which transports.
    pub transports: Vec<Transport>,
    /// The pool they are part of, if they are asked for through one.
    pub pool: Option<PoolName>,
    /// The findings that are accepted.
    pub acknowledge: BTreeSet<FindingCode>,
}

impl ProposedRegistration {
    fn asked<'a>(
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

/// What would come of a wish by itself, and what could be had instead.
///
/// # Errors
/// If it names a namespace or a pool that does not exist.
pub fn check_one(
    snapshot: &Snapshot,
    wish: &ProposedRegistration,
    now: Timestamp,
    looks: &mut SearchBudget,
) -> Result<Verdict, Refusal> {
    let view = snapshot.view(&wish.namespace)?;
    Ok(check(view, &wish.asked(view, now)?, &wish.acknowledge, looks))
}

/// What would come of the wishes, each judged as if those before it had been made, except for those
/// that would be refused whatever they acknowledged. A record of the evidence that comes from a wish
/// has the uid of its place.
///
/// # Errors
/// If a wish names a namespace or a pool that does not exist.
pub fn try_all(
    snapshot: &Snapshot,
    wishes: &[ProposedRegistration],
    now: Timestamp,
) -> Result<Vec<Verdict>, Refusal> {
    let mut state = snapshot.clone();
    let mut verdicts = Vec::with_capacity(wishes.len());
    for (index, wish) in wishes.iter().enumerate() {
        let (verdict, next) = try_one(&state, wish, index, now)
            .map_err(|refusal| Refusal::InBatch { index, refusal: Box::new(refusal) })?;
        verdicts.push(verdict);
        state = next;
    }
    Ok(verdicts)
}

fn try_one(
    state: &Snapshot,
    wish: &ProposedRegistration,
    index: usize,
    now: Timestamp,
) -> Result<(Verdict, Snapshot), Refusal> {
    let view = state.view(&wish.namespace)?;
    let asked = wish.asked(view, now)?;
    let verdict = Verdict::of(wish.ports, judge(view, &asked), &wish.acknowledge);
    if verdict.outcome == Outcome::Refused {
        return Ok((verdict, state.clone()));
    }
    let mut new_uid = || Uid::placeholder(index as u32);
    let mut context = Context { now, new_uid: &mut new_uid };
    let changes =
        new_assignments(state, &asked, &mut context, &Details::default(), |registration| {
            Registration { namespace: wish.namespace.clone(), ..registration }
        });
    let next = state.after(state.revision(), &changes);
    Ok((verdict, next))
}
