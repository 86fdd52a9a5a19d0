//! The registrations of a namespace by name, in pages that search and name suggestions scan without
//! visiting each record.
//!
//! Snapshots share a page until one of its records changes.
//!
//! Pages are kept because one entry with a cached text for each service, 500 lines less, makes a
//! search of a full namespace 3 to 5 times slower (by a word: 39 instead of 8 ms) and a list of it by
//! label 4 times; memory grows by 17 %. With 5,000 registrations in a namespace, searches were up to
//! a third faster. Measured with `benches/scale/run` and `cargo bench`.

mod page;

use std::borrow::Cow;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use imbl::OrdMap;

pub(super) use self::page::{Page, ServiceEntry};
use super::assignment::Record;
use super::port::{Port, Transport};
use super::service_name::fold;
use super::similarity::KnownName;

/// The key of a page. The first page begins before all records. Any other page begins with a
/// service or, if a service has more records than a page can hold, within that service.
type PageKey = (Arc<str>, Transport, Port);

/// Registrations by folded service name, transport and port.
#[derive(Clone, Debug, Default)]
pub(super) struct NameIndex {
    pages: OrdMap<PageKey, Arc<Page>>,
}

/// A page with fewer records is merged with the next one if the records of both fit in one page.
const MERGE_BELOW: usize = Page::MAX_RECORDS / 4;

impl NameIndex {
    /// Builds the index from records in any order.
    pub(super) fn of(records: &[Arc<Record>]) -> Self {
        let mut keyed: Vec<_> = records
            .iter()
            .filter_map(|record| Some((folded_name(record), position(record)?, record)))
            .collect();
        keyed.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let records: Vec<_> = keyed.into_iter().map(|(.., record)| Arc::clone(record)).collect();
        let mut pages = OrdMap::new();
        let (mut remaining, mut key) = (&records[..], first_key());
        while !remaining.is_empty() {
            let (page, others) = Page::fill(remaining);
            let next = others.first().map(|first| key_of(page.records().last(), first));
            pages.insert(key, Arc::new(page));
            (remaining, key) = (others, next.unwrap_or_else(first_key));
        }
        Self { pages }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn insert(&mut self, record: &Arc<Record>) {
        let Some(position) = position(record) else { return };
        let name = folded_name(record);
        let Some(page) = self.page_mut(&name, position) else {
            self.pages.insert(first_key(), Arc::new(Page::of(&[Arc::clone(record)])));
            return;
        };
        let page = Arc::make_mut(page);
        page.insert(record, &name, position);
        if page.records().len() > Page::MAX_RECORDS {
            let second_half = page.split();
            let key = key_of(page.records().last(), &second_half.records()[0]);
            self.pages.insert(key, Arc::new(second_half));
        }
    }

    pub(super) fn remove(&mut self, record: &Record) {
        let Some(position) = position(record) else { return };
        let name = folded_name(record);
        let Some(page) = self.page_mut(&name, position) else { return };
        let page = Arc::make_mut(page);
        page.remove(&name, position);
        if page.records().len() < MERGE_BELOW {
            self.merge(&name, position);
        }
    }

    /// Merges the page with the next one, so that the index does not degrade into many small pages.
    fn merge(&mut self, name: &str, position: (Transport, Port)) {
        let Some((key, page)) = self.page(name, position) else { return };
        let (key, page) = (key.clone(), Arc::clone(page));
        let next = self.pages.range::<_, PageKey>((Excluded(&key), Unbounded)).next();
        let space_left = Page::INITIAL_RECORDS - page.records().len();
        match next.map(|(key, next)| (key.clone(), Arc::clone(next))) {
            Some((next_key, next)) if next.records().len() <= space_left => {
                self.pages.remove(&next_key);
                let records = [page.records(), next.records()].concat();
                self.pages.insert(key, Arc::new(Page::of(&records)));
            }
            Some(_) if key == first_key() => {}
            _ if page.records().is_empty() => drop(self.pages.remove(&key)),
            _ => {}
        }
    }

    /// The page that holds, or would hold, a record with this name and position.
    fn page(&self, name: &str, position: (Transport, Port)) -> Option<(&PageKey, &Arc<Page>)> {
        let key = (name.into(), position.0, position.1);
        self.pages.get_prev(&key)
    }

    fn page_mut(&mut self, name: &str, position: (Transport, Port)) -> Option<&mut Arc<Page>> {
        let key = self.page(name, position)?.0.clone();
        self.pages.get_mut(&key)
    }

    /// The pages in order.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.pages.values().map(|page| &**page)
    }

    /// The pages that hold names at or after this one, in order. The first page may have none.
    pub(super) fn pages_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Page> + use<'a> {
        let first = self.page(name, (Transport::Tcp, Port::ZERO)).map(|(key, _)| key.clone());
        let pages = first.map(|first| self.pages.range(first..));
        pages.into_iter().flatten().map(|(_, page)| &**page)
    }

    /// The entries of the service with this name (in the form of [`fold`]), one for each page.
    pub(super) fn of_service<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = ServiceEntry<'a>> + use<'a, 'n> {
        let mut pages = self.pages_from(name);
        // The service may begin on the page after the first.
        let first = pages.next().map(|page| page.find(name));
        let others = pages.map(|page| page.find(name)).take_while(Option::is_some);
        first.into_iter().chain(others).flatten()
    }

    /// The records with this name (in the form of [`fold`]), by transport and port.
    pub(super) fn named<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'n> {
        self.of_service(name).flat_map(|entry| entry.records)
    }

    /// The record of this name with the lowest port; if several transports have it, the first of
    /// them.
    pub(super) fn first_of(&self, name: &str) -> Option<&Arc<Record>> {
        let lowest = self.of_service(name).min_by_key(|entry| entry.first_port)?;
        let has_port = |record: &&Arc<Record>| {
            record.ports.is_some_and(|ports| ports.first() == lowest.first_port)
        };
        lowest.records.iter().find(has_port)
    }

    /// The names of all services that span several pages. May include services that no longer do.
    pub(super) fn names_on_multiple_pages(&self) -> impl Iterator<Item = &str> {
        let begins_inside =
            |(_, transport, port): &&PageKey| (*transport, *port) != (Transport::Tcp, Port::ZERO);
        self.pages.keys().filter(begins_inside).map(|(name, ..)| &**name)
    }

    /// Every name, once for each page that holds it.
    pub(super) fn names(&self) -> impl Iterator<Item = KnownName<'_>> {
        self.pages().flat_map(|page| page.services()).map(|entry| KnownName {
            name: entry.folded,
            signature: entry
                .signature
                .with_hyphens(entry.folded.len().saturating_sub(entry.compact.len())),
        })
    }
}

fn position(record: &Record) -> Option<(Transport, Port)> {
    Some((record.transport?, record.ports?.first()))
}

fn folded_name(record: &Record) -> Cow<'_, str> {
    record.service_name.as_deref().map(fold).unwrap_or_default()
}

fn first_key() -> PageKey {
    ("".into(), Transport::Tcp, Port::ZERO)
}

/// The key of a page whose first record is `first` and whose predecessor ends with `last`.
fn key_of(last: Option<&Arc<Record>>, first: &Record) -> PageKey {
    let name = folded_name(first);
    let is_inside = last.is_some_and(|last| folded_name(last) == name);
    let position = position(first).filter(|_| is_inside);
    let (transport, port) = position.unwrap_or((Transport::Tcp, Port::ZERO));
    (name.as_ref().into(), transport, port)
}
