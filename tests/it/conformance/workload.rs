//! Entries for the suite: decided as the writer would, with every kind of change.

use portbook::access::Actor;
use portbook::registry::assignment::{Assignment, Revision, Uid};
use portbook::registry::change::ChangeKind;
use portbook::registry::command::{Command, Register};
use portbook::registry::decide::{Context, decide};
use portbook::registry::details::{DetailEdits, TextField};
use portbook::registry::finding::FindingCode;
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::registry::text::Labels;
use portbook::store::{Entry, RequestKey};
use uuid::Uuid;

use crate::decisions::model::Model;
use crate::decisions::operation::{Operation, time};
use crate::decisions::{ManualContext, model_of};
use crate::properties::NEW;

/// Entries, and the states before, between and after them.
pub struct Workload {
    pub entries: Vec<Entry>,
    pub states: Vec<Snapshot>,
    /// The clock at the end.
    pub now: i64,
}

fn register(namespace: u8, name: u8, at: u16, ttl: Option<i64>) -> Operation {
    let (width, transports, pool, acknowledges) = (1, 3, None, true);
    Operation::Register { namespace, name, at, width, transports, pool, ttl, acknowledges }
}

fn namespace(which: u8, accept: u8) -> Operation {
    Operation::Namespace { which, accept, forbid: 0, cool_down: 600 }
}

fn pool(namespace: u8, which: u8, width: u16) -> Operation {
    let (at, without, transports, accept, cool_down) = (10, 29, 3, 7, 600);
    Operation::Pool { namespace, which, at, width, without, transports, accept, cool_down }
}

/// Every kind of change by two actors, at increasing times, some of them equal.
pub fn workload() -> Workload {
    let ensure = |name, count| {
        let (namespace, pool, instance, transports, ttl) = (1, 0, 0, 3, None);
        Operation::Ensure { namespace, pool, name, instance, count, transports, ttl }
    };
    let operations = [
        register(0, 0, 0, None),
        register(0, 1, 5, Some(1_000)),
        Operation::Wait { seconds: 10 },
        namespace(1, 0),
        namespace(1, 1),
        pool(1, 0, 8),
        pool(1, 0, 10),
        ensure(2, 2),
        register(1, 3, 0, Some(500)),
        Operation::Wait { seconds: 100 },
        Operation::Renew { nth: 0, ttl: Some(2_000) },
        Operation::Renew { nth: 2, ttl: Some(2_000) },
        Operation::Rename { nth: 0, name: 3, acknowledges: true },
        Operation::Release { nth: 0 },
        Operation::Wait { seconds: 3_000 },
        register(0, 2, 6, None),
        Operation::Release { nth: 1 },
        namespace(0, 2),
        pool(0, 1, 4),
        Operation::DropPool { namespace: 0, which: 1 },
        Operation::Release { nth: 0 },
    ];
    let mut context = ManualContext::default();
    let mut workload = Workload { entries: Vec::new(), states: vec![NEW.clone()], now: 0 };
    let apply = |workload: &mut Workload, context: &mut ManualContext, operation: &Operation| {
        let snapshot = workload.states.last().unwrap().clone();
        let model: Model = model_of(&snapshot, context.now);
        let decisions = context.execute(&snapshot, &model, operation).unwrap_or_default();
        for decision in decisions.into_iter().filter(|it| !it.changes.is_empty()) {
            let last = workload.states.last().unwrap();
            let revision = last.revision().next();
            workload.states.push(last.after(revision, &decision.changes));
            let actor = ["ann", "ben"][workload.entries.len() % 2];
            let request = revision.0.is_multiple_of(3).then(|| RequestKey {
                id: format!("request-{revision}"),
                fingerprint: [revision.0 as u8; 32],
            });
            workload.entries.push(Entry {
                revision,
                time: time(context.now),
                actor: Actor(actor.into()),
                reason: format!("reason {revision}"),
                changes: decision.changes,
                findings: decision.findings,
                request,
            });
        }
        workload.now = context.now;
    };
    for operation in &operations {
        apply(&mut workload, &mut context, operation);
    }
    // A namespace can be deleted once nothing is in it.
    let clear =
        [Operation::DropPool { namespace: 1, which: 0 }, Operation::DropNamespace { which: 1 }];
    while !model_of(workload.states.last().unwrap(), context.now).held.is_empty() {
        apply(&mut workload, &mut context, &Operation::Release { nth: 0 });
    }
    for operation in &clear {
        apply(&mut workload, &mut context, operation);
    }
    apply(&mut workload, &mut context, &register(0, 1, 7, None));
    let kinds = workload.entries.iter().flat_map(|entry| &entry.changes);
    let kinds: std::collections::BTreeSet<_> = kinds.map(|change| change.kind()).collect();
    assert_eq!(kinds, ChangeKind::ALL.into_iter().collect(), "the workload has every kind");
    workload
}

/// The command that registers a port on each transport.
pub fn registration(name: &str, port: u16) -> Command {
    let mut details = DetailEdits::default();
    for field in TextField::ALL {
        details.set_text(field, &format!("{} of {port}", field.name())).unwrap();
    }
    details.set_labels(Labels::parse([("tier".to_owned(), "1".to_owned())]).unwrap());
    Command::Register(Register {
        namespace: NamespaceName::default(),
        service_name: name.parse().unwrap(),
        ports: PortRange::single(Port::new(port)),
        transports: Transport::ALL.to_vec(),
        pool: None,
        ttl: None,
        details,
        acknowledge: FindingCode::ALL.into_iter().collect(),
    })
}

/// The entry of a command on this state.
pub fn entry(snapshot: &Snapshot, command: &Command) -> Entry {
    let now = time(1_000 + snapshot.revision().0.cast_signed());
    let mut new_uid = || Uid::new(Uuid::now_v7());
    let decision = decide(snapshot, command, &mut Context { now, new_uid: &mut new_uid }).unwrap();
    Entry {
        revision: snapshot.revision().next(),
        time: now,
        actor: Actor("ann".into()),
        reason: String::new(),
        changes: decision.changes,
        findings: decision.findings,
        request: None,
    }
}

/// This many consecutive entries of four changes each.
pub fn registrations(count: u16) -> Vec<Entry> {
    let mut snapshot = NEW.clone();
    let entries = (0..count).map(|number| {
        let entry = entry(&snapshot, &registration("suite", 20_000 + number));
        snapshot = snapshot.after(entry.revision, &entry.changes);
        entry
    });
    entries.collect()
}

/// The state of a snapshot, in a form that can be compared: revision, cool-downs and settings, and every
/// field of every registration.
pub fn state(snapshot: &Snapshot, now: i64) -> (Revision, Model, Vec<Assignment>) {
    let mut all: Vec<_> = snapshot.custom().map(|record| Assignment::clone(record)).collect();
    all.sort_by_key(|assignment| assignment.uid);
    (snapshot.revision(), model_of(snapshot, now), all)
}
