//! The registrations of a list and their number, computed without visiting every registration.

use std::collections::BTreeMap;
use std::sync::Arc;

use itertools::Either;
use memchr::memmem::Finder;

use super::{Filter, ListKey, ListPosition};
use crate::registry::assignment::{Record, Source, State};
use crate::registry::name_index::{Page, ServiceEntry};
use crate::registry::port::Transport;
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::usage::holders;
use crate::registry::words::append_words;

/// The first `limit` matching registrations at or after the position, and the number of all.
pub(super) fn first<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    limit: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    // Every registration has this source and this state.
    let is_requested = (filter.sources.is_empty() || filter.sources.contains(&Source::Custom))
        && (filter.states.is_empty() || filter.states.contains(&State::Assigned));
    if !is_requested {
        return (Vec::new(), 0);
    }
    let views: Vec<View<'a>> = match &filter.namespace {
        Some(name) => snapshot.view(name).into_iter().collect(),
        None => snapshot.views_after(None).collect(),
    };
    let transports = filter.matching_transports();
    if filter.filters_names() || filter.filters_texts() || filter.pool.is_some() {
        if !filter.filters_names_only() {
            return from_candidates(&views, filter, from, limit);
        }
        let total = views.iter().map(|view| count_with_prefix(*view, filter)).sum::<usize>();
        let all = views.iter().map(View::size).sum::<usize>();
        // Sorting a few matches is cheaper than scanning; many matches are found soon by a scan in
        // order.
        if total.saturating_mul(total) <= all.saturating_mul(limit) {
            return from_candidates(&views, filter, from, limit);
        }
        return (in_order(&views, filter, &transports, from, limit), total as u32);
    }
    let total = views.iter().map(|view| view.count(&transports, filter.ports)).sum();
    (in_order(&views, filter, &transports, from, limit), total)
}

impl Filter {
    /// The transports of matching registrations.
    fn matching_transports(&self) -> Vec<Transport> {
        let is_requested = |transport: &Transport| {
            self.transports.is_empty() || self.transports.contains(&Some(*transport))
        };
        Transport::ALL.into_iter().filter(is_requested).collect()
    }

    fn filters_names(&self) -> bool {
        !self.service_name_prefix.is_empty()
    }

    fn filters_texts(&self) -> bool {
        !self.assignee.is_empty() || !self.labels.pairs().is_empty()
    }

    fn filters_names_only(&self) -> bool {
        self.filters_names()
            && !self.filters_texts()
            && self.pool.is_none()
            && self.ports.is_none()
            && self.transports.is_empty()
    }

    /// The words that the text of each service with a matching record must contain.
    fn words(&self) -> Vec<String> {
        let mut words = String::new();
        append_words(&mut words, &self.assignee);
        for value in self.labels.pairs().values() {
            append_words(&mut words, value);
        }
        // Only ASCII words have the same lower-case form in a word as in a text.
        words
            .split(' ')
            .filter(|word| !word.is_empty() && word.is_ascii())
            .map(Into::into)
            .collect()
    }
}

/// The first matching registrations of a scan in list order, starting at the position.
fn in_order<'a>(
    views: &[View<'a>],
    filter: &Filter,
    transports: &[Transport],
    from: Option<&ListKey>,
    limit: usize,
) -> Vec<&'a Arc<Record>> {
    let ranges = views.iter().enumerate().flat_map(|(number, view)| {
        let ranges = view.listed_from(transports, filter.ports, from);
        ranges.map(move |range| range.map(move |(position, record)| ((position, number), record)))
    });
    let merged =
        itertools::kmerge_by(ranges, |a: &(_, &Arc<Record>), b: &(_, &Arc<Record>)| a.0 < b.0);
    merged.map(|(_, record)| record).filter(|record| filter.matches(record)).take(limit).collect()
}

/// The first matching registrations, found by checking each candidate.
fn from_candidates<'a>(
    views: &[View<'a>],
    filter: &Filter,
    from: Option<&ListKey>,
    limit: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    let words = filter.words();
    let words: Vec<_> = words.iter().map(Finder::new).collect();
    let mut first: BTreeMap<ListPosition<'a>, &'a Arc<Record>> = BTreeMap::new();
    let mut total = 0;
    let candidates = views.iter().flat_map(|view| match &filter.pool {
        Some(pool) => {
            let pools = view.pool(pool).into_iter();
            Either::Left(pools.flat_map(|pool| holders(*view, pool)))
        }
        None => Either::Right(candidates(*view, filter, &words)),
    });
    for record in candidates.filter(|record| filter.matches(record)) {
        total += 1;
        let position = ListPosition::of(record);
        let is_before_last = || first.last_key_value().is_none_or(|(last, _)| position < *last);
        if from.is_none_or(|from| from.position() <= position)
            && (first.len() < limit || is_before_last())
        {
            first.insert(position, record);
            if first.len() > limit {
                first.pop_last();
            }
        }
    }
    (first.into_values().collect(), total)
}

/// The records of services that have the requested name and words.
fn candidates<'a, 'f>(
    view: View<'a>,
    filter: &'f Filter,
    words: &'f [Finder<'f>],
) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'f> {
    let prefix = filter.service_name_prefix.as_str();
    let has_all = move |text: &[u8]| words.iter().all(|word| word.find(text).is_some());
    let services = pages_with_prefix(view, prefix)
        .filter(move |page| has_all(page.texts()))
        .flat_map(|page| page.services());
    let services = services.filter(move |service| {
        service.folded.starts_with(prefix) && has_all(service.text.as_bytes())
    });
    services.flat_map(|service: ServiceEntry<'a>| service.records)
}

/// The number of records whose names have the prefix.
fn count_with_prefix(view: View<'_>, filter: &Filter) -> usize {
    let prefix = filter.service_name_prefix.as_str();
    let has_prefix = |service: &ServiceEntry<'_>| service.folded.starts_with(prefix);
    let counts = pages_with_prefix(view, prefix).map(|page| {
        let (first, last) = (page.services().next(), page.services().next_back());
        if [first, last].iter().flatten().all(has_prefix) {
            page.records().len()
        } else {
            page.services().filter(has_prefix).map(|service| service.records.len()).sum()
        }
    });
    counts.sum()
}

/// The pages that hold names with the prefix.
fn pages_with_prefix<'a, 'f>(
    view: View<'a>,
    prefix: &'f str,
) -> impl Iterator<Item = &'a Page> + use<'a, 'f> {
    view.name_index().pages_from(prefix).take_while(move |page| {
        let is_after =
            |first: ServiceEntry<'_>| first.folded > prefix && !first.folded.starts_with(prefix);
        !page.services().next().is_some_and(is_after)
    })
}
