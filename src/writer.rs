//! The one task that changes the registry: it decides, commits, publishes and replies, in that
//! order. Nobody else commits, and nobody else publishes. It also ends the leases whose time has
//! come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::access::Actor;
use crate::registry::assignment::{Revision, Uid};
use crate::registry::change::Change;
use crate::registry::command::Command;
use crate::registry::decide::{Context, Decision, Refusal, Unchanged, decide};
use crate::registry::finding::{Evidence, Finding};
use crate::registry::snapshot::Snapshot;
use crate::store::{Answered, Entry, RequestKey, Store, StoreError};

/// How many commands may wait; one more is told to try again later.
const QUEUE: usize = 4096;
/// How many commands are committed together at the most.
const BATCH: usize = 512;
/// How many entries a follower may be behind before it has to read history.
const FOLLOWED: usize = 1024;
/// The longest time until the clock is read again: it may have been set.
const CLOCK_READ: Duration = Duration::from_secs(30);
/// How long to wait after a commit failed that nobody waits for.
const AFTER_FAULT: Duration = Duration::from_secs(1);
/// Who ends leases.
const OWN_ACTOR: &str = "portbook";

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
    pub unchanged: Unchanged,
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
    pub clock: Clock,
    /// Makes ids, each only once.
    pub new_uid: Box<dyn FnMut() -> Uid + Send>,
}

/// Tells the time, to the microsecond.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of the system.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let now = Timestamp::now();
            Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
        }))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// The handle through which the registry is read and changed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registrar {
    published: Arc<ArcSwap<Snapshot>>,
    queue: mpsc::Sender<Waiting>,
    followed: broadcast::WeakSender<Arc<Entry>>,
    clock: Clock,
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

    /// The time by the writer's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is published from now on, entry by entry. Whoever takes a snapshot after this call
    /// misses nothing. None if the writer has ended.
    #[must_use]
    pub fn follow(&self) -> Option<broadcast::Receiver<Arc<Entry>>> {
        self.followed.upgrade().map(|followed| followed.subscribe())
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
    followed: broadcast::Sender<Arc<Entry>>,
    /// When the last revision was made: history does not go back in time, clocks do.
    last_time: Timestamp,
}

/// A writer for the store, which holds what the snapshot shows and was last changed at that time,
/// and the handle to it.
pub fn writer<S: Store>(
    store: S,
    snapshot: Snapshot,
    last_time: Option<Timestamp>,
    world: World,
) -> (Registrar, Writer<S>) {
    let published = Arc::new(ArcSwap::from_pointee(snapshot));
    let (sender, queue) = mpsc::channel(QUEUE);
    let (followed, _) = broadcast::channel(FOLLOWED);
    let registrar = Registrar {
        published: Arc::clone(&published),
        queue: sender,
        followed: followed.downgrade(),
        clock: world.clock.clone(),
    };
    let last_time = last_time.unwrap_or(Timestamp::MIN);
    (registrar, Writer { store, world, published, queue, followed, last_time })
}

impl<S: Store> Writer<S> {
    /// Serves commands until every handle is gone or `stop` is cancelled, those that wait by then
    /// included, and gives the store back. Ends leases when their time has come.
    ///
    /// # Errors
    /// If the store holds what this writer did not write. Going on would be guessing.
    pub async fn run(mut self, stop: CancellationToken) -> Result<S, StoreError> {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut pause = self.until_next_lease_end();
        loop {
            tokio::select! {
                taken = self.queue.recv_many(&mut waiting, BATCH) => {
                    if taken == 0 {
                        return Ok(self.store);
                    }
                }
                () = sleep(pause) => {}
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
            let is_committed = self.serve(&mut waiting).await?;
            pause = if is_committed { self.until_next_lease_end() } else { AFTER_FAULT };
        }
    }

    /// Ends the leases whose time has come.
    ///
    /// # Errors
    /// If the store holds what this writer did not write.
    pub async fn end_leases(&mut self) -> Result<(), StoreError> {
        while self.until_next_lease_end().is_zero() {
            if !self.serve(&mut Vec::new()).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn until_next_lease_end(&self) -> Duration {
        let Some(end) = self.published.load().next_lease_end() else { return CLOCK_READ };
        let left = end.duration_since(self.world.clock.now());
        Duration::try_from(left.max(SignedDuration::ZERO))
            .map_or(CLOCK_READ, |left| left.min(CLOCK_READ))
    }

    /// Ends the leases whose time has come, then decides each command on the state that the one
    /// before it left, and commits all of it together. Says whether what was to be committed was.
    async fn serve(&mut self, waiting: &mut Vec<Waiting>) -> Result<bool, StoreError> {
        let mut batch = Batch::on(&self.published.load_full());
        self.expire(&mut batch);
        let mut decided = Vec::with_capacity(waiting.len());
        for Waiting { proposal, reply } in waiting.drain(..) {
            let answer = self.answer(&mut batch, proposal).await;
            decided.push((reply, answer));
        }
        let mut is_committed = true;
        if !batch.entries.is_empty() {
            match self.store.append(batch.base, &batch.entries).await {
                Ok(()) => self.publish(batch),
                Err(fault @ StoreError::Conflict { .. }) => return Err(fault),
                Err(fault) => {
                    tracing::error!(error = &fault as &dyn std::error::Error, "commit failed");
                    // A refusal may rest on a neighbour that was not committed, so all fail.
                    let fault = Arc::new(fault);
                    for (_, answer) in &mut decided {
                        *answer = Err(WriteError::Store(Arc::clone(&fault)));
                    }
                    is_committed = false;
                }
            }
        }
        // Reply after publishing: clients must read their own writes.
        for (reply, answer) in decided {
            // A caller who no longer waits has missed nothing but the reply.
            let _ = reply.send(answer);
        }
        Ok(is_committed)
    }

    fn publish(&self, batch: Batch) {
        self.published.store(Arc::new(batch.snapshot));
        for entry in batch.entries {
            // With nobody to follow there is nobody to tell.
            let _ = self.followed.send(Arc::new(entry));
        }
    }

    /// Ends leases as entries of their own, as many as one commit may have.
    fn expire(&mut self, batch: &mut Batch) {
        while let Some(end) = batch.snapshot.next_lease_end()
            && batch.entries.len() < BATCH
            && end <= self.world.clock.now()
        {
            let mut context = self.world.context();
            let decision = decide(&batch.snapshot, &Command::Expire(end), &mut context);
            let Ok(decision) = decision else { return };
            let proposal = Proposal {
                command: Command::Expire(end),
                actor: Actor(OWN_ACTOR.into()),
                reason: String::new(),
                request: None,
                validate_only: false,
            };
            let time = self.next_time();
            batch.accept(proposal, decision, time);
        }
    }

    /// The time of the next revision: now, or just after the last one if the clock was set back.
    fn next_time(&mut self) -> Timestamp {
        let just_after = self.last_time.checked_add(SignedDuration::from_micros(1));
        self.last_time = self.world.clock.now().max(just_after.unwrap_or(Timestamp::MAX));
        self.last_time
    }

    async fn answer(
        &mut self,
        batch: &mut Batch,
        proposal: Proposal,
    ) -> Result<Outcome, WriteError> {
        if let Some(first) = self.first_answer(batch, &proposal).await? {
            return Ok(first);
        }
        let decision = decide(&batch.snapshot, &proposal.command, &mut self.world.context())?;
        if proposal.validate_only || decision.changes.is_empty() {
            let Decision { changes, unchanged, findings } = decision;
            let revision = batch.snapshot.revision();
            return Ok(Outcome { revision, changes, unchanged, findings });
        }
        let time = self.next_time();
        Ok(batch.accept(proposal, decision, time))
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

impl World {
    fn context(&mut self) -> Context<'_> {
        Context { now: self.clock.now(), new_uid: &mut *self.new_uid }
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

    fn accept(&mut self, proposal: Proposal, decision: Decision, time: Timestamp) -> Outcome {
        let revision = self.snapshot.revision().next();
        self.snapshot = self.snapshot.after(revision, &decision.changes);
        let Decision { changes, unchanged, findings } = decision;
        let outcome =
            Outcome { revision, changes: changes.clone(), unchanged, findings: findings.clone() };
        if let Some(request) = &proposal.request {
            let key = (proposal.actor.clone(), request.id.clone());
            self.answered.insert(key, (request.fingerprint, outcome.clone()));
        }
        self.entries.push(Entry {
            revision,
            time,
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
            let Finding { evidence, .. } = stored.finding.clone();
            let fixed = || self.snapshot.by_uid(stored.fixed_evidence?).cloned();
            let evidence = Evidence { record: evidence.record.or_else(fixed), ..evidence };
            Finding { evidence, ..stored.finding }
        });
        Outcome {
            revision: answered.revision,
            changes: answered.changes,
            unchanged: Unchanged::Nothing,
            findings: findings.collect(),
        }
    }
}
