//! Where the registry is kept: the promises every store makes, and what it takes and gives.
//!
//! A store keeps history and what follows from it. It decides nothing.

mod error_chain;
pub mod history;
pub mod sqlite;

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

/// A store of one registry.
pub trait Store: Send + 'static {
    /// Everything that is held, at one revision; of what rests, what still does.
    fn load(&mut self, now: Timestamp)
    -> impl Future<Output = Result<Contents, StoreError>> + Send;

    /// The history, to be read while this store is written.
    fn history(&self) -> Arc<dyn History>;

    /// Keeps these entries, all of them or none, if the last revision is `expected`. What it has
    /// returned `Ok` for survives the end of the process and a loss of power.
    fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What the actor's request with this id led to, if it was accepted before.
    fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> impl Future<Output = Result<Option<StoredOutcome>, StoreError>> + Send;

    /// Keeps a token, in place of the one of its name if there is one; as durable as an entry.
    fn put_token(&mut self, token: &Token) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Everything a store holds.
#[derive(Debug)]
pub struct Contents {
    /// Identifies the database.
    pub database_id: String,
    /// Which IANA registry it has.
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
    /// What was given back and still rests, until when.
    pub resting: Vec<(Assignment, Timestamp)>,
    /// The last revision.
    pub revision: Revision,
    /// When the last revision was made, if there is one.
    pub last_time: Option<Timestamp>,
    /// The tokens, also those that have ended.
    pub tokens: Vec<Token>,
}

/// What a store holds, ready to be served.
#[derive(Debug)]
pub struct Loaded {
    /// The registry.
    pub snapshot: Snapshot,
    /// When its last revision was made, if there is one.
    pub last_time: Option<Timestamp>,
    /// Who may call.
    pub tokens: Tokens,
    /// Identifies the database.
    pub database_id: String,
}

impl Contents {
    /// Indexes what was held.
    #[must_use]
    pub fn into_loaded(self) -> Loaded {
        let reference = Arc::new(Reference::new(self.edition, self.reference, self.guides));
        let snapshot = Snapshot::new(self.revision, reference, self.namespaces)
            .with(
                self.pools.into_iter().map(SharedPool::share),
                self.custom.into_iter().map(Record::share),
            )
            .with_cooling_down(
                self.resting.into_iter().map(|(record, until)| (Record::share(record), until)),
            );
        Loaded {
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
    /// The revision it makes.
    pub revision: Revision,
    /// When it was accepted.
    pub time: Timestamp,
    /// Who asked for it.
    pub actor: Actor,
    /// Why, in the actor's words; may be empty.
    pub reason: String,
    /// What it changes.
    pub changes: Vec<Change>,
    /// What the rules had to say.
    pub findings: Vec<Finding>,
    /// How to know it again.
    pub request: Option<RequestKey>,
}

/// What makes a request known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The id its sender gave it.
    pub id: String,
    /// Tells its contents from those of another.
    pub fingerprint: [u8; 32],
}

/// What a request led to.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// Tells its contents from those of another.
    pub fingerprint: [u8; 32],
    /// The revision it made.
    pub revision: Revision,
    /// What it changed.
    pub changes: Vec<Change>,
    /// What the rules had to say.
    pub findings: Vec<StoredFinding>,
}

/// A finding of the past.
#[derive(Clone, Debug)]
pub struct StoredFinding {
    /// The finding, with its evidence if that was a registration.
    pub finding: Finding,
    /// The record that it came from, if that is the same in every installation.
    pub fixed_evidence: Option<Uid>,
}

/// Why a store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The last revision is not the expected one: somebody else has written.
    #[error(
        "the database is at revision {found} where {expected} was expected: another program has written to it"
    )]
    Conflict {
        /// What the writer knew.
        expected: Revision,
        /// What is stored.
        found: Revision,
    },
    /// The file is no longer where it was opened: what is written to it would be lost.
    #[error("the database {0} was removed or replaced while it was served: restart the server")]
    Moved(PathBuf),
    /// There is no space for what is to be written.
    #[error("the disk of the database is full: free some space on it")]
    Full(#[source] sqlx::Error),
    /// The database could not read or write.
    #[error("the database could not be read or written")]
    Database(#[source] sqlx::Error),
    /// What is stored can't be understood.
    #[error("the database holds something that Portbook did not write: {0}")]
    Corrupt(String),
}
