//! The search in the registrations of a namespace, page by page.
//!
//! Most services have no guide and stand on one page. Of these a page tells by itself which could be
//! among the best, and only they are looked at one by one. The others, which are few, are looked at
//! as services of the reference are.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

use super::MatchReason;
use super::best::{Best, Found};
use super::service::{DESCRIPTIONS, NAMES, Query, Rank, Service, may_be_near, near_enough};
use crate::registry::assignment::Source;
use crate::registry::name_index::{NameIndex, Page, ServiceEntry};
use crate::registry::reference::Reference;
use crate::registry::similarity::CharSignature;

/// The registrations of a namespace, as a query looks through them.
pub(super) struct Own<'a> {
    pages: Vec<&'a Page>,
    /// The services that are looked at one by one: those with a guide, those on several pages, and
    /// those that are called by a word of the query.
    apart: Vec<(&'a str, Service)>,
    /// The names of these.
    names_apart: BTreeSet<&'a str>,
}

impl<'a> Own<'a> {
    pub(super) fn of(book: &'a NameIndex, reference: &Reference, query: &Query<'_>) -> Self {
        let pages: Vec<&Page> = book.pages().collect();
        let mut names_apart: BTreeSet<&str> = BTreeSet::new();
        let guided = reference.guided_names().filter(|_| !book.is_empty());
        names_apart.extend(guided.filter_map(|name| Some(book.of_service(name).next()?.folded)));
        names_apart.extend(book.names_on_several_pages());
        for word in query.words.iter().map(|word| line(word.needle())) {
            let finder = Finder::new(&word);
            names_apart.extend(pages.iter().flat_map(|page| {
                let called_so = finder.find_iter(page.compact()).filter_map(|at| {
                    let (number, end) = page.at_compact(at);
                    (end == at + word.len()).then(|| page.standing(number).folded)
                });
                called_so.collect::<Vec<_>>()
            }));
        }
        let service = |name| Some((name, Service::own(book, name, reference.guide_of(name))?));
        let apart = names_apart.iter().copied().filter_map(service).collect();
        Self { pages, apart, names_apart }
    }

    /// Finds what the query asks for by names and by words.
    pub(super) fn find(&self, query: &Query<'_>, best: &mut Best<'a>) {
        for (name, service) in &self.apart {
            if let Some(rank) = service.rank(query, |rank| best.takes(rank)) {
                best.offer(rank, Found::Own(name));
            }
        }
        self.find_by_name(query, best);
        if !query.words.is_empty() {
            self.find_by_words(query, best);
        }
    }

    fn find_by_name(&self, query: &Query<'_>, best: &mut Best<'a>) {
        let beginning = line(query.compact.as_bytes());
        let beginning = Finder::new(&beginning);
        for page in &self.pages {
            let least = page.least();
            let more = least.compact.saturating_sub(query.compact.len());
            if more > 0 && !best.takes(&least_rank(page, MatchReason::Prefix, more)) {
                continue;
            }
            for at in beginning.find_iter(page.compact()) {
                let service = page.standing(page.at_compact(at).0);
                let (reason, more) = match service.compact.len() - query.compact.len() {
                    0 => (MatchReason::ExactName, 0),
                    more => (MatchReason::Prefix, more),
                };
                self.offer(&service, reason, more, best);
            }
        }
    }

    fn find_by_words(&self, query: &Query<'_>, best: &mut Best<'a>) {
        let wholes: Vec<Vec<u8>> = query.words.iter().map(|word| whole(word.needle())).collect();
        let words: Vec<Word<'_>> = query
            .words
            .iter()
            .zip(&wholes)
            .map(|(part, whole)| Word { part, whole: Finder::new(whole) })
            .collect();
        for page in &self.pages {
            let in_names: Vec<bool> =
                words.iter().map(|word| word.part.find(page.folded()).is_some()).collect();
            let distance =
                in_names.iter().map(|is_there| if *is_there { NAMES } else { DESCRIPTIONS });
            let distance = distance.sum();
            if !best.takes(&least_rank(page, MatchReason::Word, distance)) {
                continue;
            }
            let is_there = |(word, in_names): (&Word<'_>, &bool)| {
                *in_names || word.part.find(page.texts()).is_some()
            };
            if !words.iter().zip(&in_names).all(is_there) {
                continue;
            }
            let has_whole = words.iter().all(|word| word.is_whole_on(page));
            let reason = if has_whole { MatchReason::Word } else { MatchReason::Substring };
            if !best.takes(&least_rank(page, reason, distance)) {
                continue;
            }
            let mut with_all = u64::MAX;
            for word in &words {
                with_all &= word.services_of(page, with_all);
            }
            for service in (0..page.len()).filter(|number| with_all >> number & 1 == 1) {
                let service = page.standing(service);
                // What a name says by itself has been found.
                if service.compact.starts_with(&query.compact)
                    || !best.takes(&rank(&service, reason, distance))
                {
                    continue;
                }
                let found = words.iter().map(|word| word.find(&service));
                let (reason, distance) = found.fold((MatchReason::Word, 0), |so_far, found| {
                    (so_far.0.max(found.0), so_far.1 + found.1)
                });
                self.offer(&service, reason, distance, best);
            }
        }
    }

    /// Finds services whose names are nearly what was asked for.
    pub(super) fn find_nearly(&self, query: &Query<'_>, best: &mut Best<'a>) {
        for (name, service) in &self.apart {
            if let Some(distance) = service.nearly(query) {
                best.offer(service.ranked(MatchReason::Similar, distance), Found::Own(name));
            }
        }
        for page in &self.pages {
            let near = |(_, letters): &(usize, CharSignature)| may_be_near(*letters, query);
            for (number, letters) in page.letters().enumerate().filter(near) {
                let service = page.standing(number);
                if let Some(distance) = near_enough(service.compact, letters, query) {
                    self.offer(&service, MatchReason::Similar, distance, best);
                }
            }
        }
    }

    fn offer(
        &self,
        service: &ServiceEntry<'a>,
        reason: MatchReason,
        distance: usize,
        best: &mut Best<'a>,
    ) {
        let rank = rank(service, reason, distance);
        if best.takes(&rank) && !self.names_apart.contains(service.folded) {
            best.offer(rank, Found::Own(service.folded));
        }
    }
}

/// A word of a query.
struct Word<'q> {
    part: &'q Finder<'q>,
    whole: Finder<'q>,
}

impl Word<'_> {
    fn is_whole_on(&self, page: &Page) -> bool {
        self.whole.find(page.texts()).is_some() || self.is_whole_in(page.folded())
    }

    fn is_whole_in(&self, names: &[u8]) -> bool {
        let length = self.part.needle().len();
        self.part.find_iter(names).any(|at| {
            let before = at.checked_sub(1).map(|before| names[before]);
            ends_word(before) && ends_word(names.get(at + length).copied())
        })
    }

    /// Which of these services of the page have the word or a word that it is part of: a bit for each.
    fn services_of(&self, page: &Page, among: u64) -> u64 {
        let mut found = 0;
        let mut look = |bytes: &[u8], at_place: &dyn Fn(usize) -> (usize, usize)| {
            let mut from = 0;
            while let Some(at) = bytes.get(from..).and_then(|rest| self.part.find(rest)) {
                let (number, end) = at_place(from + at);
                found |= 1 << number;
                from = end;
            }
        };
        look(page.folded(), &|at| page.at_folded(at));
        look(page.texts(), &|at| page.at_text(at));
        found & among
    }

    /// The best place of the word in a service that has it.
    fn find(&self, service: &ServiceEntry<'_>) -> (MatchReason, usize) {
        if self.is_whole_in(service.folded.as_bytes()) {
            (MatchReason::Word, NAMES)
        } else if self.whole.find(service.text.as_bytes()).is_some() {
            (MatchReason::Word, DESCRIPTIONS)
        } else if self.part.find(service.folded.as_bytes()).is_some() {
            (MatchReason::Substring, NAMES)
        } else {
            (MatchReason::Substring, DESCRIPTIONS)
        }
    }
}

/// Whether a word ends where this stands in a folded name: the letters there are ASCII or none.
fn ends_word(byte: Option<u8>) -> bool {
    byte.is_none_or(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
}

fn whole(word: &[u8]) -> Vec<u8> {
    [b" ", word, b" "].concat()
}

/// The beginning of a line.
fn line(text: &[u8]) -> Vec<u8> {
    [b"\n", text].concat()
}

/// The rank of a service that has no guide and stands on one page.
fn rank(service: &ServiceEntry<'_>, reason: MatchReason, distance: usize) -> Rank {
    Rank {
        reason,
        distance,
        is_unknown: true,
        is_aside: false,
        source: Source::Custom,
        length: service.folded.len(),
        first_port: service.first_port.number().into(),
    }
}

/// What no service of the page has a better rank than.
fn least_rank(page: &Page, reason: MatchReason, distance: usize) -> Rank {
    let least = page.least();
    Rank {
        reason,
        distance,
        is_unknown: true,
        is_aside: false,
        source: Source::Custom,
        length: least.length,
        first_port: least.port.number().into(),
    }
}
