//! Randomly generated registries, for tests that compare fast implementations with simple ones.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::assignment::{
    Assignment, IanaColumns, Origin, PoolMembership, Record, Registration, Revision, Source, State,
    Uid,
};
use super::change::Change;
use super::details::Details;
use super::guide::{Encryption, Guide};
use super::join::Sequential;
use super::lease::CoolDown;
use super::name::NamespaceName;
use super::namespace::{Namespace, Policy};
use super::pool::{Pool, SharedPool};
use super::port::{Port, PortRange, Transport};
use super::port_set::PortSet;
use super::reference::{Edition, Reference};
use super::snapshot::Snapshot;
use super::text::Labels;

pub(crate) const NAMESPACES: [&str; 3] = ["default", "prod", "west"];
pub(crate) const NAMES: [&str; 14] = [
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
pub(crate) const TEXTS: [&str; 7] = [
    "",
    "The Billing API",
    "invoices of the shop",
    "Zürich: web",
    "R&D (data-base)",
    "webs",
    "shop billing; web.api",
];
const ASSIGNEES: [&str; 5] = ["", "Team Web", "team R&D", "Bürgeramt", "Billing"];
const SITES: [&str; 4] = ["", "gold", "web 2", "Ä"];
/// The ports that random registrations use: they cross a boundary of 256 ports and contain a pool.
pub(crate) const LOW: u16 = 9_000;
pub(crate) const PORTS: u16 = 500;
pub(crate) const POOL: (u16, u16) = (9_100, 9_180);

/// A change of a registry.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Registers the free ones of `count` consecutive port ranges for one service.
    Register {
        namespace: usize,
        name: usize,
        first: u16,
        width: u16,
        count: u16,
        transport: usize,
        text: usize,
    },
    /// Releases every n-th registration.
    Release { every: usize, at: usize },
    /// Changes the texts of every n-th registration.
    Update { every: usize, at: usize, text: usize },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![3 => 1..6u16, 1 => 60..200u16];
    let register = (0..3usize, 0..NAMES.len(), 0..PORTS, 1..4u16, count, 0..4usize, 0..1000usize);
    let register = register.prop_map(|(namespace, name, first, width, count, transport, text)| {
        let first = LOW + first;
        Step::Register { namespace, name, first, width, count, transport, text }
    });
    let every = || prop_oneof![1..3usize, 5..40usize];
    let release = (every(), 0..40usize).prop_map(|(every, at)| Step::Release { every, at });
    let update = (every(), 0..40usize, 0..1000usize).prop_map(|(every, at, text)| Step::Update {
        every,
        at,
        text,
    });
    proptest::collection::vec(prop_oneof![6 => register, 1 => release, 1 => update], 1..14)
}

/// The registry after each step.
pub(crate) fn after(steps: &[Step]) -> Vec<Snapshot> {
    let mut snapshot = initial_snapshot(Arc::new(reference()));
    let mut id = 0;
    let mut states = Vec::new();
    for step in steps {
        for change in changes(&snapshot, step, &mut id) {
            snapshot = snapshot.after(snapshot.revision().next(), &[change]);
        }
        states.push(snapshot.clone());
    }
    states
}

/// A registry without registrations, with a pool in two of its namespaces.
pub(crate) fn initial_snapshot(reference: Arc<Reference>) -> Snapshot {
    let namespaces = NAMESPACES.map(|name| Namespace {
        name: name.parse().unwrap(),
        description: "".into(),
        policy: Policy::default(),
        create_time: None,
        update_time: None,
        revision: Revision(0),
    });
    let range = PortRange::new(Port::new(POOL.0), Port::new(POOL.1)).unwrap();
    let pools = ["default", "west"].map(|namespace| {
        SharedPool::share(Pool {
            namespace: namespace.parse().unwrap(),
            name: "pool".parse().unwrap(),
            description: "".into(),
            ports: PortSet::new(vec![range]).unwrap(),
            transports: vec![Transport::Tcp, Transport::Udp],
            excluded_ports: PortSet::default(),
            cool_down: CoolDown::NONE,
            accept: [].into(),
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
            revision: Revision(0),
        })
    });
    Snapshot::new(Revision(0), reference, namespaces).with_contents(pools, [], &Sequential)
}

/// A few IANA records that share names with registrations, and guides for some of them.
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
            details: Details {
                description: TEXTS[ordinal as usize % TEXTS.len()].into(),
                assignee: ASSIGNEES[ordinal as usize % ASSIGNEES.len()].into(),
                ..Details::default()
            },
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
    Reference::new(edition, records, guides, &Sequential)
}

/// The changes of a step, with uids after `id`.
pub(crate) fn changes(snapshot: &Snapshot, step: &Step, id: &mut u128) -> Vec<Change> {
    let mut all: Vec<_> = snapshot.custom().cloned().collect();
    all.sort_by_key(|record| record.uid);
    match *step {
        Step::Register { namespace, name, first, width, count, transport, text } => {
            let namespace: NamespaceName = NAMESPACES[namespace].parse().unwrap();
            let (transport, name) = (Transport::ALL[transport], NAMES[name]);
            let view = snapshot.view(&namespace).unwrap();
            let ranges = (0..count).map(|number| first + number * width);
            let ranges = ranges.map(|first| {
                PortRange::new(Port::new(first), Port::new(first + width - 1)).unwrap()
            });
            let free = ranges.filter(|range| view.holders_in(*range, transport).next().is_none());
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
                    text + *id as usize / 7,
                )
            });
            new.map(|after| Change::Registered { after }).collect()
        }
        Step::Release { every, at } => {
            let released = all.into_iter().skip(at).step_by(every);
            released.map(|before| Change::Released { before, cooling_until: None }).collect()
        }
        Step::Update { every, at, text } => {
            let updated = all.into_iter().skip(at).step_by(every);
            let updated = updated.map(|before| {
                let mut assignment = Assignment::clone(&before);
                set_texts(&mut assignment, text);
                Change::Updated { before, after: Record::share(assignment) }
            });
            updated.collect()
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
    text: usize,
) -> Arc<Record> {
    let mut assignment = Assignment {
        uid: Uid::new(Uuid::from_u128(id)),
        origin: Origin::Custom(Registration {
            namespace: namespace.clone(),
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
        details: Details::default(),
    };
    set_texts(&mut assignment, text);
    Record::share(assignment)
}

fn set_texts(assignment: &mut Assignment, text: usize) {
    let details = &mut assignment.details;
    details.description = TEXTS[text % TEXTS.len()].into();
    details.assignee = ASSIGNEES[text / 7 % ASSIGNEES.len()].into();
    details.contact = if text.is_multiple_of(3) { "ops@bill.example" } else { "" }.into();
    let site = SITES[text / 5 % SITES.len()];
    let site = (!site.is_empty()).then(|| ("site".to_owned(), site.to_owned()));
    details.labels = Labels::parse(site).unwrap();
}

/// The registrations of a namespace by folded name, transport and port.
pub(crate) fn registrations_of(snapshot: &Snapshot, namespace: &NamespaceName) -> Vec<Arc<Record>> {
    let is_in_namespace = |record: &&Arc<Record>| {
        record.registration().is_some_and(|registration| registration.namespace == *namespace)
    };
    let mut records: Vec<_> = snapshot.custom().filter(is_in_namespace).cloned().collect();
    records.sort_by_cached_key(|record| {
        let name = super::service_name::fold(record.service_name.as_deref().unwrap()).into_owned();
        (name, record.transport, record.ports)
    });
    assert!(records.iter().all(|record| record.source() == Source::Custom));
    records
}
