//! The data that is the same for all namespaces: IANA's registry, the common uses and the guides,
//! with their indexes. Immutable.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::assignment::{Assignment, Record, Source, State, Uid};
use super::counts::Counts;
use super::guide::{Guide, SharedGuide};
use super::join::Join;
use super::list::ListKey;
use super::port::{Port, PortRange, Transport};
use super::search::SearchIndex;
use super::service_name::fold;
use super::similarity::{CharSignature, KnownName};

/// The edition of IANA's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its newest date, `YYYY-MM-DD`.
    pub iana_date: String,
    /// The SHA-256 of its file in hexadecimal.
    pub iana_sha256: String,
}

/// IANA's registry, the common uses and the guides.
///
/// Never changes: another edition is another value, with separate records. All data that refers to its
/// records by index, or is derived from them, is a part of it or is discarded with it.
#[derive(Debug)]
pub struct Reference {
    edition: Edition,
    records: Vec<Arc<Record>>,
    guides: Vec<Arc<SharedGuide>>,
    by_port: PortIndex,
    by_name: HashMap<String, Vec<u32>>,
    by_uid: HashMap<Uid, u32>,
    guide_by_service: HashMap<String, u32>,
    guide_by_alias: HashMap<String, u32>,
    names: Vec<(CharSignature, Box<str>)>,
    counts: OnceLock<[Counts; 2]>,
    list_order: Vec<u32>,
    search: SearchIndex,
    labels: LabelTable,
}

impl Reference {
    /// Indexes the records (IANA's in registry order before the common uses) and the guides.
    #[must_use]
    pub fn new(
        edition: Edition,
        assignments: Vec<Assignment>,
        guides: Vec<Guide>,
        join: &impl Join,
    ) -> Self {
        let records: Vec<_> = assignments.into_iter().map(Record::share).collect();
        let guides: Vec<_> = guides.into_iter().map(SharedGuide::share).collect();

        let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
        let mut by_uid = HashMap::with_capacity(records.len());
        for (number, record) in (0u32..).zip(&records) {
            if let Some(name) = &record.service_name {
                by_name.entry(fold(name).into_owned()).or_default().push(number);
            }
            by_uid.insert(record.uid, number);
        }
        let mut guide_by_service = HashMap::new();
        let mut guide_by_alias = HashMap::new();
        for (number, guide) in (0u32..).zip(&guides) {
            guide_by_service
                .extend(guide.service_names.iter().map(|name| (fold(name).into_owned(), number)));
            guide_by_alias
                .extend(guide.aliases.iter().map(|alias| (fold(alias).into_owned(), number)));
        }
        // Aliases are unique. If a title equals an alias or an earlier title, it is ignored.
        for (number, guide) in (0u32..).zip(&guides) {
            for words in [&guide.title, &guide.full_name] {
                guide_by_alias.entry(fold(words).into_owned()).or_insert(number);
            }
        }
        let names = by_name.keys().chain(guide_by_alias.keys());
        let names = names.map(|name| (CharSignature::of(name), name.as_str().into())).collect();
        let (search, (by_port, labels, list_order)) = join.join(
            || SearchIndex::new(&records, &guides, &guide_by_service),
            || {
                let by_port = PortIndex::new(&records);
                let labels = LabelTable::new(&records, &by_port);
                (by_port, labels, list_order(&records))
            },
        );
        Self {
            edition,
            records,
            guides,
            by_port,
            by_name,
            by_uid,
            guide_by_service,
            guide_by_alias,
            names,
            counts: OnceLock::new(),
            list_order,
            search,
            labels,
        }
    }

    /// The edition of IANA's registry.
    #[must_use]
    pub const fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Every record, IANA's in registry order before the common uses.
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Every guide.
    #[must_use]
    pub fn guides(&self) -> &[Arc<SharedGuide>] {
        &self.guides
    }

    /// The record counts of IANA's registry and of the common uses.
    pub(super) fn counts(&self) -> &[Counts; 2] {
        let count = |source| Counts::of(source, self.records.iter());
        self.counts.get_or_init(|| [Source::Iana, Source::Common].map(count))
    }

    /// The records of the port: IANA's (the narrower one where they overlap), then the common uses.
    pub fn at(&self, port: Port) -> impl Iterator<Item = &Arc<Record>> {
        self.by_port.at(port).iter().map(|&number| &self.records[number as usize])
    }

    /// The records with this service name (in the form of [`fold`]), in order.
    pub fn named(&self, folded: &str) -> impl Iterator<Item = &Arc<Record>> {
        let numbers = self.by_name.get(folded).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().map(|&number| &self.records[number as usize])
    }

    /// The record with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Record>> {
        self.by_uid.get(&uid).map(|&number| &self.records[number as usize])
    }

    /// The guide for this service name.
    #[must_use]
    pub fn guide_of(&self, service_name: &str) -> Option<&Arc<SharedGuide>> {
        self.guide_by_service.get(&*fold(service_name)).map(|&number| &self.guides[number as usize])
    }

    /// The service names that do not have the same guide in the other reference, in the form of
    /// [`fold`].
    pub(super) fn names_with_other_guide<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let guide_id = |reference: &'a Self, name: &str| {
            let number = *reference.guide_by_service.get(name)?;
            Some(&*reference.guides[number as usize].id)
        };
        let names = self.guided_names().chain(other.guided_names());
        names.filter(|name| guide_id(self, name) != guide_id(other, name)).collect()
    }

    /// Every service name that has a guide, in the form of [`fold`].
    pub(super) fn guided_names(&self) -> impl Iterator<Item = &str> {
        self.guide_by_service.keys().map(String::as_str)
    }

    /// The guide with this alias, title or full name, in the form of [`fold`].
    #[must_use]
    pub fn guide_for_word(&self, folded: &str) -> Option<&Arc<SharedGuide>> {
        self.guide_by_alias.get(folded).map(|&number| &self.guides[number as usize])
    }

    /// The records in list order, from the first at or after the key.
    pub fn listed_from(&self, from: Option<&ListKey>) -> impl Iterator<Item = &Arc<Record>> {
        let start = from.map_or(0, |from| {
            self.list_order
                .partition_point(|&number| ListKey::of(&self.records[number as usize]) < *from)
        });
        self.list_order[start..].iter().map(|&number| &self.records[number as usize])
    }

    /// Every name that finds a service, in the form of [`fold`].
    pub(super) fn names(&self) -> impl Iterator<Item = KnownName<'_>> {
        self.names.iter().map(|(signature, name)| KnownName { name, signature: *signature })
    }

    /// The index for text search.
    #[must_use]
    pub const fn search(&self) -> &SearchIndex {
        &self.search
    }

    /// The labels of all ports.
    #[must_use]
    pub const fn labels(&self) -> &LabelTable {
        &self.labels
    }
}

fn list_order(records: &[Arc<Record>]) -> Vec<u32> {
    let mut order: Vec<u32> = (0u32..).zip(records).map(|(number, _)| number).collect();
    order.sort_by_cached_key(|&number| ListKey::of(&records[number as usize]));
    order
}

/// For each port, the indexes of its records.
#[derive(Debug)]
struct PortIndex {
    /// The start of each port's indexes in `numbers`, with one more entry for the end.
    starts: Vec<usize>,
    numbers: Vec<u32>,
}

impl PortIndex {
    fn new(records: &[Arc<Record>]) -> Self {
        let width = |record: &Record| record.ports.map_or(0, PortRange::width);
        let mut order: Vec<(u32, &Arc<Record>)> = (0u32..).zip(records).collect();
        // Of two common uses, the one with fewer ports is more specific.
        order.sort_by_key(|(_, record)| {
            let is_common = record.source() == Source::Common;
            is_common.then(|| width(record))
        });
        let mut at_port: Vec<Vec<u32>> = vec![Vec::new(); Port::MAX.index() + 1];
        for (number, record) in order {
            for port in record.ports.into_iter().flat_map(PortRange::iter) {
                at_port[port.index()].push(number);
            }
        }
        let mut starts = Vec::with_capacity(at_port.len() + 1);
        let mut numbers = Vec::new();
        for of_port in at_port {
            starts.push(numbers.len());
            let candidates = || of_port.iter().map(|&number| &records[number as usize]);
            numbers.extend(
                of_port
                    .iter()
                    .filter(|&&number| !is_superseded(&records[number as usize], candidates())),
            );
        }
        starts.push(numbers.len());
        Self { starts, numbers }
    }

    fn at(&self, port: Port) -> &[u32] {
        let (start, end) = (self.starts[port.index()], self.starts[port.index() + 1]);
        &self.numbers[start..end]
    }
}

/// Whether a narrower record of IANA's on the same port takes precedence: one of the same
/// transport, or any if this record does not state its transport.
fn is_superseded<'a>(record: &Record, mut others: impl Iterator<Item = &'a Arc<Record>>) -> bool {
    let width = |record: &Record| record.ports.map_or(0, PortRange::width);
    record.source() == Source::Iana
        && others.any(|other| {
            other.source() == Source::Iana
                && width(other) < width(record)
                && (record.transport.is_none() || other.transport == record.transport)
        })
}

/// The short description of a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// The preferred service name, if it has one.
    pub service_name: Option<Arc<str>>,
    /// The state of the record with that name, or of the port.
    pub state: State,
    /// The source of that record; `None` if the port has no record.
    pub source: Option<Source>,
}

impl Label {
    /// The label of a port with these records, in the order of a lookup.
    pub fn of<'a>(records: impl Iterator<Item = &'a Arc<Record>> + Clone) -> Self {
        let named = records.clone().find(|record| record.service_name.is_some());
        let strongest = named.or_else(|| records.min_by_key(|record| record.state));
        match strongest {
            Some(record) => Self {
                service_name: record.service_name.clone(),
                state: record.state,
                source: Some(record.source()),
            },
            None => Self { service_name: None, state: State::Unlisted, source: None },
        }
    }
}

/// The labels of all ports for each transport and for none, numbered.
#[derive(Debug)]
pub struct LabelTable {
    labels: Vec<Label>,
    /// For each port, the label numbers for no transport and for each of the four.
    numbers: Vec<[u32; 5]>,
}

impl LabelTable {
    fn new(records: &[Arc<Record>], by_port: &PortIndex) -> Self {
        let mut labels = Vec::new();
        let mut known: HashMap<Label, u32> = HashMap::new();
        let mut last: Option<(&[u32], [u32; 5])> = None;
        let mut numbers = Vec::with_capacity(Port::MAX.index() + 1);
        for port in PortRange::ALL.iter() {
            let at = by_port.at(port);
            // Neighbouring ports of a range have the same records and thus the same labels.
            if let Some((last_records, last_labels)) = last
                && last_records == at
            {
                numbers.push(last_labels);
                continue;
            }
            let mut of_port = [0; 5];
            let transports = std::iter::once(None).chain(Transport::ALL.map(Some));
            for (number, transport) in of_port.iter_mut().zip(transports) {
                let label = Label::of(
                    at.iter()
                        .map(|&number| &records[number as usize])
                        .filter(|record| record.may_be_on(transport)),
                );
                let next = known.len() as u32;
                *number = *known.entry(label).or_insert_with_key(|label| {
                    labels.push(label.clone());
                    next
                });
            }
            numbers.push(of_port);
            last = Some((at, of_port));
        }
        Self { labels, numbers }
    }

    /// The number of different labels.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// The number of a port's label, below [`LabelTable::count`].
    #[must_use]
    pub fn number(&self, port: Port, transport: Option<Transport>) -> usize {
        let column = transport.map_or(0, |transport| transport.index() + 1);
        self.numbers[port.index()][column] as usize
    }

    /// The label with this number.
    #[must_use]
    pub fn get(&self, number: usize) -> &Label {
        &self.labels[number]
    }
}
