//! Decisions on pools: what they are, and whom they give ports.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::new_assignments;
use super::lease::with_lease;
use super::{Context, Decision, Exhausted, Refusal, Unchanged, check_etag, pass};
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
    check_place(view, &after)?;
    Ok(Decision::of(Change::Pool(ResourceChange::Created { after })))
}

fn sorted(transports: &[Transport]) -> Vec<Transport> {
    let mut sorted = transports.to_vec();
    sorted.sort_unstable();
    sorted
}

/// That the pool has ports, and that they are nobody else's.
fn check_place(view: View<'_>, pool: &Arc<SharedPool>) -> Result<(), Refusal> {
    if pool.member_ports().ranges().is_empty() {
        return Err(Refusal::PoolEmpty);
    }
    for &transport in &pool.transports {
        for &run in pool.member_ports().ranges() {
            let others = view
                .pools()
                .filter(|other| other.name != pool.name && other.transports.contains(&transport));
            for other in others {
                if let Some(ports) =
                    other.member_ports().ranges().iter().find(|other| other.overlaps(run))
                {
                    let (ports, other) = (*ports, Arc::clone(other));
                    return Err(Refusal::PoolOverlapsPool { ports, transport, other });
                }
            }
            let stranger = view.holders_in(run, transport).find(|record| !is_from(record, pool));
            if let Some(stranger) = stranger {
                return Err(Refusal::PoolOverlapsAssignment(Arc::clone(stranger)));
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
        return Ok(Decision::nothing(Unchanged::Pool(Arc::clone(before))));
    }
    pool.update_time = pool.update_time.max(context.now);
    pool.revision = snapshot.revision().next();
    let after = SharedPool::share(pool);
    check_place(view, &after)?;
    check_left_out(view, before, |record| {
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
    check_left_out(view, before, |_| false)?;
    Ok(Decision::of(Change::Pool(ResourceChange::Deleted { before: Arc::clone(before) })))
}

/// That everything that comes from the pool keeps its place.
fn check_left_out(
    view: View<'_>,
    pool: &Arc<SharedPool>,
    keeps_its_place: impl Fn(&Record) -> bool,
) -> Result<(), Refusal> {
    let mut left_out = holders(view, pool).filter(|record| !keeps_its_place(record));
    match left_out.next() {
        None => Ok(()),
        Some(first) => {
            let (pool, first) = (Arc::clone(pool), Arc::clone(first));
            Err(Refusal::PoolNotEmpty { pool, count: 1 + left_out.count(), first })
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
        asked => sorted(asked),
    };
    let held: Vec<_> = view
        .held_by_instance(&ensure.pool, ensure.service_name.as_str(), ensure.instance.as_str())
        .collect();
    if !held.is_empty() {
        return keep(snapshot, ensure, pool, &transports, &held, context);
    }
    if let Some(&transport) = transports.iter().find(|asked| !pool.transports.contains(asked)) {
        return Err(Refusal::TransportOutsidePool { pool: Arc::clone(pool), transport });
    }
    let (count, size) = (u32::from(ensure.count.get()), pool.member_ports().size());
    if count > size {
        return Err(Refusal::CountTooLarge { count, size, pool: Arc::clone(pool) });
    }
    let asked = RegistrationQuery {
        service_name: Some(ensure.service_name.as_str()),
        // Where to begin; the search moves it.
        ports: PortRange::single(
            pool.member_ports().ranges().first().map_or(Port::ZERO, |run| run.first()),
        ),
        transports: &transports,
        pool: Some(&**pool),
        now: context.now,
    };
    let ports = lowest_free(view, &asked, pool, count)
        .ok_or_else(|| exhausted(view, pool, count, context))?;
    let asked = RegistrationQuery { ports, ..asked };
    let findings = pass(view, &asked, &BTreeSet::new())?;
    let pooled =
        PoolMembership { pool: ensure.pool.clone(), instance: Some(ensure.instance.to_shared()) };
    let lease = ensure.ttl.map(|ttl| Lease::starting_at(context.now, ttl));
    let changes =
        new_assignments(snapshot, &asked, context, &ensure.details, |registration| Registration {
            namespace: ensure.namespace.clone(),
            lease,
            pooled: Some(pooled.clone()),
            ..registration
        });
    Ok(Decision { changes, findings, ..Decision::default() })
}

/// What the instance has already stays, and a lease of it lasts at least as long as is asked.
fn keep(
    snapshot: &Snapshot,
    ensure: &Ensure,
    pool: &Pool,
    transports: &[Transport],
    held: &[&Arc<Record>],
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut held_on = held.iter().map(|record| record.transport);
    let mut widths = held.iter().map(|record| record.ports.map_or(0, PortRange::width));
    // Who names no transports was given those that the pool had then.
    let was_given_before_the_pool_changed = ensure.transports.is_empty()
        && held
            .iter()
            .filter_map(|record| record.registration())
            .all(|registration| registration.create_time < pool.update_time);
    let is_as_asked = (was_given_before_the_pool_changed
        || held_on.by_ref().eq(transports.iter().copied().map(Some)))
        && widths.all(|width| width == u32::from(ensure.count.get()));
    if !is_as_asked {
        let held = held.iter().map(|record| Arc::clone(record)).collect();
        return Err(Refusal::EnsuredOtherwise(held));
    }
    let asked = ensure.ttl.map(|ttl| Lease::starting_at(context.now, ttl));
    let own = |record: &Record| record.registration().and_then(|registration| registration.lease);
    let ends_sooner = |lease: Option<Lease>| {
        lease.zip(asked).is_some_and(|(lease, asked)| lease.expire_time < asked.expire_time)
    };
    if !held.iter().any(|record| ends_sooner(own(record))) {
        let held = held.iter().map(|record| Arc::clone(record)).collect();
        return Ok(Decision::nothing(Unchanged::Assignments(held)));
    }
    // All of it is renewed if one is: the answer is repeated from what was changed.
    let renewed = held.iter().filter_map(|before| {
        let lease = own(before);
        let later = if ends_sooner(lease) { asked } else { lease };
        with_lease(snapshot, before, later, context)
    });
    Ok(Decision { changes: renewed.collect(), ..Decision::default() })
}

/// The lowest run of so many ports of the pool that nobody holds and against which nothing speaks.
fn lowest_free(
    view: View<'_>,
    asked: &RegistrationQuery<'_>,
    pool: &SharedPool,
    count: u32,
) -> Option<PortRange> {
    let occupation = Occupation::of(view, pool, asked.now);
    let is_free = |ports| is_free(view, &RegistrationQuery { ports, ..*asked }, &BTreeSet::new());
    let mut run: Option<PortRange> = None;
    for port in pool.member_ports().iter() {
        // Each port is judged once; what holds for all ports of a run nearly always holds for it.
        if occupation.is_held(port) || !is_free(PortRange::single(port)) {
            run = None;
            continue;
        }
        let goes_on = run.filter(|run| run.last().number().checked_add(1) == Some(port.number()));
        let longer = PortRange::new(goes_on.map_or(port, |run| run.first()), port).ok()?;
        run = Some(longer);
        if longer.width() < count {
            continue;
        }
        // The last `count` ports of it.
        let start = Port::new(port.number() - (count - 1) as u16);
        let ports = PortRange::new(start, port).ok()?;
        if count == 1 || is_free(ports) {
            return Some(ports);
        }
    }
    None
}

/// How many of the leases that end next are told.
const NEXT_LEASES: usize = 5;

fn exhausted(view: View<'_>, pool: &Arc<SharedPool>, count: u32, context: &Context<'_>) -> Refusal {
    let end = |record: &&Arc<Record>| Some(record.registration()?.lease?.expire_time);
    let mut leased: Vec<_> = holders(view, pool).filter(|record| end(record).is_some()).collect();
    leased.sort_by_key(end);
    Refusal::PoolExhausted(Box::new(Exhausted {
        pool: Arc::clone(pool),
        count,
        usage: usage(view, pool, context.now),
        next_leases: leased.into_iter().take(NEXT_LEASES).cloned().collect(),
        next_cool_down_end: next_cool_down_end(view, pool, context.now),
    }))
}
