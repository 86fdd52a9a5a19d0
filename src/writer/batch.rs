//! Commands that are committed together.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::handle::{Outcome, Proposal, QueuedCommand, WriteError};
use crate::access::Actor;
use crate::registry::assignment::Revision;
use crate::registry::decide::{Decision, Unchanged};
use crate::registry::finding::{Evidence, Finding};
use crate::registry::snapshot::Snapshot;
use crate::store::{Entry, StoreError, StoredOutcome};

/// Commands that are committed together.
pub(super) struct Batch {
    /// The revision of the state they are decided on.
    pub(super) base: Revision,
    /// The state after the last of them.
    pub(super) snapshot: Snapshot,
    pub(super) entries: Vec<Entry>,
    /// The fingerprint and outcome by actor and request id.
    pub(super) outcomes: HashMap<(Actor, String), ([u8; 32], Outcome)>,
    /// The commands, and the replies to send after publishing.
    pub(super) decided: Vec<(QueuedCommand, Result<Outcome, WriteError>)>,
    /// Whether an outcome is that of a revision after the snapshot, which another writer has appended.
    pub(super) is_behind: bool,
}

/// The maximum number of commands and changes per commit; the command that reaches the limit may
/// exceed it.
const MAX_ENTRIES: usize = 512;
const MAX_CHANGES: usize = 4096;

impl Batch {
    /// Whether no more commands may be added: it has the maximum size of a commit, or is behind.
    pub(super) fn is_full(&self) -> bool {
        let changes: usize = self.entries.iter().map(|entry| entry.changes.len()).sum();
        self.is_behind || self.entries.len() >= MAX_ENTRIES || changes >= MAX_CHANGES
    }

    /// An empty batch on this state.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            base: snapshot.revision(),
            snapshot: snapshot.clone(),
            entries: Vec::new(),
            outcomes: HashMap::new(),
            decided: Vec::new(),
            is_behind: false,
        }
    }

    /// Adds an accepted command as an entry.
    pub(super) fn accept(
        &mut self,
        proposal: &Proposal,
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
            self.outcomes.insert(key, (request.fingerprint, outcome.clone()));
        }
        self.entries.push(Entry {
            revision,
            time,
            actor: proposal.actor.clone(),
            reason: proposal.reason.clone(),
            changes,
            findings,
            request: proposal.request.clone(),
        });
        outcome
    }

    /// Replies to all callers that the commit failed.
    pub(super) fn fail(self, error: &Arc<StoreError>) {
        for command in self.into_commands() {
            command.fail(error);
        }
    }

    /// The commands, to decide them again.
    pub(super) fn into_commands(self) -> impl Iterator<Item = QueuedCommand> {
        self.decided.into_iter().map(|(command, _)| command)
    }

    /// The outcome of an earlier request. Looks up evidence of the reference by uid.
    pub(super) fn outcome_of(&self, stored: StoredOutcome) -> Outcome {
        let findings = stored.findings.into_iter().map(|stored| {
            let Finding { evidence, .. } = stored.finding.clone();
            // A uid identifies the same record in all editions; the current one may have removed it.
            let by_uid = || self.snapshot.reference().by_uid(stored.reference_uid?).cloned();
            let evidence = Evidence { record: evidence.record.or_else(by_uid), ..evidence };
            Finding { evidence, ..stored.finding }
        });
        Outcome {
            revision: stored.revision,
            changes: stored.changes,
            unchanged: Unchanged::Nothing,
            findings: findings.collect(),
        }
    }
}
