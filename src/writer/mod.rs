//! The one task that changes the registry: it decides, commits, publishes and replies, in that
//! order. Nobody else commits, and nobody else publishes. It also ends the leases whose time has
//! come.

mod batch;
mod registrar;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use registrar::{AdministerError, Outcome, Proposal, Registrar, WriteError};
pub use world::{Clock, World};

use self::batch::Batch;
use self::registrar::{Administration, Waiting};
use crate::access::{
    Actor, Token, TokenCommand, Tokens, permit, permit_administration, permit_findings,
};
use crate::registry::command::Command;
use crate::registry::decide::{Decision, decide};
use crate::registry::snapshot::Snapshot;
use crate::store::{Entry, Loaded, Store, StoreError};

/// How many commands may wait; one more is told to try again later.
const QUEUE: usize = 4096;
/// How many commands are taken from the queue at the most.
const BATCH: usize = 512;
/// How many entries a follower may be behind before it has to read history.
const FOLLOWED: usize = 256;
/// The longest time until the clock is read again: it may have been set.
const CLOCK_READ: Duration = Duration::from_secs(30);
/// How long to wait after a commit failed that nobody waits for.
const AFTER_FAULT: Duration = Duration::from_secs(1);
/// How many changes of tokens may wait; one more waits before that.
const ADMINISTRATION: usize = 16;

/// The task itself, to be run until it ends.
pub struct Writer<S> {
    store: S,
    world: World,
    published: Arc<ArcSwap<Snapshot>>,
    tokens: Arc<ArcSwap<Tokens>>,
    queue: mpsc::Receiver<Waiting>,
    administration: mpsc::Receiver<Administration>,
    followed: broadcast::Sender<Arc<Entry>>,
    /// When the last revision was made: history does not go back in time, clocks do.
    last_time: Timestamp,
}

/// A writer for the store, which holds what was loaded from it, and the handle to it.
pub fn writer<S: Store>(store: S, loaded: Loaded, world: World) -> (Registrar, Writer<S>) {
    let published = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
    let tokens = Arc::new(ArcSwap::from_pointee(loaded.tokens));
    let (sender, queue) = mpsc::channel(QUEUE);
    let (administrator, administration) = mpsc::channel(ADMINISTRATION);
    let (followed, _) = broadcast::channel(FOLLOWED);
    let registrar = Registrar {
        published: Arc::clone(&published),
        tokens: Arc::clone(&tokens),
        queue: sender,
        administration: administrator,
        followed: followed.downgrade(),
        clock: world.clock.clone(),
        metrics: Arc::clone(&world.metrics),
    };
    let last_time = loaded.last_time.unwrap_or(Timestamp::MIN);
    let writer =
        Writer { store, world, published, tokens, queue, administration, followed, last_time };
    (registrar, writer)
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
                Some(asked) = self.administration.recv() => self.administer(asked).await,
                () = sleep(pause) => {}
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
            let is_committed = self.serve(&mut waiting).await?;
            pause = if is_committed { self.until_next_lease_end() } else { AFTER_FAULT };
        }
    }

    /// Ends the leases whose time has come. Says whether that could be committed.
    ///
    /// # Errors
    /// If the store holds what this writer did not write.
    pub async fn end_leases(&mut self) -> Result<bool, StoreError> {
        while self.until_next_lease_end().is_zero() {
            let mut batch = Batch::on(&self.published.load_full());
            self.expire(&mut batch);
            if self.commit(batch).await?.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn until_next_lease_end(&self) -> Duration {
        let Some(end) = self.published.load().next_lease_end() else { return CLOCK_READ };
        let left = end.duration_since(self.world.clock.now());
        Duration::try_from(left.max(SignedDuration::ZERO))
            .map_or(CLOCK_READ, |left| left.min(CLOCK_READ))
    }

    /// Ends the leases whose time has come, in commits of their own, so that nobody's command fails
    /// with them; then serves the commands, in as many commits as their size asks for. Says whether
    /// what was to be committed was.
    async fn serve(&mut self, waiting: &mut Vec<Waiting>) -> Result<bool, StoreError> {
        let mut is_committed = self.end_leases().await?;
        let mut waiting = waiting.drain(..).peekable();
        while waiting.peek().is_some() {
            is_committed &= self.serve_together(&mut waiting).await?;
        }
        Ok(is_committed)
    }

    /// Decides each command on the state that the one before it left, and commits them together.
    async fn serve_together(
        &mut self,
        waiting: &mut impl Iterator<Item = Waiting>,
    ) -> Result<bool, StoreError> {
        let mut batch = Batch::on(&self.published.load_full());
        let mut decided = Vec::new();
        while !batch.is_full()
            && let Some(Waiting { proposal, reply }) = waiting.next()
        {
            // Whoever has stopped waiting before their turn asks for nothing any more.
            if reply.is_closed() {
                continue;
            }
            let answer = self.answer(&mut batch, proposal).await;
            decided.push((reply, answer));
        }
        let committed = self.commit(batch).await?;
        if let Err(fault) = &committed {
            // A refusal may rest on a neighbour that was not committed, so all fail.
            for (_, answer) in &mut decided {
                *answer = Err(WriteError::Store(Arc::clone(fault)));
            }
        }
        // Reply after publishing: clients must read their own writes.
        for (reply, answer) in decided {
            // A caller who no longer waits has missed nothing but the reply.
            let _ = reply.send(answer);
        }
        Ok(committed.is_ok())
    }

    /// Commits a batch and publishes what it leads to; a fault is the batch's, unless going on would
    /// be guessing.
    async fn commit(&mut self, batch: Batch) -> Result<Result<(), Arc<StoreError>>, StoreError> {
        if batch.entries.is_empty() {
            return Ok(Ok(()));
        }
        let started = Instant::now();
        match self.store.append(batch.base, &batch.entries).await {
            Ok(()) => {
                self.world.metrics.committed(batch.entries.len() as u32, started.elapsed());
                self.publish(batch);
                Ok(Ok(()))
            }
            Err(fault @ StoreError::Conflict { .. }) => Err(fault),
            Err(fault) => {
                self.world.metrics.commit_failed();
                tracing::error!(error = &fault as &dyn std::error::Error, "commit failed");
                Ok(Err(Arc::new(fault)))
            }
        }
    }

    /// Changes a token: decides, commits, publishes and replies.
    async fn administer(&mut self, asked: Administration) {
        let Administration { command, by, reply } = asked;
        if reply.is_closed() {
            return;
        }
        let changed = self.change_token(command, &by).await;
        // A caller who no longer waits has missed nothing but the reply.
        let _ = reply.send(changed);
    }

    async fn change_token(
        &mut self,
        command: TokenCommand,
        by: &Actor,
    ) -> Result<Arc<Token>, AdministerError> {
        let (tokens, now) = (self.tokens.load_full(), self.world.clock.now());
        permit_administration(&tokens.acting(by, now)?.role)?;
        let token = Arc::new(tokens.decide(command, by, now)?);
        self.store.put_token(&token).await.map_err(|fault| {
            self.world.metrics.commit_failed();
            tracing::error!(error = &fault as &dyn std::error::Error, "token not stored");
            AdministerError::Store(fault)
        })?;
        self.tokens.store(Arc::new(tokens.with(Arc::clone(&token))));
        Ok(token)
    }

    fn publish(&self, batch: Batch) {
        self.published.store(Arc::new(batch.snapshot));
        for entry in batch.entries {
            // With nobody to follow there is nobody to tell.
            let _ = self.followed.send(Arc::new(entry));
        }
    }

    /// Ends leases as entries of their own, as many as one commit may have; the others are next.
    fn expire(&mut self, batch: &mut Batch) {
        while let Some(end) = batch.snapshot.next_lease_end()
            && !batch.is_full()
            && end <= self.world.clock.now()
        {
            let now = self.world.clock.now();
            let mut context = self.world.context(now);
            let decision = decide(&batch.snapshot, &Command::Expire(end), &mut context);
            let Ok(decision) = decision else { return };
            let proposal = Proposal {
                command: Command::Expire(end),
                actor: Actor::portbook(),
                reason: String::new(),
                request: None,
                validate_only: false,
            };
            let time = self.next_time(now);
            batch.accept(proposal, decision, time);
        }
    }

    /// The time of the next revision: now, or just after the last one if the clock was set back.
    fn next_time(&mut self, now: Timestamp) -> Timestamp {
        let just_after = self.last_time.checked_add(SignedDuration::from_micros(1));
        self.last_time = now.max(just_after.unwrap_or(Timestamp::MAX));
        self.last_time
    }

    async fn answer(
        &mut self,
        batch: &mut Batch,
        proposal: Proposal,
    ) -> Result<Outcome, WriteError> {
        // The token as it is now: a call that began before it was changed is held to the change.
        let tokens = self.tokens.load_full();
        let role = &tokens.acting(&proposal.actor, self.world.clock.now())?.role;
        permit(&batch.snapshot, &proposal.command, role)?;
        if let Some(first) = self.first_answer(batch, &proposal).await? {
            return Ok(first);
        }
        let now = self.world.clock.now();
        let decision = decide(&batch.snapshot, &proposal.command, &mut self.world.context(now))?;
        permit_findings(&decision.findings, role)?;
        if proposal.validate_only || decision.changes.is_empty() {
            let Decision { changes, unchanged, findings } = decision;
            let revision = batch.snapshot.revision();
            return Ok(Outcome { revision, changes, unchanged, findings });
        }
        let time = self.next_time(now);
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
