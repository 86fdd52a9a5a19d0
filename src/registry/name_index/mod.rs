//! The registrations of a namespace by name, in pages that are read at a glance: what search and
//! hints look through, where nothing may cost what exists.
//!
//! A page is shared between snapshots until something on it changes.

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

/// Where a page begins: the first one before all records, any other with a service or, if a service
/// has more records than a page, within it.
type Beginning = (Arc<str>, Transport, Port);

/// Registrations by folded service name, transport and port.
#[derive(Clone, Debug, Default)]
pub(super) struct NameIndex {
    pages: OrdMap<Beginning, Arc<Page>>,
}

/// With how few records a page is joined with the next one, if both have room in one.
const FEW: usize = Page::MOST / 4;

impl NameIndex {
    /// The records, which come in no order.
    pub(super) fn of(records: &[Arc<Record>]) -> Self {
        let mut keyed: Vec<_> = records
            .iter()
            .filter_map(|record| Some((folded(record), place(record)?, record)))
            .collect();
        keyed.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let records: Vec<_> = keyed.into_iter().map(|(.., record)| Arc::clone(record)).collect();
        let mut pages = OrdMap::new();
        let (mut rest, mut begins) = (&records[..], first_beginning());
        while !rest.is_empty() {
            let (page, others) = Page::filled(rest);
            let next = others.first().map(|first| beginning(page.records().last(), first));
            pages.insert(begins, Arc::new(page));
            (rest, begins) = (others, next.unwrap_or_else(first_beginning));
        }
        Self { pages }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn put(&mut self, record: &Arc<Record>) {
        let Some(place) = place(record) else { return };
        let name = folded(record);
        let Some(page) = self.page_mut(&name, place) else {
            self.pages.insert(first_beginning(), Arc::new(Page::of(&[Arc::clone(record)])));
            return;
        };
        let page = Arc::make_mut(page);
        page.put(record, &name, place);
        if page.records().len() > Page::MOST {
            let later = page.split();
            let begins = beginning(page.records().last(), &later.records()[0]);
            self.pages.insert(begins, Arc::new(later));
        }
    }

    pub(super) fn take(&mut self, record: &Record) {
        let Some(place) = place(record) else { return };
        let name = folded(record);
        let Some(page) = self.page_mut(&name, place) else { return };
        let page = Arc::make_mut(page);
        page.take(&name, place);
        if page.records().len() < FEW {
            self.join(&name, place);
        }
    }

    /// Joins the page with the next one, so that pages do not become many with little on each.
    fn join(&mut self, name: &str, place: (Transport, Port)) {
        let Some((beginning, page)) = self.page(name, place) else { return };
        let (beginning, page) = (beginning.clone(), Arc::clone(page));
        let next = self.pages.range::<_, Beginning>((Excluded(&beginning), Unbounded)).next();
        let room = Page::FILLED - page.records().len();
        match next.map(|(key, next)| (key.clone(), Arc::clone(next))) {
            Some((key, next)) if next.records().len() <= room => {
                self.pages.remove(&key);
                let records = [page.records(), next.records()].concat();
                self.pages.insert(beginning, Arc::new(Page::of(&records)));
            }
            Some(_) if beginning == first_beginning() => {}
            _ if page.records().is_empty() => drop(self.pages.remove(&beginning)),
            _ => {}
        }
    }

    /// The page on which a record of this name and place is, if it is there.
    fn page(&self, name: &str, place: (Transport, Port)) -> Option<(&Beginning, &Arc<Page>)> {
        let key = (name.into(), place.0, place.1);
        self.pages.get_prev(&key)
    }

    fn page_mut(&mut self, name: &str, place: (Transport, Port)) -> Option<&mut Arc<Page>> {
        let key = self.page(name, place)?.0.clone();
        self.pages.get_mut(&key)
    }

    /// The pages, in order.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.pages.values().map(|page| &**page)
    }

    /// The pages on which names at or after this one stand, in order; the first may have none.
    pub(super) fn pages_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Page> + use<'a> {
        let first = self.page(name, (Transport::Tcp, Port::ZERO)).map(|(key, _)| key.clone());
        let pages = first.map(|first| self.pages.range(first..));
        pages.into_iter().flatten().map(|(_, page)| &**page)
    }

    /// What each page has of the service of this name, given as [`fold`] writes it.
    pub(super) fn of_service<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = ServiceEntry<'a>> + use<'a, 'n> {
        let mut pages = self.pages_from(name);
        // The service may begin with the page after the first.
        let begins = pages.next().map(|page| page.find(name));
        let more = pages.map(|page| page.find(name)).take_while(Option::is_some);
        begins.into_iter().chain(more).flatten()
    }

    /// The records of this name, given as [`fold`] writes it, by transport and port.
    pub(super) fn named<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Arc<Record>> + use<'a, 'n> {
        self.of_service(name).flat_map(|standing| standing.records)
    }

    /// Of the records of this name, the one with the lowest port, and of its transports the first.
    pub(super) fn first_of(&self, name: &str) -> Option<&Arc<Record>> {
        let lowest = self.of_service(name).min_by_key(|standing| standing.first_port)?;
        let has_it = |record: &&Arc<Record>| {
            record.ports.is_some_and(|ports| ports.first() == lowest.first_port)
        };
        lowest.records.iter().find(has_it)
    }

    /// The names of all services that stand on several pages, and maybe of some that once did.
    pub(super) fn names_on_several_pages(&self) -> impl Iterator<Item = &str> {
        let within =
            |(_, transport, port): &&Beginning| (*transport, *port) != (Transport::Tcp, Port::ZERO);
        self.pages.keys().filter(within).map(|(name, ..)| &**name)
    }

    /// Every name, once for each page it is on.
    pub(super) fn names(&self) -> impl Iterator<Item = KnownName<'_>> {
        self.pages().flat_map(|page| page.standings()).map(|standing| KnownName {
            name: standing.folded,
            letters: standing
                .letters
                .with_hyphens(standing.folded.len().saturating_sub(standing.compact.len())),
        })
    }
}

fn place(record: &Record) -> Option<(Transport, Port)> {
    Some((record.transport?, record.ports?.first()))
}

fn folded(record: &Record) -> Cow<'_, str> {
    record.service_name.as_deref().map(fold).unwrap_or_default()
}

fn first_beginning() -> Beginning {
    ("".into(), Transport::Tcp, Port::ZERO)
}

/// Where the page begins whose first record this is, after a page with this last one.
fn beginning(last: Option<&Arc<Record>>, first: &Record) -> Beginning {
    let name = folded(first);
    let is_within = last.is_some_and(|last| folded(last) == name);
    let place = place(first).filter(|_| is_within);
    let (transport, port) = place.unwrap_or((Transport::Tcp, Port::ZERO));
    (name.as_ref().into(), transport, port)
}
