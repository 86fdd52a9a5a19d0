//! Properties of `decide`: for any sequence of operations it agrees with a naive model, and its
//! changes can be stored, loaded and reverted.

pub mod command;
pub mod expected;
pub mod model;
pub mod operation;

use portbook::access::Actor;
use portbook::registry::assignment::{Assignment, Uid};
use portbook::registry::change::Change;
use portbook::registry::command::Command;
use portbook::registry::decide::dry_run::{ProposedRegistration, try_all};
use portbook::registry::decide::{Context, Decision, Refusal, Unchanged, decide};
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::registry::verdict::Outcome;
use portbook::store::{Entry, Store};
use proptest::prelude::*;
use uuid::Uuid;

use self::command::command;
use self::expected::model_after;
use self::model::{Model, PortRequest, Seconds};
use self::operation::{
    LOW, Operation, PORTS, acknowledged, operations, port_range, request, resolved, time,
};
use crate::harness::seeded_store;
use crate::properties::{NEW, block_on};

/// Decides with a manual clock and sequential ids.
#[derive(Default)]
pub struct ManualContext {
    pub now: Seconds,
    ids: u128,
}

impl ManualContext {
    fn decide(&mut self, snapshot: &Snapshot, command: &Command) -> Result<Decision, Refusal> {
        let Self { now, ids } = self;
        let mut new_uid = || {
            *ids += 1;
            Uid::new(Uuid::from_u128(*ids))
        };
        decide(snapshot, command, &mut Context { now: time(*now), new_uid: &mut new_uid })
    }

    /// The decisions for an operation, including expired leases: one for each revision.
    pub fn execute(
        &mut self,
        snapshot: &Snapshot,
        model: &Model,
        operation: &Operation,
    ) -> Result<Vec<Decision>, Refusal> {
        if let Operation::Wait { seconds } = operation {
            self.now += seconds;
            let mut decisions = Vec::new();
            let mut state = snapshot.clone();
            while let Some(end) = state.next_lease_expiry().filter(|end| *end <= time(self.now)) {
                let decision = self.decide(&state, &Command::Expire(end))?;
                state = state.after(state.revision().next(), &decision.changes);
                decisions.push(decision);
            }
            return Ok(decisions);
        }
        match resolved(operation, model).and_then(|operation| command(&operation, model)) {
            Some(command) => Ok(vec![self.decide(snapshot, &command)?]),
            None => Ok(Vec::new()),
        }
    }
}

/// The state of a snapshot, converted to the model.
pub fn model_of(snapshot: &Snapshot, now: Seconds) -> Model {
    let mut model = Model { now, namespaces: [].into(), ..Model::new() };
    for view in snapshot.views_after(None) {
        let namespace = view.namespace();
        let name = namespace.name.to_string();
        let policy = model::Policy {
            accept: namespace.policy.accept.clone(),
            forbid: namespace.policy.forbid.clone(),
            cool_down: namespace.policy.cool_down.duration().as_secs(),
        };
        for pool in view.pools() {
            let pool_seen = model::Pool {
                ports: pool.member_ports().iter().map(Port::number).collect(),
                transports: pool.transports.iter().copied().collect(),
                accept: pool.accept.clone(),
                cool_down: pool.cool_down.duration().as_secs(),
                changed: pool.update_time.as_second(),
            };
            model.pools.insert((name.clone(), pool.name.to_string()), pool_seen);
        }
        for transport in Transport::ALL {
            for (port, cooling_down) in view.cooling_down_in(PortRange::ALL, transport, time(now)) {
                let former_holder = cooling_down.record.service_name.as_deref().unwrap().to_owned();
                let position = (name.clone(), port.number(), transport);
                let until = cooling_down.until.as_second();
                model.cooling_down.entry(position).or_default().insert(former_holder, until);
            }
            // Query each port, so that the index has to find each holder.
            for port in LOW..LOW + 2 * PORTS {
                for record in view.holders(Port::new(port), Some(transport)) {
                    let held = held(record);
                    if held.first == port {
                        model.held.push(held);
                    }
                }
            }
        }
        model.namespaces.insert(name, policy);
    }
    model.held.sort_by_key(|held| held.uid);
    model
}

fn held(record: &Assignment) -> model::RegistrationSelector {
    let registration = record.registration().unwrap();
    let pooled = registration.pooled.as_ref();
    model::RegistrationSelector {
        uid: record.uid,
        namespace: registration.namespace.to_string(),
        name: record.service_name.as_deref().unwrap().to_owned(),
        first: record.ports.unwrap().first().number(),
        last: record.ports.unwrap().last().number(),
        transport: record.transport.unwrap(),
        pool: pooled.map(|pooled| pooled.pool.to_string()),
        instance: pooled.and_then(|pooled| Some(pooled.instance.as_ref()?.to_string())),
        since: registration.create_time.as_second(),
        lease: registration
            .lease
            .map(|lease| (lease.ttl.duration().as_secs(), lease.expire_time.as_second())),
    }
}

/// The uids that changes have registered.
pub fn new_uids<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Vec<Uid> {
    let new = changes.into_iter().filter_map(|change| match change {
        Change::Registered { after } => Some(after.uid),
        _ => None,
    });
    new.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn decisions_match_a_naive_model(operations in operations()) {
        let mut snapshot = NEW.clone();
        let mut model = Model::new();
        let mut context = ManualContext::default();
        for operation in &operations {
            let verdict = request(operation).map(|request| dry_run(&snapshot, &request, context.now));
            let granted = context.execute(&snapshot, &model, operation);
            let changes = granted.iter().flatten().flat_map(|decision| &decision.changes);
            let uids = new_uids(changes);
            match (granted, model_after(&model, operation, &uids)) {
                (Ok(decisions), Some(after)) => {
                    prop_assert!(verdict.is_none_or(|outcome| outcome == Ok(Outcome::Accepted)), "{operation:?}");
                    for decision in &decisions {
                        let next = snapshot.after(snapshot.revision().next(), &decision.changes);
                        // Changes can be reverted, except for cool-downs.
                        let back = next.before(snapshot.revision(), decision.changes.iter());
                        let cooling_down = model_of(&snapshot, context.now).cooling_down;
                        prop_assert_eq!(Model { cooling_down, ..model_of(&back, context.now) }, model_of(&snapshot, context.now));
                        snapshot = next;
                    }
                    model = after;
                }
                (Err(_), None) => {
                    prop_assert!(verdict.is_none_or(|outcome| outcome != Ok(Outcome::Accepted)), "{operation:?}");
                }
                // The model has no operation that does nothing.
                (Ok(decisions), None) if decisions.is_empty() => {}
                (granted, expected) => {
                    prop_assert!(false, "{operation:?}: {granted:?}, {}", expected.is_some());
                }
            }
            model.held.sort_by_key(|held| held.uid);
            prop_assert_eq!(model_of(&snapshot, context.now), model.clone(), "{:?}", operation);
        }
    }
}

/// The outcome of a dry run of the request.
fn dry_run(snapshot: &Snapshot, request: &PortRequest, now: Seconds) -> Result<Outcome, ()> {
    let proposed = ProposedRegistration {
        namespace: request.namespace.parse().unwrap(),
        service_name: Some(request.name.clone()),
        ports: port_range(request.first, request.width),
        transports: request.transports.clone(),
        pool: request.pool.as_ref().map(|pool| pool.parse().unwrap()),
        acknowledge: acknowledged(request.acknowledges),
    };
    try_all(snapshot, &[proposed], time(now)).map(|verdicts| verdicts[0].outcome).map_err(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_snapshot_is_immutable(operations in operations()) {
        let mut past = vec![(NEW.clone(), model_of(&NEW, 0))];
        let mut context = ManualContext::default();
        for operation in &operations {
            let (snapshot, model) = past.last().unwrap().clone();
            for decision in context.execute(&snapshot, &model, operation).unwrap_or_default() {
                let last = &past.last().unwrap().0;
                let next = last.after(last.revision().next(), &decision.changes);
                past.push((next.clone(), model_of(&next, 0)));
            }
        }
        for (snapshot, model) in past {
            prop_assert_eq!(model_of(&snapshot, 0), model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Decides, stores and loads; several commands per commit, like the writer.
    #[test]
    fn the_stored_state_equals_the_decided_state(operations in operations(), batch in 1..8usize) {
        block_on(async {
            let (_folder, mut store) = seeded_store().await;
            let mut snapshot = NEW.clone();
            let mut context = ManualContext::default();
            let mut entries: Vec<Entry> = Vec::new();
            let mut base = snapshot.revision();
            for (position, operation) in operations.iter().enumerate() {
                let model = model_of(&snapshot, context.now);
                for decision in context.execute(&snapshot, &model, operation).unwrap_or_default() {
                    if decision.changes.is_empty() {
                        assert!(!matches!(decision.unchanged, Unchanged::Nothing), "{operation:?}");
                        continue;
                    }
                    let revision = snapshot.revision().next();
                    snapshot = snapshot.after(revision, &decision.changes);
                    entries.push(Entry {
                        revision,
                        time: time(context.now),
                        actor: Actor("test".into()),
                        reason: String::new(),
                        changes: decision.changes,
                        findings: decision.findings,
                        request: None,
                    });
                }
                if position % batch == 0 && !entries.is_empty() {
                    store.append(base, &entries).await.unwrap();
                    base = snapshot.revision();
                    entries.clear();
                }
            }
            if !entries.is_empty() {
                store.append(base, &entries).await.unwrap();
            }
            let loaded = store.load(time(context.now)).await.unwrap().into_loaded().snapshot;
            assert_eq!(loaded.revision(), snapshot.revision());
            assert_eq!(model_of(&loaded, context.now), model_of(&snapshot, context.now));
            assert_eq!(all(&loaded), all(&snapshot));
            assert_eq!(loaded.next_lease_expiry(), snapshot.next_lease_expiry());
        });
    }
}

/// Every registration with all fields.
fn all(snapshot: &Snapshot) -> Vec<Assignment> {
    let mut all: Vec<Assignment> =
        snapshot.custom().map(|record| Assignment::clone(record)).collect();
    all.sort_by_key(|assignment| assignment.uid);
    all
}
