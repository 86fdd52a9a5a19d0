//! The queue of commands, which are decided one after another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::SignedDuration;
use tokio::sync::mpsc;

use super::batch::Batch;
use super::environment::Environment;
use super::handle::{Outcome, Proposal, QueuedCommand, WriteError};
use crate::access::{Actor, Token, Tokens, permit, permit_findings};
use crate::registry::command::Command;
use crate::registry::decide::{Decision, decide};
use crate::registry::snapshot::Snapshot;
use crate::store::Store;

/// The maximum time between two readings of the clock: it may have been set.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// The queue of commands. Each is decided on the state after the one before.
pub(super) struct CommandQueue {
    pub(super) queue: mpsc::Receiver<QueuedCommand>,
    /// The next commands: those received from the queue, or to be decided again.
    pub(super) next: VecDeque<QueuedCommand>,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) environment: Environment,
}

impl CommandQueue {
    /// Waits for a command. Returns false if the queue is closed and empty.
    pub(super) async fn wait(&mut self) -> bool {
        if self.next.is_empty() {
            self.next.extend(self.queue.recv().await);
        }
        !self.next.is_empty()
    }

    /// Puts commands before all others, in this order.
    pub(super) fn put_first(&mut self, commands: Vec<QueuedCommand>) {
        for command in commands.into_iter().rev() {
            self.next.push_front(command);
        }
    }

    /// The maximum time to sleep before the next lease expires.
    pub(super) fn until_next_lease_expiry(&self, snapshot: &Snapshot) -> Duration {
        let Some(end) = snapshot.next_lease_expiry() else { return MAX_SLEEP };
        let remaining = end.duration_since(self.environment.clock.now());
        Duration::try_from(remaining.max(SignedDuration::ZERO))
            .map_or(MAX_SLEEP, |remaining| remaining.min(MAX_SLEEP))
    }

    /// Expires leases as separate entries, at most one commit; the caller repeats it for the others.
    pub(super) fn expire_leases(&mut self, batch: &mut Batch) {
        while let Some(end) = batch.snapshot.next_lease_expiry()
            && !batch.is_full()
            && end <= self.environment.clock.now()
        {
            let time = self.environment.clock.next();
            let mut context = self.environment.context(time);
            let decision = decide(&batch.snapshot, &Command::Expire(end), &mut context);
            let Ok(decision) = decision else { return };
            let proposal = Proposal {
                command: Command::Expire(end),
                actor: Actor::portbook(),
                reason: String::new(),
                request: None,
                validate_only: false,
            };
            self.environment.clock.advance_to(time);
            batch.accept(&proposal, decision, time);
        }
    }

    /// Decides the queued commands, at most one commit.
    pub(super) async fn decide_queued(&mut self, batch: &mut Batch, store: &mut impl Store) {
        while !batch.is_full()
            && let Some(queued) = self.next.pop_front().or_else(|| self.queue.try_recv().ok())
        {
            let Some(command) = queued.if_awaited() else { continue };
            let result = self.replay_or_decide(batch, &command.proposal, store).await;
            batch.decided.push((command, result));
        }
    }

    /// Decides commands that arrive while the store commits the batch they build on, at most one
    /// commit. Stops at a command that needs the store (one with a request id), when a lease expires,
    /// and when `is_store_needed` for something else.
    pub(super) async fn decide_ahead(
        &mut self,
        batch: &mut Batch,
        is_store_needed: impl Fn() -> bool,
    ) -> Infallible {
        while !batch.is_full()
            && self.wait().await
            && !is_store_needed()
            && !self.until_next_lease_expiry(&batch.snapshot).is_zero()
            && let Some(queued) = self.next.pop_front_if(|next| next.proposal.request.is_none())
        {
            let Some(command) = queued.if_awaited() else { continue };
            let permitted = self.permit(batch, &command.proposal);
            let result = permitted.and_then(|token| self.decide(batch, &command.proposal, &token));
            batch.decided.push((command, result));
        }
        pending().await
    }

    /// The outcome of the same request if it was accepted before, otherwise a new decision.
    async fn replay_or_decide(
        &mut self,
        batch: &mut Batch,
        proposal: &Proposal,
        store: &mut impl Store,
    ) -> Result<Outcome, WriteError> {
        let token = self.permit(batch, proposal)?;
        match earlier_outcome(batch, proposal, store).await? {
            Some(earlier) => Ok(earlier),
            None => self.decide(batch, proposal, &token),
        }
    }

    /// The actor's current token, if it permits the command: a change of the token also applies to
    /// commands queued before it.
    fn permit(&self, batch: &Batch, proposal: &Proposal) -> Result<Arc<Token>, WriteError> {
        let tokens = self.tokens.load();
        let token = tokens.by_actor(&proposal.actor, self.environment.clock.now())?;
        permit(&batch.snapshot, &proposal.command, &token.role)?;
        Ok(Arc::clone(token))
    }

    fn decide(
        &mut self,
        batch: &mut Batch,
        proposal: &Proposal,
        token: &Token,
    ) -> Result<Outcome, WriteError> {
        let time = self.environment.clock.next();
        let decision =
            decide(&batch.snapshot, &proposal.command, &mut self.environment.context(time))?;
        permit_findings(&decision.findings, &token.role)?;
        if proposal.validate_only || decision.changes.is_empty() {
            let Decision { changes, unchanged, findings } = decision;
            let revision = batch.snapshot.revision();
            return Ok(Outcome { revision, changes, unchanged, findings });
        }
        self.environment.clock.advance_to(time);
        Ok(batch.accept(proposal, decision, time))
    }
}

/// The outcome of the same request if it was accepted before.
async fn earlier_outcome(
    batch: &mut Batch,
    proposal: &Proposal,
    store: &mut impl Store,
) -> Result<Option<Outcome>, WriteError> {
    let Some(request) = &proposal.request else {
        return Ok(None);
    };
    let key = (proposal.actor.clone(), request.id.clone());
    let (fingerprint, outcome) = if let Some(earlier) = batch.outcomes.get(&key) {
        earlier.clone()
    } else {
        let stored = store.stored_outcome(&proposal.actor, &request.id).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "stored outcome not read");
            WriteError::Store(Arc::new(error))
        })?;
        match stored {
            Some(stored) => {
                batch.is_behind |= stored.revision > batch.snapshot.revision();
                (stored.fingerprint, batch.outcome_of(stored))
            }
            None => return Ok(None),
        }
    };
    if fingerprint == request.fingerprint {
        Ok(Some(outcome))
    } else {
        Err(WriteError::RequestIdReused(request.id.clone()))
    }
}
