//! The interface of a store: its guarantees, and the types it reads and writes.
//!
//! A store persists the log of entries and the state derived from it. It decides nothing. Stores are
//! peers: they differ in where the data is, not in what it means, and the conformance tests check each
//! guarantee of [`Store`] on each of them. `DatabaseStore` selects the store of a database.

mod error;
mod error_chain;
pub mod history;
mod maintenance;
mod selector;
pub mod sqlite;
mod two_threads;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::access::{Actor, Token, Tokens};
use crate::registry::assignment::{Assignment, Record, Revision, Uid};
use crate::registry::change::Change;
use crate::registry::finding::Finding;
use crate::registry::guide::Guide;
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::reference::{Edition, Reference};
use crate::registry::snapshot::Snapshot;
pub use error::{BoxError, OpenError, StoreError};
pub(crate) use error_chain::error_chain;
use history::History;
pub use maintenance::{
    Backup, BackupError, Check, CopyError, Maintenance, Outcome, Report, RestoreError,
    RestoreOptions, Restored, RestoredTokens,
};
pub use selector::{DatabaseStore, in_memory};
pub use two_threads::TwoThreads;

/// An open store of one registry, used by one writer.
///
/// A database may have several writers, each with its own open store: then each of them may find that
/// another has appended ([`AppendOutcome::Behind`]). A store that allows one writer per database returns
/// [`StoreError::Conflict`] instead, which ends the writer.
pub trait Store: Sized + Send + 'static {
    /// Opens the database at this location. A new database is created and contains only the seed:
    /// IANA's registry, the guides and the namespace `default`, at revision 0, without tokens.
    fn open(database: &Path) -> impl Future<Output = Result<Self, OpenError>>;

    /// The complete contents, at one revision: the result of all entries up to it. Of the released
    /// ports, only those still cooling down at `now`.
    fn load(&mut self, now: Timestamp)
    -> impl Future<Output = Result<Contents, StoreError>> + Send;

    /// A reader of the history, usable while this store is written. It sees complete revisions only,
    /// and each one from the moment its append has returned.
    fn history(&self) -> Arc<dyn History>;

    /// A function that returns the current size of the database.
    fn size(&self) -> SizeReader;

    /// Stores these entries, all or none, if the last revision is `expected`. Their revisions follow
    /// `expected` without a gap; a store rejects any others. Without entries, only checks `expected`.
    ///
    /// - After `Committed` they survive the end of the process and a power failure, and `load`,
    ///   `history`, `entries_since` and `stored_outcome` of every open store include them.
    /// - After `Behind` or an error nothing was stored, and the store remains usable.
    fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> impl Future<Output = Result<AppendOutcome, StoreError>> + Send;

    /// All entries after this revision, in order and without a gap, and the current tokens. Empty if
    /// the revision is the last one or later.
    ///
    /// A writer calls this after `Behind`, and then appends what it has decided on the new state. A
    /// store may lock the log for it until then, for a bounded time, so that it is not behind again.
    fn entries_since(
        &mut self,
        revision: Revision,
    ) -> impl Future<Output = Result<LogTail, StoreError>> + Send;

    /// The outcome of the actor's request with this id, if it was accepted before, by any writer. Ids of
    /// different actors are unrelated.
    fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> impl Future<Output = Result<Option<StoredOutcome>, StoreError>> + Send;

    /// Stores a token and replaces the one with the same name; as durable as an entry. Of several
    /// writers, the last one prevails.
    fn put_token(&mut self, token: &Token) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Closes the store. An error loses no data.
    fn close(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Returns the size of the database in bytes, including its write-ahead log; 0 if the database has no
/// files. Called at each scrape of the metrics, so it must not access the network.
pub type SizeReader = Box<dyn Fn() -> u64 + Send + Sync>;

/// The outcome of an append that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The entries are stored, durably.
    Committed,
    /// Another writer has appended, so nothing was stored.
    Behind {
        /// The last revision in the store.
        last: Revision,
    },
}

/// The entries after a revision, and the state that is not in the log.
#[derive(Debug)]
pub struct LogTail {
    /// The entries. Their findings and requests are empty: the log does not contain them.
    pub entries: Vec<Entry>,
    /// All tokens, including expired and revoked ones, read after the entries. They are not part of the
    /// log, so a change of another writer becomes effective when this is read.
    pub tokens: Vec<Token>,
}

/// The complete contents of a store.
#[derive(Debug)]
pub struct Contents {
    /// Identifies the database.
    pub database_id: String,
    /// The edition of IANA's registry.
    pub edition: Edition,
    /// IANA's records in registry order, then the common uses.
    pub reference: Vec<Assignment>,
    /// The guides.
    pub guides: Vec<Guide>,
    /// The namespaces.
    pub namespaces: Vec<Namespace>,
    /// The pools.
    pub pools: Vec<Pool>,
    /// The registrations.
    pub custom: Vec<Assignment>,
    /// The released registrations whose ports are cooling down, and until when.
    pub cooling_down: Vec<(Assignment, Timestamp)>,
    /// The last revision.
    pub revision: Revision,
    /// The time of the last revision, if any.
    pub last_time: Option<Timestamp>,
    /// The tokens, including expired and revoked ones.
    pub tokens: Vec<Token>,
}

/// The contents of a store, indexed.
#[derive(Debug)]
pub struct LoadedRegistry {
    /// The registry.
    pub snapshot: Snapshot,
    /// The time of the last revision, if any.
    pub last_time: Option<Timestamp>,
    /// The tokens.
    pub tokens: Tokens,
    /// Identifies the database.
    pub database_id: String,
}

impl Contents {
    /// Indexes the contents.
    #[must_use]
    pub fn into_loaded(self) -> LoadedRegistry {
        let reference = Reference::new(self.edition, self.reference, self.guides, &TwoThreads);
        let snapshot = Snapshot::new(self.revision, Arc::new(reference), self.namespaces)
            .with_contents(
                self.pools.into_iter().map(SharedPool::share),
                self.custom.into_iter().map(Record::share),
                &TwoThreads,
            )
            .with_cooling_down(
                self.cooling_down.into_iter().map(|(record, until)| (Record::share(record), until)),
            );
        LoadedRegistry {
            snapshot,
            last_time: self.last_time,
            tokens: self.tokens.into_iter().collect(),
            database_id: self.database_id,
        }
    }
}

/// One accepted command.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its revision.
    pub revision: Revision,
    /// The time of its revision.
    pub time: Timestamp,
    /// The actor that made it.
    pub actor: Actor,
    /// The actor's reason; may be empty.
    pub reason: String,
    /// Its changes, at least one.
    pub changes: Vec<Change>,
    /// The findings of the rules.
    pub findings: Vec<Finding>,
    /// Identifies the request, so that a repetition gets the same outcome.
    pub request: Option<RequestKey>,
}

/// Checks that the revisions of entries follow the expected last one without a gap.
pub(crate) fn check_revisions(expected: Revision, entries: &[Entry]) -> Result<(), StoreError> {
    let mut last = expected;
    for Entry { revision, .. } in entries {
        if *revision != last.next() {
            return Err(StoreError::Corrupt(format!("revision {revision} follows {last}")));
        }
        last = *revision;
    }
    Ok(())
}

/// Identifies a request, so that a repetition gets the same outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The id that the client chose.
    pub id: String,
    /// A hash of its contents: another request with the same id is detected.
    pub fingerprint: [u8; 32],
}

/// The outcome of an accepted request.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// A hash of its contents: another request with the same id is detected.
    pub fingerprint: [u8; 32],
    /// Its revision.
    pub revision: Revision,
    /// Its changes.
    pub changes: Vec<Change>,
    /// The findings of the rules.
    pub findings: Vec<StoredFinding>,
}

/// A finding in a stored outcome.
#[derive(Clone, Debug)]
pub struct StoredFinding {
    /// The finding, with its evidence if that is a registration.
    pub finding: Finding,
    /// The uid of its evidence, if that is a record of the reference.
    pub reference_uid: Option<Uid>,
}
