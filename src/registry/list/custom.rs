//! The registrations of a list, and how many there are of them, without a look at all that exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use itertools::Either;
use memchr::memmem::Finder;

use super::{Filter, ListKey, Place};
use crate::registry::assignment::{Record, Source, State};
use crate::registry::name_index::{Page, ServiceEntry};
use crate::registry::port::Transport;
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::usage::holders;
use crate::registry::words::append_words;

/// Of the registrations that pass, the first from the place on, and how many there are.
pub(super) fn first<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    from: Option<&ListKey>,
    most: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    // A registration is of this source and in this state.
    let is_asked = (filter.sources.is_empty() || filter.sources.contains(&Source::Custom))
        && (filter.states.is_empty() || filter.states.contains(&State::Assigned));
    if !is_asked {
        return (Vec::new(), 0);
    }
    let views: Vec<View<'a>> = match &filter.namespace {
        Some(name) => snapshot.view(name).into_iter().collect(),
        None => snapshot.views_after(None).collect(),
    };
    let transports = filter.own_transports();
    if filter.is_about_names() || filter.is_about_what_is_said() || filter.pool.is_some() {
        if !filter.is_about_names_alone() {
            return among(&views, filter, from, most);
        }
        let total = views.iter().map(|view| with_prefix(*view, filter)).sum::<usize>();
        let all = views.iter().map(View::size).sum::<usize>();
        // Few are sorted; many are met again and again on the way through all.
        if total.saturating_mul(total) <= all.saturating_mul(most) {
            return among(&views, filter, from, most);
        }
        return (in_order(&views, filter, &transports, from, most), total as u32);
    }
    let total = views.iter().map(|view| view.count(&transports, filter.ports)).sum();
    (in_order(&views, filter, &transports, from, most), total)
}

impl Filter {
    /// The transports of the registrations that pass.
    fn own_transports(&self) -> Vec<Transport> {
        let is_asked = |transport: &Transport| {
            self.transports.is_empty() || self.transports.contains(&Some(*transport))
        };
        Transport::ALL.into_iter().filter(is_asked).collect()
    }

    fn is_about_names(&self) -> bool {
        !self.service_name_prefix.is_empty()
    }

    fn is_about_what_is_said(&self) -> bool {
        !self.assignee.is_empty() || !self.labels.pairs().is_empty()
    }

    fn is_about_names_alone(&self) -> bool {
        self.is_about_names()
            && !self.is_about_what_is_said()
            && self.pool.is_none()
            && self.ports.is_none()
            && self.transports.is_empty()
    }

    /// The words that stand in the texts of every service of which a record passes.
    fn words(&self) -> Vec<String> {
        let mut words = String::new();
        append_words(&mut words, &self.assignee);
        for value in self.labels.pairs().values() {
            append_words(&mut words, value);
        }
        // Only ASCII has the same small letters in a word as in a text.
        words
            .split(' ')
            .filter(|word| !word.is_empty() && word.is_ascii())
            .map(Into::into)
            .collect()
    }
}

/// The first that pass on the way through all, from the place on.
fn in_order<'a>(
    views: &[View<'a>],
    filter: &Filter,
    transports: &[Transport],
    from: Option<&ListKey>,
    most: usize,
) -> Vec<&'a Arc<Record>> {
    let runs = views.iter().enumerate().flat_map(|(number, view)| {
        let runs = view.listed_from(transports, filter.ports, from);
        runs.map(move |run| run.map(move |(place, record)| ((place, number), record)))
    });
    let merged =
        itertools::kmerge_by(runs, |a: &(_, &Arc<Record>), b: &(_, &Arc<Record>)| a.0 < b.0);
    merged.map(|(_, record)| record).filter(|record| filter.passes(record)).take(most).collect()
}

/// The first of those that pass, told by looking at each that could.
fn among<'a>(
    views: &[View<'a>],
    filter: &Filter,
    from: Option<&ListKey>,
    most: usize,
) -> (Vec<&'a Arc<Record>>, u32) {
    let words = filter.words();
    let words: Vec<_> = words.iter().map(Finder::new).collect();
    let mut first: BTreeMap<Place<'a>, &'a Arc<Record>> = BTreeMap::new();
    let mut total = 0;
    let candidates = views.iter().flat_map(|view| match &filter.pool {
        Some(pool) => {
            let pools = view.pool(pool).into_iter();
            Either::Left(pools.flat_map(|pool| holders(*view, pool)))
        }
        None => Either::Right(candidates(*view, filter, &words)),
    });
    for record in candidates.filter(|record| filter.passes(record)) {
        total += 1;
        let place = Place::of(record);
        let is_before_last = || first.last_key_value().is_none_or(|(last, _)| place < *last);
        if from.is_none_or(|from| from.place() <= place) && (first.len() < most || is_before_last())
        {
            first.insert(place, record);
            if first.len() > most {
                first.pop_last();
            }
        }
    }
    (first.into_values().collect(), total)
}

/// The records of services that have the name and the words that are asked for.
fn candidates<'a, 'f>(
    view: View<'a>,
    filter: &'f Filter,
    words: &'f [Finder<'f>],
) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'f> {
    let prefix = filter.service_name_prefix.as_str();
    let has_all = move |text: &[u8]| words.iter().all(|word| word.find(text).is_some());
    let services = pages_with(view, prefix)
        .filter(move |page| has_all(page.texts()))
        .flat_map(|page| page.standings());
    let services = services.filter(move |service| {
        service.folded.starts_with(prefix) && has_all(service.text.as_bytes())
    });
    services.flat_map(|service: ServiceEntry<'a>| service.records)
}

/// How many records have names that begin so.
fn with_prefix(view: View<'_>, filter: &Filter) -> usize {
    let prefix = filter.service_name_prefix.as_str();
    let begins_so = |service: &ServiceEntry<'_>| service.folded.starts_with(prefix);
    let counts = pages_with(view, prefix).map(|page| {
        let (first, last) = (page.standings().next(), page.standings().next_back());
        if [first, last].iter().flatten().all(begins_so) {
            page.records().len()
        } else {
            page.standings().filter(begins_so).map(|service| service.records.len()).sum()
        }
    });
    counts.sum()
}

/// The pages on which names stand that begin so.
fn pages_with<'a, 'f>(
    view: View<'a>,
    prefix: &'f str,
) -> impl Iterator<Item = &'a Page> + use<'a, 'f> {
    view.book().pages_from(prefix).take_while(move |page| {
        let is_beyond =
            |first: ServiceEntry<'_>| first.folded > prefix && !first.folded.starts_with(prefix);
        !page.standings().next().is_some_and(is_beyond)
    })
}
