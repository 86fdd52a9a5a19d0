//! Registries for measurements: IANA's registry with the registrations of an organisation.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use portbook::registry::assignment::{
    Assignment, Origin, Record, Registration, Revision, State, Uid,
};
use portbook::registry::command::{Command, Register};
use portbook::registry::details::{DetailEdits, Details};
use portbook::registry::finding::FindingCode;
use portbook::registry::name::NamespaceName;
use portbook::registry::namespace::{Namespace, Policy};
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::reference::Reference;
use portbook::registry::snapshot::{Snapshot, View};
use portbook::registry::text::Labels;
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Store, TwoThreads};
use uuid::Uuid;

/// The number of namespaces, and of registrations in each.
pub(crate) type Size = (u32, u32);

pub(crate) fn reference() -> Arc<Reference> {
    let contents = async {
        SqliteStore::in_memory().await.unwrap().load(Timestamp::UNIX_EPOCH).await.unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Arc::clone(runtime.block_on(contents).into_loaded().snapshot.reference())
}

pub(crate) fn namespace(number: u32) -> NamespaceName {
    match number {
        0 => NamespaceName::default(),
        _ => format!("site-{number}").parse().unwrap(),
    }
}

/// A typical registration: a service has two ports on two transports each.
pub(crate) fn registration(
    namespace: &NamespaceName,
    namespace_number: u32,
    number: u32,
) -> Arc<Record> {
    const TEAMS: [&str; 8] = ["shop", "pay", "mail", "fleet", "risk", "data", "auth", "maps"];
    const ROLES: [&str; 5] = ["api", "job", "web", "db", "hub"];
    let (port, transport) = (1 + number / 4, Transport::ALL[number as usize % 4]);
    let service = number / 8 * 2 + number % 4 / 2;
    let team = TEAMS[service as usize % TEAMS.len()];
    let role = ROLES[service as usize / 8 % ROLES.len()];
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let value = Assignment {
        uid: Uid::new(Uuid::from_u128(
            1 << 80 | u128::from(namespace_number) << 32 | u128::from(number),
        )),
        origin: Origin::Custom(Registration {
            namespace: namespace.clone(),
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
            revision: Revision(1),
            lease: None,
            pooled: None,
        }),
        service_name: Some(format!("{team}-{role}-{service}").into()),
        ports: Some(PortRange::single(Port::new(port as u16))),
        transport: Some(transport),
        state: State::Assigned,
        details: Details {
            description: format!("The {role} of team {team}, number {service}").into(),
            assignee: format!("Team {team}").into(),
            contact: format!("{team}@example.com").into(),
            labels: Labels::parse([
                label("tier", "gold"),
                label("room", &format!("r{}", port / 99)),
            ])
            .unwrap(),
            ..Details::default()
        },
    };
    Record::share(value)
}

pub(crate) fn records((namespaces, each): Size) -> Vec<Arc<Record>> {
    let namespaces = (0..namespaces).map(|number| (number, namespace(number)));
    let records = namespaces.flat_map(|(namespace_number, name)| {
        (0..each).map(move |number| registration(&name, namespace_number, number))
    });
    records.collect()
}

pub(crate) fn empty(reference: &Arc<Reference>, (namespaces, _): Size) -> Snapshot {
    let namespaces = (0..namespaces).map(|number| Namespace {
        name: namespace(number),
        description: "".into(),
        policy: Policy::default(),
        create_time: None,
        update_time: None,
        revision: Revision(0),
    });
    Snapshot::new(Revision(1), Arc::clone(reference), namespaces)
}

pub(crate) fn snapshot(reference: &Arc<Reference>, size: Size) -> Snapshot {
    empty(reference, size).with_contents([], records(size), &TwoThreads)
}

pub(crate) fn view(snapshot: &Snapshot) -> View<'_> {
    snapshot.view(&NamespaceName::default()).unwrap()
}

pub(crate) fn register(first: u16, acknowledge: BTreeSet<FindingCode>) -> Command {
    Command::Register(Register {
        namespace: NamespaceName::default(),
        service_name: "newcomer".parse().unwrap(),
        ports: PortRange::single(Port::new(first)),
        transports: vec![Transport::Tcp],
        pool: None,
        ttl: None,
        details: DetailEdits::default(),
        acknowledge,
    })
}
