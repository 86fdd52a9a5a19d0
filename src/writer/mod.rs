//! The only task that changes the registry: it decides, commits, publishes and replies, in that
//! order. It also expires leases.
//!
//! While the store commits a batch, the writer decides newly arrived commands on the state after that
//! batch. These are committed, published and replied to only after that batch, and fail with it.
//!
//! A database may have other writers. If one of them has appended first, nothing was committed: the
//! writer reads the new entries and tokens, publishes them, and decides all commands of the batch again
//! on the new state, before any other command. No caller waits forever: if `MAX_ATTEMPTS` appends of a
//! command have failed in this way, it fails with an error of the store, and the caller may retry. An
//! outcome that is not appended, such as a refusal, is based on the last state that this writer has read.

mod batch;
mod command_queue;
mod environment;
mod handle;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use environment::{Clock, Environment};
pub use handle::{Outcome, Proposal, RegistryHandle, TokenWriteError, WriteError};

use self::batch::Batch;
use self::command_queue::CommandQueue;
use self::handle::{QueuedCommand, TokenRequest};
use crate::access::{Actor, Token, TokenCommand, permit_administration};
use crate::metrics::Metrics;
use crate::registry::snapshot::Snapshot;
use crate::store::{
    AppendOutcome, Entry, LoadedRegistry, LogTail, Store, StoreError, check_revisions,
};

/// The maximum number of queued commands; further ones are rejected.
const MAX_QUEUED: usize = 4096;
/// How many entries a follower may lag behind before it has to read the history.
const MAX_LAG: usize = 256;
/// The pause before the next attempt to expire leases after a failed commit.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How many appends of a command, or of expired leases, may fail in a row because another writer has
/// appended first.
const MAX_ATTEMPTS: u32 = 16;
/// The capacity of the queue of token changes; further callers wait for a slot.
const MAX_QUEUED_TOKENS: usize = 16;

/// The writer task.
pub struct Writer<S> {
    store: S,
    metrics: Arc<Metrics>,
    commands: CommandQueue,
    published: Arc<ArcSwap<Snapshot>>,
    token_requests: mpsc::Receiver<TokenRequest>,
    followers: broadcast::Sender<Arc<Entry>>,
}

/// Creates the writer of a store, from the contents loaded from it, and its handle.
pub fn writer<S: Store>(
    store: S,
    loaded: LoadedRegistry,
    environment: Environment,
) -> (RegistryHandle, Writer<S>) {
    let published = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
    let tokens = Arc::new(ArcSwap::from_pointee(loaded.tokens));
    let (sender, queue) = mpsc::channel(MAX_QUEUED);
    let (token_sender, token_requests) = mpsc::channel(MAX_QUEUED_TOKENS);
    let (followers, _) = broadcast::channel(MAX_LAG);
    let handle = RegistryHandle {
        published: Arc::clone(&published),
        tokens: Arc::clone(&tokens),
        queue: sender,
        token_requests: token_sender,
        followers: followers.downgrade(),
        clock: environment.clock.clone(),
        metrics: Arc::clone(&environment.metrics),
    };
    environment.clock.advance_to(loaded.last_time.unwrap_or(Timestamp::MIN));
    let metrics = Arc::clone(&environment.metrics);
    let commands = CommandQueue { queue, next: VecDeque::new(), tokens, environment };
    (handle, Writer { store, metrics, commands, published, token_requests, followers })
}

impl<S: Store> Writer<S> {
    /// Serves commands until every handle is dropped or `stop` is cancelled, then the commands still
    /// queued, and returns the store. Expires leases when they end.
    ///
    /// # Errors
    /// If the snapshot no longer matches the store: the log is not the continuation of the snapshot, or
    /// another program has written to a database that allows one writer.
    pub async fn run(mut self, stop: CancellationToken) -> Result<S, StoreError> {
        let mut pause = self.until_next_lease_expiry();
        loop {
            tokio::select! {
                has_command = self.commands.wait() => {
                    if !has_command {
                        return Ok(self.store);
                    }
                }
                Some(request) = self.token_requests.recv() => self.serve_token_request(request).await,
                () = sleep(pause) => {}
                () = stop.cancelled(), if !self.commands.queue.is_closed() => self.commands.queue.close(),
            }
            // In separate commits, so that no command fails with them.
            let have_expired = self.expire_leases().await?;
            let is_committed = self.serve(&stop).await?;
            pause = if have_expired && is_committed {
                self.until_next_lease_expiry()
            } else {
                RETRY_DELAY
            };
        }
    }

    /// Expires the leases that have ended. Returns whether that was committed.
    ///
    /// # Errors
    /// Like [`Self::run`].
    pub async fn expire_leases(&mut self) -> Result<bool, StoreError> {
        let mut attempts = 0;
        while self.until_next_lease_expiry().is_zero() {
            let mut batch = Batch::new(&self.published.load_full());
            self.commands.expire_leases(&mut batch);
            match commit(&mut self.store, &self.metrics, &batch, pending()).await? {
                Commit::Done => {
                    attempts = 0;
                    self.publish(batch);
                }
                Commit::Behind => {
                    attempts += 1;
                    if matches!(self.catch_up().await?, Commit::Failed(_)) {
                        return Ok(false);
                    }
                    if attempts == MAX_ATTEMPTS {
                        report_contention(&self.metrics);
                        return Ok(false);
                    }
                }
                Commit::Failed(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn until_next_lease_expiry(&self) -> Duration {
        self.commands.until_next_lease_expiry(&self.published.load())
    }

    /// Serves the queued commands and those that arrive meanwhile, in one or more commits. Returns
    /// whether no commit failed; commands to be decided again are in the queue then.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<bool, StoreError> {
        let mut batch = Batch::new(&self.published.load_full());
        self.commands.decide_queued(&mut batch, &mut self.store).await;
        while !batch.decided.is_empty() {
            let mut next = Batch::new(&batch.snapshot);
            let is_store_needed = || stop.is_cancelled() || !self.token_requests.is_empty();
            let ahead = self.commands.decide_ahead(&mut next, is_store_needed);
            match commit(&mut self.store, &self.metrics, &batch, ahead).await? {
                Commit::Done => {
                    self.publish(batch);
                    batch = next;
                }
                Commit::Behind => return self.decide_again(batch, next).await,
                Commit::Failed(error) => {
                    // A refusal may depend on a command that was not committed, so all fail.
                    batch.fail(&error);
                    next.fail(&error);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Catches up after a batch was not committed because another writer has appended, and puts its
    /// commands first in the queue, before those that were decided on its result.
    async fn decide_again(&mut self, batch: Batch, ahead: Batch) -> Result<bool, StoreError> {
        if let Commit::Failed(error) = self.catch_up().await? {
            batch.fail(&error);
            ahead.fail(&error);
            return Ok(false);
        }
        let mut commands: Vec<_> = batch.into_commands().collect();
        for command in &mut commands {
            command.conflicts += 1;
        }
        let has_lost = |command: &mut QueuedCommand| command.conflicts == MAX_ATTEMPTS;
        let lost: Vec<_> = commands.extract_if(.., has_lost).collect();
        if !lost.is_empty() {
            let error = Arc::new(report_contention(&self.metrics));
            for command in lost {
                command.fail(&error);
            }
        }
        commands.extend(ahead.into_commands());
        self.commands.put_first(commands);
        Ok(true)
    }

    /// Reads the entries that other writers have appended and the tokens, and publishes them. If they
    /// can't be read, nothing is published.
    ///
    /// # Errors
    /// If the entries are not the continuation of the snapshot, which ends the writer.
    async fn catch_up(&mut self) -> Result<Commit, StoreError> {
        let mut snapshot = Snapshot::clone(&self.published.load());
        let LogTail { entries, tokens } = match self.store.entries_since(snapshot.revision()).await
        {
            Ok(tail) => tail,
            Err(error) => {
                report_failure(&self.metrics, "catch-up failed", &error);
                return Ok(Commit::Failed(Arc::new(error)));
            }
        };
        check_revisions(snapshot.revision(), &entries)?;
        for entry in &entries {
            snapshot.advance(entry.revision, &entry.changes);
            self.commands.environment.clock.advance_to(entry.time);
        }
        tracing::debug!(revision = snapshot.revision().0, "caught up with another writer");
        self.commands.tokens.store(Arc::new(tokens.into_iter().collect()));
        self.publish_entries(snapshot, entries);
        Ok(Commit::Done)
    }

    /// Publishes the state after a batch, then replies: clients must read their own writes.
    fn publish(&self, batch: Batch) {
        let Batch { snapshot, entries, decided, .. } = batch;
        self.publish_entries(snapshot, entries);
        for (command, result) in decided {
            // The caller may have stopped waiting.
            let _ = command.reply.send(result);
        }
    }

    fn publish_entries(&self, snapshot: Snapshot, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.published.store(Arc::new(snapshot));
        }
        for entry in entries {
            // Fails only without followers.
            let _ = self.followers.send(Arc::new(entry));
        }
    }

    /// Changes a token: decides, commits, publishes and replies.
    async fn serve_token_request(&mut self, request: TokenRequest) {
        let TokenRequest { command, by, reply } = request;
        if reply.is_closed() {
            return;
        }
        let result = self.change_token(command, &by).await;
        // The caller may have stopped waiting.
        let _ = reply.send(result);
    }

    async fn change_token(
        &mut self,
        command: TokenCommand,
        by: &Actor,
    ) -> Result<Arc<Token>, TokenWriteError> {
        let (tokens, now) =
            (self.commands.tokens.load_full(), self.commands.environment.clock.now());
        permit_administration(&tokens.by_actor(by, now)?.role)?;
        let token = Arc::new(tokens.decide(command, by, now)?);
        self.store.put_token(&token).await.map_err(|error| {
            report_failure(&self.metrics, "token not stored", &error);
            TokenWriteError::Store(error)
        })?;
        self.commands.tokens.store(Arc::new(tokens.with(Arc::clone(&token))));
        Ok(token)
    }
}

/// The result of a commit, or of catching up, that does not end the writer.
enum Commit {
    Done,
    /// Another writer has appended, so nothing was stored.
    Behind,
    Failed(Arc<StoreError>),
}

/// Commits a batch and runs `meanwhile` during the commit.
async fn commit(
    store: &mut impl Store,
    metrics: &Metrics,
    batch: &Batch,
    meanwhile: impl Future<Output = Infallible>,
) -> Result<Commit, StoreError> {
    if batch.entries.is_empty() && !batch.is_behind {
        return Ok(Commit::Done);
    }
    let (expected, started) = (batch.base, Instant::now());
    let appended = tokio::select! {
        biased;
        appended = store.append(expected, &batch.entries) => appended,
        never = meanwhile => match never {},
    };
    match appended {
        Ok(AppendOutcome::Committed) => {
            metrics.record_commit(batch.entries.len() as u32, started.elapsed());
            Ok(Commit::Done)
        }
        Ok(AppendOutcome::Behind { last }) if last > expected => Ok(Commit::Behind),
        // A log that ends before the snapshot is not its continuation.
        Ok(AppendOutcome::Behind { last }) => Err(StoreError::Conflict { expected, found: last }),
        Err(error @ StoreError::Conflict { .. }) => Err(error),
        Err(error) => {
            report_failure(metrics, "commit failed", &error);
            Ok(Commit::Failed(Arc::new(error)))
        }
    }
}

/// Other writers have appended before each attempt.
fn report_contention(metrics: &Metrics) -> StoreError {
    let error = StoreError::Contention { attempts: MAX_ATTEMPTS };
    report_failure(metrics, "commit failed", &error);
    error
}

fn report_failure(metrics: &Metrics, message: &'static str, error: &StoreError) {
    metrics.record_failed_commit();
    tracing::error!(error = error as &dyn std::error::Error, "{message}");
}
