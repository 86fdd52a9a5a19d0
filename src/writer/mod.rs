//! The one task that changes the registry: it decides, commits, publishes and replies, in that
//! order. Nobody else commits, and nobody else publishes. It also ends the leases whose time has
//! come.
//!
//! While the store commits, what comes in is decided already, on the state that the commit leads to.
//! None of it is committed, published or answered before that commit is, and it fails with it.

mod batch;
mod command_queue;
mod environment;
mod handle;

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
pub use handle::{AdministerError, Outcome, Proposal, RegistryHandle, WriteError};

use self::batch::Batch;
use self::command_queue::CommandQueue;
use self::handle::TokenRequest;
use crate::access::{Actor, Token, TokenCommand, permit_administration};
use crate::metrics::Metrics;
use crate::registry::snapshot::Snapshot;
use crate::store::{Entry, Loaded, Store, StoreError};

/// How many commands may wait; one more is told to try again later.
const QUEUE: usize = 4096;
/// How many entries a follower may be behind before it has to read history.
const FOLLOWED: usize = 256;
/// How long to wait after a commit failed that nobody waits for.
const AFTER_FAULT: Duration = Duration::from_secs(1);
/// How many changes of tokens may wait; one more waits before that.
const ADMINISTRATION: usize = 16;

/// The task itself, to be run until it ends.
pub struct Writer<S> {
    store: S,
    metrics: Arc<Metrics>,
    commands: CommandQueue,
    published: Arc<ArcSwap<Snapshot>>,
    administration: mpsc::Receiver<TokenRequest>,
    followed: broadcast::Sender<Arc<Entry>>,
}

/// A writer for the store, which holds what was loaded from it, and the handle to it.
pub fn writer<S: Store>(
    store: S,
    loaded: Loaded,
    environment: Environment,
) -> (RegistryHandle, Writer<S>) {
    let published = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
    let tokens = Arc::new(ArcSwap::from_pointee(loaded.tokens));
    let (sender, queue) = mpsc::channel(QUEUE);
    let (administrator, administration) = mpsc::channel(ADMINISTRATION);
    let (followed, _) = broadcast::channel(FOLLOWED);
    let registrar = RegistryHandle {
        published: Arc::clone(&published),
        tokens: Arc::clone(&tokens),
        queue: sender,
        administration: administrator,
        followed: followed.downgrade(),
        clock: environment.clock.clone(),
        metrics: Arc::clone(&environment.metrics),
    };
    let last_time = loaded.last_time.unwrap_or(Timestamp::MIN);
    let metrics = Arc::clone(&environment.metrics);
    let commands = CommandQueue { queue, next: None, tokens, environment, last_time };
    (registrar, Writer { store, metrics, commands, published, administration, followed })
}

impl<S: Store> Writer<S> {
    /// Serves commands until every handle is gone or `stop` is cancelled, those that wait by then
    /// included, and gives the store back. Ends leases when their time has come.
    ///
    /// # Errors
    /// If the store holds what this writer did not write. Going on would be guessing.
    pub async fn run(mut self, stop: CancellationToken) -> Result<S, StoreError> {
        let mut pause = self.until_next_lease_end();
        loop {
            tokio::select! {
                has_come = self.commands.wait() => {
                    if !has_come {
                        return Ok(self.store);
                    }
                }
                Some(asked) = self.administration.recv() => self.administer(asked).await,
                () = sleep(pause) => {}
                () = stop.cancelled(), if !self.commands.queue.is_closed() => self.commands.queue.close(),
            }
            // In commits of their own, so that nobody's command fails with them.
            let have_ended = self.end_leases().await?;
            let is_committed = self.serve(&stop).await?;
            pause =
                if have_ended && is_committed { self.until_next_lease_end() } else { AFTER_FAULT };
        }
    }

    /// Ends the leases whose time has come. Says whether that could be committed.
    ///
    /// # Errors
    /// If the store holds what this writer did not write.
    pub async fn end_leases(&mut self) -> Result<bool, StoreError> {
        while self.until_next_lease_end().is_zero() {
            let mut batch = Batch::on(&self.published.load_full());
            self.commands.end_leases(&mut batch);
            let committed = commit(&mut self.store, &self.metrics, &batch, pending()).await?;
            if committed.is_err() {
                return Ok(false);
            }
            self.publish(batch);
        }
        Ok(true)
    }

    fn until_next_lease_end(&self) -> Duration {
        self.commands.until_next_lease_end(&self.published.load())
    }

    /// Serves the commands that wait, and those that come in meanwhile, in as many commits as their
    /// size asks for. Says whether what was to be committed was.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<bool, StoreError> {
        let mut batch = Batch::on(&self.published.load_full());
        self.commands.decide_waiting(&mut batch, &mut self.store).await;
        while !batch.decided.is_empty() {
            let mut next = Batch::on(&batch.snapshot);
            let is_store_wanted = || stop.is_cancelled() || !self.administration.is_empty();
            let ahead = self.commands.decide_ahead(&mut next, is_store_wanted);
            if let Err(fault) = commit(&mut self.store, &self.metrics, &batch, ahead).await? {
                // A refusal may rest on a neighbour that was not committed, so all fail.
                batch.fail(&fault);
                next.fail(&fault);
                return Ok(false);
            }
            self.publish(batch);
            batch = next;
        }
        Ok(true)
    }

    /// Publishes what a batch leads to, then replies: clients must read their own writes.
    fn publish(&self, batch: Batch) {
        let Batch { snapshot, entries, decided, .. } = batch;
        if !entries.is_empty() {
            self.published.store(Arc::new(snapshot));
        }
        for entry in entries {
            // With nobody to follow there is nobody to tell.
            let _ = self.followed.send(Arc::new(entry));
        }
        for (reply, answer) in decided {
            // A caller who no longer waits has missed nothing but the reply.
            let _ = reply.send(answer);
        }
    }

    /// Changes a token: decides, commits, publishes and replies.
    async fn administer(&mut self, asked: TokenRequest) {
        let TokenRequest { command, by, reply } = asked;
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
        let (tokens, now) =
            (self.commands.tokens.load_full(), self.commands.environment.clock.now());
        permit_administration(&tokens.by_actor(by, now)?.role)?;
        let token = Arc::new(tokens.decide(command, by, now)?);
        self.store.put_token(&token).await.map_err(|fault| {
            self.metrics.record_failed_commit();
            tracing::error!(error = &fault as &dyn std::error::Error, "token not stored");
            AdministerError::Store(fault)
        })?;
        self.commands.tokens.store(Arc::new(tokens.with(Arc::clone(&token))));
        Ok(token)
    }
}

/// Commits a batch, and does something else `meanwhile`; a fault is the batch's, unless going on would
/// be guessing.
async fn commit(
    store: &mut impl Store,
    metrics: &Metrics,
    batch: &Batch,
    meanwhile: impl Future<Output = Infallible>,
) -> Result<Result<(), Arc<StoreError>>, StoreError> {
    if batch.entries.is_empty() {
        return Ok(Ok(()));
    }
    let started = Instant::now();
    let appended = tokio::select! {
        biased;
        appended = store.append(batch.base, &batch.entries) => appended,
        never = meanwhile => match never {},
    };
    match appended {
        Ok(()) => {
            metrics.record_commit(batch.entries.len() as u32, started.elapsed());
            Ok(Ok(()))
        }
        Err(fault @ StoreError::Conflict { .. }) => Err(fault),
        Err(fault) => {
            metrics.record_failed_commit();
            tracing::error!(error = &fault as &dyn std::error::Error, "commit failed");
            Ok(Err(Arc::new(fault)))
        }
    }
}
