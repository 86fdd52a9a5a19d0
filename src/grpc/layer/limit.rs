//! How much is taken on at once, and for how long.
//!
//! What is too much is refused before it costs anything, so that what is taken on is done in time,
//! and a health check is always answered.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;
use tonic::body::Body;

use super::peer::{Peer, Unread, Waiting};
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

/// How long the rest of a request may take to come, once it has begun.
const REQUEST: Duration = Duration::from_secs(5);
/// How many calls that cost more than their refusal are answered at once, for each core: all others
/// find a core that has little before them. A turn lasts until the answer is on its way, which may
/// take longer than to make it; a client that does not read ends its turn without that.
const TURNS: usize = 4;
/// How long such a call may wait for its turn, and how long an answer may take to be on its way.
const PATIENCE: Duration = Duration::from_millis(50);
/// The largest part of an answer that is handed to a connection at once.
const CHUNK: usize = 64 * 1024;
/// How many bytes of answers to costly calls may wait for clients to read them, and how many of them
/// for one client.
const UNREAD: usize = 256 * 1024 * 1024;
const UNREAD_OF_ONE: usize = UNREAD / 8;
/// How long a client may take to read an answer: this long, and a second more for so many bytes.
const READING: Duration = Duration::from_secs(30);
const READ_A_SECOND: u64 = 16 * 1024;
/// The transport has a timer for the deadline too, without our words for it: ours is first.
const MARGIN: Duration = Duration::from_millis(3);

/// Keeps calls within limits.
#[derive(Debug)]
pub struct Limit(Arc<Room>);

/// What there is room for.
#[derive(Debug)]
struct Room {
    calls: Arc<Semaphore>,
    streaming_calls: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    unread: Arc<Semaphore>,
    timeout: Duration,
    request_bytes: usize,
    metrics: Arc<Metrics>,
}

impl Limit {
    /// Keeps calls within these limits.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let Limits { calls, streaming_calls, timeout, request_bytes } = limits;
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Room {
            calls: Arc::new(Semaphore::new(calls)),
            streaming_calls: Arc::new(Semaphore::new(streaming_calls)),
            turns: Arc::new(Semaphore::new(TURNS * cores)),
            unread: Arc::new(Semaphore::new(UNREAD)),
            timeout,
            request_bytes,
            metrics,
        }))
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
        let room = &*self.0;
        let kind = Kind::of(request.uri().path());
        if !kind.is_answered_in_place() {
            yield_now().await;
        }
        let deadline = room.deadline(kind, request.headers());
        // A call takes its place once it has been said: nobody holds one by saying nothing.
        let request = match room.heard(kind, request).await {
            Ok(request) => request,
            Err(refusal) => return refusal.into(),
        };
        let place = match room.place(kind) {
            Ok(place) => place,
            Err(refusal) => return refusal.into(),
        };
        let turn = match kind {
            Kind::Costly => match room.turn().await {
                Ok(turn) => Some(turn),
                Err(refusal) => return refusal.into(),
            },
            _ => None,
        };
        let answer = async move {
            let response = answer(request).await;
            let unread = &peer.unread;
            match kind {
                Kind::Streaming | Kind::Conversing => {
                    Carried { response, held: Held { _place: place, _waiting: None } }
                }
                Kind::Costly => room.encoded(response, unread, turn).await.into(),
                Kind::Health | Kind::Plain => Carried {
                    response,
                    held: Held { _place: None, _waiting: Some(unread.waits()) },
                },
            }
        };
        match deadline {
            Some(deadline) => match timeout_at(deadline, answer).await {
                Ok(carried) => carried,
                Err(_) => CallError::DeadlinePassed.into(),
            },
            None => answer.await,
        }
    }
}

impl Room {
    fn shed(&self, cause: Shed) -> CallError {
        self.metrics.shed(cause);
        CallError::Overloaded
    }

    fn deadline(&self, kind: Kind, headers: &HeaderMap) -> Option<Instant> {
        let most = match kind {
            Kind::Plain | Kind::Costly => Some(self.timeout),
            Kind::Health | Kind::Streaming | Kind::Conversing => None,
        };
        deadline(headers, most)
    }

    /// A place for a call, or that there is none.
    fn place(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let places = match kind {
            Kind::Health => return Ok(None),
            Kind::Plain | Kind::Costly => &self.calls,
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

    /// The request with all that its client had to say, if it is one question and comes in time.
    async fn heard<B>(
        &self,
        kind: Kind,
        request: Request<B>,
    ) -> Result<Request<Heard<B>>, CallError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        if kind == Kind::Conversing {
            return Ok(request.map(Heard::Rest));
        }
        let (head, mut body) = request.into_parts();
        let late = Instant::now() + REQUEST;
        let (mut said, mut parts) = (0, Vec::with_capacity(1));
        while !body.is_end_stream() {
            match timeout_at(late, body.frame()).await {
                Err(_) => return Err(CallError::DeadlinePassed),
                Ok(None) => break,
                // What the transport has to say of it, the service tells.
                Ok(Some(Err(_))) => return Ok(Request::from_parts(head, Heard::Rest(body))),
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { break };
                    said += data.len();
                    parts.push(data);
                }
            }
            // More than is taken: the service refuses it, and need not hear the rest.
            if said > self.request_bytes {
                break;
            }
        }
        Ok(Request::from_parts(head, Heard::Whole(Some(joined(parts)))))
    }

    /// The answer in its encoded form, if there is room for it until its client has read it.
    async fn encoded(
        &self,
        response: Response<Body>,
        unread: &Arc<Unread>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        let collected = match body.collect().await {
            Ok(collected) => collected,
            Err(fault) => return fault.into_http(),
        };
        let trailers = collected.trailers().cloned();
        let rest = collected.to_bytes();
        let Some(waiting) = unread.waits_with(rest.len(), UNREAD_OF_ONE) else {
            return self.shed(Shed::Unread).into_http();
        };
        let size = rest.len().min(UNREAD) as u32;
        let Ok(room) = Arc::clone(&self.unread).try_acquire_many_owned(size) else {
            return self.shed(Shed::Unread).into_http();
        };
        let time = READING + Duration::from_secs(rest.len() as u64 / READ_A_SECOND);
        let late = Instant::now() + time;
        let body = Encoded { rest, trailers, late, waiting, _room: room, _turn: lasting(turn) };
        Response::from_parts(head, Body::new(body))
    }
}

/// Keeps a turn until the sender is dropped, but not for long.
fn lasting(turn: Option<OwnedSemaphorePermit>) -> oneshot::Sender<()> {
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        // Either way the turn is over.
        let _ = timeout(PATIENCE, ended).await;
        drop(turn);
    });
    end
}

/// One after the other; most requests come in one part.
fn joined(mut parts: Vec<Bytes>) -> Bytes {
    match (parts.pop(), parts.is_empty()) {
        (None, _) => Bytes::new(),
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            parts.concat().into()
        }
    }
}

/// A request as it was heard.
pub enum Heard<B> {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes in.
    Rest(B),
}

impl<B> http_body::Body for Heard<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.get_mut() {
            Self::Whole(said) => Poll::Ready(said.take().map(|said| Ok(Frame::data(said)))),
            Self::Rest(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(said) => said.is_none(),
            Self::Rest(body) => body.is_end_stream(),
        }
    }
}

/// An encoded answer, handed on in parts: a connection keeps what it was handed until the client
/// reads it, so it is handed little at once.
struct Encoded {
    rest: Bytes,
    trailers: Option<HeaderMap>,
    /// When the client should have read all of it.
    late: Instant,
    waiting: Waiting,
    _room: OwnedSemaphorePermit,
    _turn: oneshot::Sender<()>,
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let answer = self.get_mut();
        answer.waiting.is_read();
        if answer.rest.is_empty() {
            return Poll::Ready(
                answer.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        if Instant::now() > answer.late {
            return Poll::Ready(Some(Err(CallError::DeadlinePassed.into())));
        }
        let chunk = answer.rest.split_to(answer.rest.len().min(CHUNK));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.trailers.is_none()
    }
}

/// When the call is to be over: as its client says, and not later than this from now.
fn deadline(headers: &HeaderMap, most: Option<Duration>) -> Option<Instant> {
    let asked = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.to_str().ok()?));
    let asked = asked.map(|asked| asked.saturating_sub(MARGIN));
    let least = match (asked, most) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    };
    least.and_then(|least| Instant::now().checked_add(least))
}

/// A timeout as gRPC writes it: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(count),
        "M" => Duration::from_mins(count),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_read_as_grpc_writes_them() {
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("1n"), Some(Duration::from_nanos(1)));
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "é"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_sooner_of_two_deadlines_holds() {
        let left = |header: Option<&'static str>, most| {
            let value = header.map(http::HeaderValue::from_static);
            let headers = value.map(|value| (http::HeaderName::from_static("grpc-timeout"), value));
            let deadline = deadline(&headers.into_iter().collect(), most);
            deadline.map(|deadline| deadline.duration_since(Instant::now()).as_secs_f64().round())
        };
        let minute = Some(Duration::from_mins(1));
        assert_eq!(left(Some("5S"), minute), Some(5.0));
        assert_eq!(left(Some("2M"), minute), Some(60.0));
        assert_eq!(left(Some("2M"), None), Some(120.0));
        assert_eq!(left(Some("nonsense"), minute), Some(60.0));
        assert_eq!(left(None, None), None);
        assert!(left(Some("99999999H"), None).is_some_and(|left| left > 0.0));
    }
}
