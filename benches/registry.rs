//! What the registry itself takes, without gRPC and without a disk: the same questions asked of the
//! reference alone, of a hundred thousand registrations, and of a million. A figure that is the same
//! in every line of its group does not grow with what exists.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on has failed")]

#[path = "common/registrations.rs"]
mod registrations;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use portbook::grpc::wire::encode_port_info;
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::Change;
use portbook::registry::command::Command;
use portbook::registry::decide::{Context, decide};
use portbook::registry::endpoint::{Endpoint, PortRef};
use portbook::registry::finding::FindingCode;
use portbook::registry::list::{Filter, ListKey, page};
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::reference::Reference;
use portbook::registry::search::search;
use portbook::registry::snapshot::Snapshot;
use portbook::registry::text::Labels;
use uuid::Uuid;

use crate::registrations::{
    Size, empty, namespace, records, reference, register, registration, snapshot, view,
};

/// What lines of a group are called, and what stands there.
const SIZES: [(&str, Size); 3] = [("15 k", (1, 0)), ("100 k", (20, 5_000)), ("1 M", (200, 5_000))];
/// Many namespaces with as many registrations in all.
const MANY: Size = (1_000, 1_000);
/// A namespace in which every port of every transport is held.
const FULL: Size = (1, 4 * 65_535);

fn answers(c: &mut Criterion, name: &str, all: &[(&str, Snapshot)], ask: impl Fn(&Snapshot)) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    for (size, snapshot) in all {
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| ask(snapshot)));
    }
    group.finish();
}

fn lookups(c: &mut Criterion, all: &[(&str, Snapshot)]) {
    answers(c, "look up a port", all, |snapshot| {
        black_box(view(snapshot).lookup_port(Port::new(443), None));
    });
    answers(c, "look up a name", all, |snapshot| {
        black_box(view(snapshot).lookup_service("https", None)).unwrap();
    });
    answers(c, "look up a name that is not known", all, |snapshot| {
        black_box(view(snapshot).lookup_service("posgresqll", None)).unwrap_err();
    });
    answers(c, "look up an endpoint", all, |snapshot| {
        let endpoint: Endpoint = black_box("198.51.100.7:5432/tcp").parse().unwrap();
        let PortRef::Number(port) = endpoint.port else { return };
        black_box(view(snapshot).lookup_port(port, endpoint.transport));
    });
    answers(c, "encode what is on a port", all, |snapshot| {
        let answer = view(snapshot).lookup_port(Port::new(443), None);
        black_box(encode_port_info(snapshot.reference(), &answer, &[]));
    });
    let mut group = c.benchmark_group("encode what is on a port for the first time");
    group.sample_size(10).measurement_time(Duration::from_millis(600));
    let reference = all[0].1.reference();
    group.bench_function("one registration", |b| {
        let new = || empty(reference, (1, 0)).with([], [registration(&namespace(0), 0, 0)]);
        b.iter_batched_ref(
            new,
            |snapshot| {
                let answer = view(snapshot).lookup_port(Port::new(1), Some(Transport::Tcp));
                encode_port_info(reference, &answer, &[])
            },
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn figures(c: &mut Criterion, all: &[(&str, Snapshot)]) {
    answers(c, "count what is held", all, |snapshot| {
        black_box(snapshot.counts());
    });
}

fn changes(c: &mut Criterion, all: &[(&str, Snapshot)]) {
    let change = [Change::Registered { after: registration(&namespace(0), 0, 4 * 30_000) }];
    answers(c, "publish a registration", all, |snapshot| {
        black_box(snapshot.after(Revision(2), &change));
    });
    let every_code: BTreeSet<_> = FindingCode::ALL.into_iter().collect();
    let uid = Uid::new(Uuid::from_u128(1 << 90));
    let decided = |snapshot: &Snapshot, command: &Command| {
        let mut new_uid = || uid;
        let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
        decide(snapshot, command, &mut context).is_ok()
    };
    let free = register(30_000, every_code);
    answers(c, "decide on a registration that is accepted", all, |snapshot| {
        assert!(decided(snapshot, &free));
    });
    let taken = register(80, BTreeSet::new());
    answers(c, "decide on a registration that is refused", all, |snapshot| {
        assert!(!decided(snapshot, &taken));
    });
}

fn lists(c: &mut Criterion, all: &[(&str, Snapshot)]) {
    let everywhere = Filter::default;
    let at_home = || Filter { namespace: Some(NamespaceName::default()), ..everywhere() };
    let named = || Filter { service_name_prefix: "shop-api".into(), ..at_home() };
    let by_port =
        || Filter { ports: PortRange::new(Port::new(500), Port::new(900)).ok(), ..at_home() };
    let assigned = || Filter { assignee: "team maps".into(), ..at_home() };
    let labelled = || {
        let labels = Labels::parse([("room".to_owned(), "r9".to_owned())]).unwrap();
        Filter { labels, ..at_home() }
    };
    let deep = ListKey { port: 1000, transport: 2, source: 0, ordinal: 0, namespace: None };
    for (name, filter) in [
        ("of all namespaces", everywhere()),
        ("of one namespace", at_home()),
        ("by a prefix of the name", named()),
        ("by ports", by_port()),
        ("by assignee", assigned()),
        ("by label", labelled()),
    ] {
        for (depth, from) in [("first", None), ("deep", Some(&deep))] {
            answers(c, &format!("{depth} page of a list {name}"), all, |snapshot| {
                black_box(page(snapshot, &filter, from, 50));
            });
        }
    }
    answers(c, "page of 1,000 of all namespaces", all, |snapshot| {
        black_box(page(snapshot, &everywhere(), Some(&deep), 1000));
    });
}

fn searches(c: &mut Criterion, all: &[(&str, Snapshot)]) {
    for (kind, text) in [
        ("an exact name", "shop-api-0"),
        ("a prefix", "shop-w"),
        ("a prefix of many", "pay"),
        ("a word of all", "team"),
        ("a word of many", "gold"),
        ("a rare word", "r12"),
        ("two words", "team maps"),
        ("words of the reference", "remote desktop"),
        ("a part of words", "xampl"),
        ("a letter", "e"),
        ("a slip of the hand", "shpo-api-16"),
        ("nonsense", "qqqqzzzzqq"),
        ("a port", "443"),
    ] {
        answers(c, &format!("search for {kind}"), all, |snapshot| {
            black_box(search(view(snapshot), text, 20));
        });
    }
}

fn loading(c: &mut Criterion, reference: &Arc<Reference>) {
    let mut group = c.benchmark_group("load registrations");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(1));
    for (name, size) in &SIZES[1..] {
        let records = records(*size);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_with_large_drop(|| empty(reference, *size).with([], records.iter().cloned()));
        });
    }
    group.finish();
}

fn registry(c: &mut Criterion) {
    let reference = reference();
    let mut all: Vec<_> =
        SIZES.iter().map(|(name, size)| (*name, snapshot(&reference, *size))).collect();
    lookups(c, &all);
    figures(c, &all);
    changes(c, &all);
    // These look through one namespace: the larger it is, the more there is to see.
    all.push(("full", snapshot(&reference, FULL)));
    searches(c, &all);
    all.push(("1 M in 1,000 namespaces", snapshot(&reference, MANY)));
    lists(c, &all);
    drop(all);
    loading(c, &reference);
}

criterion_group!(benches, registry);
criterion_main!(benches);
