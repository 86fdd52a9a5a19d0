//! Requests, and all that their clients have to say before a service is asked.

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
        let (mut said, mut room) = (BytesMut::new(), None);
        // More than is taken: the service refuses it, and need not hear the rest.
        while !body.is_end_stream() && said.len() <= self.most {
            let frame = match timeout_at(late, body.frame()).await {
                Err(_) => return Err(CallError::DeadlinePassed),
                Ok(None) => break,
                // What the transport has to say of it, the service tells.
                Ok(Some(Err(_))) => return Ok(Request::from_parts(head, Heard::Rest(body))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { break };
            // Most requests come in one part, and wait for nothing.
            if said.is_empty() && body.is_end_stream() {
                let said = Heard::Whole { said: Some(data), _room: None };
                return Ok(Request::from_parts(head, said));
            }
            self.make_room(&mut room, peer, data.len())?;
            // Put together as it comes: kept apart, parts of a byte would take a hundred each.
            said.extend_from_slice(&data);
        }
        let said = Heard::Whole { said: Some(said.freeze()), _room: room };
        Ok(Request::from_parts(head, said))
    }

    /// Makes more room for a request: of what its client has, and of what all have.
    fn make_room(
        &self,
        room: &mut Option<Room>,
        peer: &Peer,
        bytes: usize,
    ) -> Result<(), CallError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let of = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes);
        let (Ok(own), Ok(common)) = (of(&peer.half_said), of(&self.room)) else {
            self.metrics.shed(Shed::HalfSaid);
            return Err(CallError::Overloaded);
        };
        match room {
            Some(before) => {
                before.own.merge(own);
                before.common.merge(common);
            }
            None => *room = Some(Room { own, common }),
        }
        Ok(())
    }
}

/// The room that a request has while it is half said.
#[derive(Debug)]
pub(super) struct Room {
    own: OwnedSemaphorePermit,
    common: OwnedSemaphorePermit,
}

/// A request as it was heard.
pub(super) enum Heard<B> {
    /// All of it.
    Whole {
        /// What was said.
        said: Option<Bytes>,
        /// What it was given while it came.
        _room: Option<Room>,
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
