//! The handle to the writer: what can be asked of it, and what it answers.

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

/// A command, and what comes with it.
#[derive(Debug)]
pub struct Proposal {
    /// What is asked for.
    pub command: Command,
    /// Who asks. What they may do is looked up when it is decided.
    pub actor: Actor,
    /// Why, in the actor's words.
    pub reason: String,
    /// How to know the request again.
    pub request: Option<RequestKey>,
    /// Decide only, and change nothing.
    pub validate_only: bool,
}

/// What a command led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The revision that holds the change, or at which there was nothing to change.
    pub revision: Revision,
    /// What changed.
    pub changes: Vec<Change>,
    /// What stays as it was, where the command asked for what is so already.
    pub unchanged: Unchanged,
    /// What the rules had to say.
    pub findings: Vec<Finding>,
}

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The actor's token is no longer valid.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The actor may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request id belongs to another request.
    #[error("the request id {0:?} was used for another request")]
    RequestIdReused(String),
    /// The store failed. All commands that waited for the same commit share the fault.
    #[error("the change could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// Too many commands wait.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The writer has ended or is about to.
    #[error("the server is stopping")]
    Stopping,
}

/// Why a token was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AdministerError {
    /// The token of whoever asks is no longer valid.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// It is not an admin's.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It can't be done.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
    /// The store failed.
    #[error("the token could not be stored")]
    Store(#[source] StoreError),
    /// The writer has ended or is about to.
    #[error("the server is stopping")]
    Stopping,
}

/// The handle through which the registry is read and changed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    pub(super) published: Arc<ArcSwap<Snapshot>>,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) queue: mpsc::Sender<QueuedCommand>,
    pub(super) administration: mpsc::Sender<TokenRequest>,
    pub(super) followed: broadcast::WeakSender<Arc<Entry>>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) proposal: Proposal,
    pub(super) reply: oneshot::Sender<Result<Outcome, WriteError>>,
}

impl QueuedCommand {
    /// Whoever has stopped waiting before their turn asks for nothing any more.
    pub(super) fn still(self) -> Option<Self> {
        (!self.reply.is_closed()).then_some(self)
    }
}

#[derive(Debug)]
pub(super) struct TokenRequest {
    pub(super) command: TokenCommand,
    pub(super) by: Actor,
    pub(super) reply: oneshot::Sender<Result<Arc<Token>, AdministerError>>,
}

impl RegistryHandle {
    /// The registry as it is now. Take it once for each request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The tokens as they are now.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// The time by the writer's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many commands wait for the writer.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether there is a writer.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// What is published from now on, entry by entry. Whoever takes a snapshot after this call
    /// misses nothing. None if the writer has ended.
    #[must_use]
    pub fn follow(&self) -> Option<broadcast::Receiver<Arc<Entry>>> {
        self.followed.upgrade().map(|followed| followed.subscribe())
    }

    /// Has a command decided and, if it is accepted, committed. When it returns, every snapshot
    /// taken from then on shows the change. The command is carried out even if the caller stops
    /// waiting, unless that was before its turn came.
    ///
    /// # Errors
    /// If it changed nothing; the error says why.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(QueuedCommand { proposal, reply }).map_err(
            |refused| match refused {
                mpsc::error::TrySendError::Full(_) => {
                    self.metrics.record_shed(ShedCause::Queue);
                    WriteError::Overloaded
                }
                mpsc::error::TrySendError::Closed(_) => WriteError::Stopping,
            },
        )?;
        answer.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Has a token changed. When it returns, every call is held to the change.
    ///
    /// # Errors
    /// If it was not changed; the error says why.
    pub async fn administer(
        &self,
        command: TokenCommand,
        by: Actor,
    ) -> Result<Arc<Token>, AdministerError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.administration.send(TokenRequest { command, by, reply }).await;
        sent.map_err(|_| AdministerError::Stopping)?;
        answer.await.unwrap_or(Err(AdministerError::Stopping))
    }
}
