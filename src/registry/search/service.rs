//! The searchable form of a service, and its rank for a query.

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

/// The searchable form of a service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) records: Vec<Arc<Record>>,
    guide: Option<Arc<SharedGuide>>,
    names: Vec<Name>,
    /// All words in lower case, separated by spaces: names, then descriptions, then the guide's
    /// summary.
    text: String,
    descriptions_at: usize,
    summary_at: usize,
}

#[derive(Debug)]
struct Name {
    /// The name without hyphens and spaces.
    compact: String,
    signature: CharSignature,
    shown: String,
    is_registered: bool,
}

/// How well a service matches; lower is better. The fields order matches of the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) reason: MatchReason,
    /// The distance of the matching texts from the names, or of a similar name from the query.
    pub(super) distance: usize,
    pub(super) has_no_guide: bool,
    /// Whether its guide mainly describes another service.
    pub(super) is_secondary: bool,
    pub(super) source: Source,
    pub(super) length: usize,
    pub(super) first_port: u32,
}

/// The part of the texts that contains a word: names, descriptions or summary.
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
            if *record.details.description != *last {
                append_words(&mut descriptions, &record.details.description);
                last = &record.details.description;
            }
        }
        Self::with_descriptions(records, guide, &descriptions)
    }

    /// The registered service with this folded name. Contains only the first of its records,
    /// because all have the same name.
    pub(super) fn custom(
        name_index: &NameIndex,
        name: &str,
        guide: Option<&Arc<SharedGuide>>,
    ) -> Option<Self> {
        let first = name_index.first_of(name)?;
        let descriptions: String = name_index.of_service(name).map(|entry| entry.text).collect();
        Some(Self::with_descriptions(vec![Arc::clone(first)], guide.cloned(), &descriptions))
    }

    pub(super) fn with_descriptions(
        records: Vec<Arc<Record>>,
        guide: Option<Arc<SharedGuide>>,
        descriptions: &str,
    ) -> Self {
        let mut names: Vec<Name> = Vec::new();
        let mut add = |shown: &str, is_registered| {
            let compact = compact(shown);
            let signature = CharSignature::of(&compact);
            let name = Name { compact, signature, shown: shown.to_owned(), is_registered };
            if names.iter().all(|known| known.compact != name.compact) {
                names.push(name);
            }
        };
        for record in &records {
            record.service_name.iter().for_each(|name| add(name, true));
            record.aliases().iter().for_each(|alias| add(alias, false));
        }
        // If the guide mainly describes another service, only its words apply to this one, not its
        // names.
        let naming_guide = guide.as_ref().filter(|guide| {
            let main = fold(&guide.id);
            let is_main = records
                .iter()
                .any(|record| record.service_name.as_deref().map(fold).as_ref() == Some(&main));
            is_main || guide.service_names.iter().all(|name| fold(name) != main)
        });
        if let Some(guide) = naming_guide {
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

    /// The rank for the query. Reads the texts only if `accepts` could accept a match found there.
    pub(super) fn rank(&self, query: &Query<'_>, accepts: impl Fn(&Rank) -> bool) -> Option<Rank> {
        let match_words = || {
            let is_acceptable = accepts(&self.ranked(MatchReason::Word, 0));
            is_acceptable.then(|| self.match_words(query)).flatten()
        };
        let (reason, distance) = self.match_name(query).or_else(match_words)?;
        Some(self.ranked(reason, distance))
    }

    pub(super) fn ranked(&self, reason: MatchReason, distance: usize) -> Rank {
        let first = self.records.first();
        let name = first.and_then(|record| record.service_name.as_deref());
        Rank {
            reason,
            distance,
            has_no_guide: self.guide.is_none(),
            is_secondary: self
                .guide
                .as_ref()
                .is_some_and(|guide| name.map(fold) != Some(fold(&guide.id))),
            source: first.map_or(Source::Common, |record| record.source()),
            length: name.map_or(usize::MAX, str::len),
            first_port: first.map_or(u32::MAX, |record| ListKey::of(record).port),
        }
    }

    fn match_name(&self, query: &Query<'_>) -> Option<(MatchReason, usize)> {
        let exact = self.names.iter().find(|name| name.compact == query.compact);
        if let Some(name) = exact {
            let reason =
                if name.is_registered { MatchReason::ExactName } else { MatchReason::Alias };
            return Some((reason, 0));
        }
        let longer = self.names.iter().filter(|name| name.compact.starts_with(&query.compact));
        longer.map(|name| name.compact.len() - query.compact.len()).min().map(|extra| {
            // All names with this prefix are equally good; the shortest determines the rank.
            (MatchReason::Prefix, extra)
        })
    }

    fn match_words(&self, query: &Query<'_>) -> Option<(MatchReason, usize)> {
        let mut weakest = MatchReason::Word;
        let mut distance = 0;
        for word in &query.words {
            let (reason, part) = self.find(word)?;
            weakest = weakest.max(reason);
            distance += part;
        }
        // A word that equals a name outweighs all other words.
        if query.words.iter().any(|word| self.is_named(word.needle())) {
            return Some((MatchReason::Word, 0));
        }
        (!query.words.is_empty()).then_some((weakest, distance))
    }

    fn is_named(&self, word: &[u8]) -> bool {
        self.names.iter().any(|name| name.compact.as_bytes() == word)
    }

    /// The best match of a word: complete words before parts, names before other texts.
    fn find(&self, word: &Finder<'_>) -> Option<(MatchReason, usize)> {
        let bytes = self.text.as_bytes();
        let mut best = None;
        for at in word.find_iter(bytes) {
            let is_complete = bytes[at - 1] == b' ' && bytes[at + word.needle().len()] == b' ';
            let reason = if is_complete { MatchReason::Word } else { MatchReason::Substring };
            let part = match at {
                _ if at < self.descriptions_at => NAMES,
                _ if at < self.summary_at => DESCRIPTIONS,
                _ => SUMMARY,
            };
            best = Some(best.map_or((reason, part), |best| (reason, part).min(best)));
            if best == Some((MatchReason::Word, NAMES)) {
                break;
            }
        }
        best
    }

    /// The edit distance of the most similar name, if one is similar.
    pub(super) fn distance_to(&self, query: &Query<'_>) -> Option<usize> {
        let distances = self
            .names
            .iter()
            .filter_map(|name| similar_distance(&name.compact, name.signature, query));
        distances.min()
    }

    /// The hit for this service with these records, which are in list order.
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
        let shown_name = |predicate: &dyn Fn(&Name) -> bool| {
            self.names.iter().find(|name| predicate(name)).map(|name| name.shown.clone())
        };
        match rank.reason {
            MatchReason::ExactName | MatchReason::Alias => {
                shown_name(&|name| name.compact == query.compact)
            }
            MatchReason::Prefix => shown_name(&|name| name.compact.starts_with(&query.compact)),
            MatchReason::Similar => shown_name(&|name| {
                strsim::osa_distance(&name.compact, &query.compact) == rank.distance
            }),
            MatchReason::Word | MatchReason::Substring => self.text_with(records, query),
            MatchReason::Port => None,
        }
    }

    /// The original text that contains the first word of the query.
    fn text_with(&self, records: &[Arc<Record>], query: &Query<'_>) -> Option<String> {
        let (_, part) = self.find(query.words.first()?)?;
        let word = query.words.first()?.needle();
        match part {
            NAMES => self
                .names
                .iter()
                .map(|name| &name.shown)
                .find(|shown| contains_word(shown, word))
                .cloned(),
            DESCRIPTIONS => {
                let mut descriptions =
                    records.iter().map(|record| &record.details.description).dedup();
                descriptions.find(|text| contains_word(text, word)).map(ToString::to_string)
            }
            _ => self.guide.as_ref().map(|guide| guide.summary.clone()),
        }
    }
}

fn contains_word(text: &str, word: &[u8]) -> bool {
    let mut words = String::from(" ");
    append_words(&mut words, text);
    memchr::memmem::find(words.as_bytes(), word).is_some()
}

/// The edit distance between a name and the query, if they are similar.
pub(super) fn similar_distance(
    compact: &str,
    signature: CharSignature,
    query: &Query<'_>,
) -> Option<usize> {
    let allowed = query.allowed_distance();
    if compact.len().abs_diff(query.compact.len()) > allowed || !may_be_similar(signature, query) {
        return None;
    }
    Some(strsim::osa_distance(compact, &query.compact)).filter(|distance| *distance <= allowed)
}

/// Whether a name with this signature can be similar.
pub(super) fn may_be_similar(signature: CharSignature, query: &Query<'_>) -> bool {
    let allowed = query.allowed_distance();
    allowed > 0 && signature.least_distance(query.signature) <= allowed
}

/// A parsed query.
pub(super) struct Query<'q> {
    pub(super) compact: String,
    pub(super) signature: CharSignature,
    pub(super) words: Vec<Finder<'q>>,
}

impl Query<'_> {
    /// The maximum edit distance of a similar name.
    fn allowed_distance(&self) -> usize {
        match self.signature.count() {
            0..=2 => 0,
            3..=5 => 1,
            _ => 2,
        }
    }
}
