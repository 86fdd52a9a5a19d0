//! The cost of registry operations without gRPC and disk: the same operations on the reference
//! alone, on a hundred thousand registrations, and on a million. If all results of a group are
//! equal, the cost does not depend on the size of the registry.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot continue has failed")]

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
use portbook::registry::join::Sequential;
use portbook::registry::list::{Filter, ListKey, page};
use portbook::registry::name::NamespaceName;
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::reference::Reference;
use portbook::registry::search::search;
use portbook::registry::snapshot::Snapshot;
use portbook::registry::text::Labels;
use portbook::store::TwoThreads;
use uuid::Uuid;

use crate::registrations::{
    Size, empty, namespace, records, reference, register, registration, snapshot, view,
};

/// The name and the size of each snapshot.
const SIZES: [(&str, Size); 3] = [("15 k", (1, 0)), ("100 k", (20, 5_000)), ("1 M", (200, 5_000))];
/// Many namespaces with the same number of registrations in total.
const MANY: Size = (1_000, 1_000);
/// A namespace in which every port of every transport is registered.
const FULL: Size = (1, 4 * 65_535);

fn bench_sizes(
    c: &mut Criterion,
    name: &str,
    snapshots: &[(&str, Snapshot)],
    query: impl Fn(&Snapshot),
) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    for (size, snapshot) in snapshots {
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| query(snapshot)));
    }
    group.finish();
}

fn lookups(c: &mut Criterion, snapshots: &[(&str, Snapshot)]) {
    bench_sizes(c, "look up a port", snapshots, |snapshot| {
        black_box(view(snapshot).lookup_port(Port::new(443), None));
    });
    bench_sizes(c, "look up a name", snapshots, |snapshot| {
        black_box(view(snapshot).lookup_service("https", None)).unwrap();
    });
    bench_sizes(c, "look up an unknown name", snapshots, |snapshot| {
        black_box(view(snapshot).lookup_service("posgresqll", None)).unwrap_err();
    });
    bench_sizes(c, "look up an endpoint", snapshots, |snapshot| {
        let endpoint: Endpoint = black_box("198.51.100.7:5432/tcp").parse().unwrap();
        let PortRef::Number(port) = endpoint.port else { return };
        black_box(view(snapshot).lookup_port(port, endpoint.transport));
    });
    bench_sizes(c, "encode a port lookup", snapshots, |snapshot| {
        let answer = view(snapshot).lookup_port(Port::new(443), None);
        black_box(encode_port_info(snapshot.reference(), &answer, &[]));
    });
    let mut group = c.benchmark_group("encode a port lookup for the first time");
    group.sample_size(10).measurement_time(Duration::from_millis(600));
    let reference = snapshots[0].1.reference();
    group.bench_function("one registration", |b| {
        let new = || {
            empty(reference, (1, 0)).with_contents(
                [],
                [registration(&namespace(0), 0, 0)],
                &Sequential,
            )
        };
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

fn counts(c: &mut Criterion, snapshots: &[(&str, Snapshot)]) {
    bench_sizes(c, "count registrations", snapshots, |snapshot| {
        black_box(snapshot.counts());
    });
}

fn changes(c: &mut Criterion, snapshots: &[(&str, Snapshot)]) {
    let change = [Change::Registered { after: registration(&namespace(0), 0, 4 * 30_000) }];
    bench_sizes(c, "publish a registration", snapshots, |snapshot| {
        black_box(snapshot.after(Revision(2), &change));
    });
    let every_code: BTreeSet<_> = FindingCode::ALL.into_iter().collect();
    let uid = Uid::new(Uuid::from_u128(1 << 90));
    let decided = |snapshot: &Snapshot, command: &Command| {
        let mut new_uid = || uid;
        let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
        decide(snapshot, command, &mut context).is_ok()
    };
    let available = register(30_000, every_code);
    bench_sizes(c, "decide on a registration that is accepted", snapshots, |snapshot| {
        assert!(decided(snapshot, &available));
    });
    let held = register(80, BTreeSet::new());
    bench_sizes(c, "decide on a registration that is rejected", snapshots, |snapshot| {
        assert!(!decided(snapshot, &held));
    });
}

fn lists(c: &mut Criterion, snapshots: &[(&str, Snapshot)]) {
    let anywhere = Filter::default;
    let in_namespace = || Filter { namespace: Some(NamespaceName::default()), ..anywhere() };
    let with_prefix = || Filter { service_name_prefix: "shop-api".into(), ..in_namespace() };
    let in_range =
        || Filter { ports: PortRange::new(Port::new(500), Port::new(900)).ok(), ..in_namespace() };
    let with_assignee = || Filter { assignee: "team maps".into(), ..in_namespace() };
    let with_label = || {
        let labels = Labels::parse([("room".to_owned(), "r9".to_owned())]).unwrap();
        Filter { labels, ..in_namespace() }
    };
    let deep = ListKey { port: 1000, transport: 2, source: 0, ordinal: 0, namespace: None };
    for (name, filter) in [
        ("of all namespaces", anywhere()),
        ("of one namespace", in_namespace()),
        ("by a prefix of the name", with_prefix()),
        ("by ports", in_range()),
        ("by assignee", with_assignee()),
        ("by label", with_label()),
    ] {
        for (depth, from) in [("first", None), ("deep", Some(&deep))] {
            bench_sizes(c, &format!("{depth} page of a list {name}"), snapshots, |snapshot| {
                black_box(page(snapshot, &filter, from, 50));
            });
        }
    }
    bench_sizes(c, "page of 1,000 of all namespaces", snapshots, |snapshot| {
        black_box(page(snapshot, &anywhere(), Some(&deep), 1000));
    });
}

fn searches(c: &mut Criterion, snapshots: &[(&str, Snapshot)]) {
    for (kind, text) in [
        ("an exact name", "shop-api-0"),
        ("a prefix", "shop-w"),
        ("a prefix of many", "pay"),
        ("a word of all registrations", "team"),
        ("a word of many registrations", "gold"),
        ("a rare word", "r12"),
        ("two words", "team maps"),
        ("words of the reference", "remote desktop"),
        ("a part of a word", "xampl"),
        ("a letter", "e"),
        ("a typing error", "shpo-api-16"),
        ("nonsense", "qqqqzzzzqq"),
        ("a port", "443"),
    ] {
        bench_sizes(c, &format!("search for {kind}"), snapshots, |snapshot| {
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
            b.iter_with_large_drop(|| {
                empty(reference, *size).with_contents([], records.iter().cloned(), &TwoThreads)
            });
        });
    }
    group.finish();
}

fn registry(c: &mut Criterion) {
    let reference = reference();
    let mut snapshots: Vec<_> =
        SIZES.iter().map(|(name, size)| (*name, snapshot(&reference, *size))).collect();
    lookups(c, &snapshots);
    counts(c, &snapshots);
    changes(c, &snapshots);
    // These operations scan one namespace, so their cost grows with its size.
    snapshots.push(("full", snapshot(&reference, FULL)));
    searches(c, &snapshots);
    snapshots.push(("1 M in 1,000 namespaces", snapshot(&reference, MANY)));
    lists(c, &snapshots);
    drop(snapshots);
    loading(c, &reference);
}

criterion_group!(benches, registry);
criterion_main!(benches);
