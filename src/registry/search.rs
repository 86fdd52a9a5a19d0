//! Search: finds services by what people call them, and says why each was found.
//!
//! A service is looked for by its names first (service name, aliases, the guide's title), then by
//! words, then by parts of words, and only if nothing of these is found by names that are nearly
//! right.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use itertools::Itertools;
use memchr::memmem::Finder;

use super::assignment::{Record, Source, State};
use super::guide::SharedGuide;
use super::list::ListKey;
use super::port::{Port, Transport};
use super::service_name::fold;
use super::snapshot::View;

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

/// What search knows of one service.
#[derive(Debug)]
struct Service {
    records: Vec<Arc<Record>>,
    guide: Option<Arc<SharedGuide>>,
    names: Vec<Name>,
    /// All texts in lower case, words apart: names, then descriptions, then the guide's summary.
    text: String,
    descriptions_at: usize,
    summary_at: usize,
}

#[derive(Debug)]
struct Name {
    /// The name without its hyphens and spaces.
    compact: String,
    shown: String,
    is_registered: bool,
}

/// How well a service matches, best first. The fields order matches with the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    reason: MatchReason,
    /// How far from the names the words were found, or how far a name is from the query.
    distance: usize,
    is_unknown: bool,
    /// Whether its guide is first of all about another service.
    is_aside: bool,
    source: Source,
    length: usize,
    first_port: u32,
}

/// Where a word was found: in the names, the descriptions or the summary.
const NAMES: usize = 0;
const DESCRIPTIONS: usize = 1;
const SUMMARY: usize = 2;

impl Service {
    fn new(mut records: Vec<Arc<Record>>, guide: Option<Arc<SharedGuide>>) -> Self {
        records.sort_by_cached_key(|record| ListKey::of(record));
        let mut names: Vec<Name> = Vec::new();
        let mut add = |shown: &str, is_registered| {
            let name = Name { compact: compact(shown), shown: shown.to_owned(), is_registered };
            if names.iter().all(|known| known.compact != name.compact) {
                names.push(name);
            }
        };
        for record in &records {
            record.service_name.iter().for_each(|name| add(name, true));
            record.aliases().iter().for_each(|alias| add(alias, false));
        }
        if let Some(guide) = &guide {
            add(&guide.title, false);
            add(&guide.full_name, false);
            guide.aliases.iter().for_each(|alias| add(alias, false));
        }
        let mut text = String::from(" ");
        for name in &names {
            append_words(&mut text, &name.shown);
        }
        let descriptions_at = text.len();
        let mut last = "";
        for record in &records {
            if *record.description != *last {
                append_words(&mut text, &record.description);
                last = &record.description;
            }
        }
        let summary_at = text.len();
        if let Some(guide) = &guide {
            append_words(&mut text, &guide.category);
            append_words(&mut text, &guide.summary);
        }
        Self { records, guide, names, text, descriptions_at, summary_at }
    }

    fn rank(&self, query: &Query<'_>) -> Option<Rank> {
        let (reason, distance) = self.by_name(query).or_else(|| self.by_words(query))?;
        Some(self.ranked(reason, distance))
    }

    fn ranked(&self, reason: MatchReason, distance: usize) -> Rank {
        let first = self.records.first();
        let name = first.and_then(|record| record.service_name.as_deref());
        Rank {
            reason,
            distance,
            is_unknown: self.guide.is_none(),
            is_aside: self
                .guide
                .as_ref()
                .is_some_and(|guide| name.map(fold) != Some(fold(&guide.id))),
            source: first.map_or(Source::Common, |record| record.source()),
            length: name.map_or(usize::MAX, str::len),
            first_port: first.map_or(u32::MAX, |record| ListKey::of(record).port),
        }
    }

    fn by_name(&self, query: &Query<'_>) -> Option<(MatchReason, usize)> {
        let exact = self.names.iter().find(|name| name.compact == query.compact);
        if let Some(name) = exact {
            let reason =
                if name.is_registered { MatchReason::ExactName } else { MatchReason::Alias };
            return Some((reason, 0));
        }
        let longer = self.names.iter().filter(|name| name.compact.starts_with(&query.compact));
        longer.map(|name| name.compact.len() - query.compact.len()).min().map(|more| {
            // Every name that begins so is as good as the next; the shortest comes first.
            (MatchReason::Prefix, more)
        })
    }

    fn by_words(&self, query: &Query<'_>) -> Option<(MatchReason, usize)> {
        let mut worst = MatchReason::Word;
        let mut distance = 0;
        for word in &query.words {
            let (reason, place) = self.find(word)?;
            worst = worst.max(reason);
            distance += place;
        }
        // A word that is a whole name says more than all other words together.
        if query.words.iter().any(|word| self.is_named(word.needle())) {
            return Some((MatchReason::Word, 0));
        }
        (!query.words.is_empty()).then_some((worst, distance))
    }

    fn is_named(&self, word: &[u8]) -> bool {
        self.names.iter().any(|name| name.compact.as_bytes() == word)
    }

    /// The best place of one word: as a whole before as a part, in the names before elsewhere.
    fn find(&self, word: &Finder<'_>) -> Option<(MatchReason, usize)> {
        let bytes = self.text.as_bytes();
        let mut best = None;
        for at in word.find_iter(bytes) {
            let is_whole = bytes[at - 1] == b' ' && bytes[at + word.needle().len()] == b' ';
            let reason = if is_whole { MatchReason::Word } else { MatchReason::Substring };
            let place = match at {
                _ if at < self.descriptions_at => NAMES,
                _ if at < self.summary_at => DESCRIPTIONS,
                _ => SUMMARY,
            };
            best = Some(best.map_or((reason, place), |best| (reason, place).min(best)));
            if best == Some((MatchReason::Word, NAMES)) {
                break;
            }
        }
        best
    }

    /// How many letters the nearest name is away, if it is near.
    fn nearly(&self, query: &Query<'_>) -> Option<usize> {
        let length = query.compact.chars().count();
        let allowed = match length {
            0..=2 => return None,
            3..=5 => 1,
            _ => 2,
        };
        self.names
            .iter()
            .filter(|name| name.compact.len().abs_diff(query.compact.len()) <= allowed)
            .map(|name| strsim::osa_distance(&name.compact, &query.compact))
            .filter(|distance| *distance <= allowed)
            .min()
    }

    fn hit(&self, rank: Rank, query: &Query<'_>) -> Hit {
        Hit {
            records: self.records.clone(),
            guide: self.guide.clone(),
            reason: rank.reason,
            matched_text: self.matched_text(rank, query).unwrap_or_default(),
        }
    }

    fn matched_text(&self, rank: Rank, query: &Query<'_>) -> Option<String> {
        let name_that = |is_it: &dyn Fn(&Name) -> bool| {
            self.names.iter().find(|name| is_it(name)).map(|name| name.shown.clone())
        };
        match rank.reason {
            MatchReason::ExactName | MatchReason::Alias => {
                name_that(&|name| name.compact == query.compact)
            }
            MatchReason::Prefix => name_that(&|name| name.compact.starts_with(&query.compact)),
            MatchReason::Similar => name_that(&|name| {
                strsim::osa_distance(&name.compact, &query.compact) == rank.distance
            }),
            MatchReason::Word | MatchReason::Substring => self.text_with(query),
            MatchReason::Port => None,
        }
    }

    /// The text, as it was written, in which the first word of the query was found.
    fn text_with(&self, query: &Query<'_>) -> Option<String> {
        let (_, place) = self.find(query.words.first()?)?;
        let word = query.words.first()?.needle();
        match place {
            NAMES => {
                self.names.iter().map(|name| &name.shown).find(|shown| has(shown, word)).cloned()
            }
            DESCRIPTIONS => {
                let descriptions = self.records.iter().map(|record| &record.description);
                descriptions.into_iter().find(|text| has(text, word)).map(ToString::to_string)
            }
            _ => self.guide.as_ref().map(|guide| guide.summary.clone()),
        }
    }
}

fn has(text: &str, word: &[u8]) -> bool {
    let mut words = String::from(" ");
    append_words(&mut words, text);
    memchr::memmem::find(words.as_bytes(), word).is_some()
}

/// How many different words of a query are looked for; what more there are says nothing new.
const MAX_WORDS: usize = 8;

/// What is looked for.
struct Query<'q> {
    compact: String,
    words: Vec<Finder<'q>>,
}

/// The best `limit` hits for the query, best first.
#[must_use]
pub fn search(view: View<'_>, text: &str, limit: usize) -> Vec<Hit> {
    let mut words = String::from(" ");
    append_words(&mut words, text);
    let words = words.split_whitespace().unique().take(MAX_WORDS);
    let query = Query { compact: compact(text), words: words.map(Finder::new).collect() };
    let mut hits = on_port(view, text);
    if query.compact.is_empty() {
        return hits;
    }
    let own = own_services(view);
    let all = || own.iter().chain(&view.reference().search().services);
    let mut found: Vec<(Rank, &Service)> =
        all().filter_map(|service| Some((service.rank(&query)?, service))).collect();
    if hits.is_empty() && found.iter().all(|(rank, _)| rank.reason >= MatchReason::Substring) {
        found.extend(all().filter_map(|service| {
            let distance = service.nearly(&query)?;
            Some((service.ranked(MatchReason::Similar, distance), service))
        }));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let on_port: HashSet<_> = hits.iter().map(|hit| key(&hit.records)).collect();
    found.retain(|(_, service)| !on_port.contains(&key(&service.records)));
    found.truncate(limit.saturating_sub(hits.len()));
    hits.truncate(limit);
    hits.extend(found.into_iter().map(|(rank, service)| service.hit(rank, &query)));
    hits
}

/// What tells a service from others: where its records come from, and their name.
fn key(records: &[Arc<Record>]) -> Option<(Source, Option<Arc<str>>)> {
    records.first().map(|record| (record.source(), record.service_name.clone()))
}

/// The registrations of the namespace, service by service.
fn own_services(view: View<'_>) -> Vec<Service> {
    let own: Vec<_> = view.own().map(Arc::clone).collect();
    own.chunk_by(|a, b| a.service_name.as_deref().map(fold) == b.service_name.as_deref().map(fold))
        .map(|records| Service::new(records.to_vec(), view.guide_of(&records[0]).cloned()))
        .collect()
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

/// The name as it is compared: lower case, nothing but letters and digits.
fn compact(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Appends the words of the text in lower case, a space after each.
fn append_words(words: &mut String, text: &str) {
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        words.extend(word.chars().flat_map(char::to_lowercase));
        words.push(' ');
    }
}
