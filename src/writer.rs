//! The one task that changes the registry: it decides, commits, publishes and replies, in that
//! order. Nobody else commits, and nobody else publishes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::access::Actor;
use crate::registry::assignment::{Record, Revision, Uid};
use crate::registry::change::Change;
use crate::registry::command::Command;
use crate::registry::decide::{Context, Decision, Refusal, decide};
use crate::registry::finding::Finding;
use crate::registry::snapshot::Snapshot;
use crate::store::{Answered, Entry, RequestKey, Store, StoreError};

/// How many commands may wait; one more is told to try again later.
const QUEUE: usize = 4096;
/// How many commands are committed together at the most.
const BATCH: usize = 512;

/// A command, and what comes with it.
#[derive(Debug)]
pub struct Proposal {
    /// What is asked for.
    pub command: Command,
    /// Who asks.
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
    pub unchanged: Option<Arc<Record>>,
    /// What the rules had to say.
    pub findings: Vec<Finding>,
}

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
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

/// Where time and ids come from.
pub struct World {
    /// Tells the time.
    pub clock: Box<dyn Fn() -> Timestamp + Send>,
    /// Makes ids, each only once.
    pub new_uid: Box<dyn FnMut() -> Uid + Send>,
}

/// The handle through which the registry is read and changed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registrar {
    published: Arc<ArcSwap<Snapshot>>,
    queue: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    reply: oneshot::Sender<Result<Outcome, WriteError>>,
}

impl Registrar {
    /// The registry as it is now. Take it once for each request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Has a command decided and, if it is accepted, committed. When it returns, every snapshot
    /// taken from then on shows the change. The command is carried out even if the caller stops
    /// waiting.
    ///
    /// # Errors
    /// If it changed nothing; the error says why.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Waiting { proposal, reply }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => WriteError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => WriteError::Stopping,
        })?;
        answer.await.unwrap_or(Err(WriteError::Stopping))
    }
}

/// The task itself, to be run until it ends.
pub struct Writer<S> {
    store: S,
    world: World,
    published: Arc<ArcSwap<Snapshot>>,
    queue: mpsc::Receiver<Waiting>,
    /// When the last command was decided: history does not go back in time, clocks do.
    last_time: Timestamp,
}

/// A writer for the store, which holds what the snapshot shows, and the handle to it.
pub fn writer<S: Store>(store: S, snapshot: Snapshot, world: World) -> (Registrar, Writer<S>) {
    let published = Arc::new(ArcSwap::from_pointee(snapshot));
    let (sender, queue) = mpsc::channel(QUEUE);
    let registrar = Registrar { published: Arc::clone(&published), queue: sender };
    (registrar, Writer { store, world, published, queue, last_time: Timestamp::MIN })
}

impl<S: Store> Writer<S> {
    /// Serves commands until every handle is gone or `stop` is cancelled, those that wait by then
    /// included, and gives the store back.
    ///
    /// # Errors
    /// If the store holds what this writer did not write. Going on would be guessing.
    pub async fn run(mut self, stop: CancellationToken) -> Result<S, StoreError> {
        let mut waiting = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = self.queue.recv_many(&mut waiting, BATCH) => {
                    if taken == 0 {
                        return Ok(self.store);
                    }
                    self.serve(&mut waiting).await?;
                }
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
        }
    }

    /// Decides each command on the state that the one before it left, and commits them together.
    async fn serve(&mut self, waiting: &mut Vec<Waiting>) -> Result<(), StoreError> {
        let mut batch = Batch::on(&self.published.load_full());
        let mut decided = Vec::with_capacity(waiting.len());
        for Waiting { proposal, reply } in waiting.drain(..) {
            let answer = self.answer(&mut batch, proposal).await;
            decided.push((reply, answer));
        }
        if !batch.entries.is_empty() {
            match self.store.append(batch.base, &batch.entries).await {
                // Publish before the replies: clients must read their own writes.
                Ok(()) => self.published.store(Arc::new(batch.snapshot)),
                Err(fault @ StoreError::Conflict { .. }) => return Err(fault),
                Err(fault) => {
                    tracing::error!(error = &fault as &dyn std::error::Error, "commit failed");
                    // A refusal may rest on a neighbour that was not committed, so all fail.
                    let fault = Arc::new(fault);
                    for (_, answer) in &mut decided {
                        *answer = Err(WriteError::Store(Arc::clone(&fault)));
                    }
                }
            }
        }
        for (reply, answer) in decided {
            // A caller who no longer waits has missed nothing but the reply.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        batch: &mut Batch,
        proposal: Proposal,
    ) -> Result<Outcome, WriteError> {
        if let Some(first) = self.first_answer(batch, &proposal).await? {
            return Ok(first);
        }
        self.last_time = (self.world.clock)().max(self.last_time);
        let mut context = Context { now: self.last_time, new_uid: &mut *self.world.new_uid };
        let decision = decide(&batch.snapshot, &proposal.command, &mut context)?;
        if proposal.validate_only || decision.changes.is_empty() {
            let Decision { changes, unchanged, findings } = decision;
            let revision = batch.snapshot.revision();
            return Ok(Outcome { revision, changes, unchanged, findings });
        }
        Ok(batch.accept(proposal, decision, context.now))
    }

    /// What a request that was sent before has led to.
    async fn first_answer(
        &mut self,
        batch: &Batch,
        proposal: &Proposal,
    ) -> Result<Option<Outcome>, WriteError> {
        let Some(request) = &proposal.request else {
            return Ok(None);
        };
        let (fingerprint, outcome) = if let Some(first) =
            batch.answered.get(&(proposal.actor.clone(), request.id.clone()))
        {
            first.clone()
        } else {
            let found = self.store.answered(&proposal.actor, &request.id).await;
            let found = found.map_err(|fault| {
                tracing::error!(error = &fault as &dyn std::error::Error, "read failed");
                WriteError::Store(Arc::new(fault))
            })?;
            match found {
                Some(answered) => (answered.fingerprint, batch.outcome_of(answered)),
                None => return Ok(None),
            }
        };
        if fingerprint == request.fingerprint {
            Ok(Some(outcome))
        } else {
            Err(WriteError::RequestIdReused(request.id.clone()))
        }
    }
}

/// Commands that are committed together.
struct Batch {
    /// The revision they build on.
    base: Revision,
    /// The state that the last of them leaves.
    snapshot: Snapshot,
    entries: Vec<Entry>,
    /// By actor and request id: fingerprint and outcome.
    answered: HashMap<(Actor, String), ([u8; 32], Outcome)>,
}

impl Batch {
    fn on(snapshot: &Snapshot) -> Self {
        Self {
            base: snapshot.revision(),
            snapshot: snapshot.clone(),
            entries: Vec::new(),
            answered: HashMap::new(),
        }
    }

    fn accept(&mut self, proposal: Proposal, decision: Decision, now: Timestamp) -> Outcome {
        let revision = self.snapshot.revision().next();
        self.snapshot = self.snapshot.after(revision, &decision.changes);
        let Decision { changes, findings, .. } = decision;
        let outcome = Outcome {
            revision,
            changes: changes.clone(),
            unchanged: None,
            findings: findings.clone(),
        };
        if let Some(request) = &proposal.request {
            let key = (proposal.actor.clone(), request.id.clone());
            self.answered.insert(key, (request.fingerprint, outcome.clone()));
        }
        self.entries.push(Entry {
            revision,
            time: now,
            actor: proposal.actor,
            reason: proposal.reason,
            changes,
            findings,
            request: proposal.request,
        });
        outcome
    }

    /// The outcome of a request of the past; what its findings rest on is looked up again.
    fn outcome_of(&self, answered: Answered) -> Outcome {
        let findings = answered.findings.into_iter().map(|stored| {
            let fixed = || self.snapshot.by_uid(stored.fixed_evidence?).cloned();
            Finding { evidence: stored.finding.evidence.clone().or_else(fixed), ..stored.finding }
        });
        Outcome {
            revision: answered.revision,
            changes: answered.changes,
            unchanged: None,
            findings: findings.collect(),
        }
    }
}
