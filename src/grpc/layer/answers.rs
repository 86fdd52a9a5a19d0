//! Answers that may be large, kept until their clients have read them.

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

use super::limit::PATIENCE;
use super::peer::{Unread, Waiting};
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, Shed};

/// The largest part of an answer that is handed to a connection at once.
const CHUNK: usize = 64 * 1024;
/// How many bytes of answers may wait for clients to read them, and how many of them for one client.
const UNREAD: usize = 256 * 1024 * 1024;
const UNREAD_OF_ONE: usize = UNREAD / 8;
/// How long a client may take to read an answer: this long, and a second more for so many bytes.
const READING: Duration = Duration::from_secs(30);
const READ_A_SECOND: u64 = 16 * 1024;
/// How much longer a client may read nothing at all of an answer before its connection ends: who reads
/// too slowly loses that answer only.
const SILENT: Duration = Duration::from_secs(10);

/// Keeps answers until they are read.
#[derive(Debug)]
pub(super) struct Answers {
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Answers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { room: Arc::new(Semaphore::new(UNREAD)), metrics }
    }

    /// The answer in its encoded form, if there is room for it until its client has read it. Its turn
    /// lasts until it is on its way, but not for long.
    pub(super) async fn keep(
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
        let late =
            Instant::now() + READING + Duration::from_secs(rest.len() as u64 / READ_A_SECOND);
        let size = rest.len().min(UNREAD) as u32;
        let waiting = unread.waits_with(rest.len(), UNREAD_OF_ONE, late + SILENT);
        let room = Arc::clone(&self.room).try_acquire_many_owned(size);
        let (Some(waiting), Ok(room)) = (waiting, room) else {
            self.metrics.shed(Shed::Unread);
            return CallError::Overloaded.into_http();
        };
        let turn = turn.map(lasting);
        let body = Encoded { rest, trailers, late, waiting, _room: room, _turn: turn };
        Response::from_parts(head, Body::new(body))
    }
}

/// Keeps a turn until the sender is dropped, but not for long.
fn lasting(turn: OwnedSemaphorePermit) -> oneshot::Sender<()> {
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        // Either way the turn is over.
        let _ = timeout(PATIENCE, ended).await;
        drop(turn);
    });
    end
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
    _turn: Option<oneshot::Sender<()>>,
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
