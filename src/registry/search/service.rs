//! What search knows of one service, and how well that answers a query.

use std::sync::Arc;

use itertools::Itertools;
use memchr::memmem::Finder;

use super::{Hit, MatchReason};
use crate::registry::assignment::{Record, Source};
use crate::registry::guide::SharedGuide;
use crate::registry::list::ListKey;
use crate::registry::name_index::NameIndex;
use crate::registry::service_name::fold;
use crate::registry::similarity::CharSignature;
use crate::registry::words::{append_words, compact};

/// What search knows of one service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) records: Vec<Arc<Record>>,
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
    letters: CharSignature,
    shown: String,
    is_registered: bool,
}

/// How well a service matches, best first. The fields order matches with the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) reason: MatchReason,
    /// How far from the names the words were found, or how far a name is from the query.
    pub(super) distance: usize,
    pub(super) is_unknown: bool,
    /// Whether its guide is first of all about another service.
    pub(super) is_aside: bool,
    pub(super) source: Source,
    pub(super) length: usize,
    pub(super) first_port: u32,
}

/// Where a word was found: in the names, the descriptions or the summary.
pub(super) const NAMES: usize = 0;
pub(super) const DESCRIPTIONS: usize = 1;
const SUMMARY: usize = 2;

impl Service {
    /// A service of the reference.
    pub(super) fn new(mut records: Vec<Arc<Record>>, guide: Option<Arc<SharedGuide>>) -> Self {
        records.sort_by_cached_key(|record| ListKey::of(record));
        let mut descriptions = String::new();
        let mut last = "";
        for record in &records {
            if *record.description != *last {
                append_words(&mut descriptions, &record.description);
                last = &record.description;
            }
        }
        Self::described(records, guide, &descriptions)
    }

    /// The service of this folded name that was registered. Of its records it has the first alone:
    /// they have the same name all of them.
    pub(super) fn own(
        book: &NameIndex,
        name: &str,
        guide: Option<&Arc<SharedGuide>>,
    ) -> Option<Self> {
        let first = book.first_of(name)?;
        let descriptions: String = book.of_service(name).map(|standing| standing.text).collect();
        Some(Self::described(vec![Arc::clone(first)], guide.cloned(), &descriptions))
    }

    pub(super) fn described(
        records: Vec<Arc<Record>>,
        guide: Option<Arc<SharedGuide>>,
        descriptions: &str,
    ) -> Self {
        let mut names: Vec<Name> = Vec::new();
        let mut add = |shown: &str, is_registered| {
            let compact = compact(shown);
            let letters = CharSignature::of(&compact);
            let name = Name { compact, letters, shown: shown.to_owned(), is_registered };
            if names.iter().all(|known| known.compact != name.compact) {
                names.push(name);
            }
        };
        for record in &records {
            record.service_name.iter().for_each(|name| add(name, true));
            record.aliases().iter().for_each(|alias| add(alias, false));
        }
        // A guide that is first of all about another service lends this one its words, not its names.
        let own_guide = guide.as_ref().filter(|guide| {
            let main = fold(&guide.id);
            let is_main = records
                .iter()
                .any(|record| record.service_name.as_deref().map(fold).as_ref() == Some(&main));
            is_main || guide.service_names.iter().all(|name| fold(name) != main)
        });
        if let Some(guide) = own_guide {
            add(&guide.title, false);
            add(&guide.full_name, false);
            guide.aliases.iter().for_each(|alias| add(alias, false));
        }
        let mut text = String::from(" ");
        for name in &names {
            append_words(&mut text, &name.shown);
        }
        let descriptions_at = text.len();
        text.push_str(descriptions);
        let summary_at = text.len();
        if let Some(guide) = &guide {
            append_words(&mut text, &guide.full_name);
            append_words(&mut text, &guide.category);
            append_words(&mut text, &guide.summary);
        }
        Self { records, guide, names, text, descriptions_at, summary_at }
    }

    /// How well it matches. Its texts are only read if what is found there could be taken.
    pub(super) fn rank(&self, query: &Query<'_>, takes: impl Fn(&Rank) -> bool) -> Option<Rank> {
        let by_words = || {
            let is_worth_it = takes(&self.ranked(MatchReason::Word, 0));
            is_worth_it.then(|| self.by_words(query)).flatten()
        };
        let (reason, distance) = self.by_name(query).or_else(by_words)?;
        Some(self.ranked(reason, distance))
    }

    pub(super) fn ranked(&self, reason: MatchReason, distance: usize) -> Rank {
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
    pub(super) fn nearly(&self, query: &Query<'_>) -> Option<usize> {
        let distances =
            self.names.iter().filter_map(|name| near_enough(&name.compact, name.letters, query));
        distances.min()
    }

    /// The hit of a service that was found, whose records are these, in the order of lists.
    pub(super) fn hit(&self, records: Vec<Arc<Record>>, rank: Rank, query: &Query<'_>) -> Hit {
        let matched_text = self.matched_text(&records, rank, query).unwrap_or_default();
        Hit { records, guide: self.guide.clone(), reason: rank.reason, matched_text }
    }

    fn matched_text(
        &self,
        records: &[Arc<Record>],
        rank: Rank,
        query: &Query<'_>,
    ) -> Option<String> {
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
            MatchReason::Word | MatchReason::Substring => self.text_with(records, query),
            MatchReason::Port => None,
        }
    }

    /// The text, as it was written, in which the first word of the query was found.
    fn text_with(&self, records: &[Arc<Record>], query: &Query<'_>) -> Option<String> {
        let (_, place) = self.find(query.words.first()?)?;
        let word = query.words.first()?.needle();
        match place {
            NAMES => {
                self.names.iter().map(|name| &name.shown).find(|shown| has(shown, word)).cloned()
            }
            DESCRIPTIONS => {
                let mut descriptions = records.iter().map(|record| &record.description).dedup();
                descriptions.find(|text| has(text, word)).map(ToString::to_string)
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

/// How many letters a name is away from the query, if it is near.
pub(super) fn near_enough(
    compact: &str,
    letters: CharSignature,
    query: &Query<'_>,
) -> Option<usize> {
    let allowed = query.allowed_distance();
    if compact.len().abs_diff(query.compact.len()) > allowed || !may_be_near(letters, query) {
        return None;
    }
    Some(strsim::osa_distance(compact, &query.compact)).filter(|distance| *distance <= allowed)
}

/// Whether a name of these letters can be near.
pub(super) fn may_be_near(letters: CharSignature, query: &Query<'_>) -> bool {
    let allowed = query.allowed_distance();
    allowed > 0 && letters.least_distance(query.letters) <= allowed
}

/// What is looked for.
pub(super) struct Query<'q> {
    pub(super) compact: String,
    pub(super) letters: CharSignature,
    pub(super) words: Vec<Finder<'q>>,
}

impl Query<'_> {
    /// How many letters a name may be away to be near.
    fn allowed_distance(&self) -> usize {
        match self.letters.count() {
            0..=2 => 0,
            3..=5 => 1,
            _ => 2,
        }
    }
}
