//! A store in memory for tests: several open stores may share one database, as several servers would.
//!
//! It stores the rows of the history, and derives everything else from them in each call: it is as simple
//! as possible, so that its results can be trusted.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use portbook::access::{Actor, Token};
use portbook::registry::assignment::{Assignment, Revision};
use portbook::registry::change::ChangeKind;
use portbook::registry::namespace::Namespace;
use portbook::registry::reference::{Edition, Reference};
use portbook::store::history::format::{
    ChangeRow, TextInterner, decode_change, decode_findings, encode_findings,
};
use portbook::store::history::{ChangePosition, ChangeRecord, History, Query, entries};
use portbook::store::{
    AppendOutcome, Contents, Entry, LogTail, OpenError, SizeReader, Store, StoreError,
    StoredOutcome,
};

use crate::properties::NEW;

/// An open store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    database: Arc<Mutex<Database>>,
}

/// What survives the closing of a store.
#[derive(Debug)]
struct Database {
    create_time: Timestamp,
    log: Vec<StoredRevision>,
    /// The fingerprint, the revision and the findings of each request.
    requests: HashMap<(Actor, String), ([u8; 32], Revision, String)>,
    tokens: BTreeMap<String, Token>,
    /// Whether appends fail after they have stored a part.
    fails: bool,
}

/// A stored revision.
#[derive(Clone, Debug)]
struct StoredRevision {
    revision: Revision,
    time: Timestamp,
    actor: Actor,
    reason: String,
    changes: Vec<ChangeRow>,
}

/// The databases by path, as long as the process runs.
static DATABASES: LazyLock<Mutex<HashMap<PathBuf, Arc<Mutex<Database>>>>> =
    LazyLock::new(Mutex::default);

impl Database {
    fn last(&self) -> Revision {
        self.log.last().map_or(Revision::default(), |last| last.revision)
    }

    fn insert(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let corrupt = |what: &str| Err(StoreError::Corrupt(what.into()));
        if entry.revision != self.last().next() {
            return corrupt("a gap between revisions");
        }
        let rows = (0..).zip(&entry.changes).map(|(index, change)| {
            ChangeRow::new(ChangePosition { revision: entry.revision, index }, change)
        });
        self.log.push(StoredRevision {
            revision: entry.revision,
            time: entry.time,
            actor: entry.actor.clone(),
            reason: entry.reason.clone(),
            changes: rows.collect::<Result<_, _>>()?,
        });
        if let Some(request) = &entry.request {
            let key = (entry.actor.clone(), request.id.clone());
            let findings = encode_findings(&entry.findings)?;
            let value = (request.fingerprint, entry.revision, findings);
            if self.requests.insert(key, value).is_some() {
                return corrupt("a request id that is used already");
            }
        }
        Ok(())
    }

    fn records(&self) -> Result<Vec<ChangeRecord>, StoreError> {
        let mut texts = TextInterner::default();
        let rows = self.log.iter().flat_map(|it| it.changes.iter().map(move |row| (it, row)));
        let records = rows.map(|(it, row)| {
            let ChangeRow { kind, before, after, rest_until, .. } = row.clone();
            Ok(ChangeRecord {
                position: ChangePosition {
                    revision: it.revision,
                    index: row.position.try_into().unwrap(),
                },
                time: it.time,
                actor: it.actor.clone(),
                reason: it.reason.clone(),
                change: decode_change(kind, before, after, rest_until, &mut texts)?,
            })
        });
        records.collect()
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap()
    }

    /// Whether appends fail from now on.
    pub fn set_fails(&self, fails: bool) {
        self.lock().fails = fails;
    }

    /// Removes the last entry, as if an older database had replaced this one.
    pub fn truncate(&self) {
        self.lock().log.pop();
    }

    /// The entries of all writers.
    pub fn log(&self) -> Vec<Entry> {
        entries(self.lock().records().unwrap())
    }
}

impl Store for MemoryStore {
    async fn open(database: &Path) -> Result<Self, OpenError> {
        let new = || {
            Arc::new(Mutex::new(Database {
                create_time: Timestamp::now(),
                log: Vec::new(),
                requests: HashMap::new(),
                tokens: BTreeMap::new(),
                fails: false,
            }))
        };
        let mut databases = DATABASES.lock().unwrap();
        Ok(Self { database: Arc::clone(databases.entry(database.to_owned()).or_insert_with(new)) })
    }

    async fn load(&mut self, now: Timestamp) -> Result<Contents, StoreError> {
        let database = self.lock();
        let (mut snapshot, mut cooling_down) = (NEW.clone(), Vec::new());
        for record in database.records()? {
            let change = &record.change;
            snapshot = snapshot.after(record.position.revision, std::slice::from_ref(change));
            if change.kind() == ChangeKind::NamespaceDeleted {
                cooling_down.retain(|(of, _, _)| Some(of) != change.namespace());
            }
            if let (Some(before), Some(until)) = (change.before(), change.cooling_until())
                && let Some(namespace) = change.namespace()
            {
                cooling_down.push((namespace.clone(), Assignment::clone(before), until));
            }
        }
        let views = || snapshot.views_after(None);
        let cooling_down = cooling_down.into_iter().filter(|(_, _, until)| *until > now);
        let reference: &Reference = snapshot.reference();
        Ok(Contents {
            database_id: format!("{:p}", Arc::as_ptr(&self.database)),
            edition: Edition::clone(reference.edition()),
            reference: reference.records().iter().map(|it| Assignment::clone(it)).collect(),
            guides: Vec::new(),
            namespaces: views().map(|view| Namespace::clone(view.namespace())).collect(),
            pools: views().flat_map(|view| view.pools().map(|pool| (***pool).clone())).collect(),
            custom: snapshot.custom().map(|record| Assignment::clone(record)).collect(),
            cooling_down: cooling_down.map(|(_, record, until)| (record, until)).collect(),
            revision: database.last(),
            last_time: database.log.last().map(|last| last.time),
            tokens: database.tokens.values().cloned().collect(),
        })
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.clone())
    }

    fn size(&self) -> SizeReader {
        let database = Arc::clone(&self.database);
        Box::new(move || {
            let database = database.lock().unwrap();
            database.log.iter().map(|revised| 1 + revised.changes.len() as u64).sum()
        })
    }

    async fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> Result<AppendOutcome, StoreError> {
        let mut database = self.lock();
        let last = database.last();
        if last != expected {
            return Ok(AppendOutcome::Behind { last });
        }
        let before = (database.log.len(), database.requests.clone());
        let mut inserted = entries.iter().try_for_each(|entry| database.insert(entry));
        if database.fails {
            inserted = Err(StoreError::Database("injected by the test".into()));
        }
        if inserted.is_err() {
            database.log.truncate(before.0);
            database.requests = before.1;
        }
        inserted.map(|()| AppendOutcome::Committed)
    }

    async fn entries_since(&mut self, revision: Revision) -> Result<LogTail, StoreError> {
        let database = self.lock();
        let mut entries = entries(database.records()?);
        entries.retain(|entry| entry.revision > revision);
        Ok(LogTail { entries, tokens: database.tokens.values().cloned().collect() })
    }

    async fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> Result<Option<StoredOutcome>, StoreError> {
        let database = self.lock();
        let found = database.requests.get(&(actor.clone(), request_id.to_owned()));
        let Some((fingerprint, revision, findings)) = found else { return Ok(None) };
        let records = database.records()?.into_iter();
        let of_revision = records.filter(|record| record.position.revision == *revision);
        Ok(Some(StoredOutcome {
            fingerprint: *fingerprint,
            revision: *revision,
            changes: of_revision.map(|record| record.change).collect(),
            findings: decode_findings(findings, &mut TextInterner::default())?,
        }))
    }

    async fn put_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.lock().tokens.insert(token.name.to_string(), token.clone());
        Ok(())
    }

    async fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl History for MemoryStore {
    fn changes<'h>(
        &'h self,
        query: &'h Query,
    ) -> BoxFuture<'h, Result<Vec<ChangeRecord>, StoreError>> {
        let records = self.lock().records();
        let selected = records.map(|mut records| {
            if query.newest_first {
                records.reverse();
            }
            let is_between = |record: &ChangeRecord| {
                record.position < query.before
                    && query.after.is_none_or(|after| record.position > after)
            };
            let records = records.into_iter().filter(is_between);
            let selected = records
                .filter(|record| query.filter.matches(record.time, &record.actor, &record.change));
            selected.take(query.limit as usize).collect()
        });
        ready(selected).boxed()
    }

    fn revision_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let database = self.lock();
        let earlier = database.log.iter().filter(|revised| revised.time <= time);
        let last = earlier.map(|revised| revised.revision).max();
        ready(Ok(last.unwrap_or_default())).boxed()
    }

    fn beginning(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        ready(Ok(self.lock().create_time)).boxed()
    }
}
