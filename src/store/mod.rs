//! The interface of a store: its guarantees, and the types it reads and writes.
//!
//! A store persists the history and the state derived from it. It decides nothing.

mod error_chain;
pub mod history;
pub mod sqlite;
mod two_threads;

use std::future::Future;
use std::path::PathBuf;
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
pub(crate) use error_chain::error_chain;
use history::History;
pub use two_threads::TwoThreads;

/// A store of one registry.
pub trait Store: Send + 'static {
    /// The complete contents, at one revision; of the released ports, those still cooling down at `now`.
    fn load(&mut self, now: Timestamp)
    -> impl Future<Output = Result<Contents, StoreError>> + Send;

    /// A reader of the history, usable while this store is written.
    fn history(&self) -> Arc<dyn History>;

    /// Stores these entries, all or none, if the last revision is `expected`. After `Ok` they survive
    /// the end of the process and a loss of power.
    fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The outcome of the actor's request with this id, if it was accepted before.
    fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> impl Future<Output = Result<Option<StoredOutcome>, StoreError>> + Send;

    /// Stores a token and replaces the one with the same name; as durable as an entry.
    fn put_token(&mut self, token: &Token) -> impl Future<Output = Result<(), StoreError>> + Send;
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
#[derive(Debug)]
pub struct Entry {
    /// Its revision.
    pub revision: Revision,
    /// The time of its revision.
    pub time: Timestamp,
    /// The actor that made it.
    pub actor: Actor,
    /// The actor's reason; may be empty.
    pub reason: String,
    /// Its changes.
    pub changes: Vec<Change>,
    /// The findings of the rules.
    pub findings: Vec<Finding>,
    /// Identifies the request, so that a repetition gets the same outcome.
    pub request: Option<RequestKey>,
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

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The last revision is not the expected one: another writer has appended.
    #[error(
        "the database is at revision {found} where {expected} was expected: another program has written to it"
    )]
    Conflict {
        /// The last revision that the writer knows.
        expected: Revision,
        /// The last revision in the store.
        found: Revision,
    },
    /// The file is no longer at the path where it was opened: writes to it would be lost.
    #[error(
        "the database {0} was removed or replaced while the server was using it: restart the server"
    )]
    Moved(PathBuf),
    /// The disk has no space left for the write.
    #[error("the disk of the database is full: free some space on it")]
    Full(#[source] sqlx::Error),
    /// A read or write failed.
    #[error("the database could not be read or written")]
    Database(#[source] sqlx::Error),
    /// The stored data is invalid.
    #[error("the database contains data that Portbook did not write: {0}")]
    Corrupt(String),
}
