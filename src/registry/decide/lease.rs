//! Decisions on leases: holding ports for longer, and what becomes of those that nobody renewed.

use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::{changed_now, cooling_until, resolve};
use super::{Context, Decision, Refusal};
use crate::registry::assignment::{Assignment, Origin, Record, Registration};
use crate::registry::change::Change;
use crate::registry::command::Renew;
use crate::registry::lease::Lease;
use crate::registry::snapshot::Snapshot;

pub(super) fn renew(
    snapshot: &Snapshot,
    renew: &Renew,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let renewed = resolve(snapshot, &renew.held)?.into_iter().map(|before| {
        let lease = before.registration().and_then(|registration| registration.lease);
        let ttl = lease.map(|lease| renew.ttl.unwrap_or(lease.ttl));
        let ttl = ttl.ok_or(Refusal::NoLease(before.uid))?;
        Ok(with_lease(snapshot, before, Some(Lease::starting_at(context.now, ttl)), context))
    });
    let changes = renewed.collect::<Result<Vec<_>, Refusal>>()?.into_iter().flatten();
    Ok(Decision { changes: changes.collect(), ..Decision::default() })
}

/// Gives a registration another lease, or none.
pub(super) fn with_lease(
    snapshot: &Snapshot,
    before: &Arc<Record>,
    lease: Option<Lease>,
    context: &Context<'_>,
) -> Option<Change> {
    let registration = before.registration()?;
    let after = Assignment {
        origin: Origin::Custom(Registration {
            lease,
            ..changed_now(snapshot, registration, context)
        }),
        ..(***before).clone()
    };
    Some(Change::Renewed { before: Arc::clone(before), after: Record::share(after) })
}

/// Ends the leases of that time that were taken together: registrations made by one command end by
/// one change of the registry.
pub(super) fn expire(snapshot: &Snapshot, end: Timestamp, context: &Context<'_>) -> Decision {
    let taken = |record: &Record| record.registration().map(|registration| registration.revision);
    let together = snapshot.leases_expiring_at(end).next().map(|first| taken(first));
    let ending = snapshot.leases_expiring_at(end).filter(|record| Some(taken(record)) == together);
    let ended = ending.map(|before| Change::Expired {
        cooling_until: cooling_until(snapshot, before, context.now),
        before: Arc::clone(before),
    });
    Decision { changes: ended.collect(), ..Decision::default() }
}
