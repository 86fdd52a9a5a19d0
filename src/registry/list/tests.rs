//! Lists and counts equal those of a scan of every record.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::registry::arbitrary::{self, LOW, NAMESPACES, PORTS};
use crate::registry::counts::Counts;

/// Whether a record matches: a naive implementation of [`Filter::matches`].
fn matches(filter: &Filter, record: &Record) -> bool {
    let registration = record.registration();
    let name = record.service_name.as_deref().unwrap_or_default().to_lowercase();
    (filter.sources.is_empty() || filter.sources.contains(&record.source()))
        && (filter.states.is_empty() || filter.states.contains(&record.state))
        && (filter.transports.is_empty() || filter.transports.contains(&record.transport))
        && filter.ports.is_none_or(|range| {
            record.ports.is_some_and(|ports| ports.iter().any(|port| range.contains(port)))
        })
        && name.starts_with(&filter.service_name_prefix)
        && record.details.assignee.to_lowercase().contains(&filter.assignee)
        && filter
            .labels
            .pairs()
            .iter()
            .all(|(key, value)| record.details.labels.pairs().get(key) == Some(value))
        && filter.pool.as_ref().is_none_or(|pool| {
            registration
                .and_then(|registration| registration.pooled.as_ref())
                .is_some_and(|pooled| pooled.pool == *pool)
        })
        && registration.is_none_or(|registration| {
            filter.namespace.as_ref().is_none_or(|name| *name == registration.namespace)
        })
}

fn filters() -> impl Strategy<Value = Filter> {
    let namespace = prop_oneof![Just(None), select(NAMESPACES.to_vec()).prop_map(Some)];
    let transports = [None, Some(Transport::Tcp), Some(Transport::Udp), Some(Transport::Dccp)];
    let prefixes =
        ["", "", "", "w", "web", "web-a", "we-", "b", "billing-api", "post", "zz", "web_"];
    let assignees = ["", "", "", "team", "web", "m r&d", "bürger", "ü", "eam web", "g"];
    let rooms = ["", "", "", "gold", "web 2", "Ä", "none"];
    let ports = (0..PORTS, prop_oneof![0..40u16, 200..900u16]).prop_map(|(first, more)| {
        PortRange::new(Port::new(LOW + first), Port::new(LOW + first + more)).unwrap()
    });
    let often_none = |ports| prop_oneof![2 => Just(None), 1 => ports];
    (
        namespace,
        prop_oneof![Just(vec![]), subsequence(Source::ALL.to_vec(), 1..3)],
        prop_oneof![3 => Just(vec![]), 1 => subsequence(State::ALL.to_vec(), 1..3)],
        prop_oneof![Just(vec![]), subsequence(transports.to_vec(), 1..3)],
        often_none(ports.prop_map(Some).boxed()),
        select(prefixes.to_vec()),
        select(assignees.to_vec()),
        select(rooms.to_vec()),
        prop_oneof![3 => Just(None), 1 => select(vec![Some("pool"), Some("other")])],
    )
        .prop_map(
            |(namespace, sources, states, transports, ports, prefix, assignee, site, pool)| {
                let site = (!site.is_empty()).then(|| ("site".to_owned(), site.to_owned()));
                Filter {
                    namespace: namespace.map(|name| name.parse().unwrap()),
                    sources: sources.into_iter().collect(),
                    states: states.into_iter().collect(),
                    transports: transports.into_iter().collect(),
                    ports,
                    service_name_prefix: prefix.to_owned(),
                    assignee: assignee.to_owned(),
                    labels: Labels::parse(site).unwrap(),
                    pool: pool.map(|pool| pool.parse().unwrap()),
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pages_contain_each_matching_record_once_in_order(
        steps in arbitrary::steps(),
        filters in proptest::collection::vec(filters(), 1..12),
        size in prop_oneof![1..4usize, 20..60usize],
    ) {
        let states = arbitrary::after(&steps);
        for snapshot in states.iter().rev().step_by(4) {
            for filter in &filters {
                let all = snapshot.reference().records().iter().chain(snapshot.custom());
                let mut expected: Vec<_> = all.filter(|record| matches(filter, record)).collect();
                expected.sort_by_key(|record| ListKey::of(record));
                let expected: Vec<_> = expected.into_iter().map(|record| record.uid).collect();
                let mut listed = Vec::new();
                let mut from = None;
                loop {
                    let page = page(snapshot, filter, from.as_ref(), size);
                    prop_assert_eq!(page.total as usize, expected.len(), "{:?}", filter);
                    listed.extend(page.records.iter().map(|record| record.uid));
                    from = page.next;
                    if from.is_none() {
                        break;
                    }
                }
                prop_assert_eq!(listed, expected, "{:?}", filter);
            }
        }
    }

    #[test]
    fn maintained_counts_equal_a_recount(steps in arbitrary::steps()) {
        for snapshot in arbitrary::after(&steps).iter().rev() {
            let counts = snapshot.counts();
            prop_assert_eq!(&counts[0], &Counts::of(Source::Custom, snapshot.custom()));
            let everywhere = snapshot.views_after(None).map(|view| view.size()).sum::<usize>();
            prop_assert_eq!(counts[0].assignments as usize, everywhere);
        }
    }
}
