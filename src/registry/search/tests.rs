//! Search returns the same hits in the same order as a scan of every service.

use itertools::Itertools;
use proptest::prelude::*;

use super::*;
use crate::registry::arbitrary::{self, NAMESPACES};
use crate::registry::list::ListKey;
use crate::registry::snapshot::Snapshot;

/// A naive implementation of [`search`]: builds every service of the namespace, ranks and sorts
/// them.
fn naive_search(snapshot: &Snapshot, view: View<'_>, text: &str, limit: usize) -> Vec<Hit> {
    let mut words = String::from(" ");
    append_words(&mut words, text);
    let words = words.split_whitespace().unique().take(MAX_WORDS);
    let compact = compact(text);
    let signature = CharSignature::of(&compact);
    let query = Query { compact, signature, words: words.map(Finder::new).collect() };
    let mut hits = on_port(view, text);
    if query.compact.is_empty() {
        return hits;
    }
    let records = arbitrary::registrations_of(snapshot, &view.namespace().name);
    let custom: Vec<Service> = records
        .chunk_by(|a, b| a.service_name.as_deref().map(fold) == b.service_name.as_deref().map(fold))
        .map(|records| {
            let mut records = records.to_vec();
            records.sort_by_key(|record| ListKey::of(record));
            let mut text = String::new();
            for record in &records {
                append_words(&mut text, &record.details.description);
                append_words(&mut text, &record.details.assignee);
                append_words(&mut text, &record.details.contact);
                for value in record.details.labels.pairs().values() {
                    append_words(&mut text, value);
                }
            }
            let guide = view.guide_of(&records[0]).cloned();
            Service::with_descriptions(records, guide, &text)
        })
        .collect();
    let all = || custom.iter().chain(&view.reference().search().services);
    let mut found: Vec<(Rank, &Service)> =
        all().filter_map(|service| Some((service.rank(&query, |_| true)?, service))).collect();
    if hits.is_empty() && found.iter().all(|(rank, _)| rank.reason >= MatchReason::Substring) {
        found.extend(all().filter_map(|service| {
            let distance = service.distance_to(&query)?;
            Some((service.ranked(MatchReason::Similar, distance), service))
        }));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let on_port: HashSet<_> = hits.iter().map(|hit| key(&hit.records)).collect();
    found.retain(|(_, service)| !on_port.contains(&key(&service.records)));
    found.truncate(limit.saturating_sub(hits.len()));
    hits.truncate(limit);
    let hit =
        |(rank, service): (Rank, &Service)| service.hit(service.records.clone(), rank, &query);
    hits.extend(found.into_iter().map(hit));
    hits
}

fn summaries(hits: &[Hit]) -> Vec<String> {
    let summaries = hits.iter().map(|hit| {
        let records =
            hit.records.iter().map(|record| record.uid.to_string()[31..].to_owned()).join(" ");
        let guide = hit.guide.as_ref().map(|guide| guide.id.to_string());
        let name = hit.records[0].service_name.as_deref();
        format!("{:?} {:?} {guide:?} {name:?} {records}", hit.reason, hit.matched_text)
    });
    summaries.collect()
}

const QUERIES: [&str; 40] = [
    "web",
    "we",
    "w",
    "e",
    "webapi",
    "web-api",
    "web api",
    "api web",
    "billing",
    "bill",
    "billing api",
    "billing invoices",
    "shop",
    "shop web",
    "gold",
    "gold team",
    "zürich",
    "ü",
    "r d",
    "team",
    "team gold web",
    "ops bill",
    "9010",
    "9010/tcp",
    "port 9120",
    "postgresql",
    "post office",
    "post",
    "postgresq",
    "bililng",
    "weab",
    "wbe",
    "wwww",
    "ab1",
    "a",
    "ab",
    "the api",
    "postgresqles",
    "data invoices ops",
    "xxxxxx",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn search_equals_a_scan_of_every_service(
        steps in arbitrary::steps(),
        limit in prop_oneof![1..6usize, Just(100)],
        other in "[aebilw][ -]?[aebilng]{0,4}",
    ) {
        let states = arbitrary::after(&steps);
        // Later changes must not be visible in earlier snapshots.
        for snapshot in states.iter().rev().step_by(3) {
            for namespace in NAMESPACES {
                let view = snapshot.view(&namespace.parse().unwrap()).unwrap();
                for query in QUERIES.iter().copied().chain([other.as_str()]) {
                    let hits = search(view, query, limit);
                    let expected = naive_search(snapshot, view, query, limit);
                    prop_assert_eq!(summaries(&hits), summaries(&expected), "{}", query);
                }
            }
        }
    }
}
