//! `WatchAssignments`: every change once, in order, from any revision.
//!
//! A watch that catches up reads the history page by page; a live one receives each entry when it is
//! published. Messages are created only when the client can receive them: a slow client falls behind,
//! and catches up from the history.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use prost::Message;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::request::watch_filter;
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto};
use crate::registry::assignment::Revision;
use crate::registry::change::ChangeKind;
use crate::store::Entry;
use crate::store::history::{ChangeFilter, ChangePosition, ChangeRecord, History, Query};
use crate::writer::RegistryHandle;

/// A message is full at this number of changes or bytes: clients accept 4 MiB by default, and a change
/// is far smaller.
const MAX_CHANGES: usize = 128;
const FULL_BYTES: usize = 256 * 1024;
/// A watch without changes sends a progress message at this interval.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// A watch.
pub(super) struct Watch {
    handle: RegistryHandle,
    history: Arc<dyn History>,
    filter: ChangeFilter,
    entries: broadcast::Receiver<Arc<Entry>>,
    shutdown: CancellationToken,
    /// All changes up to here were sent, or do not match the filter.
    position: ChangePosition,
    /// A partially sent entry.
    current: Option<Arc<Entry>>,
    state: State,
    /// Whether to send a progress message even without changes.
    progress_due: bool,
    last_message: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The history may have more changes. The first time it has none left, progress is sent.
    CatchingUp { is_first_time: bool },
    /// All changes published before were sent.
    Live,
    /// The final error was sent.
    Ended,
}

/// The changes of the next message.
#[derive(Default)]
struct Batch {
    changes: Vec<proto::Change>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.changes.len() >= MAX_CHANGES || self.bytes >= FULL_BYTES
    }

    fn push(&mut self, change: proto::Change) {
        self.bytes += change.encoded_len();
        self.changes.push(change);
    }
}

impl Watch {
    /// Starts a watch.
    pub(super) async fn start(
        service: &RegistryService,
        request: &proto::WatchAssignmentsRequest,
    ) -> Result<Self, CallError> {
        let filter = request.filter.clone().unwrap_or_default();
        let mut filter = parse(|fields| watch_filter(fields, &filter))?;
        filter.kinds = ChangeKind::ALL.into_iter().filter(|kind| kind.is_of_assignment()).collect();
        // Subscribe before reading the revision: entries published in between are received.
        let entries = service.handle.follow().ok_or(CallError::Stopping)?;
        let current = service.handle.snapshot().revision();
        let position = match ChangePosition::before(Revision(request.start_revision)) {
            None => ChangePosition::end_of(current),
            Some(position) if position.revision > current => {
                return Err(CallError::InTheFuture(current));
            }
            Some(position) => position,
        };
        if let Some(namespace) = &filter.namespace {
            service.check_namespace_existed(namespace).await?;
        }
        Ok(Self {
            handle: service.handle.clone(),
            history: Arc::clone(&service.history),
            filter,
            entries,
            shutdown: service.shutdown.clone(),
            position,
            current: None,
            state: State::CatchingUp { is_first_time: true },
            progress_due: false,
            last_message: Instant::now(),
        })
    }

    /// The messages, until the server shuts down.
    pub(super) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<proto::WatchAssignmentsResponse, Status>> + Send {
        stream::unfold(self, |mut watch| async {
            let message = watch.next_message().await?;
            Some((message.map_err(Status::from), watch))
        })
    }

    async fn next_message(&mut self) -> Option<Result<proto::WatchAssignmentsResponse, CallError>> {
        if self.state == State::Ended {
            return None;
        }
        let shutdown = self.shutdown.clone();
        let message = match unless_cancelled(&shutdown, self.next()).await {
            Some(message) => message,
            None => Err(CallError::WatchEnded { start_revision: self.sent_revision().next() }),
        };
        if message.is_err() {
            self.state = State::Ended;
        }
        self.last_message = Instant::now();
        Some(message)
    }

    async fn next(&mut self) -> Result<proto::WatchAssignmentsResponse, CallError> {
        loop {
            let batch = match self.state {
                _ if std::mem::take(&mut self.progress_due) => Some(Batch::default()),
                State::CatchingUp { is_first_time } => self.read_history(is_first_time).await?,
                State::Live | State::Ended => self.read_published().await,
            };
            if let Some(Batch { changes, .. }) = batch {
                let revision = self.sent_revision().0;
                return Ok(proto::WatchAssignmentsResponse { changes, revision });
            }
        }
    }

    /// The last revision that was sent completely.
    fn sent_revision(&self) -> Revision {
        match self.position.index {
            u32::MAX => self.position.revision,
            _ => Revision(self.position.revision.0.saturating_sub(1)),
        }
    }

    /// Reads the next changes from the history.
    async fn read_history(&mut self, is_first_time: bool) -> Result<Option<Batch>, CallError> {
        let snapshot = self.handle.snapshot();
        let current = ChangePosition::end_of(snapshot.revision());
        let query = Query {
            after: Some(self.position),
            before: current,
            newest_first: false,
            limit: MAX_CHANGES as u32,
            filter: self.filter.clone(),
        };
        let changes = self.history.changes(&query).await.map_err(CallError::History)?;
        let is_last = changes.len() < MAX_CHANGES;
        let mut batch = Batch::default();
        for record in &changes {
            if batch.is_full() {
                return Ok(Some(batch));
            }
            batch.push(convert::change(snapshot.reference(), record));
            self.position = record.position;
        }
        if is_last {
            self.position = current;
            self.state = State::Live;
            self.progress_due = is_first_time;
        }
        Ok((!batch.changes.is_empty()).then_some(batch))
    }

    /// Reads the next published entries, or reports progress if there are none for a while.
    async fn read_published(&mut self) -> Option<Batch> {
        if self.current.is_none() {
            match timeout_at(self.last_message + PROGRESS_INTERVAL, self.entries.recv()).await {
                Err(_) => return Some(Batch::default()),
                Ok(Err(RecvError::Lagged(_))) => self.fall_behind(),
                // The writer has ended, and the server is shutting down.
                Ok(Err(RecvError::Closed)) => self.shutdown.cancelled().await,
                Ok(Ok(entry)) => self.set_current(entry),
            }
        }
        let mut batch = Batch::default();
        while self.state == State::Live && !batch.is_full() {
            match self.current.take() {
                Some(entry) => self.push_entry(&entry, &mut batch),
                None => match self.entries.try_recv() {
                    Ok(entry) => self.set_current(entry),
                    Err(TryRecvError::Lagged(_)) => self.fall_behind(),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                },
            }
        }
        // Progress is due even while changes that do not match are published continuously.
        let is_progress_due = self.last_message.elapsed() >= PROGRESS_INTERVAL;
        (!batch.changes.is_empty() || is_progress_due).then_some(batch)
    }

    fn fall_behind(&mut self) {
        self.state = State::CatchingUp { is_first_time: false };
    }

    /// Makes an entry the current one, if it is the next.
    fn set_current(&mut self, entry: Arc<Entry>) {
        if entry.revision == self.position.revision.next() {
            self.current = Some(entry);
        } else if entry.revision > self.position.revision {
            self.fall_behind();
        }
    }

    /// Adds the remaining changes of an entry that match the filter, until the batch is full.
    fn push_entry(&mut self, entry: &Arc<Entry>, batch: &mut Batch) {
        let snapshot = self.handle.snapshot();
        let positions = (0..).map(|index| ChangePosition { revision: entry.revision, index });
        for (position, change) in positions.zip(&entry.changes) {
            if position <= self.position {
                continue;
            }
            if batch.is_full() {
                self.current = Some(Arc::clone(entry));
                return;
            }
            if self.filter.matches(entry.time, &entry.actor, change) {
                let record = ChangeRecord {
                    position,
                    time: entry.time,
                    actor: entry.actor.clone(),
                    reason: entry.reason.clone(),
                    change: change.clone(),
                };
                batch.push(convert::change(snapshot.reference(), &record));
            }
            self.position = position;
        }
        self.position = ChangePosition::end_of(entry.revision);
    }
}

/// The result of the work, unless it is cancelled before.
async fn unless_cancelled<T>(
    cancelled: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        () = cancelled.cancelled() => None,
        done = work => Some(done),
    }
}
