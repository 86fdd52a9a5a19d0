//! Where commands wait, and are decided one after the other.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::batch::Batch;
use super::environment::Environment;
use super::handle::{Outcome, Proposal, QueuedCommand, WriteError};
use crate::access::{Actor, Token, Tokens, permit, permit_findings};
use crate::registry::command::Command;
use crate::registry::decide::{Decision, decide};
use crate::registry::snapshot::Snapshot;
use crate::store::Store;

/// The longest time until the clock is read again: it may have been set.
const CLOCK_READ: Duration = Duration::from_secs(30);

/// Where commands wait, and are decided one after the other, each on the state that the one before it
/// leaves.
pub(super) struct CommandQueue {
    pub(super) queue: mpsc::Receiver<QueuedCommand>,
    /// The next one, if it was taken from the queue already.
    pub(super) next: Option<QueuedCommand>,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) environment: Environment,
    /// When the last revision was made: history does not go back in time, clocks do.
    pub(super) last_time: Timestamp,
}

impl CommandQueue {
    /// Waits for a command. Says whether one has come: none does once nobody can send any.
    pub(super) async fn wait(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.queue.recv().await;
        }
        self.next.is_some()
    }

    /// How long to wait for the next end of a lease at the most.
    pub(super) fn until_next_lease_end(&self, snapshot: &Snapshot) -> Duration {
        let Some(end) = snapshot.next_lease_expiry() else { return CLOCK_READ };
        let left = end.duration_since(self.environment.clock.now());
        Duration::try_from(left.max(SignedDuration::ZERO))
            .map_or(CLOCK_READ, |left| left.min(CLOCK_READ))
    }

    /// Ends leases as entries of their own, as many as one commit may have; the others are next.
    pub(super) fn end_leases(&mut self, batch: &mut Batch) {
        while let Some(end) = batch.snapshot.next_lease_expiry()
            && !batch.is_full()
            && end <= self.environment.clock.now()
        {
            let now = self.environment.clock.now();
            let mut context = self.environment.context(now);
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

    /// Decides what waits, as much as one commit may have.
    pub(super) async fn decide_waiting(&mut self, batch: &mut Batch, store: &mut impl Store) {
        while !batch.is_full()
            && let Some(waiting) = self.next.take().or_else(|| self.queue.try_recv().ok())
        {
            let Some(QueuedCommand { proposal, reply }) = waiting.still() else { continue };
            let answer = self.answer(batch, proposal, store).await;
            batch.decided.push((reply, answer));
        }
    }

    /// Decides what comes in while the store commits what it builds on, as much as one commit may have.
    /// Goes no further than to a command for which the store has to be asked, the end of a lease, or
    /// the moment at which `is_store_wanted` for something else.
    pub(super) async fn decide_ahead(
        &mut self,
        batch: &mut Batch,
        is_store_wanted: impl Fn() -> bool,
    ) -> Infallible {
        while !batch.is_full()
            && self.wait().await
            && !is_store_wanted()
            && !self.until_next_lease_end(&batch.snapshot).is_zero()
            && let Some(waiting) = self.next.take_if(|next| next.proposal.request.is_none())
        {
            let Some(QueuedCommand { proposal, reply }) = waiting.still() else { continue };
            let permitted = self.permit(batch, &proposal);
            let answer = permitted.and_then(|token| self.decide(batch, proposal, &token));
            batch.decided.push((reply, answer));
        }
        pending().await
    }

    async fn answer(
        &mut self,
        batch: &mut Batch,
        proposal: Proposal,
        store: &mut impl Store,
    ) -> Result<Outcome, WriteError> {
        let token = self.permit(batch, &proposal)?;
        match first_answer(batch, &proposal, store).await? {
            Some(first) => Ok(first),
            None => self.decide(batch, proposal, &token),
        }
    }

    /// The token as it is now, if it permits the command: a call that began before it was changed is
    /// held to the change.
    fn permit(&self, batch: &Batch, proposal: &Proposal) -> Result<Arc<Token>, WriteError> {
        let tokens = self.tokens.load();
        let token = tokens.by_actor(&proposal.actor, self.environment.clock.now())?;
        permit(&batch.snapshot, &proposal.command, &token.role)?;
        Ok(Arc::clone(token))
    }

    fn decide(
        &mut self,
        batch: &mut Batch,
        proposal: Proposal,
        token: &Token,
    ) -> Result<Outcome, WriteError> {
        let now = self.environment.clock.now();
        let decision =
            decide(&batch.snapshot, &proposal.command, &mut self.environment.context(now))?;
        permit_findings(&decision.findings, &token.role)?;
        if proposal.validate_only || decision.changes.is_empty() {
            let Decision { changes, unchanged, findings } = decision;
            let revision = batch.snapshot.revision();
            return Ok(Outcome { revision, changes, unchanged, findings });
        }
        let time = self.next_time(now);
        Ok(batch.accept(proposal, decision, time))
    }

    /// The time of the next revision: now, or just after the last one if the clock was set back.
    fn next_time(&mut self, now: Timestamp) -> Timestamp {
        let just_after = self.last_time.checked_add(SignedDuration::from_micros(1));
        self.last_time = now.max(just_after.unwrap_or(Timestamp::MAX));
        self.last_time
    }
}

/// What a request that was sent before has led to.
async fn first_answer(
    batch: &Batch,
    proposal: &Proposal,
    store: &mut impl Store,
) -> Result<Option<Outcome>, WriteError> {
    let Some(request) = &proposal.request else {
        return Ok(None);
    };
    let key = (proposal.actor.clone(), request.id.clone());
    let (fingerprint, outcome) = if let Some(first) = batch.answered.get(&key) {
        first.clone()
    } else {
        let found = store.stored_outcome(&proposal.actor, &request.id).await.map_err(|fault| {
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
