//! Buffers large responses until their clients have read them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::body::Body;

use super::limit::QUEUE_TIMEOUT;
use super::peer::{UnreadGuard, UnreadResponses};
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, ShedCause};

/// The most bytes of a response that a connection receives at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most bytes of unread responses, in total and per connection.
const MAX_UNREAD_BYTES: usize = 256 * 1024 * 1024;
const MAX_UNREAD_BYTES_PER_CLIENT: usize = MAX_UNREAD_BYTES / 8;
/// A client may take this long to read a response, plus one second for each `MIN_BYTES_PER_SECOND`.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MIN_BYTES_PER_SECOND: u64 = 16 * 1024;
/// How long after a response's deadline its connection is closed, if the client reads nothing of it: a
/// client that only reads too slowly loses the response, not the connection.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Buffers responses until they are read.
#[derive(Debug)]
pub(super) struct ResponseBuffer {
    budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl ResponseBuffer {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { budget: Arc::new(Semaphore::new(MAX_UNREAD_BYTES)), metrics }
    }

    /// Encodes a response and buffers it, if the budgets allow. Its CPU permit is released when the
    /// response is sent, or after `QUEUE_TIMEOUT`.
    pub(super) async fn buffer(
        &self,
        response: Response<Body>,
        unread: &Arc<UnreadResponses>,
        cpu_permit: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let (head, body) = response.into_parts();
        let collected = match body.collect().await {
            Ok(collected) => collected,
            Err(status) => return status.into_http(),
        };
        let trailers = collected.trailers().cloned();
        let remaining = collected.to_bytes();
        let length = remaining.len();
        let transfer_time = Duration::from_secs(length as u64 / MIN_BYTES_PER_SECOND);
        let deadline = Instant::now() + READ_TIMEOUT + transfer_time;
        let unread_guard =
            unread.track_buffered(length, MAX_UNREAD_BYTES_PER_CLIENT, deadline + STALL_TIMEOUT);
        let permits = length.min(MAX_UNREAD_BYTES) as u32;
        let budget_permit = Arc::clone(&self.budget).try_acquire_many_owned(permits);
        let (Some(unread_guard), Ok(budget_permit)) = (unread_guard, budget_permit) else {
            self.metrics.record_shed(ShedCause::UnreadResponses);
            return CallError::Overloaded.into_http();
        };
        let body = BufferedResponse {
            remaining,
            trailers,
            deadline,
            unread_guard,
            _budget_permit: budget_permit,
            _cpu_permit: cpu_permit.map(release_after_timeout),
        };
        Response::from_parts(head, Body::new(body))
    }
}

/// Releases a permit when the sender is dropped, or after `QUEUE_TIMEOUT`.
fn release_after_timeout(permit: OwnedSemaphorePermit) -> oneshot::Sender<()> {
    let (sender, dropped) = oneshot::channel();
    tokio::spawn(async move {
        let _ = timeout(QUEUE_TIMEOUT, dropped).await;
        drop(permit);
    });
    sender
}

/// An encoded response, passed on in chunks: a connection stores what it receives until the client
/// reads it.
struct BufferedResponse {
    remaining: Bytes,
    trailers: Option<HeaderMap>,
    /// When the client must have read it completely.
    deadline: Instant,
    unread_guard: UnreadGuard,
    _budget_permit: OwnedSemaphorePermit,
    _cpu_permit: Option<oneshot::Sender<()>>,
}

impl http_body::Body for BufferedResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let response = self.get_mut();
        response.unread_guard.record_read();
        if response.remaining.is_empty() {
            return Poll::Ready(
                response.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        if Instant::now() > response.deadline {
            return Poll::Ready(Some(Err(CallError::DeadlinePassed.into())));
        }
        let chunk = response.remaining.split_to(response.remaining.len().min(CHUNK_BYTES));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty() && self.trailers.is_none()
    }
}
