//! Decisions on pools: their settings, and the allocation of their ports.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::new_assignments;
use super::lease::with_lease;
use super::{Context, Decision, Exhausted, Refusal, Unchanged, check_etag, check_findings};
use crate::registry::assignment::{PoolMembership, Record, Registration};
use crate::registry::change::{Change, ResourceChange};
use crate::registry::command::{CreatePool, DeletePool, Ensure, UpdatePool};
use crate::registry::judge::{RegistrationQuery, is_free};
use crate::registry::lease::Lease;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::usage::{Occupation, holders, next_cool_down_end, usage};

pub(super) fn create(
    snapshot: &Snapshot,
    create: &CreatePool,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let view = snapshot.view(&create.namespace)?;
    if view.pool(&create.name).is_ok() {
        let (namespace, name) = (create.namespace.clone(), create.name.clone());
        return Err(Refusal::PoolExists { namespace, name });
    }
    let after = SharedPool::share(Pool {
        namespace: create.namespace.clone(),
        name: create.name.clone(),
        description: create.description.to_shared(),
        ports: create.ports.clone(),
        transports: sorted(&create.transports),
        excluded_ports: create.excluded_ports.clone(),
        cool_down: create.cool_down,
        accept: create.accept.clone(),
        create_time: context.now,
        update_time: context.now,
        revision: snapshot.revision().next(),
    });
    check_no_overlap(view, &after)?;
    Ok(Decision::of(Change::Pool(ResourceChange::Created { after })))
}

fn sorted(transports: &[Transport]) -> Vec<Transport> {
    let mut sorted = transports.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Checks that the pool has ports, none of them in another pool or registered outside the pool.
fn check_no_overlap(view: View<'_>, pool: &Arc<SharedPool>) -> Result<(), Refusal> {
    if pool.member_ports().ranges().is_empty() {
        return Err(Refusal::PoolEmpty);
    }
    for &transport in &pool.transports {
        for &range in pool.member_ports().ranges() {
            let others = view
                .pools()
                .filter(|other| other.name != pool.name && other.transports.contains(&transport));
            for other in others {
                if let Some(ports) =
                    other.member_ports().ranges().iter().find(|other| other.overlaps(range))
                {
                    let (ports, other) = (*ports, Arc::clone(other));
                    return Err(Refusal::PoolOverlapsPool { ports, transport, other });
                }
            }
            let outsider = view.holders_in(range, transport).find(|record| !is_from(record, pool));
            if let Some(outsider) = outsider {
                return Err(Refusal::PoolOverlapsAssignment(Arc::clone(outsider)));
            }
        }
    }
    Ok(())
}

fn is_from(record: &Record, pool: &SharedPool) -> bool {
    let pooled = record.registration().and_then(|registration| registration.pooled.as_ref());
    pooled.is_some_and(|pooled| pooled.pool == pool.name)
}

pub(super) fn update(
    snapshot: &Snapshot,
    update: &UpdatePool,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let view = snapshot.view(&update.namespace)?;
    let before = view.pool(&update.name)?;
    check_etag(update.etag, before.etag(), None, || format!("pool {}", before.name))?;
    let UpdatePool { description, ports, transports, excluded_ports, cool_down, accept, .. } =
        update.clone();
    let old = Pool::clone(before);
    let mut pool = Pool {
        description: description.map_or(old.description, |text| text.to_shared()),
        ports: ports.unwrap_or(old.ports),
        transports: transports.map_or(old.transports, |transports| sorted(&transports)),
        excluded_ports: excluded_ports.unwrap_or(old.excluded_ports),
        cool_down: cool_down.unwrap_or(old.cool_down),
        accept: accept.unwrap_or(old.accept),
        ..old
    };
    if pool == ***before {
        return Ok(Decision::unchanged(Unchanged::Pool(Arc::clone(before))));
    }
    pool.update_time = pool.update_time.max(context.now);
    pool.revision = snapshot.revision().next();
    let after = SharedPool::share(pool);
    check_no_overlap(view, &after)?;
    check_registrations(view, before, |record| {
        let (Some(ports), Some(transport)) = (record.ports, record.transport) else { return true };
        after.contains(ports, transport)
    })?;
    let before = Arc::clone(before);
    Ok(Decision::of(Change::Pool(ResourceChange::Updated { before, after })))
}

pub(super) fn delete(snapshot: &Snapshot, delete: &DeletePool) -> Result<Decision, Refusal> {
    let view = snapshot.view(&delete.namespace)?;
    let before = view.pool(&delete.name)?;
    check_etag(delete.etag, before.etag(), None, || format!("pool {}", before.name))?;
    check_registrations(view, before, |_| false)?;
    Ok(Decision::of(Change::Pool(ResourceChange::Deleted { before: Arc::clone(before) })))
}

/// Checks that every registration from the pool satisfies the condition.
fn check_registrations(
    view: View<'_>,
    pool: &Arc<SharedPool>,
    may_remain: impl Fn(&Record) -> bool,
) -> Result<(), Refusal> {
    let mut conflicting = holders(view, pool).filter(|record| !may_remain(record));
    match conflicting.next() {
        None => Ok(()),
        Some(first) => {
            let (pool, first) = (Arc::clone(pool), Arc::clone(first));
            Err(Refusal::PoolNotEmpty { pool, count: 1 + conflicting.count(), first })
        }
    }
}

pub(super) fn ensure(
    snapshot: &Snapshot,
    ensure: &Ensure,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    let view = snapshot.view(&ensure.namespace)?;
    let pool = view.pool(&ensure.pool)?;
    let transports = match &ensure.transports[..] {
        [] => pool.transports.clone(),
        requested => sorted(requested),
    };
    let held: Vec<_> = view
        .held_by_instance(&ensure.pool, ensure.service_name.as_str(), ensure.instance.as_str())
        .collect();
    if !held.is_empty() {
        return ensure_held(snapshot, ensure, pool, &transports, &held, context);
    }
    let unsupported = transports.iter().find(|transport| !pool.transports.contains(transport));
    if let Some(&transport) = unsupported {
        return Err(Refusal::TransportOutsidePool { pool: Arc::clone(pool), transport });
    }
    let (count, size) = (u32::from(ensure.count.get()), pool.member_ports().size());
    if count > size {
        return Err(Refusal::CountTooLarge { count, size, pool: Arc::clone(pool) });
    }
    let query = RegistrationQuery {
        service_name: Some(ensure.service_name.as_str()),
        // The start of the search for free ports.
        ports: PortRange::single(
            pool.member_ports().ranges().first().map_or(Port::ZERO, |range| range.first()),
        ),
        transports: &transports,
        pool: Some(&**pool),
        now: context.now,
    };
    let ports = lowest_free(view, &query, pool, count)
        .ok_or_else(|| exhausted(view, pool, count, context))?;
    let query = RegistrationQuery { ports, ..query };
    let findings = check_findings(view, &query, &BTreeSet::new())?;
    let pooled =
        PoolMembership { pool: ensure.pool.clone(), instance: Some(ensure.instance.to_shared()) };
    let lease = ensure.ttl.map(|ttl| Lease::starting_at(context.now, ttl));
    let changes =
        new_assignments(snapshot, &query, context, &ensure.details, |registration| Registration {
            namespace: ensure.namespace.clone(),
            lease,
            pooled: Some(pooled.clone()),
            ..registration
        });
    Ok(Decision { changes, findings, ..Decision::default() })
}

/// Returns the ports that the instance already holds. Extends a lease that ends earlier than
/// requested.
fn ensure_held(
    snapshot: &Snapshot,
    ensure: &Ensure,
    pool: &Pool,
    transports: &[Transport],
    held: &[&Arc<Record>],
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut held_on = held.iter().map(|record| record.transport);
    let mut widths = held.iter().map(|record| record.ports.map_or(0, PortRange::width));
    // A request without transports was allocated the transports that the pool had at that time.
    let was_allocated_before_pool_update = ensure.transports.is_empty()
        && held
            .iter()
            .filter_map(|record| record.registration())
            .all(|registration| registration.create_time < pool.update_time);
    let is_as_requested = (was_allocated_before_pool_update
        || held_on.by_ref().eq(transports.iter().copied().map(Some)))
        && widths.all(|width| width == u32::from(ensure.count.get()));
    if !is_as_requested {
        let held = held.iter().map(|record| Arc::clone(record)).collect();
        return Err(Refusal::EnsuredOtherwise(held));
    }
    let requested = ensure.ttl.map(|ttl| Lease::starting_at(context.now, ttl));
    let current =
        |record: &Record| record.registration().and_then(|registration| registration.lease);
    let ends_sooner = |lease: Option<Lease>| {
        lease.zip(requested).is_some_and(|(lease, new)| lease.expire_time < new.expire_time)
    };
    if !held.iter().any(|record| ends_sooner(current(record))) {
        let held = held.iter().map(|record| Arc::clone(record)).collect();
        return Ok(Decision::unchanged(Unchanged::Assignments(held)));
    }
    // All are renewed if one is: a repeated request is answered from the changes.
    let renewed = held.iter().filter_map(|before| {
        let lease = current(before);
        let later = if ends_sooner(lease) { requested } else { lease };
        with_lease(snapshot, before, later, context)
    });
    Ok(Decision { changes: renewed.collect(), ..Decision::default() })
}

/// The lowest range of `count` ports of the pool that are free.
fn lowest_free(
    view: View<'_>,
    query: &RegistrationQuery<'_>,
    pool: &SharedPool,
    count: u32,
) -> Option<PortRange> {
    let occupation = Occupation::of(view, pool, query.now);
    let is_free = |ports| is_free(view, &RegistrationQuery { ports, ..*query }, &BTreeSet::new());
    let mut range: Option<PortRange> = None;
    for port in pool.member_ports().iter() {
        // Each port is judged once. A range is nearly always free if each of its ports is.
        if occupation.is_held(port) || !is_free(PortRange::single(port)) {
            range = None;
            continue;
        }
        let adjacent =
            range.filter(|range| range.last().number().checked_add(1) == Some(port.number()));
        let longer = PortRange::new(adjacent.map_or(port, |range| range.first()), port).ok()?;
        range = Some(longer);
        if longer.width() < count {
            continue;
        }
        // The last `count` ports of the range.
        let start = Port::new(port.number() - (count - 1) as u16);
        let ports = PortRange::new(start, port).ok()?;
        if count == 1 || is_free(ports) {
            return Some(ports);
        }
    }
    None
}

/// The number of leases in the error, in order of expiry.
const MAX_NEXT_LEASES: usize = 5;

fn exhausted(view: View<'_>, pool: &Arc<SharedPool>, count: u32, context: &Context<'_>) -> Refusal {
    let expiry = |record: &&Arc<Record>| Some(record.registration()?.lease?.expire_time);
    let mut leased: Vec<_> =
        holders(view, pool).filter(|record| expiry(record).is_some()).collect();
    leased.sort_by_key(expiry);
    Refusal::PoolExhausted(Box::new(Exhausted {
        pool: Arc::clone(pool),
        count,
        usage: usage(view, pool, context.now),
        next_leases: leased.into_iter().take(MAX_NEXT_LEASES).cloned().collect(),
        next_cool_down_end: next_cool_down_end(view, pool, context.now),
    }))
}
