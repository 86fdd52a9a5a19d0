//! How many calls run at once, and for how long.
//!
//! Calls beyond the limits are rejected before they cost anything, so that accepted calls finish in
//! time. Health checks are never limited.

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

use super::deadline::{DeadlineBody, deadline};
use super::peer::{Peer, UnreadGuard};
use super::request_buffer::{BufferedBody, RequestBuffer};
use super::response_buffer::ResponseBuffer;
use crate::grpc::rpcs::{Cost, Kind};
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, ShedCause};

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most concurrent unary calls.
    pub calls: usize,
    /// The most concurrent streaming calls.
    pub streaming_calls: usize,
    /// The timeout of a unary call.
    pub timeout: Duration,
    /// How long a request may take from its first to its last byte.
    pub receive_timeout: Duration,
    /// The most bytes of a request, with the five-byte prefix of its message.
    pub request_bytes: usize,
}

/// How many expensive calls run at once per core, so that all other calls find a core that is nearly
/// idle. A call holds its permit until its response is sent, or for `QUEUE_TIMEOUT` after it is ready
/// if the client does not read it.
const CPU_PERMITS: usize = 4;
/// How long an expensive call may wait for a CPU permit, and hold it while its response is sent.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_millis(50);

/// Enforces the limits.
#[derive(Debug)]
pub struct Limit {
    calls: Arc<Semaphore>,
    streaming_calls: Arc<Semaphore>,
    cpu_permits: Arc<Semaphore>,
    request_buffer: RequestBuffer,
    response_buffer: ResponseBuffer,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Limit {
    /// Enforces these limits.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let Limits { calls, streaming_calls, timeout, receive_timeout, request_bytes } = limits;
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            streaming_calls: Arc::new(Semaphore::new(streaming_calls)),
            cpu_permits: Arc::new(Semaphore::new(CPU_PERMITS * cores)),
            request_buffer: RequestBuffer::new(
                request_bytes,
                receive_timeout,
                Arc::clone(&metrics),
            ),
            response_buffer: ResponseBuffer::new(Arc::clone(&metrics)),
            timeout,
            metrics,
        }
    }
}

/// A response with its permits.
pub(super) struct LimitedResponse {
    pub(super) response: Response<Body>,
    pub(super) permits: ResponsePermits,
}

/// What a response holds until its client has read or cancelled it.
#[derive(Default)]
pub(super) struct ResponsePermits {
    _call: Option<OwnedSemaphorePermit>,
    _unread: Option<UnreadGuard>,
}

impl From<Response<Body>> for LimitedResponse {
    fn from(response: Response<Body>) -> Self {
        Self { response, permits: ResponsePermits::default() }
    }
}

impl From<CallError> for LimitedResponse {
    fn from(refusal: CallError) -> Self {
        refusal.into_http().into()
    }
}

impl Limit {
    /// Calls a service within the limits.
    pub(super) async fn call<B, F>(
        &self,
        kind: Kind,
        peer: &Peer,
        request: Request<B>,
        service: impl FnOnce(Request<BufferedBody<B>>) -> F,
    ) -> LimitedResponse
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        F: Future<Output = Response<Body>>,
    {
        if !kind.runs_inline() {
            yield_now().await;
        }
        let max = match kind {
            Kind::Unary(Cost::Cheap | Cost::Large | Cost::Expensive) => Some(self.timeout),
            Kind::Unary(Cost::Unlimited) | Kind::ServerStream | Kind::BidiStream => None,
        };
        let deadline = deadline(request.headers(), max);
        let limited = self.run(kind, peer, request, service);
        let limited = match deadline {
            Some(deadline) => {
                timeout_at(deadline, limited).await.unwrap_or(Err(CallError::DeadlinePassed))
            }
            None => limited.await,
        };
        match (limited, deadline) {
            (Err(refusal), _) => refusal.into(),
            (Ok(LimitedResponse { response, permits }), Some(deadline)) if kind.is_stream() => {
                LimitedResponse {
                    response: response.map(|body| DeadlineBody::wrap(deadline, body)),
                    permits,
                }
            }
            (Ok(limited), _) => limited,
        }
    }

    async fn run<B, F>(
        &self,
        kind: Kind,
        peer: &Peer,
        request: Request<B>,
        service: impl FnOnce(Request<BufferedBody<B>>) -> F,
    ) -> Result<LimitedResponse, CallError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        F: Future<Output = Response<Body>>,
    {
        // In this order, no call holds a permit while its request is received, or a call permit while
        // it waits for a CPU permit.
        let request = match kind {
            Kind::BidiStream => request.map(BufferedBody::Unbuffered),
            _ => self.request_buffer.read(peer, request).await?,
        };
        let cpu_permit = match kind {
            Kind::Unary(Cost::Expensive) => Some(self.cpu_permit().await?),
            _ => None,
        };
        let call_permit = self.call_permit(kind)?;
        let response = service(request).await;
        Ok(match kind {
            Kind::ServerStream | Kind::BidiStream => LimitedResponse {
                response,
                permits: ResponsePermits { _call: call_permit, _unread: None },
            },
            Kind::Unary(Cost::Large | Cost::Expensive) => {
                self.response_buffer.buffer(response, &peer.unread, cpu_permit).await.into()
            }
            Kind::Unary(Cost::Unlimited | Cost::Cheap) => LimitedResponse {
                response,
                permits: ResponsePermits { _call: None, _unread: Some(peer.unread.track()) },
            },
        })
    }

    fn shed(&self, cause: ShedCause) -> CallError {
        self.metrics.record_shed(cause);
        CallError::Overloaded
    }

    /// A permit for a call, unless too many run.
    fn call_permit(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let semaphore = match kind {
            Kind::Unary(Cost::Unlimited) => return Ok(None),
            Kind::Unary(Cost::Cheap | Cost::Large | Cost::Expensive) => &self.calls,
            Kind::ServerStream | Kind::BidiStream => &self.streaming_calls,
        };
        let permit = Arc::clone(semaphore).try_acquire_owned();
        permit.map(Some).map_err(|_| self.shed(ShedCause::TooMany))
    }

    /// A permit for an expensive call, unless none is released in time.
    async fn cpu_permit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        match timeout(QUEUE_TIMEOUT, Arc::clone(&self.cpu_permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.shed(ShedCause::Late)),
        }
    }
}
