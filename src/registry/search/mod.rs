//! Search: finds services by what people call them, and says why each was found.
//!
//! A service is looked for by its names first (service name, aliases, the guide's title), then by
//! words, then by parts of words, and only if nothing of these is found by names that are nearly
//! right.

mod best;
mod custom;
mod service;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use itertools::Itertools;
use memchr::memmem::Finder;

use self::best::{Best, Found};
use self::custom::Own;
use self::service::{Query, Rank, Service};
use super::assignment::{Record, Source, State};
use super::guide::SharedGuide;
use super::port::{Port, PortRange, Transport};
use super::service_name::fold;
use super::similarity::CharSignature;
use super::snapshot::View;
use super::words::{append_words, compact};

/// How many different words of a query are looked for; what more there are says nothing new.
const MAX_WORDS: usize = 8;

/// Why a service was found, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchReason {
    /// The service name is what was asked for.
    ExactName,
    /// An alias, or the guide's title, full name or alias, is.
    Alias,
    /// It is on the port that was asked for.
    Port,
    /// A name begins with what was asked for.
    Prefix,
    /// All words asked for stand in its texts.
    Word,
    /// All words asked for are parts of words there.
    Substring,
    /// A name is nearly what was asked for.
    Similar,
}

/// A service that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its records from one source, by port and transport.
    pub records: Vec<Arc<Record>>,
    /// Its guide, if it has one.
    pub guide: Option<Arc<SharedGuide>>,
    /// Why it was found.
    pub reason: MatchReason,
    /// The text that matched.
    pub matched_text: String,
}

/// The services of the reference, as search reads them.
#[derive(Debug)]
pub struct SearchIndex {
    services: Vec<Service>,
}

impl SearchIndex {
    /// Reads the records, service by service. Records that only say "reserved" or "unassigned" are
    /// found by their number alone.
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
                None if record.state == State::Assigned => record.description.to_string(),
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
    let letters = CharSignature::of(&compact);
    let query = Query { compact, letters, words: words.map(Finder::new).collect() };
    let mut hits = on_port(view, text);
    if query.compact.is_empty() {
        return hits;
    }
    let own = Own::of(view.book(), view.reference(), &query);
    let reference = &view.reference().search().services;
    let mut best = Best::of(limit);
    for service in reference {
        if let Some(rank) = service.rank(&query, |rank| best.takes(rank)) {
            best.offer(rank, Found::Reference(service));
        }
    }
    own.find(&query, &mut best);
    let is_well_found = best.first().is_some_and(|rank| rank.reason < MatchReason::Substring);
    if hits.is_empty() && !is_well_found && !best.is_full() {
        own.find_nearly(&query, &mut best);
        for service in reference {
            if let Some(distance) = service.nearly(&query) {
                let rank = service.ranked(MatchReason::Similar, distance);
                best.offer(rank, Found::Reference(service));
            }
        }
    }
    let on_port: HashSet<_> = hits.iter().map(|hit| key(&hit.records)).collect();
    let others = best.into_found().into_iter().filter_map(|found| hit(view, &query, found));
    let others = others.filter(|hit| !on_port.contains(&key(&hit.records)));
    hits.extend(others);
    hits.truncate(limit);
    hits
}

fn hit(view: View<'_>, query: &Query<'_>, (rank, found): (Rank, Found<'_>)) -> Option<Hit> {
    match found {
        Found::Reference(service) => Some(service.hit(service.records.clone(), rank, query)),
        Found::Own(name) => {
            let service = Service::own(view.book(), name, view.reference().guide_of(name))?;
            let mut records: Vec<_> = view.book().named(name).cloned().collect();
            records.sort_by_key(|record| (record.ports.map(PortRange::first), record.transport));
            Some(service.hit(records, rank, query))
        }
    }
}

/// What tells a service from others: where its records come from, and their name.
fn key(records: &[Arc<Record>]) -> Option<(Source, Option<Arc<str>>)> {
    records.first().map(|record| (record.source(), record.service_name.clone()))
}

/// What a query such as `3389`, `53/udp`, `udp 53` or `port 443` asks for, if it is about a port.
fn port_asked(text: &str) -> Option<(Port, Option<Transport>)> {
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

/// Hits for a query that is about a port.
fn on_port(view: View<'_>, text: &str) -> Vec<Hit> {
    let Some((port, transport)) = port_asked(text) else { return Vec::new() };
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
