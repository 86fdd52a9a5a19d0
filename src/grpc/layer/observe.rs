//! Metrics, logs and traces of each call, from its request to the end of its response.
//!
//! A call that the client cancelled is recorded as cancelled, never as successful.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use uuid::Uuid;

use super::limit::{LimitedResponse, ResponsePermits};
use super::peer::Peer;
use super::trace::{Span, Tracing};
use crate::access::Token;
use crate::grpc::rpcs::Rpc;
use crate::grpc::status::reason;
use crate::metrics::{CODES, Metrics, RpcMetrics};
use crate::registry::assignment::Revision;

/// The header that identifies a call, in requests and responses.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Records metrics, logs and traces.
#[derive(Clone, Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    tracing: Option<Tracing>,
}

impl Observe {
    /// Records calls in these metrics, and in traces if tracing is configured.
    #[must_use]
    pub const fn new(metrics: Arc<Metrics>, tracing: Option<Tracing>) -> Self {
        Self { metrics, tracing }
    }
}

impl Observe {
    /// Starts recording a call.
    pub(super) fn begin<B>(
        &self,
        rpc: &'static Rpc,
        index: usize,
        peer: &Arc<Peer>,
        request: &Request<B>,
    ) -> Call {
        let metrics = Arc::clone(self.metrics.rpc(index));
        metrics.begin();
        let is_valid = |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.to_str().is_ok();
        let request_id = request.headers().get(REQUEST_ID).filter(is_valid).cloned();
        let span = self
            .tracing
            .as_ref()
            .map(|tracing| tracing.start(rpc, request.headers(), peer.address));
        let (peer, started) = (Arc::clone(peer), Instant::now());
        Call {
            rpc,
            metrics,
            started,
            peer,
            caller: None,
            request_id,
            written: None,
            span,
            has_ended: false,
        }
    }
}

/// The outcome of a write, which a service adds to the extensions of its response.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The revision of the write, or the current one if nothing changed.
    pub revision: Revision,
    /// Whether the request was only validated.
    pub validate_only: bool,
}

/// A call in progress, or one that has just ended.
pub(super) struct Call {
    rpc: &'static Rpc,
    metrics: Arc<RpcMetrics>,
    started: Instant,
    peer: Arc<Peer>,
    pub(super) caller: Option<Arc<Token>>,
    /// The client's identifier, or a generated one if the call failed.
    request_id: Option<HeaderValue>,
    written: Option<Written>,
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    /// Sends the response, and records its end.
    pub(super) fn respond(mut self, limited: LimitedResponse) -> Response<ObservedBody> {
        let LimitedResponse { mut response, permits } = limited;
        // A response without a body has its status in the headers.
        let status = Status::from_header_map(response.headers());
        self.written = response.extensions().get().copied();
        self.set_request_id(response.headers_mut(), status.as_ref());
        if let Some(status) = &status {
            self.end(status);
        }
        response.map(|inner| ObservedBody { inner, call: self, _permits: permits })
    }

    /// Sends the request id, if the client set one or the call failed.
    fn set_request_id(&mut self, headers: &mut HeaderMap, status: Option<&Status>) {
        if status.is_some_and(|status| status.code() != Code::Ok) {
            self.request_id.get_or_insert_with(new_request_id);
        }
        if let Some(id) = &self.request_id {
            headers.insert(REQUEST_ID, id.clone());
        }
    }

    fn end(&mut self, status: &Status) {
        match status.code() {
            Code::Ok => self.end_with(Code::Ok, None),
            code => self.end_with(code, reason(status).as_deref()),
        }
    }

    fn end_with(&mut self, code: Code, reason: Option<&str>) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let duration = self.started.elapsed();
        self.metrics.end(code as usize, duration);
        if let Some(span) = self.span.take() {
            span.end(code, reason, self.caller.as_deref());
        }
        self.log(code, reason, duration.as_secs_f64() * 1000.0);
    }

    /// Records the status in the trailers, if they have one.
    fn end_with_trailers(&mut self, trailers: &HeaderMap) {
        // Nearly every call succeeds, and parsing the complete status costs more than a lookup.
        if trailers.get(Status::GRPC_STATUS).is_some_and(|code| code == "0") {
            self.end_with(Code::Ok, None);
        } else if let Some(status) = Status::from_header_map(trailers) {
            self.end(&status);
        }
    }

    /// Logs the end of the call. No text from the client is logged, except the request id.
    fn log(&self, code: Code, reason: Option<&str>, duration_ms: f64) {
        let Rpc { is_write, .. } = *self.rpc;
        macro_rules! log {
            ($level:ident) => {{
                let id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
                let actor = self.caller.as_ref().map(|token| token.name.as_str());
                tracing::$level!(
                    rpc = self.rpc.name(),
                    code = CODES.get(code as usize),
                    duration_ms,
                    actor,
                    peer = %self.peer.address,
                    request_id = id,
                    reason,
                    revision = self.written.map(|written| written.revision.0),
                    validate_only = self.written.map(|written| written.validate_only),
                    "call"
                );
            }};
        }
        match code {
            Code::Ok if !is_write => log!(debug),
            Code::Ok => log!(info),
            Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable => log!(warn),
            Code::Unauthenticated | Code::PermissionDenied => log!(warn),
            _ if is_write => log!(info),
            _ => log!(debug),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_with(Code::Cancelled, None);
    }
}

fn new_request_id() -> HeaderValue {
    let id = Uuid::new_v4().to_string();
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

/// A response body whose end is recorded.
pub struct ObservedBody {
    inner: Body,
    call: Call,
    _permits: ResponsePermits,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let body = self.get_mut();
        let polled = Pin::new(&mut body.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    body.call.end_with_trailers(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => body.call.end(status),
            Poll::Ready(None) => body.call.end(&Status::unknown("no status")),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
