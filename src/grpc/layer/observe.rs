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
use tower::{Layer, Service};
use uuid::Uuid;

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

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

/// A service whose calls are observed.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S> Service<Request<Body>> for Observed<S>
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
        let call = Call::begin(&self.observe, &request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut call = call;
            let mut response = answer.await?;
            call.caller = response.extensions_mut().remove::<Arc<Token>>();
            // Without a body, the answer is all in its head.
            let status = Status::from_header_map(response.headers());
            call.name_in(response.headers_mut(), status.as_ref());
            match status {
                Some(status) => {
                    call.end(&status);
                    Ok(response)
                }
                None => Ok(response.map(|inner| Body::new(Followed { inner, call }))),
            }
        })
    }
}

/// A call that is under way, or has just ended.
struct Call {
    calls: Arc<Calls>,
    started: Instant,
    peer: Option<Peer>,
    caller: Option<Arc<Token>>,
    /// What the client calls it.
    request_id: Option<HeaderValue>,
    span: Option<Span>,
    has_ended: bool,
}

impl Call {
    fn begin(observe: &Observe, request: &Request<Body>) -> Self {
        let calls = Arc::clone(observe.metrics.calls(request.uri().path()));
        calls.begin();
        let peer = request.extensions().get::<Peer>().cloned();
        let is_usable = |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.to_str().is_ok();
        let request_id = request.headers().get(REQUEST_ID).filter(is_usable).cloned();
        let span = observe.tracing.as_ref().map(|tracing| {
            let address = peer.as_ref().map(|peer| peer.address);
            tracing.begin(&calls.rpc, request.headers(), address)
        });
        let started = Instant::now();
        Self { calls, started, peer, caller: None, request_id, span, has_ended: false }
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
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let (code, duration) = (status.code(), self.started.elapsed());
        self.calls.end(code as usize, duration);
        let reason = if code == Code::Ok { None } else { reason(status) };
        if let Some(span) = self.span.take() {
            span.end(code, reason.as_deref(), self.caller.as_deref());
        }
        self.log(code, reason.as_deref(), duration.as_secs_f64() * 1000.0);
    }

    /// Says how the call has ended, in nobody's words but the server's own.
    fn log(&self, code: Code, reason: Option<&str>, duration_ms: f64) {
        let rpc = &*self.calls.rpc;
        let is_write = is_write(rpc);
        macro_rules! tell {
            ($level:ident) => {{
                let id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
                let actor = self.caller.as_ref().map(|token| token.name.as_str());
                let peer = self.peer.as_ref().map(|peer| peer.address);
                tracing::$level!(
                    rpc,
                    code = CODES.get(code as usize),
                    duration_ms,
                    actor,
                    peer = peer.map(tracing::field::display),
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
        self.end(&Status::cancelled(""));
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
struct Followed {
    inner: Body,
    call: Call,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let followed = self.get_mut();
        let polled = Pin::new(&mut followed.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    followed.call.end(&status);
                }
            }
            Poll::Ready(Some(Err(fault))) => followed.call.end(fault),
            Poll::Ready(None) => followed.call.end(&Status::unknown("no status")),
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
