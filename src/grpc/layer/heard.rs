//! Requests, and all that their clients have to say before a service is asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::peer::Peer;
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, Shed};

/// How long the rest of a request may take to come, once it has begun.
const REQUEST: Duration = Duration::from_secs(5);
/// How many bytes of requests may wait for the rest of them, and how many of them from one client.
const HALF_SAID: usize = 64 * 1024 * 1024;
pub(super) const HALF_SAID_BY_ONE: usize = HALF_SAID / 8;

/// Hears requests to their end.
#[derive(Debug)]
pub(super) struct Hearing {
    room: Arc<Semaphore>,
    most: usize,
    metrics: Arc<Metrics>,
}

impl Hearing {
    /// Hears no more of a request than this.
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(HALF_SAID)), most, metrics }
    }

    /// The request with all that its client had to say, if that comes in time and there is room for
    /// what has come of it.
    pub(super) async fn whole<B>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Request<Heard<B>>, CallError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (head, mut body) = request.into_parts();
        let late = Instant::now() + REQUEST;
        let (mut said, mut parts) = (0, Vec::with_capacity(1));
        let mut room = Vec::new();
        while !body.is_end_stream() {
            match timeout_at(late, body.frame()).await {
                Err(_) => return Err(CallError::DeadlinePassed),
                Ok(None) => break,
                // What the transport has to say of it, the service tells.
                Ok(Some(Err(_))) => return Ok(Request::from_parts(head, Heard::Rest(body))),
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { break };
                    said += data.len();
                    // Most requests come in one part, and wait for nothing.
                    if !body.is_end_stream() {
                        room.extend(self.room_for(peer, data.len())?);
                    }
                    parts.push(data);
                }
            }
            // More than is taken: the service refuses it, and need not hear the rest.
            if said > self.most {
                break;
            }
        }
        let said = Heard::Whole { said: Some(joined(parts)), _room: room };
        Ok(Request::from_parts(head, said))
    }

    fn room_for(&self, peer: &Peer, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], CallError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let of = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes);
        match (of(&peer.half_said), of(&self.room)) {
            (Ok(own), Ok(common)) => Ok([own, common]),
            _ => {
                self.metrics.shed(Shed::HalfSaid);
                Err(CallError::Overloaded)
            }
        }
    }
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
pub(super) enum Heard<B> {
    /// All of it.
    Whole {
        /// What was said.
        said: Option<Bytes>,
        /// What it was given while it came.
        _room: Vec<OwnedSemaphorePermit>,
    },
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
            Self::Whole { said, .. } => Poll::Ready(said.take().map(|said| Ok(Frame::data(said)))),
            Self::Rest(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { said, .. } => said.is_none(),
            Self::Rest(body) => body.is_end_stream(),
        }
    }
}
