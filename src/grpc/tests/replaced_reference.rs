//! Property: a snapshot whose reference was replaced gives the same responses as a snapshot that was
//! built with that reference.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use itertools::iproduct;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use prost::Message;
use uuid::Uuid;

use crate::grpc::annotate::StreamLabels;
use crate::grpc::{convert, proto, wire};
use crate::iana::{IanaRecord, assignments};
use crate::registry::arbitrary::{
    LOW, NAMES, NAMESPACES, PORTS, Step, TEXTS, changes, initial_snapshot, steps,
};
use crate::registry::assignment::{Assignment, Origin, Record, Source, State, Uid};
use crate::registry::change::Change;
use crate::registry::command::{Command, Ensure};
use crate::registry::decide::{Context, decide};
use crate::registry::details::{DetailEdits, Details};
use crate::registry::finding::join_messages;
use crate::registry::guide::{Encryption, Guide};
use crate::registry::join::Sequential;
use crate::registry::judge::{RegistrationQuery, judge};
use crate::registry::list::{self, Filter};
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::reference::{Edition, Reference};
use crate::registry::search::search;
use crate::registry::service_name::fold;
use crate::registry::snapshot::{PortLookup, Snapshot, View};
use crate::registry::text::Text;
use crate::registry::usage::usage;

/// The contents of a random reference.
#[derive(Clone, Debug)]
struct Contents {
    sha256: String,
    iana: Vec<IanaRecord>,
    common: Vec<Assignment>,
    guides: Vec<Guide>,
}

impl Contents {
    fn build(&self) -> Reference {
        let edition = Edition { iana_date: "2026-01-01".into(), iana_sha256: self.sha256.clone() };
        let mut records = assignments(self.iana.clone()).unwrap();
        records.extend(self.common.iter().cloned());
        Reference::new(edition, records, self.guides.clone(), &Sequential)
    }
}

fn contents() -> impl Strategy<Value = Contents> {
    let common = proptest::collection::vec((name(), 0..PORTS, 1..5u16, transport()), 0..8);
    let common = common.prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(ordinal, row)| common_use(ordinal as u32, row)).collect()
    });
    let iana = proptest::collection::vec(iana_record(), 0..30);
    ("[0-9a-f]{64}", iana, common, guides()).prop_map(|(sha256, iana, common, guides)| Contents {
        sha256,
        iana,
        common,
        guides,
    })
}

fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES.to_vec())
}

fn transport() -> impl Strategy<Value = Transport> {
    select(Transport::ALL.to_vec())
}

fn iana_record() -> impl Strategy<Value = IanaRecord> {
    let ports = prop_oneof![
        1 => Just(String::new()),
        4 => (0..PORTS).prop_map(|first| (LOW + first).to_string()),
        4 => (0..PORTS, 0..60u16)
            .prop_map(|(first, more)| format!("{}-{}", LOW + first, LOW + first + more)),
    ];
    let description = select([&TEXTS[..], &["Reserved", "Unassigned"]].concat());
    let notes = prop_oneof![
        4 => Just(String::new()),
        1 => name().prop_map(|name| format!("This entry is an alias to \"{name}\".")),
    ];
    let reported = select(vec!["", "", "", "Known on 9100"]);
    let transport = prop_oneof![1 => Just(""), 3 => transport().prop_map(Transport::name)];
    let name = prop_oneof![1 => Just(""), 3 => name()];
    (name, ports, transport, description, notes, reported).prop_map(
        |(name, port_number, transport, description, assignment_notes, reported)| IanaRecord {
            service_name: name.into(),
            port_number,
            transport: transport.into(),
            description: description.into(),
            assignee: String::new(),
            contact: String::new(),
            registration_date: "2026-01-01".into(),
            modification_date: String::new(),
            reference: String::new(),
            service_code: String::new(),
            unauthorized_use_reported: reported.into(),
            assignment_notes,
        },
    )
}

fn common_use(
    ordinal: u32,
    (name, first, width, transport): (&str, u16, u16, Transport),
) -> Assignment {
    let first = LOW + first;
    let ports = PortRange::new(Port::new(first), Port::new(first + width - 1)).unwrap();
    let transport = Some(transport);
    Assignment {
        uid: Uid::fixed(Source::Common, name, &ports.to_string(), transport, ordinal as usize),
        origin: Origin::Common { ordinal },
        service_name: Some(name.into()),
        ports: Some(ports),
        transport,
        state: State::Unlisted,
        details: Details {
            description: TEXTS[ordinal as usize % TEXTS.len()].into(),
            ..Details::default()
        },
    }
}

/// Up to three guides, with at most one for each name.
fn guides() -> impl Strategy<Value = Vec<Guide>> {
    let names: BTreeSet<String> = NAMES.iter().map(|name| fold(name).into_owned()).collect();
    let names: Vec<_> = names.into_iter().collect();
    let count = names.len();
    let owners = proptest::collection::vec(proptest::option::of(0..3usize), count);
    (owners, subsequence(vec![0usize, 1, 2], 0..=3)).prop_map(move |(owners, numbers)| {
        let guide = |number: usize| Guide {
            id: format!("guide-{number}").into(),
            title: format!("The {}", names[number]),
            full_name: format!("Post office {number}"),
            summary: "Keeps invoices of the shop.".into(),
            category: "data".into(),
            encryption: Encryption::None,
            use_instead: String::new(),
            aliases: vec![format!("{}es", names[number])],
            service_names: names
                .iter()
                .zip(&owners)
                .filter(|&(_, owner)| *owner == Some(number))
                .map(|(name, _)| name.clone())
                .collect(),
        };
        numbers.into_iter().map(guide).collect()
    })
}

/// A snapshot with the same namespaces, pools and registrations, built with the reference.
fn built_with(reference: Arc<Reference>, snapshot: &Snapshot) -> Snapshot {
    let namespaces = snapshot.views_after(None).map(|view| Namespace::clone(view.namespace()));
    let pools = snapshot.views_after(None).flat_map(|view| view.pools());
    let pools: Vec<_> = pools.map(|pool| SharedPool::share(Pool::clone(pool))).collect();
    let records = snapshot.custom().map(|record| Record::share(Assignment::clone(record)));
    Snapshot::new(snapshot.revision(), reference, namespaces.collect::<Vec<_>>()).with_contents(
        pools,
        records,
        &Sequential,
    )
}

/// The responses to all requests of the test, each with its request.
fn responses(snapshot: &Snapshot, uids: &BTreeSet<Uid>) -> Vec<(String, Vec<u8>)> {
    let mut responses = vec![("counts".into(), format!("{:?}", snapshot.counts()).into())];
    for uid in uids {
        let records = snapshot.by_uid(*uid).into_iter().collect::<Vec<_>>();
        responses.push((format!("uid {uid}"), encoded(snapshot, Port::ZERO, records)));
    }
    for view in snapshot.views_after(None) {
        lookups(snapshot, view, &mut responses);
        names(view, &mut responses);
        lists(snapshot, view, &mut responses);
        rules(snapshot, view, &mut responses);
        let mut labels = StreamLabels::default();
        for (request, response) in annotations(&mut labels, snapshot, view) {
            responses.push((request, response.encode_to_vec()));
        }
    }
    responses
}

fn encoded(snapshot: &Snapshot, port: Port, records: Vec<&Arc<Record>>) -> Vec<u8> {
    let state = State::Unlisted;
    let lookup = PortLookup { port, state, records };
    encode(snapshot.reference(), &lookup)
}

fn encode(reference: &Reference, lookup: &PortLookup<'_>) -> Vec<u8> {
    let guides = convert::guides_of(reference, lookup.records.iter().copied());
    wire::encode_port_info(reference, lookup, &guides).to_vec()
}

fn ports() -> impl Iterator<Item = Port> + Clone {
    (LOW - 2..LOW + PORTS + 80).step_by(3).map(Port::new)
}

fn transports() -> impl Iterator<Item = Option<Transport>> + Clone {
    Transport::ALL.into_iter().map(Some).chain([None])
}

fn lookups(snapshot: &Snapshot, view: View<'_>, responses: &mut Vec<(String, Vec<u8>)>) {
    for (port, transport) in iproduct!(ports(), transports()) {
        let response = encode(snapshot.reference(), &view.lookup_port(port, transport));
        responses.push((format!("{} {port} {transport:?}", view.namespace().name), response));
    }
}

fn names(view: View<'_>, responses: &mut Vec<(String, Vec<u8>)>) {
    let others = ["webes", "the web", "post office 1", "billling", "none"];
    for (name, transport) in iproduct!(NAMES.into_iter().chain(others), transports()) {
        let response = match view.lookup_service(name, transport) {
            Ok(lookup) => {
                let records: Vec<&Assignment> = lookup.records.iter().map(|it| &****it).collect();
                format!("{records:?}")
            }
            Err(unknown) => unknown.to_string(),
        };
        responses.push((format!("{name} {transport:?}"), response.into()));
    }
    for text in ["web", "we", "b", "billing api", "post", "shop", "office", "gold", "9100", "weab"]
    {
        let hits = search(view, text, 8);
        let hits = hits.iter().map(|hit| convert::search_hit(view.reference(), hit));
        let response = hits.flat_map(|hit| hit.encode_to_vec());
        responses.push((format!("search {text}"), response.collect()));
    }
}

fn lists(snapshot: &Snapshot, view: View<'_>, responses: &mut Vec<(String, Vec<u8>)>) {
    let filter = Filter { namespace: Some(view.namespace().name.clone()), ..Filter::default() };
    let mut from = None;
    loop {
        let page = list::page(snapshot, &filter, from.as_ref(), 13);
        let records = convert::assignments(snapshot.reference(), page.records);
        let response = records.iter().flat_map(Message::encode_to_vec);
        responses.push((format!("page from {from:?} of {}", page.total), response.collect()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
}

/// The results of the rules: usage of pools, allocations and findings.
fn rules(snapshot: &Snapshot, view: View<'_>, responses: &mut Vec<(String, Vec<u8>)>) {
    let now = Timestamp::UNIX_EPOCH;
    let namespace = &view.namespace().name;
    for pool in view.pools() {
        let usage = usage(view, pool, now);
        responses.push((format!("usage in {namespace}"), format!("{usage:?}").into()));
        for (name, count) in iproduct!(["web", "billing", "new"], [1, 5]) {
            let command = Command::Ensure(Ensure {
                namespace: namespace.clone(),
                pool: pool.name.clone(),
                service_name: name.parse().unwrap(),
                instance: Text::parse("one").unwrap(),
                count: NonZeroU16::new(count).unwrap(),
                transports: Vec::new(),
                ttl: None,
                details: DetailEdits::default(),
            });
            let mut new_uid = || Uid::new(Uuid::from_u128(1 << 90));
            let decision = decide(snapshot, &command, &mut Context { now, new_uid: &mut new_uid });
            let response = match decision {
                Ok(decision) => {
                    let records = decision.changes.iter().filter_map(Change::after);
                    let records: Vec<_> = records.map(|record| &***record).collect();
                    format!("{records:?} {}", join_messages(&decision.findings))
                }
                Err(refusal) => refusal.to_string(),
            };
            responses.push((format!("ensure {count} {name}"), response.into()));
        }
    }
    for (name, first, width) in iproduct!(NAMES, (0..PORTS).step_by(71), [1, 30]) {
        let ports = PortRange::new(Port::new(LOW + first), Port::new(LOW + first + width - 1));
        let query = RegistrationQuery {
            service_name: Some(name),
            ports: ports.unwrap(),
            transports: &Transport::ALL,
            pool: None,
            now,
        };
        let findings = judge(view, &query);
        let findings = findings.iter().map(|found| convert::finding(view.reference(), found));
        let response = findings.flat_map(|finding| finding.encode_to_vec());
        responses.push((format!("register {name} {first} {width}"), response.collect()));
    }
}

/// The labels of all ports, by transport, which the client reads from the stream.
fn annotations(
    stream: &mut StreamLabels,
    snapshot: &Snapshot,
    view: View<'_>,
) -> Vec<(String, proto::AnnotatePortsResponse)> {
    let namespace = view.namespace().name.to_string();
    let request = |transport: Option<Transport>| proto::AnnotatePortsRequest {
        ports: ports().map(|port| port.number().into()).collect(),
        transports: vec![convert::transport(transport).into()],
        namespace: namespace.clone(),
    };
    let response = |transport| {
        let response = stream.annotate(snapshot, &request(transport)).unwrap();
        (format!("labels {namespace} {transport:?}"), response)
    };
    transports().map(response).collect()
}

/// The labels of all ports in all namespaces as a client resolves them, which has received `known`
/// labels so far.
fn resolved(
    stream: &mut StreamLabels,
    known: &mut Vec<proto::Label>,
    snapshot: &Snapshot,
) -> Vec<proto::Label> {
    let mut labels = Vec::new();
    for view in snapshot.views_after(None) {
        for (_, response) in annotations(stream, snapshot, view) {
            known.extend(response.new_labels);
            let numbers = response.label_numbers.into_iter();
            labels.extend(numbers.map(|number| known[number as usize].clone()));
        }
    }
    labels
}

/// Applies the same changes to both snapshots.
fn advance(snapshots: [Snapshot; 2], steps: &[Step]) -> [Snapshot; 2] {
    let [mut replaced, mut built] = snapshots;
    let mut id = 1 << 64;
    for step in steps {
        for change in changes(&replaced, step, &mut id) {
            let revision = replaced.revision().next();
            replaced = replaced.after(revision, std::slice::from_ref(&change));
            built = built.after(revision, &[change]);
        }
    }
    [replaced, built]
}

fn check_equal(
    left: &Snapshot,
    right: &Snapshot,
    uids: &BTreeSet<Uid>,
) -> Result<(), TestCaseError> {
    let (left, right) = (responses(left, uids), responses(right, uids));
    for (left, right) in left.iter().zip(&right) {
        prop_assert_eq!(&left.0, &right.0);
        prop_assert!(
            left.1 == right.1,
            "{}:\n{}\n{}",
            left.0,
            left.1.escape_ascii(),
            right.1.escape_ascii()
        );
    }
    prop_assert_eq!(left.len(), right.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_replaced_reference_gives_the_responses_of_a_snapshot_built_with_it(
        [first, second] in [contents(), contents()],
        before in steps(),
        after in steps(),
    ) {
        let [first, second] = [&first, &second].map(|contents| Arc::new(contents.build()));
        let initial = initial_snapshot(Arc::clone(&first));
        let [original, _] = advance([initial.clone(), initial], &before);
        prop_assert_eq!(original.views_after(None).count(), NAMESPACES.len());
        let reference_records = first.records().iter().chain(second.records());
        let uids = reference_records.chain(original.custom()).map(|record| record.uid).collect();

        // Fills every cache of the original snapshot.
        let (mut stream, mut known) = (StreamLabels::default(), Vec::new());
        resolved(&mut stream, &mut known, &original);
        responses(&original, &uids);

        let replaced = original.with_reference(Arc::clone(&second));
        let built = built_with(Arc::clone(&second), &original);
        check_equal(&replaced, &built, &uids)?;
        let labels = resolved(&mut stream, &mut known, &replaced);
        prop_assert_eq!(labels, resolved(&mut StreamLabels::default(), &mut Vec::new(), &built));
        check_equal(&original, &replaced.with_reference(Arc::clone(original.reference())), &uids)?;

        let [replaced, built] = advance([replaced, built], &after);
        check_equal(&replaced, &built, &uids)?;
    }
}
