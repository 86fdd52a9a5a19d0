//! Search: finds services by their usual names and explains each match.
//!
//! Search compares names first (service name, aliases, the guide's title), then complete words,
//! then parts of words. Only if these find nothing, it looks for similar names.

mod custom;
mod service;
mod top_hits;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use itertools::Itertools;
use memchr::memmem::Finder;

use self::custom::CustomServices;
use self::service::{Query, Rank, Service};
use self::top_hits::{Found, TopHits};
use super::assignment::{Record, Source, State};
use super::guide::SharedGuide;
use super::port::{Port, PortRange, Transport};
use super::service_name::fold;
use super::similarity::CharSignature;
use super::snapshot::View;
use super::words::{append_words, compact};

/// The number of different words of a query that are used; further words are ignored.
const MAX_WORDS: usize = 8;

/// The kind of a match, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchReason {
    /// The query is the service name.
    ExactName,
    /// The query is an alias, or the guide's title, full name or alias.
    Alias,
    /// The service is on the requested port.
    Port,
    /// A name begins with the query.
    Prefix,
    /// The texts of the service contain all words of the query.
    Word,
    /// The texts of the service contain all words of the query as parts of words.
    Substring,
    /// A name is similar to the query.
    Similar,
}

/// A service that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its records from one source, by port and transport.
    pub records: Vec<Arc<Record>>,
    /// Its guide, if any.
    pub guide: Option<Arc<SharedGuide>>,
    /// The kind of match.
    pub reason: MatchReason,
    /// The text that matched.
    pub matched_text: String,
}

/// The services of the reference, prepared for search.
#[derive(Debug)]
pub struct SearchIndex {
    services: Vec<Service>,
}

impl SearchIndex {
    /// Groups the records by service. Records that only state "reserved" or "unassigned" are found
    /// by port only.
    #[must_use]
    pub fn new(
        records: &[Arc<Record>],
        guides: &[Arc<SharedGuide>],
        guide_by_service: &HashMap<String, u32>,
    ) -> Self {
        let mut groups: BTreeMap<_, Vec<Arc<Record>>> = BTreeMap::new();
        for record in records {
            let key = match &record.service_name {
                Some(name) => fold(name).into_owned(),
                None if record.state == State::Assigned => record.details.description.to_string(),
                None => continue,
            };
            groups.entry((record.source(), key)).or_default().push(Arc::clone(record));
        }
        let services = groups.into_iter().map(|((_, key), records)| {
            let guide =
                guide_by_service.get(&key).map(|&number| Arc::clone(&guides[number as usize]));
            Service::new(records, guide)
        });
        Self { services: services.collect() }
    }
}

/// The best `limit` hits for the query, best first.
#[must_use]
pub fn search(view: View<'_>, text: &str, limit: usize) -> Vec<Hit> {
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
    let custom = CustomServices::of(view.name_index(), view.reference(), &query);
    let reference = &view.reference().search().services;
    let mut top = TopHits::of(limit);
    for service in reference {
        if let Some(rank) = service.rank(&query, |rank| top.accepts(rank)) {
            top.offer(rank, Found::Reference(service));
        }
    }
    custom.find(&query, &mut top);
    let has_good_match = top.first().is_some_and(|rank| rank.reason < MatchReason::Substring);
    if hits.is_empty() && !has_good_match && !top.is_full() {
        custom.find_similar(&query, &mut top);
        for service in reference {
            if let Some(distance) = service.distance_to(&query) {
                let rank = service.ranked(MatchReason::Similar, distance);
                top.offer(rank, Found::Reference(service));
            }
        }
    }
    let on_port: HashSet<_> = hits.iter().map(|hit| key(&hit.records)).collect();
    let others = top.into_found().into_iter().filter_map(|found| hit(view, &query, found));
    let others = others.filter(|hit| !on_port.contains(&key(&hit.records)));
    hits.extend(others);
    hits.truncate(limit);
    hits
}

fn hit(view: View<'_>, query: &Query<'_>, (rank, found): (Rank, Found<'_>)) -> Option<Hit> {
    match found {
        Found::Reference(service) => Some(service.hit(service.records.clone(), rank, query)),
        Found::Custom(name) => {
            let service =
                Service::custom(view.name_index(), name, view.reference().guide_of(name))?;
            let mut records: Vec<_> = view.name_index().named(name).cloned().collect();
            records.sort_by_key(|record| (record.ports.map(PortRange::first), record.transport));
            Some(service.hit(records, rank, query))
        }
    }
}

/// Identifies a service: its source and its name.
fn key(records: &[Arc<Record>]) -> Option<(Source, Option<Arc<str>>)> {
    records.first().map(|record| (record.source(), record.service_name.clone()))
}

/// The port and transport of a query such as `3389`, `53/udp`, `udp 53` or `port 443`.
fn parse_port_query(text: &str) -> Option<(Port, Option<Transport>)> {
    let (mut port, mut transport) = (None, None);
    for word in text.split([' ', '/']).filter(|word| !word.is_empty()) {
        match (word.parse::<Port>(), word.parse::<Transport>()) {
            (Ok(number), _) if port.is_none() => port = Some(number),
            (_, Ok(named)) if transport.is_none() => transport = Some(named),
            _ if word.eq_ignore_ascii_case("port") => {}
            _ => return None,
        }
    }
    Some((port?, transport))
}

/// The hits of a query for a port.
fn on_port(view: View<'_>, text: &str) -> Vec<Hit> {
    let Some((port, transport)) = parse_port_query(text) else { return Vec::new() };
    let mut hits: Vec<Hit> = Vec::new();
    for record in view.lookup_port(port, transport).records {
        let same_service = |hit: &&mut Hit| {
            hit.records.first().is_some_and(|first| {
                first.source() == record.source() && first.service_name == record.service_name
            })
        };
        match hits.iter_mut().find(same_service) {
            Some(hit) => hit.records.push(Arc::clone(record)),
            None => hits.push(Hit {
                records: vec![Arc::clone(record)],
                guide: view.guide_of(record).cloned(),
                reason: MatchReason::Port,
                matched_text: record.ports.map(|ports| ports.to_string()).unwrap_or_default(),
            }),
        }
    }
    hits
}

#[cfg(test)]
mod tests;
