//! Search over the registrations of a namespace, page by page.
//!
//! Most services have no guide and are on one page only. For these, the page's buffers show which
//! services can be among the best, so that only those are ranked one by one. The few other services
//! are ranked like services of the reference.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

use super::MatchReason;
use super::service::{DESCRIPTIONS, NAMES, Query, Rank, Service, may_be_similar, similar_distance};
use super::top_hits::{Found, TopHits};
use crate::registry::assignment::Source;
use crate::registry::name_index::{NameIndex, Page, ServiceEntry};
use crate::registry::reference::Reference;
use crate::registry::similarity::CharSignature;

/// The registrations of a namespace, prepared for one query.
pub(super) struct CustomServices<'a> {
    pages: Vec<&'a Page>,
    /// The services that are ranked individually: those with a guide, those on several pages, and
    /// those whose name equals a word of the query.
    separate: Vec<(&'a str, Service)>,
    /// Their names.
    separate_names: BTreeSet<&'a str>,
}

impl<'a> CustomServices<'a> {
    pub(super) fn of(name_index: &'a NameIndex, reference: &Reference, query: &Query<'_>) -> Self {
        let pages: Vec<&Page> = name_index.pages().collect();
        let mut separate_names: BTreeSet<&str> = BTreeSet::new();
        let guided = reference.guided_names().filter(|_| !name_index.is_empty());
        separate_names
            .extend(guided.filter_map(|name| Some(name_index.of_service(name).next()?.folded)));
        separate_names.extend(name_index.names_on_multiple_pages());
        for word in query.words.iter().map(|word| line_start(word.needle())) {
            let finder = Finder::new(&word);
            separate_names.extend(pages.iter().flat_map(|page| {
                let equal_names = finder.find_iter(page.compact()).filter_map(|at| {
                    let (index, end) = page.service_at_compact(at);
                    (end == at + word.len()).then(|| page.service(index).folded)
                });
                equal_names.collect::<Vec<_>>()
            }));
        }
        let service =
            |name| Some((name, Service::custom(name_index, name, reference.guide_of(name))?));
        let separate = separate_names.iter().copied().filter_map(service).collect();
        Self { pages, separate, separate_names }
    }

    /// Finds services by name and by words.
    pub(super) fn find(&self, query: &Query<'_>, top: &mut TopHits<'a>) {
        for (name, service) in &self.separate {
            if let Some(rank) = service.rank(query, |rank| top.accepts(rank)) {
                top.offer(rank, Found::Custom(name));
            }
        }
        self.find_by_name(query, top);
        if !query.words.is_empty() {
            self.find_by_words(query, top);
        }
    }

    fn find_by_name(&self, query: &Query<'_>, top: &mut TopHits<'a>) {
        let prefix = line_start(query.compact.as_bytes());
        let prefix = Finder::new(&prefix);
        for page in &self.pages {
            let minimums = page.minimums();
            let more = minimums.compact.saturating_sub(query.compact.len());
            if more > 0 && !top.accepts(&best_possible_rank(page, MatchReason::Prefix, more)) {
                continue;
            }
            for at in prefix.find_iter(page.compact()) {
                let service = page.service(page.service_at_compact(at).0);
                let (reason, more) = match service.compact.len() - query.compact.len() {
                    0 => (MatchReason::ExactName, 0),
                    more => (MatchReason::Prefix, more),
                };
                self.offer(&service, reason, more, top);
            }
        }
    }

    fn find_by_words(&self, query: &Query<'_>, top: &mut TopHits<'a>) {
        let complete_words: Vec<Vec<u8>> =
            query.words.iter().map(|word| complete_word(word.needle())).collect();
        let words: Vec<Word<'_>> = query
            .words
            .iter()
            .zip(&complete_words)
            .map(|(pattern, word)| Word { pattern, complete: Finder::new(word) })
            .collect();
        for page in &self.pages {
            let in_names: Vec<bool> =
                words.iter().map(|word| word.pattern.find(page.folded()).is_some()).collect();
            let distance =
                in_names.iter().map(|contains| if *contains { NAMES } else { DESCRIPTIONS });
            let distance = distance.sum();
            if !top.accepts(&best_possible_rank(page, MatchReason::Word, distance)) {
                continue;
            }
            let contains = |(word, in_names): (&Word<'_>, &bool)| {
                *in_names || word.pattern.find(page.texts()).is_some()
            };
            if !words.iter().zip(&in_names).all(contains) {
                continue;
            }
            let has_complete_words = words.iter().all(|word| word.is_complete_on(page));
            let reason =
                if has_complete_words { MatchReason::Word } else { MatchReason::Substring };
            if !top.accepts(&best_possible_rank(page, reason, distance)) {
                continue;
            }
            let mut matching = u64::MAX;
            for word in &words {
                matching &= word.services_of(page, matching);
            }
            for service in (0..page.len()).filter(|index| matching >> index & 1 == 1) {
                let service = page.service(service);
                // Matches by name have been found already.
                if service.compact.starts_with(&query.compact)
                    || !top.accepts(&rank(&service, reason, distance))
                {
                    continue;
                }
                let found = words.iter().map(|word| word.find(&service));
                let (reason, distance) = found.fold((MatchReason::Word, 0), |so_far, found| {
                    (so_far.0.max(found.0), so_far.1 + found.1)
                });
                self.offer(&service, reason, distance, top);
            }
        }
    }

    /// Finds services with similar names.
    pub(super) fn find_similar(&self, query: &Query<'_>, top: &mut TopHits<'a>) {
        for (name, service) in &self.separate {
            if let Some(distance) = service.distance_to(query) {
                top.offer(service.ranked(MatchReason::Similar, distance), Found::Custom(name));
            }
        }
        for page in &self.pages {
            let similar =
                |(_, signature): &(usize, CharSignature)| may_be_similar(*signature, query);
            for (index, signature) in page.signatures().enumerate().filter(similar) {
                let service = page.service(index);
                if let Some(distance) = similar_distance(service.compact, signature, query) {
                    self.offer(&service, MatchReason::Similar, distance, top);
                }
            }
        }
    }

    fn offer(
        &self,
        service: &ServiceEntry<'a>,
        reason: MatchReason,
        distance: usize,
        top: &mut TopHits<'a>,
    ) {
        let rank = rank(service, reason, distance);
        if top.accepts(&rank) && !self.separate_names.contains(service.folded) {
            top.offer(rank, Found::Custom(service.folded));
        }
    }
}

/// A word of a query.
struct Word<'q> {
    pattern: &'q Finder<'q>,
    complete: Finder<'q>,
}

impl Word<'_> {
    fn is_complete_on(&self, page: &Page) -> bool {
        self.complete.find(page.texts()).is_some() || self.is_complete_in(page.folded())
    }

    fn is_complete_in(&self, names: &[u8]) -> bool {
        let length = self.pattern.needle().len();
        self.pattern.find_iter(names).any(|at| {
            let before = at.checked_sub(1).map(|before| names[before]);
            ends_word(before) && ends_word(names.get(at + length).copied())
        })
    }

    /// The services on the page that contain the word, also as a part of a longer word: one bit
    /// each.
    fn services_of(&self, page: &Page, candidates: u64) -> u64 {
        let mut found = 0;
        let mut scan = |bytes: &[u8], service_at: &dyn Fn(usize) -> (usize, usize)| {
            let mut from = 0;
            while let Some(at) =
                bytes.get(from..).and_then(|remaining| self.pattern.find(remaining))
            {
                let (index, end) = service_at(from + at);
                found |= 1 << index;
                from = end;
            }
        };
        scan(page.folded(), &|at| page.service_at_folded(at));
        scan(page.texts(), &|at| page.service_at_text(at));
        found & candidates
    }

    /// The best match of the word in a service that contains it.
    fn find(&self, service: &ServiceEntry<'_>) -> (MatchReason, usize) {
        if self.is_complete_in(service.folded.as_bytes()) {
            (MatchReason::Word, NAMES)
        } else if self.complete.find(service.text.as_bytes()).is_some() {
            (MatchReason::Word, DESCRIPTIONS)
        } else if self.pattern.find(service.folded.as_bytes()).is_some() {
            (MatchReason::Substring, NAMES)
        } else {
            (MatchReason::Substring, DESCRIPTIONS)
        }
    }
}

/// Whether this byte, next to a word in a folded name, is a word boundary. Folded names are ASCII
/// there.
fn ends_word(byte: Option<u8>) -> bool {
    byte.is_none_or(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
}

fn complete_word(word: &[u8]) -> Vec<u8> {
    [b" ", word, b" "].concat()
}

/// The pattern that matches at the beginning of a line.
fn line_start(text: &[u8]) -> Vec<u8> {
    [b"\n", text].concat()
}

/// The rank of a service that has no guide and is on one page.
fn rank(service: &ServiceEntry<'_>, reason: MatchReason, distance: usize) -> Rank {
    Rank {
        reason,
        distance,
        has_no_guide: true,
        is_secondary: false,
        source: Source::Custom,
        length: service.folded.len(),
        first_port: service.first_port.number().into(),
    }
}

/// A lower bound for the ranks of all services on the page.
fn best_possible_rank(page: &Page, reason: MatchReason, distance: usize) -> Rank {
    let minimums = page.minimums();
    Rank {
        reason,
        distance,
        has_no_guide: true,
        is_secondary: false,
        source: Source::Custom,
        length: minimums.length,
        first_port: minimums.port.number().into(),
    }
}
