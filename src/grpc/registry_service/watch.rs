//! `WatchAssignments`: every change once, in order, from any revision on.
//!
//! A watch is behind or abreast. Behind, it reads the history, a page at a time; abreast, it is
//! handed each entry as it is published. Nothing is made before the reader has room for it: a slow
//! one falls behind, and is brought up from the history.

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

/// The most changes of one message, and how many bytes make it full: clients take 4 MiB by default,
/// and a change is far smaller than that.
const MOST_CHANGES: usize = 128;
const FULL: usize = 256 * 1024;
/// How long a watch is silent before it tells how far it has come.
const MARK_AFTER: Duration = Duration::from_secs(10);

/// One watch.
pub(super) struct Watch {
    handle: RegistryHandle,
    history: Arc<dyn History>,
    filter: ChangeFilter,
    followed: broadcast::Receiver<Arc<Entry>>,
    shutdown: CancellationToken,
    /// Where it is: everything up to here has been told, or does not pass.
    place: ChangePosition,
    /// The entry in which it is.
    current: Option<Arc<Entry>>,
    state: State,
    /// Whether it is to say how far it has come, though it has nothing to tell.
    owes_mark: bool,
    last_said: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There may be more in the history than was told. The first time this ends, it is said.
    Behind { is_first_time: bool },
    /// All that was published before has been told.
    Abreast,
    /// The end was told.
    Ended,
}

/// What a message is to say.
#[derive(Default)]
struct Draft {
    changes: Vec<proto::Change>,
    bytes: usize,
}

impl Draft {
    fn is_full(&self) -> bool {
        self.changes.len() >= MOST_CHANGES || self.bytes >= FULL
    }

    fn push(&mut self, change: proto::Change) {
        self.bytes += change.encoded_len();
        self.changes.push(change);
    }
}

impl Watch {
    /// A watch as it is asked for.
    pub(super) async fn start(
        service: &RegistryService,
        request: &proto::WatchAssignmentsRequest,
    ) -> Result<Self, CallError> {
        let asked = request.filter.clone().unwrap_or_default();
        let mut filter = parse(|fields| watch_filter(fields, &asked))?;
        filter.kinds = ChangeKind::ALL.into_iter().filter(|kind| kind.is_of_assignment()).collect();
        // First the ear, then the look: what is published in between is heard.
        let followed = service.handle.follow().ok_or(CallError::Stopping)?;
        let present = service.handle.snapshot().revision();
        let place = match ChangePosition::before(Revision(request.start_revision)) {
            None => ChangePosition::end_of(present),
            Some(place) if place.revision > present => return Err(CallError::InTheFuture(present)),
            Some(place) => place,
        };
        if let Some(namespace) = &filter.namespace {
            service.check_was_there(namespace).await?;
        }
        Ok(Self {
            handle: service.handle.clone(),
            history: Arc::clone(&service.history),
            filter,
            followed,
            shutdown: service.shutdown.clone(),
            place,
            current: None,
            state: State::Behind { is_first_time: true },
            owes_mark: false,
            last_said: Instant::now(),
        })
    }

    /// What it says, until the server stops.
    pub(super) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<proto::WatchAssignmentsResponse, Status>> + Send {
        stream::unfold(self, |mut watch| async {
            let said = watch.say().await?;
            Some((said.map_err(Status::from), watch))
        })
    }

    async fn say(&mut self) -> Option<Result<proto::WatchAssignmentsResponse, CallError>> {
        if self.state == State::Ended {
            return None;
        }
        let shutdown = self.shutdown.clone();
        let said = match unless(&shutdown, self.next()).await {
            Some(said) => said,
            None => Err(CallError::WatchEnded { start_revision: self.told().next() }),
        };
        if said.is_err() {
            self.state = State::Ended;
        }
        self.last_said = Instant::now();
        Some(said)
    }

    async fn next(&mut self) -> Result<proto::WatchAssignmentsResponse, CallError> {
        loop {
            let draft = match self.state {
                _ if std::mem::take(&mut self.owes_mark) => Some(Draft::default()),
                State::Behind { is_first_time } => self.read_history(is_first_time).await?,
                State::Abreast | State::Ended => self.hear().await,
            };
            if let Some(Draft { changes, .. }) = draft {
                let revision = self.told().0;
                return Ok(proto::WatchAssignmentsResponse { changes, revision });
            }
        }
    }

    /// The last revision of which everything was told.
    fn told(&self) -> Revision {
        match self.place.position {
            u32::MAX => self.place.revision,
            _ => Revision(self.place.revision.0.saturating_sub(1)),
        }
    }

    /// Tells the next part of the history.
    async fn read_history(&mut self, is_first_time: bool) -> Result<Option<Draft>, CallError> {
        let snapshot = self.handle.snapshot();
        let present = ChangePosition::end_of(snapshot.revision());
        let query = Query {
            after: Some(self.place),
            before: present,
            newest_first: false,
            limit: MOST_CHANGES as u32,
            filter: self.filter.clone(),
        };
        let changes = self.history.changes(&query).await.map_err(CallError::History)?;
        let is_last = changes.len() < MOST_CHANGES;
        let mut draft = Draft::default();
        for logged in &changes {
            if draft.is_full() {
                return Ok(Some(draft));
            }
            draft.push(convert::change(snapshot.reference(), logged));
            self.place = logged.place;
        }
        if is_last {
            self.place = present;
            self.state = State::Abreast;
            self.owes_mark = is_first_time;
        }
        Ok((!draft.changes.is_empty()).then_some(draft))
    }

    /// Tells the next entries, or marks that there has been none for a while.
    async fn hear(&mut self) -> Option<Draft> {
        if self.current.is_none() {
            match timeout_at(self.last_said + MARK_AFTER, self.followed.recv()).await {
                Err(_) => return Some(Draft::default()),
                Ok(Err(RecvError::Lagged(_))) => self.fall_behind(),
                // The writer has ended, and the server is about to.
                Ok(Err(RecvError::Closed)) => self.shutdown.cancelled().await,
                Ok(Ok(entry)) => self.take(entry),
            }
        }
        let mut draft = Draft::default();
        while self.state == State::Abreast && !draft.is_full() {
            match self.current.take() {
                Some(entry) => self.tell(&entry, &mut draft),
                None => match self.followed.try_recv() {
                    Ok(entry) => self.take(entry),
                    Err(TryRecvError::Lagged(_)) => self.fall_behind(),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                },
            }
        }
        // While changes that do not pass come without a pause, nobody waits for the mark.
        let is_mark_due = self.last_said.elapsed() >= MARK_AFTER;
        (!draft.changes.is_empty() || is_mark_due).then_some(draft)
    }

    fn fall_behind(&mut self) {
        self.state = State::Behind { is_first_time: false };
    }

    /// Takes up an entry, if it is the next one.
    fn take(&mut self, entry: Arc<Entry>) {
        if entry.revision == self.place.revision.next() {
            self.current = Some(entry);
        } else if entry.revision > self.place.revision {
            self.fall_behind();
        }
    }

    /// Tells what passes of an entry, from where the watch is, as far as there is room.
    fn tell(&mut self, entry: &Arc<Entry>, draft: &mut Draft) {
        let snapshot = self.handle.snapshot();
        let places = (0..).map(|position| ChangePosition { revision: entry.revision, position });
        for (place, change) in places.zip(&entry.changes) {
            if place <= self.place {
                continue;
            }
            if draft.is_full() {
                self.current = Some(Arc::clone(entry));
                return;
            }
            if change.kind().is_of_assignment() && self.filter.passes(change) {
                let logged = ChangeRecord {
                    place,
                    time: entry.time,
                    actor: entry.actor.clone(),
                    reason: entry.reason.clone(),
                    change: change.clone(),
                };
                draft.push(convert::change(snapshot.reference(), &logged));
            }
            self.place = place;
        }
        self.place = ChangePosition::end_of(entry.revision);
    }
}

/// What comes of it, unless the server stops before.
async fn unless<T>(shutdown: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = shutdown.cancelled() => None,
        done = work => Some(done),
    }
}
