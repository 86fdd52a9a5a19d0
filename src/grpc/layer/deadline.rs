//! Deadlines of calls and response streams.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use crate::grpc::status::CallError;

/// The deadline that the client requested, at most `max` from now.
pub(super) fn deadline(headers: &HeaderMap, max: Option<Duration>) -> Option<Instant> {
    let requested =
        headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.to_str().ok()?));
    let timeout = match (requested, max) {
        (Some(requested), Some(max)) => Some(requested.min(max)),
        (requested, max) => requested.or(max),
    };
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Parses the value of `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(count),
        "M" => Duration::from_mins(count),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// A response body that ends at a deadline.
pub(super) struct DeadlineBody {
    inner: Body,
    deadline: Pin<Box<Sleep>>,
    has_ended: bool,
}

impl DeadlineBody {
    /// Ends this body at the deadline.
    pub(super) fn wrap(deadline: Instant, inner: Body) -> Body {
        let deadline = Box::pin(sleep_until(deadline));
        Body::new(Self { inner, deadline, has_ended: false })
    }
}

impl http_body::Body for DeadlineBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let body = self.get_mut();
        if body.has_ended {
            return Poll::Ready(None);
        }
        if body.deadline.as_mut().poll(context).is_ready() {
            body.has_ended = true;
            let mut trailers = HeaderMap::new();
            let status = Status::from(CallError::DeadlinePassed).add_header(&mut trailers);
            return Poll::Ready(Some(status.map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut body.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse_as_specified_by_grpc() {
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("1n"), Some(Duration::from_nanos(1)));
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "é"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_sooner_of_two_deadlines_holds() {
        let left = |header: Option<&'static str>, most| {
            let value = header.map(http::HeaderValue::from_static);
            let headers = value.map(|value| (http::HeaderName::from_static("grpc-timeout"), value));
            let deadline = deadline(&headers.into_iter().collect(), most);
            deadline.map(|deadline| deadline.duration_since(Instant::now()).as_secs_f64().round())
        };
        let minute = Some(Duration::from_mins(1));
        assert_eq!(left(Some("5S"), minute), Some(5.0));
        assert_eq!(left(Some("2M"), minute), Some(60.0));
        assert_eq!(left(Some("2M"), None), Some(120.0));
        assert_eq!(left(Some("nonsense"), minute), Some(60.0));
        assert_eq!(left(None, None), None);
        assert!(left(Some("99999999H"), None).is_some_and(|left| left > 0.0));
    }
}
