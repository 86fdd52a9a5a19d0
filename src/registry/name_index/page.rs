//! A page of a name index: up to 64 consecutive registrations and their searchable texts in
//! contiguous buffers.

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
    /// The folded names, with a line feed before and after each.
    folded: String,
    /// The names without hyphens, with a line feed before and after each.
    compact: String,
    /// The words of each service, with a space before and after each word.
    texts: String,
    minimums: Minimums,
}

/// Where a service ends in each of the page's buffers. It begins where the previous one ends.
#[derive(Clone, Copy, Debug)]
struct Span {
    records: u32,
    folded: u32,
    compact: u32,
    texts: u32,
    first_port: Port,
    signature: CharSignature,
}

/// The lowest values of any service on a page: lower bounds that allow search to skip it.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Minimums {
    /// The length of the folded name in bytes.
    pub(in crate::registry) length: usize,
    /// The length of the name without hyphens in bytes.
    pub(in crate::registry) compact: usize,
    /// The lowest port.
    pub(in crate::registry) port: Port,
}

impl Default for Minimums {
    fn default() -> Self {
        Self { length: usize::MAX, compact: usize::MAX, port: Port::MAX }
    }
}

/// A service on a page.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct ServiceEntry<'a> {
    pub(in crate::registry) folded: &'a str,
    pub(in crate::registry) compact: &'a str,
    pub(in crate::registry) text: &'a str,
    pub(in crate::registry) signature: CharSignature,
    /// The lowest port of its records on the page.
    pub(in crate::registry) first_port: Port,
    pub(in crate::registry) records: &'a [Arc<Record>],
}

impl Page {
    /// The maximum number of records, so that a `u64` can have one bit for each.
    pub(in crate::registry) const MAX_RECORDS: usize = 64;
    /// How many records a new page gets, which leaves space for more.
    pub(super) const INITIAL_RECORDS: usize = 48;

    /// Builds a page from these records, which are in order.
    pub(super) fn of(records: &[Arc<Record>]) -> Self {
        let mut page = Self { records: records.to_vec(), ..Self::default() };
        page.folded.push('\n');
        page.compact.push('\n');
        for of_service in records.chunk_by(|a, b| name_of(a) == name_of(b)) {
            let name = name_of(&of_service[0]);
            page.folded.push_str(&name);
            let folded = page.folded.len() as u32;
            page.folded.push('\n');
            let compact_name = compact(&name);
            page.compact.push_str(&compact_name);
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
                signature: CharSignature::of(&compact_name),
            });
        }
        for text in [&mut page.folded, &mut page.compact, &mut page.texts] {
            text.shrink_to_fit();
        }
        page.services.shrink_to_fit();
        page.update_minimums();
        page
    }

    /// Builds a page from the first of these records, which are in order, and returns the remaining
    /// ones. Does not split a service if a page can hold it.
    pub(super) fn fill(records: &[Arc<Record>]) -> (Self, &[Arc<Record>]) {
        let cut = match records.len() {
            few @ ..=Self::INITIAL_RECORDS => few,
            _ => cut(records, Self::INITIAL_RECORDS),
        };
        (Self::of(&records[..cut]), &records[cut..])
    }

    /// Moves the second half to a new page, which it returns.
    pub(super) fn split(&mut self) -> Self {
        let cut = cut(&self.records, self.records.len() / 2);
        let second_half = Self::of(&self.records[cut..]);
        *self = Self::of(&self.records[..cut]);
        second_half
    }

    /// Inserts a record with this folded name. Replaces the record at the same position, if any.
    pub(super) fn insert(&mut self, record: &Arc<Record>, name: &str, position: (Transport, Port)) {
        let index = match self.index_of(name) {
            Ok(index) => index,
            Err(index) => {
                self.insert_service(index, name);
                index
            }
        };
        let records = self.records_of(index);
        match self.records[records.clone()]
            .binary_search_by_key(&position, |record| position_of(record))
        {
            Ok(at) => self.records[records.start + at] = Arc::clone(record),
            Err(at) => {
                self.records.reserve_exact(1);
                self.records.insert(records.start + at, Arc::clone(record));
                self.services[index..].iter_mut().for_each(|span| span.records += 1);
            }
        }
        self.update_service(index);
    }

    /// Removes the record with this folded name and position.
    pub(super) fn remove(&mut self, name: &str, position: (Transport, Port)) {
        let Ok(index) = self.index_of(name) else { return };
        let records = self.records_of(index);
        let of_service = &self.records[records.clone()];
        let Ok(at) = of_service.binary_search_by_key(&position, |record| position_of(record))
        else {
            return;
        };
        self.records.remove(records.start + at);
        self.services[index..].iter_mut().for_each(|span| span.records -= 1);
        if records.len() > 1 {
            self.update_service(index);
        } else {
            self.remove_service(index);
        }
    }

    fn insert_service(&mut self, index: usize, name: &str) {
        let compact_name = compact(name);
        let before = self.before(index);
        let (folded, length) = (before.folded as usize, name.len() as u32 + 1);
        let (compact, compact_length) = (before.compact as usize, compact_name.len() as u32 + 1);
        for (names, at, name) in
            [(&mut self.folded, folded, name), (&mut self.compact, compact, compact_name.as_str())]
        {
            if names.is_empty() {
                names.push('\n');
            }
            names.reserve_exact(name.len() + 1);
            names.insert_str(at + 1, name);
            names.insert(at + 1 + name.len(), '\n');
        }
        for span in &mut self.services[index..] {
            span.folded += length;
            span.compact += compact_length;
        }
        let span = Span {
            folded: before.folded + length,
            compact: before.compact + compact_length,
            signature: CharSignature::of(&compact_name),
            ..before
        };
        self.services.reserve_exact(1);
        self.services.insert(index, span);
    }

    fn remove_service(&mut self, index: usize) {
        let (before, span) = (self.before(index), self.services.remove(index));
        let drain = |text: &mut String, from: u32, to: u32| {
            text.replace_range(from as usize..to as usize, "");
            to - from
        };
        let folded = drain(&mut self.folded, before.folded, span.folded);
        let compact = drain(&mut self.compact, before.compact, span.compact);
        let texts = drain(&mut self.texts, before.texts, span.texts);
        for span in &mut self.services[index..] {
            span.folded -= folded;
            span.compact -= compact;
            span.texts -= texts;
        }
        self.update_minimums();
    }

    /// Updates the text and the first port of a service from its records.
    fn update_service(&mut self, index: usize) {
        let of_service = &self.records[self.records_of(index)];
        let mut text = String::new();
        append_text(&mut text, of_service);
        self.services[index].first_port = first_port(of_service);
        let (from, to) = (self.before(index).texts, self.services[index].texts);
        self.texts.reserve_exact(text.len().saturating_sub((to - from) as usize));
        self.texts.replace_range(from as usize..to as usize, &text);
        for span in &mut self.services[index..] {
            span.texts = span.texts - (to - from) + text.len() as u32;
        }
        self.update_minimums();
    }

    fn update_minimums(&mut self) {
        let mut minimums = Minimums::default();
        let mut before = Span::NONE;
        for span in &self.services {
            minimums.length = minimums.length.min((span.folded - before.folded - 1) as usize);
            minimums.compact = minimums.compact.min((span.compact - before.compact - 1) as usize);
            minimums.port = minimums.port.min(span.first_port);
            before = *span;
        }
        self.minimums = minimums;
    }

    pub(in crate::registry) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    pub(in crate::registry) const fn minimums(&self) -> Minimums {
        self.minimums
    }

    /// The folded names, with a line feed before and after each.
    pub(in crate::registry) fn folded(&self) -> &[u8] {
        self.folded.as_bytes()
    }

    /// The names without hyphens, with a line feed before and after each.
    pub(in crate::registry) fn compact(&self) -> &[u8] {
        self.compact.as_bytes()
    }

    /// The words of all services.
    pub(in crate::registry) fn texts(&self) -> &[u8] {
        self.texts.as_bytes()
    }

    /// The index of the service whose folded name contains this offset, and the end of the name.
    pub(in crate::registry) fn service_at_folded(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.folded)
    }

    /// The index of the service whose compact name contains this offset, and the end of the name.
    pub(in crate::registry) fn service_at_compact(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.compact)
    }

    /// The index of the service whose text contains this offset, and the end of the text.
    pub(in crate::registry) fn service_at_text(&self, at: usize) -> (usize, usize) {
        self.at(at, |span| span.texts)
    }

    fn at(&self, at: usize, end: impl Fn(&Span) -> u32) -> (usize, usize) {
        let index = self.services.partition_point(|span| end(span) as usize <= at);
        (index, self.services.get(index).map_or(usize::MAX, |span| end(span) as usize))
    }

    /// The services by name.
    pub(in crate::registry) fn services(
        &self,
    ) -> impl DoubleEndedIterator<Item = ServiceEntry<'_>> {
        (0..self.services.len()).map(|index| self.service(index))
    }

    /// The service with this index.
    pub(in crate::registry) fn service(&self, index: usize) -> ServiceEntry<'_> {
        let (before, span) = (self.before(index), &self.services[index]);
        ServiceEntry {
            folded: &self.folded[before.folded as usize + 1..span.folded as usize],
            compact: &self.compact[before.compact as usize + 1..span.compact as usize],
            text: &self.texts[before.texts as usize..span.texts as usize],
            signature: span.signature,
            first_port: span.first_port,
            records: &self.records[before.records as usize..span.records as usize],
        }
    }

    /// The signatures of the compact names, by index.
    pub(in crate::registry) fn signatures(&self) -> impl Iterator<Item = CharSignature> {
        self.services.iter().map(|span| span.signature)
    }

    /// The number of services.
    pub(in crate::registry) fn len(&self) -> usize {
        self.services.len()
    }

    /// The service with this folded name.
    pub(super) fn find(&self, name: &str) -> Option<ServiceEntry<'_>> {
        self.index_of(name).ok().map(|index| self.service(index))
    }

    /// The index of the service with this folded name, or the index at which to insert it.
    fn index_of(&self, name: &str) -> Result<usize, usize> {
        self.services.binary_search_by(|span| {
            let names = &self.folded.as_bytes()[..span.folded as usize];
            let begins = memchr::memrchr(b'\n', names).map_or(0, |at| at + 1);
            names[begins..].cmp(name.as_bytes())
        })
    }

    fn records_of(&self, index: usize) -> std::ops::Range<usize> {
        self.before(index).records as usize..self.services[index].records as usize
    }

    fn before(&self, index: usize) -> Span {
        index.checked_sub(1).map_or(Span::NONE, |before| self.services[before])
    }
}

impl Span {
    /// The start of the first span.
    const NONE: Self = Self {
        records: 0,
        folded: 0,
        compact: 0,
        texts: 0,
        first_port: Port::MAX,
        signature: CharSignature::NONE,
    };
}

fn name_of(record: &Record) -> std::borrow::Cow<'_, str> {
    record.service_name.as_deref().map(fold).unwrap_or_default()
}

fn position_of(record: &Record) -> (Transport, Port) {
    let first = record.ports.map_or(Port::ZERO, |ports| ports.first());
    (record.transport.unwrap_or(Transport::Tcp), first)
}

fn first_port(records: &[Arc<Record>]) -> Port {
    records.iter().map(|record| position_of(record).1).min().unwrap_or(Port::MAX)
}

/// The boundary between two services nearest to `near`, or `near` if there is none in range.
fn cut(records: &[Arc<Record>], near: usize) -> usize {
    let is_end = |at: usize| name_of(&records[at - 1]) != name_of(&records[at]);
    let last = Page::MAX_RECORDS.min(records.len() - 1);
    let (down, up) =
        ((1..=near).rev().find(|at| is_end(*at)), (near..=last).find(|at| is_end(*at)));
    match (down, up) {
        (Some(down), Some(up)) if up - near < near - down => up,
        (Some(down), _) => down,
        (None, Some(up)) => up,
        (None, None) => near,
    }
}

/// Appends the words of each record of a service, except where they equal those of the previous
/// record.
fn append_text(text: &mut String, records: &[Arc<Record>]) {
    text.push(' ');
    let mut last: Option<&Arc<Record>> = None;
    for record in records {
        if last.is_some_and(|last| has_same_text(last, record)) {
            continue;
        }
        for searched in record.details.searched() {
            append_words(text, searched);
        }
        last = Some(record);
    }
}

fn has_same_text(a: &Record, b: &Record) -> bool {
    a.details.searched().eq(b.details.searched())
}
