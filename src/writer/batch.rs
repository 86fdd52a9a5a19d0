//! Commands that are committed together.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::handle::{Outcome, Proposal, WriteError};
use crate::access::Actor;
use crate::registry::assignment::Revision;
use crate::registry::decide::{Decision, Unchanged};
use crate::registry::finding::{Evidence, Finding};
use crate::registry::snapshot::Snapshot;
use crate::store::{Entry, StoreError, StoredOutcome};

type Reply = Result<Outcome, WriteError>;

/// Commands that are committed together.
pub(super) struct Batch {
    /// The revision they build on.
    pub(super) base: Revision,
    /// The state that the last of them leaves.
    pub(super) snapshot: Snapshot,
    pub(super) entries: Vec<Entry>,
    /// By actor and request id: fingerprint and outcome.
    pub(super) answered: HashMap<(Actor, String), ([u8; 32], Outcome)>,
    /// Who waits for it, and what they are told once it is published.
    pub(super) decided: Vec<(oneshot::Sender<Reply>, Reply)>,
}

/// How many commands are committed together at the most, and how many changes: the one that
/// reaches the limit may pass it.
const MOST_ENTRIES: usize = 512;
const MOST_CHANGES: usize = 4096;

impl Batch {
    /// Whether no more is to be committed together with it.
    pub(super) fn is_full(&self) -> bool {
        let changes: usize = self.entries.iter().map(|entry| entry.changes.len()).sum();
        self.entries.len() >= MOST_ENTRIES || changes >= MOST_CHANGES
    }

    pub(super) fn on(snapshot: &Snapshot) -> Self {
        Self {
            base: snapshot.revision(),
            snapshot: snapshot.clone(),
            entries: Vec::new(),
            answered: HashMap::new(),
            decided: Vec::new(),
        }
    }

    pub(super) fn accept(
        &mut self,
        proposal: Proposal,
        decision: Decision,
        time: Timestamp,
    ) -> Outcome {
        let revision = self.snapshot.revision().next();
        self.snapshot.advance(revision, &decision.changes);
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

    /// Tells all who wait for it that it was not committed.
    pub(super) fn fail(self, fault: &Arc<StoreError>) {
        for (reply, _) in self.decided {
            // A caller who no longer waits has missed nothing but the reply.
            let _ = reply.send(Err(WriteError::Store(Arc::clone(fault))));
        }
    }

    /// The outcome of a request of the past; what its findings rest on is looked up again.
    pub(super) fn outcome_of(&self, answered: StoredOutcome) -> Outcome {
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
