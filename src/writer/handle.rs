//! The handle to the writer: its requests, outcomes and errors.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::environment::Clock;
use crate::access::{Actor, AuthError, Denied, Token, TokenCommand, TokenRefusal, Tokens};
use crate::metrics::{Metrics, ShedCause};
use crate::registry::assignment::Revision;
use crate::registry::change::Change;
use crate::registry::command::Command;
use crate::registry::decide::{Refusal, Unchanged};
use crate::registry::finding::Finding;
use crate::registry::snapshot::Snapshot;
use crate::store::{Entry, RequestKey, StoreError};

/// A command with its actor and options.
#[derive(Debug)]
pub struct Proposal {
    /// The command.
    pub command: Command,
    /// The actor. Its permissions are checked when the command is decided.
    pub actor: Actor,
    /// The actor's reason; may be empty.
    pub reason: String,
    /// Identifies the request, so that a repetition gets the same outcome.
    pub request: Option<RequestKey>,
    /// Decide only, without a change.
    pub validate_only: bool,
}

/// The outcome of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The revision of the change, or the revision at which nothing had to change.
    pub revision: Revision,
    /// The changes.
    pub changes: Vec<Change>,
    /// The records that already were as requested.
    pub unchanged: Unchanged,
    /// The findings of the rules.
    pub findings: Vec<Finding>,
}

/// The reason why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The actor's token is no longer valid.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The actor lacks the permission.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A rule refuses the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request id belongs to another request.
    #[error("the request id {0:?} was used for another request")]
    RequestIdReused(String),
    /// The store failed, or other writers appended before each attempt: nothing was stored. Every
    /// command of a failed commit gets this error.
    #[error("the change could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// The queue is full.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The writer has ended or is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// The reason why a token was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenWriteError {
    /// The actor's token is no longer valid.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The actor is not an admin.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A rule refuses the change.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
    /// The store failed.
    #[error("the token could not be stored")]
    Store(#[source] StoreError),
    /// The writer has ended or is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// Reads and changes the registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    pub(super) published: Arc<ArcSwap<Snapshot>>,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) queue: mpsc::Sender<QueuedCommand>,
    pub(super) token_requests: mpsc::Sender<TokenRequest>,
    pub(super) followers: broadcast::WeakSender<Arc<Entry>>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) proposal: Proposal,
    pub(super) reply: oneshot::Sender<Result<Outcome, WriteError>>,
    /// How many appends of it have failed because another writer appended first.
    pub(super) conflicts: u32,
}

impl QueuedCommand {
    /// None if the caller has stopped waiting: the command is dropped.
    pub(super) fn if_awaited(self) -> Option<Self> {
        (!self.reply.is_closed()).then_some(self)
    }

    /// Replies that the command was not stored.
    pub(super) fn fail(self, error: &Arc<StoreError>) {
        // The caller may have stopped waiting.
        let _ = self.reply.send(Err(WriteError::Store(Arc::clone(error))));
    }
}

#[derive(Debug)]
pub(super) struct TokenRequest {
    pub(super) command: TokenCommand,
    pub(super) by: Actor,
    pub(super) reply: oneshot::Sender<Result<Arc<Token>, TokenWriteError>>,
}

impl RegistryHandle {
    /// The current snapshot. Load it once per request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The current tokens.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// The time by the writer's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The number of queued commands, without those that are to be decided again.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether the writer is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Subscribes to the entries published from now on. A snapshot loaded after this call includes all
    /// earlier entries. None if the writer has ended.
    #[must_use]
    pub fn follow(&self) -> Option<broadcast::Receiver<Arc<Entry>>> {
        self.followers.upgrade().map(|followers| followers.subscribe())
    }

    /// Decides a command and, if accepted, commits it. Every snapshot loaded after it returns contains
    /// the change. If the caller stops waiting, a command that is still queued is dropped; one that is
    /// being committed is not.
    ///
    /// # Errors
    /// If the command was not accepted or not committed.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        let (reply, response) = oneshot::channel();
        self.queue.try_send(QueuedCommand { proposal, reply, conflicts: 0 }).map_err(
            |refused| match refused {
                mpsc::error::TrySendError::Full(_) => {
                    self.metrics.record_shed(ShedCause::Queue);
                    WriteError::Overloaded
                }
                mpsc::error::TrySendError::Closed(_) => WriteError::Stopping,
            },
        )?;
        response.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Changes a token. After it returns, the change applies to every call.
    ///
    /// # Errors
    /// If the token was not changed.
    pub async fn change_token(
        &self,
        command: TokenCommand,
        by: Actor,
    ) -> Result<Arc<Token>, TokenWriteError> {
        let (reply, response) = oneshot::channel();
        let sent = self.token_requests.send(TokenRequest { command, by, reply }).await;
        sent.map_err(|_| TokenWriteError::Stopping)?;
        response.await.unwrap_or(Err(TokenWriteError::Stopping))
    }
}
