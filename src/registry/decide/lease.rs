//! Decisions on leases: renewal and expiry.

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
    let renewed = resolve(snapshot, &renew.selector)?.into_iter().map(|before| {
        let lease = before.registration().and_then(|registration| registration.lease);
        let ttl = lease.map(|lease| renew.ttl.unwrap_or(lease.ttl));
        let ttl = ttl.ok_or(Refusal::NoLease(before.uid))?;
        Ok(with_lease(snapshot, before, Some(Lease::starting_at(context.now, ttl)), context))
    });
    let changes = renewed.collect::<Result<Vec<_>, Refusal>>()?.into_iter().flatten();
    Ok(Decision { changes: changes.collect(), ..Decision::default() })
}

/// Sets or removes the lease of a registration.
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

/// Ends the leases with this expiry time of one command: registrations that were made or renewed
/// together expire in one revision.
pub(super) fn expire(snapshot: &Snapshot, time: Timestamp, context: &Context<'_>) -> Decision {
    let revision =
        |record: &Record| record.registration().map(|registration| registration.revision);
    let first_revision = snapshot.leases_expiring_at(time).next().map(|first| revision(first));
    let expiring =
        snapshot.leases_expiring_at(time).filter(|record| Some(revision(record)) == first_revision);
    let expired = expiring.map(|before| Change::Expired {
        cooling_until: cooling_until(snapshot, before, context.now),
        before: Arc::clone(before),
    });
    Decision { changes: expired.collect(), ..Decision::default() }
}
