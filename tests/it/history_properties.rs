//! Properties of the history: it returns the requested changes in the requested order, and former
//! states can be restored from it.

use std::collections::BTreeSet;

use portbook::access::Actor;
use portbook::registry::change::{Change, ChangeKind};
use portbook::registry::port::{Port, PortRange, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::store::history::{ChangeFilter, ChangePosition, ChangeRecord, History, Query};
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Entry, Store};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::decisions::model::Model;
use crate::decisions::operation::{LOW, Operation, operations, service, time};
use crate::decisions::{ManualContext, model_of};
use crate::harness::seeded_store;
use crate::properties::{NEW, block_on};

/// A store, and everything written to it.
struct WrittenStore {
    store: SqliteStore,
    entries: Vec<Entry>,
    /// The states after each revision, starting with the first.
    states: Vec<Snapshot>,
    _folder: TempDir,
}

async fn write(operations: &[Operation]) -> WrittenStore {
    let (folder, mut store) = seeded_store().await;
    let mut states = vec![NEW.clone()];
    let mut context = ManualContext::default();
    let mut entries = Vec::new();
    for (position, operation) in operations.iter().enumerate() {
        let snapshot = states.last().unwrap().clone();
        let model = model_of(&snapshot, context.now);
        for decision in context.execute(&snapshot, &model, operation).unwrap_or_default() {
            if decision.changes.is_empty() {
                continue;
            }
            let last = states.last().unwrap();
            let revision = last.revision().next();
            entries.push(Entry {
                revision,
                time: time(i64::try_from(entries.len()).unwrap() * 10),
                actor: Actor(["ann", "ben"][position % 2].into()),
                reason: format!("operation {position}"),
                changes: decision.changes.clone(),
                findings: Vec::new(),
                request: None,
            });
            states.push(last.after(revision, &decision.changes));
        }
    }
    store.append(NEW.revision(), &entries).await.unwrap();
    WrittenStore { store, entries, states, _folder: folder }
}

fn filters() -> impl Strategy<Value = ChangeFilter> {
    let some = proptest::option::weighted::<BoxedStrategy<u16>>;
    let kinds = proptest::sample::subsequence(ChangeKind::ALL.to_vec(), 0..4);
    (
        some(0.4, (0..2u16).boxed()),
        some(0.3, (0..40u16).boxed()),
        some(0.3, (0..4u16).boxed()),
        some(0.3, (0..4u16).boxed()),
        some(0.3, (0..2u16).boxed()),
        kinds,
        some(0.2, (0..300u16).boxed()),
        any::<bool>(),
    )
        .prop_map(
            |(namespace, port, transport, name, actor, kinds, start, include_settings)| {
                ChangeFilter {
                    namespace: namespace
                        .map(|which| ["default", "staging"][usize::from(which)].parse().unwrap()),
                    include_settings,
                    ports: port.map(|port| {
                        PortRange::new(Port::new(LOW + port), Port::new(LOW + port + 2)).unwrap()
                    }),
                    transport: transport.map(|which| Transport::ALL[usize::from(which)]),
                    service: name.map(|which| service(which as u8)),
                    uid: None,
                    actor: actor.map(|which| ["ann", "ben"][usize::from(which)].to_owned()),
                    kinds: kinds.into_iter().collect(),
                    start_time: start.map(|start| time(start.into())),
                    end_time: start.map(|start| time(i64::from(start) + 200)),
                }
            },
        )
}

/// Filters, some of them with the index of a change whose registration they require.
fn filters_and_changes() -> impl Strategy<Value = Vec<(ChangeFilter, Option<Index>)>> {
    let change = proptest::option::weighted(0.2, any::<Index>());
    proptest::collection::vec((filters(), change), 1..20)
}

/// Whether a change passes, as a person would find out.
fn passes(filter: &ChangeFilter, entry: &Entry, change: &Change) -> bool {
    let record = change.record();
    let names: BTreeSet<_> = [change.before(), change.after()]
        .into_iter()
        .flatten()
        .filter_map(|record| record.service_name.as_deref().map(str::to_owned))
        .collect();
    let on_ports = |run: PortRange| match record.and_then(|record| record.ports) {
        Some(ports) => ports.iter().any(|port| run.contains(port)),
        None => filter.include_settings,
    };
    filter.namespace.as_ref().is_none_or(|name| change.namespace() == Some(name))
        && filter.ports.is_none_or(on_ports)
        && filter.transport.is_none_or(|of| record.and_then(|record| record.transport) == Some(of))
        && filter.service.as_ref().is_none_or(|name| names.contains(name))
        && filter.uid.is_none_or(|uid| record.is_some_and(|record| record.uid == uid))
        && filter.actor.as_ref().is_none_or(|actor| *entry.actor.0 == **actor)
        && (filter.kinds.is_empty() || filter.kinds.contains(&change.kind()))
        && filter.start_time.is_none_or(|start| entry.time >= start)
        && filter.end_time.is_none_or(|end| entry.time < end)
}

fn keys(logged: &[ChangeRecord]) -> Vec<(ChangePosition, String, String)> {
    let keys = logged.iter().map(|logged| {
        (
            logged.position,
            format!("{:?}", logged.change),
            format!("{:?} {}", logged.actor, logged.reason),
        )
    });
    keys.collect()
}

async fn pages(
    history: &dyn History,
    filter: &ChangeFilter,
    newest_first: bool,
    limit: u32,
) -> Vec<ChangeRecord> {
    let mut query = Query {
        after: None,
        before: ChangePosition { revision: NEW.revision().next(), index: u32::MAX },
        newest_first,
        limit,
        filter: filter.clone(),
    };
    query.before.revision.0 += 10_000;
    let mut all = Vec::new();
    loop {
        let page = history.changes(&query).await.unwrap();
        let is_last = page.len() < limit as usize;
        if let Some(last) = page.last() {
            if newest_first {
                query.before = last.position;
            } else {
                query.after = Some(last.position);
            }
        }
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn history_queries_return_the_requested_part(
        operations in operations(),
        filters in filters_and_changes(),
        newest_first: bool,
        limit in 1..9u32,
    ) {
        block_on(async {
            let written = write(&operations).await;
            let history = written.store.history();
            let changes: Vec<_> = written.entries.iter().flat_map(|entry| &entry.changes).collect();
            for (filter, of_change) in &filters {
                let change = of_change.filter(|_| !changes.is_empty()).map(|at| at.get(&changes));
                let uid = change.and_then(|change| change.record()).map(|record| record.uid);
                let filter = &ChangeFilter { uid, ..filter.clone() };
                let mut expected: Vec<ChangeRecord> = Vec::new();
                for entry in &written.entries {
                    for (index, change) in (0..).zip(&entry.changes) {
                        let matches = filter.matches(entry.time, &entry.actor, change);
                        assert_eq!(matches, passes(filter, entry, change), "{filter:?} {change:?}");
                        if !matches {
                            continue;
                        }
                        expected.push(ChangeRecord {
                            position: ChangePosition { revision: entry.revision, index },
                            time: entry.time,
                            actor: entry.actor.clone(),
                            reason: entry.reason.clone(),
                            change: change.clone(),
                        });
                    }
                }
                if newest_first {
                    expected.reverse();
                }
                let all = pages(&*history, filter, newest_first, limit).await;
                assert_eq!(keys(&all), keys(&expected), "{filter:?}");
            }
        });
    }

    #[test]
    fn reverting_changes_restores_every_former_state(operations in operations()) {
        block_on(async {
            let written = write(&operations).await;
            let all = pages(&*written.store.history(), &ChangeFilter::default(), false, 1000).await;
            let present = written.states.last().unwrap();
            for state in &written.states {
                let since = all.iter().filter(|logged| logged.position.revision > state.revision());
                let past = present.before(state.revision(), since.map(|logged| &logged.change).collect::<Vec<_>>().into_iter());
                let cooling_down = model_of(state, 0).cooling_down;
                assert_eq!(Model { cooling_down, ..model_of(&past, 0) }, model_of(state, 0));
            }
        });
    }

    #[test]
    fn a_time_maps_to_the_last_revision_at_or_before_it(operations in operations(), requested in 0..400i64) {
        block_on(async {
            let written = write(&operations).await;
            let made = written.entries.iter().filter(|entry| entry.time <= time(requested));
            let expected = made.map(|entry| entry.revision).max().unwrap_or_default();
            let found = written.store.history().revision_at(time(requested)).await.unwrap();
            assert_eq!(found, expected);
        });
    }
}
