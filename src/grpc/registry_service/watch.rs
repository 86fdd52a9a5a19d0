//! `WatchAssignments`: every change once, in order, from any revision on.
//!
//! A watch is behind or abreast. Behind, it reads the history, a page at a time; abreast, it is
//! handed each entry as it is published. Nothing is made before the reader has room for it: a slow
//! one falls behind, and is brought up from the history.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
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
use crate::store::history::{ChangeFilter, History, Logged, Place, Query};
use crate::writer::Registrar;

/// The most changes of one message.
const PAGE: usize = 256;
/// How long a watch is silent before it tells how far it has come.
const MARK_AFTER: Duration = Duration::from_secs(10);

/// One watch.
pub(super) struct Watch {
    registrar: Registrar,
    history: Arc<dyn History>,
    filter: ChangeFilter,
    followed: broadcast::Receiver<Arc<Entry>>,
    shutdown: CancellationToken,
    /// Where it is: everything up to here has been told, or does not pass.
    place: Place,
    /// What it has to say next.
    next: VecDeque<Page>,
    state: State,
    last_said: Instant,
}

/// What one message says, before it is made.
struct Page {
    changes: Vec<Logged>,
    told: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is more in the history than was told. The first time this ends, it is told.
    Behind { is_first_time: bool },
    /// All that was published before has been told.
    Abreast,
    /// The end was told.
    Ended,
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
        let followed = service.registrar.follow().ok_or(CallError::Stopping)?;
        let present = service.registrar.snapshot().revision();
        let place = match Place::before(Revision(request.start_revision)) {
            None => Place::end_of(present),
            Some(place) if place.revision > present => return Err(CallError::InTheFuture(present)),
            Some(place) => place,
        };
        if let Some(namespace) = &filter.namespace {
            service.check_was_there(namespace).await?;
        }
        Ok(Self {
            registrar: service.registrar.clone(),
            history: Arc::clone(&service.history),
            filter,
            followed,
            shutdown: service.shutdown.clone(),
            place,
            next: VecDeque::new(),
            state: State::Behind { is_first_time: true },
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
        loop {
            if let Some(page) = self.next.pop_front() {
                self.last_said = Instant::now();
                return Some(Ok(self.message(&page)));
            }
            let shutdown = self.shutdown.clone();
            let step = match self.state {
                State::Ended => return None,
                State::Behind { is_first_time } => {
                    unless(&shutdown, self.read_history(is_first_time)).await
                }
                State::Abreast => unless(&shutdown, self.hear()).await.map(Ok),
            };
            match step {
                Some(Ok(())) => {}
                Some(Err(fault)) => {
                    self.state = State::Ended;
                    return Some(Err(fault));
                }
                None => {
                    self.state = State::Ended;
                    return Some(Err(CallError::WatchEnded { start_revision: self.told().next() }));
                }
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

    /// Reads the next page of the history.
    async fn read_history(&mut self, is_first_time: bool) -> Result<(), CallError> {
        let present = Place::end_of(self.registrar.snapshot().revision());
        let query = Query {
            after: Some(self.place),
            before: present,
            newest_first: false,
            limit: PAGE as u32,
            filter: self.filter.clone(),
        };
        let changes = self.history.changes(&query).await.map_err(CallError::History)?;
        self.place = match changes.last() {
            Some(last) if changes.len() == PAGE => last.place,
            _ => present,
        };
        let is_abreast = self.place == present;
        if !changes.is_empty() {
            self.tell(changes);
        }
        if is_abreast {
            self.state = State::Abreast;
            if is_first_time {
                self.mark();
            }
        }
        Ok(())
    }

    fn message(&self, page: &Page) -> proto::WatchAssignmentsResponse {
        let snapshot = self.registrar.snapshot();
        let reference = snapshot.reference();
        let changes = page.changes.iter().map(|logged| convert::change(reference, logged));
        proto::WatchAssignmentsResponse { changes: changes.collect(), revision: page.told.0 }
    }

    fn tell(&mut self, changes: Vec<Logged>) {
        self.next.push_back(Page { changes, told: self.told() });
    }

    fn mark(&mut self) {
        self.tell(Vec::new());
    }

    /// Waits for the next entry, and takes those that follow it, or marks that there is none.
    async fn hear(&mut self) {
        match timeout_at(self.last_said + MARK_AFTER, self.followed.recv()).await {
            Err(_) => self.mark(),
            Ok(Err(RecvError::Lagged(_))) => self.state = State::Behind { is_first_time: false },
            // The writer has ended, and the server is about to.
            Ok(Err(RecvError::Closed)) => self.shutdown.cancelled().await,
            Ok(Ok(entry)) => self.take(&entry),
        }
    }

    fn take(&mut self, first: &Arc<Entry>) {
        let mut changes = Vec::new();
        self.take_entry(first, &mut changes);
        while self.state == State::Abreast && changes.len() < PAGE {
            match self.followed.try_recv() {
                Ok(entry) => self.take_entry(&entry, &mut changes),
                Err(TryRecvError::Lagged(_)) => {
                    self.state = State::Behind { is_first_time: false };
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.tell_in_pages(changes);
        // While changes that do not pass come without a pause, nobody waits for the mark.
        if self.next.is_empty() && self.last_said.elapsed() >= MARK_AFTER {
            self.mark();
        }
    }

    /// Takes what passes of an entry, if it is the next one.
    fn take_entry(&mut self, entry: &Entry, changes: &mut Vec<Logged>) {
        if entry.revision <= self.place.revision {
            return;
        }
        if entry.revision != self.place.revision.next() {
            self.state = State::Behind { is_first_time: false };
            return;
        }
        let passing =
            entry.changes.iter().zip(0..).filter(|(change, _)| {
                change.kind().is_of_assignment() && self.filter.passes(change)
            });
        changes.extend(passing.map(|(change, position)| Logged {
            place: Place { revision: entry.revision, position },
            time: entry.time,
            actor: entry.actor.clone(),
            reason: entry.reason.clone(),
            change: change.clone(),
        }));
        self.place = Place::end_of(entry.revision);
    }

    /// Tells the changes, which end where the watch is. A message that ends within a revision does
    /// not say that it was told.
    fn tell_in_pages(&mut self, mut changes: Vec<Logged>) {
        let end = self.place;
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(PAGE));
            self.place = match changes.last() {
                Some(last) if !rest.is_empty() => last.place,
                _ => end,
            };
            self.tell(changes);
            changes = rest;
        }
    }
}

/// What comes of it, unless the server stops before.
async fn unless<T>(shutdown: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = shutdown.cancelled() => None,
        done = work => Some(done),
    }
}
