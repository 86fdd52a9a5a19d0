//! Serving the calls of connections, over HTTP/2.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Connection;
use crate::grpc::layer::Calls;

/// How long nothing may be heard of a client before it is asked whether it is there, and how long it
/// may take to say so.
const SILENCE: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// How many bytes the headers of a request may have.
const HEADERS: u32 = 16 * 1024;
/// How much may be under way to the server, of a call and of all calls of a connection. HTTP/2 ends the
/// connection when small messages wait with more than half of the latter, each counted as 256 bytes: a
/// call that has all it may under way in messages of 8 bytes comes to 2 MiB.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// How long a connection that is to end may go on with no call under way and nothing read or written:
/// a client that says nothing to that is not waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many streams a client may make the server reset (CVE-2025-8671).
const RESETS: usize = 1024;

/// Serves the calls of the connections that come in until `draining` is cancelled; then no more come
/// in, and those that are under way are ended.
pub async fn serve(
    incoming: impl Stream<Item = Connection>,
    calls: Calls,
    most_streams: u32,
    draining: CancellationToken,
) {
    let calls = Arc::new(calls);
    let open = TaskTracker::new();
    {
        let mut incoming = pin!(incoming.take_until(draining.cancelled()));
        while let Some(connection) = incoming.next().await {
            let (calls, draining) = (Arc::clone(&calls), draining.clone());
            open.spawn(converse(connection, calls, most_streams, draining));
        }
    }
    open.close();
    open.wait().await;
}

/// Serves the calls of one connection.
async fn converse(
    connection: Connection,
    calls: Arc<Calls>,
    most_streams: u32,
    draining: CancellationToken,
) {
    let peer = Arc::clone(&connection.peer);
    let (address, moved) = (peer.address, Arc::clone(&peer.transferred));
    let begun = Begun::default();
    let answer = service_fn(move |request| {
        let (calls, peer) = (Arc::clone(&calls), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(calls.call(&peer, request).await) }
    });
    let conversation = http2::Builder::new(begun.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(PONG)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS)
        .max_local_error_reset_streams(RESETS)
        .max_concurrent_streams(most_streams)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(connection), answer);
    let mut conversation = pin!(conversation);
    let mut told_to_end = pin!(draining.cancelled());
    let mut farewell = pin!(sleep(FAREWELL));
    let (mut is_ending, mut has_given_way, mut last_moved) = (false, false, 0);
    let ended = poll_fn(|context| {
        // Answers that became ready together, such as those of a commit, are written together.
        if begun.has_tasks() && !mem::replace(&mut has_given_way, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        has_given_way = false;
        loop {
            if !is_ending && told_to_end.as_mut().poll(context).is_ready() {
                is_ending = true;
                farewell.as_mut().reset(Instant::now() + FAREWELL);
                conversation.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(ended) = conversation.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if begun.answer_in_place() {
                continue;
            }
            if is_ending {
                let moved = moved.load(Ordering::Relaxed);
                if begun.has_tasks() || mem::replace(&mut last_moved, moved) != moved {
                    farewell.as_mut().reset(Instant::now() + FAREWELL);
                }
                if farewell.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(()));
                }
            }
            return Poll::Pending;
        }
    });
    if let Err(fault) = ended.await {
        let error = &fault as &dyn std::error::Error;
        tracing::debug!(peer = %address, error, "connection lost");
    }
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls that a connection has begun and nobody has looked at yet.
///
/// All that have come in together are tried where they are, and then their answers are written
/// together: most are answered at once, which takes less than to make a task of them and wake a
/// thread for it. Those that have to wait for something go on as tasks.
#[derive(Clone, Default)]
struct Begun {
    calls: Arc<Mutex<Vec<Call>>>,
    /// Held by each call that goes on as a task.
    tasks: Arc<()>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, call: F) {
        self.lock().push(Box::pin(call));
    }
}

impl Begun {
    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether there were any.
    fn answer_in_place(&self) -> bool {
        let calls = mem::take(&mut *self.lock());
        let were_any = !calls.is_empty();
        for mut call in calls {
            // The task looks again by itself, and then is told.
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                let task = Arc::downgrade(&self.tasks);
                tokio::spawn(async move {
                    call.await;
                    drop(task);
                });
            }
        }
        were_any
    }

    fn has_tasks(&self) -> bool {
        Arc::weak_count(&self.tasks) > 0
    }
}
