//! Each call is counted, timed, logged and traced, from its first byte to the end of its answer.
//!
//! A call that its client gave up is one that was cancelled, whatever it would have led to.

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

use super::limit::{Carried, Held};
use super::peer::Peer;
use super::trace::{Span, Tracing};
use crate::access::Token;
use crate::grpc::proto::port_admin_service_server;
use crate::grpc::status::reason;
use crate::metrics::{CODES, Calls, Metrics};

/// How a client names a call, and how an answer tells the name of its call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Observes calls.
#[derive(Clone, Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    tracing: Option<Tracing>,
}

impl Observe {
    /// Counts calls in these metrics, and traces them where that is asked for.
    #[must_use]
    pub const fn new(metrics: Arc<Metrics>, tracing: Option<Tracing>) -> Self {
        Self { metrics, tracing }
    }
}

impl Observe {
    /// A call begins.
    pub(super) fn begin<B>(&self, peer: &Arc<Peer>, request: &Request<B>) -> Call {
        let calls = Arc::clone(self.metrics.calls(request.uri().path()));
        calls.begin();
        let is_usable = |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.to_str().is_ok();
        let request_id = request.headers().get(REQUEST_ID).filter(is_usable).cloned();
        let span = self
            .tracing
            .as_ref()
            .map(|tracing| tracing.begin(&calls.rpc, request.headers(), peer.address));
        let (peer, started) = (Arc::clone(peer), Instant::now());
        Call { calls, started, peer, caller: None, request_id, span, has_ended: false }
    }
}

/// A call that is under way, or has just ended.
pub(super) struct Call {
    calls: Arc<Calls>,
    started: Instant,
    peer: Arc<Peer>,
    pub(super) caller: Option<Arc<Token>>,
    /// What the client calls it.
    request_id: Option<HeaderValue>,
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    /// Follows the answer to its end.
    pub(super) fn follow(mut self, carried: Carried) -> Response<Answer> {
        let Carried { mut response, held } = carried;
        // Without a body, the answer is all in its head.
        let end = Status::from_header_map(response.headers());
        self.name_in(response.headers_mut(), end.as_ref());
        if let Some(end) = &end {
            self.end(end);
        }
        response.map(|inner| Answer { inner, call: self, _held: held })
    }

    /// Tells the name of the call where the client gave it one, or will want to ask about it.
    fn name_in(&mut self, headers: &mut HeaderMap, status: Option<&Status>) {
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
        self.calls.end(code as usize, duration);
        if let Some(span) = self.span.take() {
            span.end(code, reason, self.caller.as_deref());
        }
        self.log(code, reason, duration.as_secs_f64() * 1000.0);
    }

    /// Notes the end that these trailers tell, if they do.
    fn end_as_told(&mut self, trailers: &HeaderMap) {
        // Nearly every call ends well, and to read the whole status costs more than a lookup.
        if trailers.get(Status::GRPC_STATUS).is_some_and(|code| code == "0") {
            self.end_with(Code::Ok, None);
        } else if let Some(status) = Status::from_header_map(trailers) {
            self.end(&status);
        }
    }

    /// Says how the call has ended, in nobody's words but the server's own.
    fn log(&self, code: Code, reason: Option<&str>, duration_ms: f64) {
        let rpc = &*self.calls.rpc;
        let is_write = is_write(rpc);
        macro_rules! tell {
            ($level:ident) => {{
                let id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
                let actor = self.caller.as_ref().map(|token| token.name.as_str());
                tracing::$level!(
                    rpc,
                    code = CODES.get(code as usize),
                    duration_ms,
                    actor,
                    peer = %self.peer.address,
                    request_id = id,
                    reason,
                    "call"
                );
            }};
        }
        match code {
            Code::Ok if !is_write => tell!(debug),
            Code::Ok => tell!(info),
            Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable => tell!(warn),
            Code::Unauthenticated | Code::PermissionDenied => tell!(warn),
            _ if is_write => tell!(info),
            _ => tell!(debug),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_with(Code::Cancelled, None);
    }
}

fn is_write(rpc: &str) -> bool {
    rpc.split_once('/').is_some_and(|(service, method)| {
        service == port_admin_service_server::SERVICE_NAME
            && !["Get", "List"].iter().any(|read| method.starts_with(read))
    })
}

fn new_request_id() -> HeaderValue {
    let id = Uuid::now_v7().to_string();
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

/// An answer that is followed to its end.
pub struct Answer {
    inner: Body,
    call: Call,
    _held: Held,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let answer = self.get_mut();
        let polled = Pin::new(&mut answer.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    answer.call.end_as_told(trailers);
                }
            }
            Poll::Ready(Some(Err(fault))) => answer.call.end(fault),
            Poll::Ready(None) => answer.call.end(&Status::unknown("no status")),
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
