//! A page of a book: up to 64 registrations in a row, and what is searched of them, side by side.

use std::sync::Arc;

use crate::registry::assignment::Record;
use crate::registry::port::{Port, Transport};
use crate::registry::service_name::fold;
use crate::registry::similarity::CharSignature;
use crate::registry::words::{append_words, compact};

/// A page.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Page {
    /// By folded name, transport and port.
    records: Vec<Arc<Record>>,
    services: Vec<Span>,
    /// The names as they are folded, a line break before and after each.
    folded: String,
    /// The names without hyphens, a line break before and after each.
    compact: String,
    /// What is said of each service: words, a space before and after each.
    texts: String,
    least: Least,
}

/// Where a service ends in each of the page's parts; it begins where the one before it ends.
#[derive(Clone, Copy, Debug)]
struct Span {
    records: u32,
    folded: u32,
    compact: u32,
    texts: u32,
    first_port: Port,
    letters: CharSignature,
}

/// The least that any service of a page has.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Least {
    /// The bytes of its folded name.
    pub(in crate::registry) length: usize,
    /// The bytes of its name without hyphens.
    pub(in crate::registry) compact: usize,
    /// Its lowest port.
    pub(in crate::registry) port: Port,
}

impl Default for Least {
    fn default() -> Self {
        Self { length: usize::MAX, compact: usize::MAX, port: Port::MAX }
    }
}

/// A service, as it stands on a page.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct ServiceEntry<'a> {
    pub(in crate::registry) folded: &'a str,
    pub(in crate::registry) compact: &'a str,
    pub(in crate::registry) text: &'a str,
    pub(in crate::registry) letters: CharSignature,
    /// The lowest port that it has on the page.
    pub(in crate::registry) first_port: Port,
    pub(in crate::registry) records: &'a [Arc<Record>],
}

impl Page {
    /// The most records of a page, so that one bit of a word can stand for each.
    pub(in crate::registry) const MOST: usize = 64;
    /// How many are put on a page at once: there is to be room for more.
    pub(super) const FILLED: usize = 48;

    /// The page of these records, which are in order.
    pub(super) fn of(records: &[Arc<Record>]) -> Self {
        let mut page = Self { records: records.to_vec(), ..Self::default() };
        page.folded.push('\n');
        page.compact.push('\n');
        for of_service in records.chunk_by(|a, b| name_of(a) == name_of(b)) {
            let name = name_of(&of_service[0]);
            page.folded.push_str(&name);
            let folded = page.folded.len() as u32;
            page.folded.push('\n');
            let short = compact(&name);
            page.compact.push_str(&short);
            let compact = page.compact.len() as u32;
            page.compact.push('\n');
            append_text(&mut page.texts, of_service);
            let before = page.services.last().map_or(0, |span| span.records);
            page.services.push(Span {
                records: before + of_service.len() as u32,
                folded,
                compact,
                texts: page.texts.len() as u32,
                first_port: first_port(of_service),
                letters: CharSignature::of(&short),
            });
        }
        for text in [&mut page.folded, &mut page.compact, &mut page.texts] {
            text.shrink_to_fit();
        }
        page.services.shrink_to_fit();
        page.weigh();
        page
    }

    /// A page of the first of these records, which are in order, and the others. A service is kept
    /// together if a page can hold it.
    pub(super) fn filled(records: &[Arc<Record>]) -> (Self, &[Arc<Record>]) {
        let cut = match records.len() {
            few @ ..=Self::FILLED => few,
            _ => cut(records, Self::FILLED),
        };
        (Self::of(&records[..cut]), &records[cut..])
    }

    /// Leaves the first half where it is.
    pub(super) fn split(&mut self) -> Self {
        let cut = cut(&self.records, self.records.len() / 2);
        let later = Self::of(&self.records[cut..]);
        *self = Self::of(&self.records[..cut]);
        later
    }

    /// Puts in a record of this folded name, in the place of one that stands in its place.
    pub(super) fn put(&mut self, record: &Arc<Record>, name: &str, place: (Transport, Port)) {
        let number = match self.number(name) {
            Ok(number) => number,
            Err(number) => {
                self.insert(number, name);
                number
            }
        };
        let records = self.records_of(number);
        match self.records[records.clone()].binary_search_by_key(&place, |record| place_of(record))
        {
            Ok(at) => self.records[records.start + at] = Arc::clone(record),
            Err(at) => {
                self.records.reserve_exact(1);
                self.records.insert(records.start + at, Arc::clone(record));
                self.services[number..].iter_mut().for_each(|span| span.records += 1);
            }
        }
        self.describe(number);
    }

    /// Takes out the record of this folded name and place.
    pub(super) fn take(&mut self, name: &str, place: (Transport, Port)) {
        let Ok(number) = self.number(name) else { return };
        let records = self.records_of(number);
        let of_service = &self.records[records.clone()];
        let Ok(at) = of_service.binary_search_by_key(&place, |record| place_of(record)) else {
            return;
        };
        self.records.remove(records.start + at);
        self.services[number..].iter_mut().for_each(|span| span.records -= 1);
        if records.len() > 1 {
            self.describe(number);
        } else {
            self.remove(number);
        }
    }

    fn insert(&mut self, number: usize, name: &str) {
        let short = compact(name);
        let before = self.before(number);
        let (folded, length) = (before.folded as usize, name.len() as u32 + 1);
        let (compact, compact_length) = (before.compact as usize, short.len() as u32 + 1);
        for (names, at, name) in
            [(&mut self.folded, folded, name), (&mut self.compact, compact, short.as_str())]
        {
            if names.is_empty() {
                names.push('\n');
            }
            names.reserve_exact(name.len() + 1);
            names.insert_str(at + 1, name);
            names.insert(at + 1 + name.len(), '\n');
        }
        for span in &mut self.services[number..] {
            span.folded += length;
            span.compact += compact_length;
        }
        let span = Span {
            folded: before.folded + length,
            compact: before.compact + compact_length,
            letters: CharSignature::of(&short),
            ..before
        };
        self.services.reserve_exact(1);
        self.services.insert(number, span);
    }

    fn remove(&mut self, number: usize) {
        let (before, span) = (self.before(number), self.services.remove(number));
        let drain = |text: &mut String, from: u32, to: u32| {
            text.replace_range(from as usize..to as usize, "");
            to - from
        };
        let folded = drain(&mut self.folded, before.folded, span.folded);
        let compact = drain(&mut self.compact, before.compact, span.compact);
        let texts = drain(&mut self.texts, before.texts, span.texts);
        for span in &mut self.services[number..] {
            span.folded -= folded;
            span.compact -= compact;
            span.texts -= texts;
        }
        self.weigh();
    }

    /// Says anew what is said of a service.
    fn describe(&mut self, number: usize) {
        let of_service = &self.records[self.records_of(number)];
        let mut text = String::new();
        append_text(&mut text, of_service);
        self.services[number].first_port = first_port(of_service);
        let (from, to) = (self.before(number).texts, self.services[number].texts);
        self.texts.reserve_exact(text.len().saturating_sub((to - from) as usize));
        self.texts.replace_range(from as usize..to as usize, &text);
        for span in &mut self.services[number..] {
            span.texts = span.texts - (to - from) + text.len() as u32;
        }
        self.weigh();
    }

    fn weigh(&mut self) {
        let mut least = Least::default();
        let mut before = Span::NONE;
        for span in &self.services {
            least.length = least.length.min((span.folded - before.folded - 1) as usize);
            least.compact = least.compact.min((span.compact - before.compact - 1) as usize);
            least.port = least.port.min(span.first_port);
            before = *span;
        }
        self.least = least;
    }

    pub(in crate::registry) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    pub(in crate::registry) const fn least(&self) -> Least {
        self.least
    }

    /// The names as they are folded, a line break before and after each.
    pub(in crate::registry) fn folded(&self) -> &[u8] {
        self.folded.as_bytes()
    }

    /// The names without hyphens, a line break before and after each.
    pub(in crate::registry) fn compact(&self) -> &[u8] {
        self.compact.as_bytes()
    }

    /// What is said of the services.
    pub(in crate::registry) fn texts(&self) -> &[u8] {
        self.texts.as_bytes()
    }

    /// The number of the service whose folded name this place is in, and where that ends.
    pub(in crate::registry) fn at_folded(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.folded)
    }

    /// The number of the service whose compact name this place is in, and where that ends.
    pub(in crate::registry) fn at_compact(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.compact)
    }

    /// The number of the service whose text this place is in, and where that ends.
    pub(in crate::registry) fn at_text(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.texts)
    }

    fn at(&self, at: usize, end: impl Fn(&Span) -> u32) -> (usize, usize) {
        let number = self.services.partition_point(|span| end(span) as usize <= at);
        (number, self.services.get(number).map_or(usize::MAX, |span| end(span) as usize))
    }

    /// The services, by name.
    pub(in crate::registry) fn standings(
        &self,
    ) -> impl DoubleEndedIterator<Item = ServiceEntry<'_>> {
        (0..self.services.len()).map(|number| self.standing(number))
    }

    /// The service with this number.
    pub(in crate::registry) fn standing(&self, number: usize) -> ServiceEntry<'_> {
        let (before, span) = (self.before(number), &self.services[number]);
        ServiceEntry {
            folded: &self.folded[before.folded as usize + 1..span.folded as usize],
            compact: &self.compact[before.compact as usize + 1..span.compact as usize],
            text: &self.texts[before.texts as usize..span.texts as usize],
            letters: span.letters,
            first_port: span.first_port,
            records: &self.records[before.records as usize..span.records as usize],
        }
    }

    /// What the compact names are made of, by number.
    pub(in crate::registry) fn letters(&self) -> impl Iterator<Item = CharSignature> {
        self.services.iter().map(|span| span.letters)
    }

    /// How many services there are.
    pub(in crate::registry) fn len(&self) -> usize {
        self.services.len()
    }

    /// The service of this folded name.
    pub(super) fn find(&self, name: &str) -> Option<ServiceEntry<'_>> {
        self.number(name).ok().map(|number| self.standing(number))
    }

    /// The number of the service of this folded name, or the one it would have.
    fn number(&self, name: &str) -> Result<usize, usize> {
        self.services.binary_search_by(|span| {
            let names = &self.folded.as_bytes()[..span.folded as usize];
            let begins = memchr::memrchr(b'\n', names).map_or(0, |at| at + 1);
            names[begins..].cmp(name.as_bytes())
        })
    }

    fn records_of(&self, number: usize) -> std::ops::Range<usize> {
        self.before(number).records as usize..self.services[number].records as usize
    }

    fn before(&self, number: usize) -> Span {
        number.checked_sub(1).map_or(Span::NONE, |before| self.services[before])
    }
}

impl Span {
    /// What is before the first.
    const NONE: Self = Self {
        records: 0,
        folded: 0,
        compact: 0,
        texts: 0,
        first_port: Port::MAX,
        letters: CharSignature::NONE,
    };
}

fn name_of(record: &Record) -> std::borrow::Cow<'_, str> {
    record.service_name.as_deref().map(fold).unwrap_or_default()
}

fn place_of(record: &Record) -> (Transport, Port) {
    let first = record.ports.map_or(Port::ZERO, |ports| ports.first());
    (record.transport.unwrap_or(Transport::Tcp), first)
}

fn first_port(records: &[Arc<Record>]) -> Port {
    records.iter().map(|record| place_of(record).1).min().unwrap_or(Port::MAX)
}

/// The nearest place to this one at which a service ends, or this one if there is none near.
fn cut(records: &[Arc<Record>], near: usize) -> usize {
    let is_end = |at: usize| name_of(&records[at - 1]) != name_of(&records[at]);
    let last = Page::MOST.min(records.len() - 1);
    let (down, up) =
        ((1..=near).rev().find(|at| is_end(*at)), (near..=last).find(|at| is_end(*at)));
    match (down, up) {
        (Some(down), Some(up)) if up - near < near - down => up,
        (Some(down), _) => down,
        (None, Some(up)) => up,
        (None, None) => near,
    }
}

/// Appends what is said of a service: the words of each of its records, unless they are those of
/// the one before.
fn append_text(text: &mut String, records: &[Arc<Record>]) {
    text.push(' ');
    let mut last: Option<&Arc<Record>> = None;
    for record in records {
        if last.is_some_and(|last| says_the_same(last, record)) {
            continue;
        }
        append_words(text, &record.description);
        append_words(text, &record.assignee);
        append_words(text, &record.contact);
        for value in record.registration().iter().flat_map(|own| own.labels.pairs().values()) {
            append_words(text, value);
        }
        last = Some(record);
    }
}

fn says_the_same(a: &Record, b: &Record) -> bool {
    a.description == b.description
        && a.assignee == b.assignee
        && a.contact == b.contact
        && a.registration().map(|own| &own.labels) == b.registration().map(|own| &own.labels)
}
