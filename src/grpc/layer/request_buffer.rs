//! Buffers a request completely before a service is called.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::peer::Peer;
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, ShedCause};

/// The most bytes of partially received requests, in total and per connection.
const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;
pub(super) const MAX_BUFFERED_BYTES_PER_CLIENT: usize = MAX_BUFFERED_BYTES / 8;

/// Buffers requests until they are complete.
#[derive(Debug)]
pub(super) struct RequestBuffer {
    budget: Arc<Semaphore>,
    max_request_bytes: usize,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl RequestBuffer {
    /// Buffers at most this many bytes of one request, and at most for this time.
    pub(super) fn new(max_request_bytes: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let budget = Arc::new(Semaphore::new(MAX_BUFFERED_BYTES));
        Self { budget, max_request_bytes, timeout, metrics }
    }

    /// Reads the body, unless it takes too long or exceeds the budget.
    pub(super) async fn read<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Request<BufferedBody<B>>, CallError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, mut body) = request.into_parts();
        let deadline = Instant::now() + self.timeout;
        let (mut bytes, mut permits) = (BytesMut::new(), None);
        // The service rejects a larger request, so its remaining bytes need not be read.
        while !body.is_end_stream() && bytes.len() <= self.max_request_bytes {
            let frame = match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(CallError::DeadlinePassed),
                Ok(None) => break,
                // The service reports the transport's error.
                Ok(Some(Err(_))) => {
                    return Ok(Request::from_parts(head, BufferedBody::Unbuffered(body)));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { break };
            // Most requests are one frame: they are neither copied nor counted.
            if bytes.is_empty() && body.is_end_stream() {
                let body = BufferedBody::Complete { bytes: Some(data), _permits: None };
                return Ok(Request::from_parts(head, body));
            }
            self.reserve(&mut permits, peer, data.len())?;
            // Frames are joined at once: a list of one-byte frames would take 100 times the memory.
            bytes.extend_from_slice(&data);
        }
        let body = BufferedBody::Complete { bytes: Some(bytes.freeze()), _permits: permits };
        Ok(Request::from_parts(head, body))
    }

    /// Reserves bytes for a request, in the budget of its connection and in the total budget.
    fn reserve(
        &self,
        permits: &mut Option<BufferPermits>,
        peer: &Peer,
        bytes: usize,
    ) -> Result<(), CallError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let acquire = |budget: &Arc<Semaphore>| Arc::clone(budget).try_acquire_many_owned(bytes);
        let (Ok(client), Ok(total)) = (acquire(&peer.request_budget), acquire(&self.budget)) else {
            self.metrics.record_shed(ShedCause::RequestBuffer);
            return Err(CallError::Overloaded);
        };
        match permits {
            Some(permits) => {
                permits.client.merge(client);
                permits.total.merge(total);
            }
            None => *permits = Some(BufferPermits { client, total }),
        }
        Ok(())
    }
}

/// The bytes reserved for a request.
#[derive(Debug)]
pub(super) struct BufferPermits {
    client: OwnedSemaphorePermit,
    total: OwnedSemaphorePermit,
}

/// The body of a request.
pub(super) enum BufferedBody<B> {
    /// Received completely.
    Complete {
        /// The body, until it is read.
        bytes: Option<Bytes>,
        /// What was reserved while it was received.
        _permits: Option<BufferPermits>,
    },
    /// Passed on as it is received.
    Unbuffered(B),
}

impl<B> http_body::Body for BufferedBody<B>
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
            Self::Complete { bytes, .. } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Unbuffered(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Complete { bytes, .. } => bytes.is_none(),
            Self::Unbuffered(body) => body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::{Ipv4Addr, SocketAddr};

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn one_byte_frames_take_no_more_memory_than_their_bytes() {
        const BYTES: usize = 100_000;
        let buffer =
            RequestBuffer::new(1024 * 1024, Duration::from_secs(5), Arc::new(Metrics::new([]).0));
        let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)), None);
        let reserved = || {
            let client = MAX_BUFFERED_BYTES_PER_CLIENT - peer.request_budget.available_permits();
            (client, MAX_BUFFERED_BYTES - buffer.budget.available_permits())
        };
        let frames = (0..BYTES).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))));
        let request = Request::new(StreamBody::new(stream::iter(frames)));

        let mut request = buffer.read(&peer, request).await.unwrap();
        assert_eq!(reserved(), (BYTES, BYTES));
        let BufferedBody::Complete { bytes, .. } = request.body_mut() else { panic!("unbuffered") };
        let bytes = bytes.take().unwrap();
        assert_eq!(bytes, "x".repeat(BYTES));
        // The buffer doubles when it is full.
        assert!(bytes.try_into_mut().unwrap().capacity() < 2 * BYTES);
        drop(request);
        assert_eq!(reserved(), (0, 0));
    }
}
