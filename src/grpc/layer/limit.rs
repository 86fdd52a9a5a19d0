//! How much is taken on at once, for how long, and from whom how often.
//!
//! What is too much is refused before it costs anything, so that what is taken on is done in time,
//! and a health check is always answered.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::peer::{Peer, Unread, Waiting};
use super::rpc::{Kind, Rpc};
use crate::access::{Token, TokenName};
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
    /// How many calls a second one token, or one address without a token, may make.
    pub rate: Option<NonZeroU32>,
}

/// How long a call that costs more than its refusal may have waited for its turn.
const PATIENCE: Duration = Duration::from_millis(50);
/// The largest part of an answer that is handed to a connection at once.
const CHUNK: usize = 64 * 1024;
/// How many bytes of answers to costly calls may wait for clients to read them.
const UNREAD: usize = 256 * 1024 * 1024;
/// The transport has a timer for the deadline too, without our words for it: ours is first.
const MARGIN: Duration = Duration::from_millis(3);

/// Keeps calls within limits.
#[derive(Clone, Debug)]
pub struct Limit {
    calls: Arc<Semaphore>,
    streaming_calls: Arc<Semaphore>,
    unread: Arc<Semaphore>,
    timeout: Duration,
    rate: Option<Arc<DefaultKeyedRateLimiter<Caller>>>,
    metrics: Arc<Metrics>,
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Token(TokenName),
    Address(IpAddr),
    Unknown,
}

impl Limit {
    /// Keeps calls within these limits.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let Limits { calls, streaming_calls, timeout, rate } = limits;
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            streaming_calls: Arc::new(Semaphore::new(streaming_calls)),
            unread: Arc::new(Semaphore::new(UNREAD)),
            timeout,
            rate: rate.map(|rate| Arc::new(RateLimiter::keyed(Quota::per_second(rate)))),
            metrics,
        }
    }

    /// A place for the call, or why there is none.
    fn admit(&self, rpc: Rpc, request: &Request<Body>) -> Result<Place, CallError> {
        if rpc.kind == Kind::Health {
            return Ok(Place { _permit: None, deadline: deadline(request.headers(), None) });
        }
        self.check_rate(request)?;
        let (room, timeout) = match rpc.kind {
            Kind::Streaming => (&self.streaming_calls, None),
            _ => (&self.calls, Some(self.timeout)),
        };
        let permit = Arc::clone(room).try_acquire_owned().map_err(|_| {
            self.metrics.shed(Shed::TooMany);
            CallError::Overloaded
        })?;
        Ok(Place { _permit: Some(permit), deadline: deadline(request.headers(), timeout) })
    }

    fn check_rate(&self, request: &Request<Body>) -> Result<(), CallError> {
        let Some(limiter) = &self.rate else { return Ok(()) };
        let extensions = request.extensions();
        let caller = match (extensions.get::<Arc<Token>>(), extensions.get::<Peer>()) {
            (Some(token), _) => Caller::Token(token.name.clone()),
            (None, Some(peer)) => Caller::Address(peer.address.ip().to_canonical()),
            (None, None) => Caller::Unknown,
        };
        limiter.check_key(&caller).map_err(|until| {
            self.metrics.shed(Shed::Rate);
            let wait = until.wait_time_from(DefaultClock::default().now());
            // Whoever has not called for a while need not be known any more.
            limiter.retain_recent();
            CallError::RateLimited(wait)
        })
    }
}

impl<S> Layer<S> for Limit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limit: self.clone() }
    }
}

/// A service that takes on no more than it can do.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    inner: S,
    limit: Limit,
}

/// What a call that is under way holds.
#[derive(Debug)]
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    deadline: Option<Instant>,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rpc = Rpc::of(request.uri().path());
        let place = match self.limit.admit(rpc, &request) {
            Ok(place) => place,
            Err(refusal) => return Box::pin(async { Ok(refusal.into_http()) }),
        };
        let unread = request.extensions().get::<Peer>().map(|peer| Arc::clone(&peer.unread));
        let (arrived, limit) = (Instant::now(), self.limit.clone());
        // Nothing is done before it is polled: what is shed then has cost nothing.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if rpc.kind == Kind::Costly && arrived.elapsed() > PATIENCE {
                limit.metrics.shed(Shed::Late);
                return Ok(CallError::Overloaded.into_http());
            }
            let response = match place.deadline {
                Some(deadline) => match timeout_at(deadline, answer).await {
                    Ok(response) => response?,
                    Err(_) => return Ok(CallError::DeadlinePassed.into_http()),
                },
                None => answer.await?,
            };
            Ok(match rpc.kind {
                Kind::Streaming => response.map(|inner| Body::new(Held { inner, _held: place })),
                Kind::Costly => limit.encoded(response, unread).await,
                Kind::Health | Kind::Plain => {
                    let _held = unread.map(|unread| unread.waits());
                    response.map(|inner| Body::new(Held { inner, _held }))
                }
            })
        })
    }
}

impl Limit {
    /// The answer in its encoded form, if there is room for it until its client has read it.
    async fn encoded(
        &self,
        response: Response<Body>,
        unread: Option<Arc<Unread>>,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        let Ok(collected) = body.collect().await else {
            return CallError::Overloaded.into_http();
        };
        let trailers = collected.trailers().cloned();
        let rest = collected.to_bytes();
        let size = rest.len().min(UNREAD) as u32;
        let Ok(room) = Arc::clone(&self.unread).try_acquire_many_owned(size) else {
            self.metrics.shed(Shed::Unread);
            return CallError::Overloaded.into_http();
        };
        let waiting = unread.map(|unread| unread.waits());
        let body = Encoded { rest, trailers, waiting, _room: room };
        Response::from_parts(head, Body::new(body))
    }
}

/// An answer that holds something until it is read, or nobody wants to read it any more.
struct Held<H> {
    inner: Body,
    _held: H,
}

impl<H: Unpin> http_body::Body for Held<H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An encoded answer, handed on in parts: a connection keeps what it was handed until the client
/// reads it, so it is handed little at once.
struct Encoded {
    rest: Bytes,
    trailers: Option<HeaderMap>,
    waiting: Option<Waiting>,
    _room: OwnedSemaphorePermit,
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let answer = self.get_mut();
        if let Some(waiting) = &answer.waiting {
            waiting.is_read();
        }
        if answer.rest.is_empty() {
            return Poll::Ready(
                answer.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            );
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
    let asked = headers.get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
    let asked = asked.map(|asked| asked.saturating_sub(MARGIN));
    let least = match (asked, most) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    };
    least.and_then(|least| Instant::now().checked_add(least))
}

/// A timeout as gRPC writes it: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
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
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("1n"), Some(Duration::from_nanos(1)));
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "é"] {
            assert_eq!(timeout(text), None, "{text:?}");
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
        let minute = Some(Duration::from_secs(60));
        assert_eq!(left(Some("5S"), minute), Some(5.0));
        assert_eq!(left(Some("2M"), minute), Some(60.0));
        assert_eq!(left(Some("2M"), None), Some(120.0));
        assert_eq!(left(Some("nonsense"), minute), Some(60.0));
        assert_eq!(left(None, None), None);
        assert_eq!(left(Some("99999999H"), None).is_some_and(|left| left > 0.0), true);
    }
}
