//! Decisions on registrations: registering ports, updating their fields, releasing them.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, Decision, Refusal, Unchanged, check_etag, check_findings};
use crate::registry::assignment::{
    Assignment, Etag, Origin, PoolMembership, Record, Registration, State, Uid,
};
use crate::registry::change::Change;
use crate::registry::command::{Register, RegistrationSelector, Update};
use crate::registry::details::{DetailEdits, Details};
use crate::registry::finding::Finding;
use crate::registry::judge::RegistrationQuery;
use crate::registry::lease::{CoolDown, Lease};
use crate::registry::name::NamespaceName;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::service_name::fold;
use crate::registry::snapshot::{Snapshot, View};

pub(super) fn register(
    snapshot: &Snapshot,
    register: &Register,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    let view = snapshot.view(&register.namespace)?;
    let pool = register.pool.as_ref().map(|name| view.pool(name)).transpose()?;
    let query = RegistrationQuery {
        service_name: Some(register.service_name.as_str()),
        ports: register.ports,
        transports: &register.transports,
        pool: pool.map(|pool| &**pool),
        now: context.now,
    };
    let findings = check_findings(view, &query, &register.acknowledge)?;
    let pooled = register.pool.clone().map(|pool| PoolMembership { pool, instance: None });
    let lease = register.ttl.map(|ttl| Lease::starting_at(context.now, ttl));
    let changes = new_assignments(snapshot, &query, context, &register.details, |registration| {
        Registration {
            namespace: register.namespace.clone(),
            lease,
            pooled: pooled.clone(),
            ..registration
        }
    });
    Ok(Decision { changes, findings, ..Decision::default() })
}

/// One registration for each requested transport.
pub(super) fn new_assignments(
    snapshot: &Snapshot,
    query: &RegistrationQuery<'_>,
    context: &mut Context<'_>,
    edits: &DetailEdits,
    with: impl Fn(Registration) -> Registration,
) -> Vec<Change> {
    let mut details = Details::default();
    edits.apply(&mut details);
    let mut new = |transport: &Transport| Assignment {
        uid: (context.new_uid)(),
        origin: Origin::Custom(with(Registration {
            namespace: NamespaceName::default(),
            create_time: context.now,
            update_time: context.now,
            revision: snapshot.revision().next(),
            lease: None,
            pooled: None,
        })),
        service_name: query.service_name.map(Arc::from),
        ports: Some(query.ports),
        transport: Some(*transport),
        state: State::Assigned,
        details: details.clone(),
    };
    let records = query.transports.iter().map(|transport| Record::share(new(transport)));
    records.map(|after| Change::Registered { after }).collect()
}

pub(super) fn register_all(
    snapshot: &Snapshot,
    registers: &[Register],
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    let mut all = Decision::default();
    let mut state = snapshot.clone();
    for (index, one) in registers.iter().enumerate() {
        let decision = register(&state, one, context)
            .map_err(|refusal| Refusal::InBatch { index, refusal: Box::new(refusal) })?;
        // All changes have the same revision: the one after the snapshot's.
        state = state.after(snapshot.revision(), &decision.changes);
        all.changes.extend(decision.changes);
        all.findings.extend(decision.findings);
    }
    Ok(all)
}

pub(super) fn update(
    snapshot: &Snapshot,
    update: &Update,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let (before, registration) = registered(snapshot, update.uid, update.etag)?;
    let findings = judge_new_name(snapshot, before, registration, update, context.now)?;
    let mut after = (**before).clone();
    if let Some(name) = &update.service_name {
        after.service_name = Some(name.to_shared());
    }
    update.details.apply(&mut after.details);
    if after == ***before {
        let unchanged = Unchanged::Assignments(vec![Arc::clone(before)]);
        return Ok(Decision { findings, ..Decision::unchanged(unchanged) });
    }
    after.origin = Origin::Custom(changed_now(snapshot, registration, context));
    let change = Change::Updated { before: Arc::clone(before), after: Record::share(after) };
    Ok(Decision { findings, ..Decision::of(change) })
}

/// The registration with the time and revision of this change.
pub(super) fn changed_now(
    snapshot: &Snapshot,
    registration: &Registration,
    context: &Context<'_>,
) -> Registration {
    Registration {
        // A clock that was set back must not move the update time back.
        update_time: context.now.max(registration.update_time),
        revision: snapshot.revision().next(),
        ..registration.clone()
    }
}

/// A new service name is judged as if the ports were free and requested under this name.
fn judge_new_name(
    snapshot: &Snapshot,
    before: &Record,
    registration: &Registration,
    update: &Update,
    now: Timestamp,
) -> Result<Vec<Finding>, Refusal> {
    let (Some(name), Some(ports), Some(transport)) =
        (&update.service_name, before.ports, before.transport)
    else {
        return Ok(Vec::new());
    };
    let old_name = before.service_name.as_deref().unwrap_or_default();
    if fold(old_name) == fold(name.as_str()) {
        return Ok(Vec::new());
    }
    if let Some(PoolMembership { pool, instance: Some(_) }) = &registration.pooled {
        return Err(Refusal::NameKeptByPool { uid: before.uid, pool: pool.clone() });
    }
    let released = [Change::Released {
        before: Arc::clone(snapshot.by_uid(before.uid).ok_or(Refusal::UnknownUid(before.uid))?),
        cooling_until: None,
    }];
    let as_if_free = snapshot.after(snapshot.revision(), &released);
    let view = as_if_free.view(&registration.namespace)?;
    let pool = registration.pooled.as_ref().map(|pooled| view.pool(&pooled.pool)).transpose()?;
    let query = RegistrationQuery {
        service_name: Some(name.as_str()),
        ports,
        transports: &[transport],
        pool: pool.map(|pool| &**pool),
        now,
    };
    check_findings(view, &query, &update.acknowledge)
}

pub(super) fn release(
    snapshot: &Snapshot,
    selector: &RegistrationSelector,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let released = resolve(snapshot, selector)?.into_iter().map(|before| Change::Released {
        cooling_until: cooling_until(snapshot, before, context.now),
        before: Arc::clone(before),
    });
    Ok(Decision { changes: released.collect(), ..Decision::default() })
}

/// When the cool-down of a registration that is released now ends, if it has one.
#[must_use]
pub fn cooling_until(snapshot: &Snapshot, record: &Record, now: Timestamp) -> Option<Timestamp> {
    let registration = record.registration()?;
    let view = snapshot.view(&registration.namespace).ok()?;
    let pool = registration.pooled.as_ref().and_then(|pooled| view.pool(&pooled.pool).ok());
    let cool_down = pool.map_or(view.namespace().policy.cool_down, |pool| pool.cool_down);
    (cool_down > CoolDown::NONE).then(|| cool_down.after(now))
}

/// The registrations that the selector identifies.
pub(super) fn resolve<'a>(
    snapshot: &'a Snapshot,
    selector: &RegistrationSelector,
) -> Result<Vec<&'a Arc<Record>>, Refusal> {
    match selector {
        RegistrationSelector::Uid { uid, etag } => Ok(vec![registered(snapshot, *uid, *etag)?.0]),
        RegistrationSelector::Port { namespace, port, transport } => {
            on_port(snapshot.view(namespace)?, *port, *transport)
        }
    }
}

/// The registration with this uid, if it exists and is in the state that the caller expects.
fn registered(
    snapshot: &Snapshot,
    uid: Uid,
    etag: Option<Etag>,
) -> Result<(&Arc<Record>, &Registration), Refusal> {
    let record = snapshot.by_uid(uid).ok_or(Refusal::UnknownUid(uid))?;
    let registration =
        record.registration().ok_or(Refusal::NotCustom { uid, source: record.source() })?;
    check_etag(etag, registration.etag(), Some(uid), || format!("assignment {uid}"))?;
    Ok((record, registration))
}

fn on_port(
    view: View<'_>,
    port: Port,
    transport: Option<Transport>,
) -> Result<Vec<&Arc<Record>>, Refusal> {
    let holders: Vec<_> = view.holders(port, transport).collect();
    match holders.first() {
        None => {
            let namespace = view.namespace().name.clone();
            Err(Refusal::NotRegistered { namespace, port, transport })
        }
        Some(first) if holders.iter().any(|other| name(other) != name(first)) => {
            let holders = holders.iter().map(|record| {
                let name = record.service_name.as_deref().unwrap_or_default();
                format!("{name}/{}", record.transport.map_or("", Transport::name))
            });
            Err(Refusal::TransportAmbiguous { port, holders: holders.collect() })
        }
        // A caller that names one port of a range may not know about the others.
        Some(_) if holders.iter().any(|record| record.ports != Some(PortRange::single(port))) => {
            Err(Refusal::PartOfRange { port, holders: holders.into_iter().cloned().collect() })
        }
        Some(_) => Ok(holders),
    }
}

fn name(record: &Record) -> Option<Cow<'_, str>> {
    record.service_name.as_deref().map(fold)
}
