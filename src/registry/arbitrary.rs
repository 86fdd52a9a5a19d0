//! Registries that chance made, for tests that hold what is fast against what is simple.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::assignment::{
    Assignment, IanaColumns, Origin, PoolMembership, Record, Registration, Revision, Source, State,
    Uid,
};
use super::change::Change;
use super::guide::{Encryption, Guide};
use super::lease::CoolDown;
use super::name::NamespaceName;
use super::namespace::{Namespace, Policy};
use super::pool::{Pool, SharedPool};
use super::port::{Port, PortRange, Transport};
use super::port_set::PortSet;
use super::reference::{Edition, Reference};
use super::snapshot::Snapshot;
use super::text::Labels;

pub(super) const NAMESPACES: [&str; 3] = ["default", "prod", "west"];
pub(super) const NAMES: [&str; 14] = [
    "web",
    "Web",
    "web-api",
    "webapi",
    "we-b",
    "billing",
    "billing-api",
    "bill",
    "Post",
    "postgresql",
    "a",
    "ab-1",
    "shop-billing-a",
    "weeb",
];
const TEXTS: [&str; 7] = [
    "",
    "The Billing API",
    "invoices of the shop",
    "Zürich: web",
    "R&D (data-base)",
    "webs",
    "shop billing; web.api",
];
const ASSIGNEES: [&str; 5] = ["", "Team Web", "team R&D", "Bürgeramt", "Billing"];
const ROOMS: [&str; 4] = ["", "gold", "web 2", "Ä"];
/// The ports on which chance has its way: beside the edge of a page of 256, and a pool within.
pub(super) const LOW: u16 = 9_000;
pub(super) const PORTS: u16 = 500;
pub(super) const POOL: (u16, u16) = (9_100, 9_180);

/// What is done to a registry.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One service takes what is free of so many runs of ports in a row.
    Take {
        namespace: usize,
        name: usize,
        first: u16,
        width: u16,
        count: u16,
        transport: usize,
        says: usize,
    },
    /// Every so manieth registration is given back.
    GiveBack { every: usize, at: usize },
    /// Something else is said of every so manieth registration.
    Say { every: usize, at: usize, says: usize },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![3 => 1..6u16, 1 => 60..200u16];
    let take = (0..3usize, 0..NAMES.len(), 0..PORTS, 1..4u16, count, 0..4usize, 0..1000usize);
    let take = take.prop_map(|(namespace, name, first, width, count, transport, says)| {
        let first = LOW + first;
        Step::Take { namespace, name, first, width, count, transport, says }
    });
    let every = || prop_oneof![1..3usize, 5..40usize];
    let back = (every(), 0..40usize).prop_map(|(every, at)| Step::GiveBack { every, at });
    let say = (every(), 0..40usize, 0..1000usize).prop_map(|(every, at, says)| Step::Say {
        every,
        at,
        says,
    });
    proptest::collection::vec(prop_oneof![6 => take, 1 => back, 1 => say], 1..14)
}

/// The registry after each step.
pub(super) fn after(steps: &[Step]) -> Vec<Snapshot> {
    let mut snapshot = beginning();
    let mut id = 0;
    let mut states = Vec::new();
    for step in steps {
        for changes in changes(&snapshot, step, &mut id) {
            snapshot = snapshot.after(snapshot.revision().next(), &[changes]);
        }
        states.push(snapshot.clone());
    }
    states
}

fn beginning() -> Snapshot {
    let namespaces = NAMESPACES.map(|name| Namespace {
        name: name.parse().unwrap(),
        description: "".into(),
        policy: Policy::default(),
        create_time: None,
        update_time: None,
        revision: Revision(0),
    });
    let run = PortRange::new(Port::new(POOL.0), Port::new(POOL.1)).unwrap();
    let pools = ["default", "west"].map(|namespace| {
        SharedPool::share(Pool {
            namespace: namespace.parse().unwrap(),
            name: "pool".parse().unwrap(),
            description: "".into(),
            ports: PortSet::new(vec![run]).unwrap(),
            transports: vec![Transport::Tcp, Transport::Udp],
            excluded_ports: PortSet::default(),
            cool_down: CoolDown::NONE,
            accept: [].into(),
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
            revision: Revision(0),
        })
    });
    Snapshot::new(Revision(0), Arc::new(reference()), namespaces).with(pools, [])
}

/// A few records of IANA's with the names of registrations, and a guide to some of them.
fn reference() -> Reference {
    let record =
        |ordinal: u32, name: &str, port: Option<(u16, u16)>, transport, state| Assignment {
            uid: Uid::new(Uuid::from_u128(1 << 100 | u128::from(ordinal))),
            origin: Origin::Iana(IanaColumns {
                ordinal,
                published_as_range: false,
                aliases: Vec::new(),
                registration_date: "".into(),
                modification_date: "".into(),
                service_code: "".into(),
                unauthorized_use_reported: "".into(),
            }),
            service_name: (!name.is_empty()).then(|| name.into()),
            ports: port.map(|(a, b)| PortRange::new(Port::new(a), Port::new(b)).unwrap()),
            transport,
            state,
            description: TEXTS[ordinal as usize % TEXTS.len()].into(),
            assignee: ASSIGNEES[ordinal as usize % ASSIGNEES.len()].into(),
            contact: "".into(),
            reference: "".into(),
            assignment_notes: "".into(),
        };
    let tcp = Some(Transport::Tcp);
    let records = vec![
        record(1, "", Some((0, 8_999)), tcp, State::Reserved),
        record(2, "postgresql", Some((9_010, 9_010)), tcp, State::Assigned),
        record(3, "postgresql", Some((9_010, 9_010)), Some(Transport::Udp), State::Assigned),
        record(4, "web_old", Some((9_200, 9_400)), None, State::Assigned),
        record(5, "billing", None, tcp, State::Assigned),
        record(6, "", None, None, State::Unassigned),
        record(7, "Shop", Some((9_255, 9_257)), tcp, State::Assigned),
    ];
    let guide = |id: &str, names: &[&str]| Guide {
        id: id.into(),
        title: format!("The {id}"),
        full_name: "Post office of the web".into(),
        summary: "Keeps invoices of the shop.".into(),
        category: "data".into(),
        encryption: Encryption::None,
        use_instead: String::new(),
        aliases: vec![format!("{id}es")],
        service_names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let guides = vec![guide("postgresql", &["post", "postgresql"]), guide("api", &["web-api"])];
    let edition = Edition { iana_date: "2026-01-01".into(), iana_sha256: String::new() };
    Reference::new(edition, records, guides)
}

fn changes(snapshot: &Snapshot, step: &Step, id: &mut u128) -> Vec<Change> {
    let mut all: Vec<_> = snapshot.custom().cloned().collect();
    all.sort_by_key(|record| record.uid);
    match *step {
        Step::Take { namespace, name, first, width, count, transport, says } => {
            let namespace: NamespaceName = NAMESPACES[namespace].parse().unwrap();
            let (transport, name) = (Transport::ALL[transport], NAMES[name]);
            let view = snapshot.view(&namespace).unwrap();
            let runs = (0..count).map(|number| first + number * width);
            let runs = runs.map(|first| {
                PortRange::new(Port::new(first), Port::new(first + width - 1)).unwrap()
            });
            let free = runs.filter(|run| view.holders_in(*run, transport).next().is_none());
            let new = free.map(|ports| {
                *id += 1;
                let pooled =
                    view.pool_in(ports, transport).filter(|pool| pool.contains(ports, transport));
                let pooled =
                    pooled.map(|pool| PoolMembership { pool: pool.name.clone(), instance: None });
                registration(
                    *id,
                    &namespace,
                    name,
                    ports,
                    transport,
                    pooled,
                    says + *id as usize / 7,
                )
            });
            new.map(|after| Change::Registered { after }).collect()
        }
        Step::GiveBack { every, at } => {
            let given = all.into_iter().skip(at).step_by(every);
            given.map(|before| Change::Released { before, cooling_until: None }).collect()
        }
        Step::Say { every, at, says } => {
            let told = all.into_iter().skip(at).step_by(every);
            let told = told.map(|before| {
                let mut assignment = Assignment::clone(&before);
                say(&mut assignment, says);
                Change::Updated { before, after: Record::share(assignment) }
            });
            told.collect()
        }
    }
}

fn registration(
    id: u128,
    namespace: &NamespaceName,
    name: &str,
    ports: PortRange,
    transport: Transport,
    pooled: Option<PoolMembership>,
    says: usize,
) -> Arc<Record> {
    let mut assignment = Assignment {
        uid: Uid::new(Uuid::from_u128(id)),
        origin: Origin::Custom(Registration {
            namespace: namespace.clone(),
            labels: Labels::default(),
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
            revision: Revision(1),
            lease: None,
            pooled,
        }),
        service_name: Some(name.into()),
        ports: Some(ports),
        transport: Some(transport),
        state: State::Assigned,
        description: "".into(),
        assignee: "".into(),
        contact: "".into(),
        reference: "".into(),
        assignment_notes: "".into(),
    };
    say(&mut assignment, says);
    Record::share(assignment)
}

fn say(assignment: &mut Assignment, says: usize) {
    assignment.description = TEXTS[says % TEXTS.len()].into();
    assignment.assignee = ASSIGNEES[says / 7 % ASSIGNEES.len()].into();
    assignment.contact = if says.is_multiple_of(3) { "ops@bill.example" } else { "" }.into();
    if let Origin::Custom(own) = &mut assignment.origin {
        let room = ROOMS[says / 5 % ROOMS.len()];
        let room = (!room.is_empty()).then(|| ("room".to_owned(), room.to_owned()));
        own.labels = Labels::parse(room).unwrap();
    }
}

/// The registrations of a namespace, by folded name, transport and port.
pub(super) fn own(snapshot: &Snapshot, namespace: &NamespaceName) -> Vec<Arc<Record>> {
    let is_there = |record: &&Arc<Record>| {
        record.registration().is_some_and(|own| own.namespace == *namespace)
    };
    let mut own: Vec<_> = snapshot.custom().filter(is_there).cloned().collect();
    own.sort_by_cached_key(|record| {
        let name = super::service_name::fold(record.service_name.as_deref().unwrap()).into_owned();
        (name, record.transport, record.ports)
    });
    assert!(own.iter().all(|record| record.source() == Source::Custom));
    own
}
