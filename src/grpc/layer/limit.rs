//! How much is taken on at once, and for how long.
//!
//! What is too much is refused before it costs anything, so that what is taken on is done in time,
//! and a health check is always answered.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{timeout, timeout_at};
use tonic::body::Body;

use super::answers::Answers;
use super::deadline::{Ending, deadline};
use super::heard::{Heard, Hearing};
use super::peer::{Peer, Waiting};
use super::rpc::Kind;
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, Shed};

/// What the server takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many calls with one answer may be under way.
    pub calls: usize,
    /// How many calls with a stream of answers may be.
    pub streaming_calls: usize,
    /// How long a call with one answer may take.
    pub timeout: Duration,
    /// How many bytes a request may have, with the five before its message.
    pub request_bytes: usize,
}

/// How many calls that cost more than their refusal are answered at once, for each core: all others
/// find a core that has little before them. A turn lasts until the answer is on its way, which may
/// take longer than to make it; a client that does not read ends its turn without that.
const TURNS: usize = 4;
/// How long such a call may wait for its turn, and how long an answer may take to be on its way.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// Keeps calls within limits.
#[derive(Debug)]
pub struct Limit {
    calls: Arc<Semaphore>,
    streaming_calls: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    hearing: Hearing,
    answers: Answers,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Limit {
    /// Keeps calls within these limits.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let Limits { calls, streaming_calls, timeout, request_bytes } = limits;
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            streaming_calls: Arc::new(Semaphore::new(streaming_calls)),
            turns: Arc::new(Semaphore::new(TURNS * cores)),
            hearing: Hearing::new(request_bytes, Arc::clone(&metrics)),
            answers: Answers::new(Arc::clone(&metrics)),
            timeout,
            metrics,
        }
    }
}

/// An answer, and what it holds until it is read, or nobody wants to read it any more.
pub(super) struct Carried {
    pub(super) response: Response<Body>,
    pub(super) held: Held,
}

/// What an answer holds.
#[derive(Default)]
pub(super) struct Held {
    _place: Option<OwnedSemaphorePermit>,
    _waiting: Option<Waiting>,
}

impl From<Response<Body>> for Carried {
    fn from(response: Response<Body>) -> Self {
        Self { response, held: Held::default() }
    }
}

impl From<CallError> for Carried {
    fn from(refusal: CallError) -> Self {
        refusal.into_http().into()
    }
}

impl Limit {
    /// The answer to a request, if it can be taken on.
    pub(super) async fn carry<B, A>(
        &self,
        peer: &Peer,
        request: Request<B>,
        answer: impl FnOnce(Request<Heard<B>>) -> A,
    ) -> Carried
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        A: Future<Output = Response<Body>>,
    {
        let kind = Kind::of(request.uri().path());
        if !kind.is_answered_in_place() {
            yield_now().await;
        }
        let most = match kind {
            Kind::Plain | Kind::Large | Kind::Costly => Some(self.timeout),
            Kind::Health | Kind::Streaming | Kind::Conversing => None,
        };
        let deadline = deadline(request.headers(), most);
        let carried = self.in_its_turn(kind, peer, request, answer);
        let carried = match deadline {
            Some(deadline) => {
                timeout_at(deadline, carried).await.unwrap_or(Err(CallError::DeadlinePassed))
            }
            None => carried.await,
        };
        match (carried, deadline) {
            (Err(refusal), _) => refusal.into(),
            (Ok(Carried { response, held }), Some(deadline)) if kind.is_stream() => {
                Carried { response: response.map(|answers| Ending::at(deadline, answers)), held }
            }
            (Ok(carried), _) => carried,
        }
    }

    async fn in_its_turn<B, A>(
        &self,
        kind: Kind,
        peer: &Peer,
        request: Request<B>,
        answer: impl FnOnce(Request<Heard<B>>) -> A,
    ) -> Result<Carried, CallError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        A: Future<Output = Response<Body>>,
    {
        // A call takes its turn and its place once it has been said, and its place once it has its
        // turn: nobody holds one by saying nothing, or by waiting.
        let request = match kind {
            Kind::Conversing => request.map(Heard::Rest),
            _ => self.hearing.whole(peer, request).await?,
        };
        let turn = match kind {
            Kind::Costly => Some(self.turn().await?),
            _ => None,
        };
        let place = self.place(kind)?;
        let response = answer(request).await;
        Ok(match kind {
            Kind::Streaming | Kind::Conversing => {
                Carried { response, held: Held { _place: place, _waiting: None } }
            }
            Kind::Large | Kind::Costly => {
                self.answers.keep(response, &peer.unread, turn).await.into()
            }
            Kind::Health | Kind::Plain => Carried {
                response,
                held: Held { _place: None, _waiting: Some(peer.unread.waits()) },
            },
        })
    }

    fn shed(&self, cause: Shed) -> CallError {
        self.metrics.shed(cause);
        CallError::Overloaded
    }

    /// A place for a call, or that there is none.
    fn place(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let places = match kind {
            Kind::Health => return Ok(None),
            Kind::Plain | Kind::Large | Kind::Costly => &self.calls,
            Kind::Streaming | Kind::Conversing => &self.streaming_calls,
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_| self.shed(Shed::TooMany))
    }

    /// A turn for a costly call, or that it has waited too long for one.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, CallError> {
        match timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Turns are never closed.
            Ok(Err(_)) | Err(_) => Err(self.shed(Shed::Late)),
        }
    }
}
