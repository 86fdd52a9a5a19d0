//! The errors of calls and their statuses: the only place that builds a status.
//!
//! Every status of Portbook's services has one `ErrorInfo` of domain `portbook`. Internal errors are
//! logged here, once, and never sent.

mod access;
mod refusal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use self::refusal::refused;
use super::proto;
use crate::access::{AuthError, Denied, TokenRefusal};
use crate::registry::assignment::Revision;
use crate::registry::decide::Refusal;
use crate::registry::port::PortRange;
use crate::registry::snapshot::{UnknownNamespace, UnknownPool, UnknownService};
use crate::store::StoreError;
use crate::writer::{TokenWriteError, WriteError};
use proto::ErrorReason;

const DOMAIN: &str = "portbook";
/// The most characters of a message, which may quote the client's text.
const MAX_ECHO: usize = 300;
/// The most characters of a metadata value: all finding codes, or five leases, are shorter.
const MAX_METADATA: usize = 600;
/// The most violations or findings in a status, which is sent as a header.
const MAX_VIOLATIONS: usize = 20;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A field of a request that is missing or not valid.
#[derive(Debug)]
pub struct FieldViolation {
    /// The path of the field.
    pub field: String,
    /// The description of the violation.
    pub description: String,
    /// The reason.
    pub reason: ErrorReason,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Fields are missing or not valid.
    #[error("{}", .0.iter().map(|it| format!("{}: {}", it.field, it.description)).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldViolation>),
    /// The page token was not issued here, or for another filter.
    #[error(
        "page_token: was not issued by this server for this filter: omit it to start at the first page"
    )]
    PageToken,
    /// No such namespace.
    #[error(transparent)]
    UnknownNamespace(#[from] UnknownNamespace),
    /// No such pool.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// No such service.
    #[error(transparent)]
    UnknownService(#[from] UnknownService),
    /// A service name with several ports.
    #[error("{service_name} has several ports ({}): use the port number", join(.ports))]
    ServiceAmbiguous {
        /// The name.
        service_name: String,
        /// The ports.
        ports: Vec<PortRange>,
    },
    /// A service name without a port.
    #[error("{0} is registered without a port: use the port number")]
    ServiceWithoutPort(String),
    /// The response would be too large.
    #[error("the response would exceed {max} bytes: request fewer ports at once")]
    AnswerTooLarge {
        /// The limit.
        max: usize,
    },
    /// A revision or time in the future.
    #[error("the requested revision or time is in the future: the current revision is {0}")]
    InTheFuture(Revision),
    /// A time before the registry was created.
    #[error("the requested time is before the creation of this registry at {0:.0}")]
    BeforeTheBeginning(Timestamp),
    /// The history can't be read.
    #[error("the history could not be read: try again, and see the server's log")]
    History(#[source] StoreError),
    /// A write failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No token.
    #[error("this call needs a token: send the metadata authorization: Bearer <token>")]
    TokenMissing,
    /// An invalid token.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// The token's role or grants do not allow the call.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A change of a token was refused.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// No random bytes for a secret.
    #[error("a secret could not be generated: try again, and see the server's log")]
    Random(getrandom::Error),
    /// Not a gRPC call.
    #[error("this is not a gRPC call: expected a POST with content-type application/grpc")]
    NotGrpc,
    /// No such rpc.
    #[error("unknown service or rpc: reflection lists the available ones")]
    UnknownRpc,
    /// Too many calls are in progress.
    #[error("the server is overloaded: try again in a moment")]
    Overloaded,
    /// The caller exceeded the rate limit.
    #[error("rate limit exceeded: try again in {} ms", .0.as_millis() + 1)]
    RateLimited(Duration),
    /// The deadline of the call has passed.
    #[error("the deadline of the call has passed")]
    DeadlinePassed,
    /// The server is shutting down.
    #[error("the server is stopping: try again in a moment")]
    Stopping,
    /// The server ended a watch because it is shutting down.
    #[error("the server is stopping: watch again in a moment, from revision {start_revision}")]
    WatchEnded {
        /// The first revision that was not sent.
        start_revision: Revision,
    },
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Write(WriteError::Refused(refusal))
    }
}

impl From<TokenWriteError> for CallError {
    fn from(error: TokenWriteError) -> Self {
        match error {
            TokenWriteError::Unauthenticated(error) => Self::Unauthenticated(error),
            TokenWriteError::Denied(denied) => Self::Denied(denied),
            TokenWriteError::Refused(refusal) => Self::Token(refusal),
            TokenWriteError::Store(error) => Self::Write(WriteError::Store(Arc::new(error))),
            TokenWriteError::Stopping => Self::Stopping,
        }
    }
}

impl CallError {
    /// The response to a call that reaches no service.
    #[must_use]
    pub fn into_http(self) -> http::Response<Body> {
        let code = match self {
            Self::NotGrpc => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => http::StatusCode::OK,
        };
        let mut response = Status::from(self).into_http();
        *response.status_mut() = code;
        response
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let message = &error.to_string();
        let (code, reason, metadata) = match error {
            CallError::Fields(violations) => return invalid_fields(message, violations),
            CallError::PageToken => {
                let violation = FieldViolation {
                    field: "page_token".into(),
                    description: "was not issued by this server for this filter".into(),
                    reason: ErrorReason::PageTokenInvalid,
                };
                return invalid_fields(message, vec![violation]);
            }
            CallError::UnknownNamespace(unknown) => {
                return refused(message, unknown.into(), "").into();
            }
            CallError::UnknownPool(unknown) => return refused(message, unknown.into(), "").into(),
            CallError::UnknownService(unknown) => {
                let nearest = unknown.nearest.join(",");
                let metadata = vec![("service_name", unknown.name), ("nearest", nearest)];
                (Code::NotFound, ErrorReason::ServiceNotFound, metadata)
            }
            CallError::ServiceAmbiguous { service_name, ports } => {
                let metadata = vec![("service_name", service_name), ("ports", join(&ports))];
                (Code::FailedPrecondition, ErrorReason::ServiceAmbiguous, metadata)
            }
            CallError::ServiceWithoutPort(name) => {
                let metadata = vec![("service_name", name)];
                (Code::FailedPrecondition, ErrorReason::ServiceWithoutPort, metadata)
            }
            CallError::AnswerTooLarge { .. } => {
                (Code::ResourceExhausted, ErrorReason::AnswerTooLarge, vec![])
            }
            CallError::InTheFuture(now) => {
                (Code::OutOfRange, ErrorReason::InTheFuture, vec![("revision", now.to_string())])
            }
            CallError::BeforeTheBeginning(beginning) => {
                let metadata = vec![("create_time", beginning.to_string())];
                (Code::OutOfRange, ErrorReason::BeforeTheBeginning, metadata)
            }
            CallError::History(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "history not read");
                return unavailable(message, ErrorReason::HistoryUnavailable, []);
            }
            CallError::Write(error) => return write(message, error),
            CallError::TokenMissing => (Code::Unauthenticated, ErrorReason::TokenMissing, vec![]),
            CallError::Unauthenticated(error) => return access::unauthenticated(message, &error),
            CallError::Denied(denied) => return access::denied(message, &denied),
            CallError::Token(refusal) => return access::token_refused(message, refusal),
            CallError::Random(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no random bytes");
                return unavailable(message, ErrorReason::StoreUnavailable, []);
            }
            CallError::NotGrpc => (Code::InvalidArgument, ErrorReason::MalformedMessage, vec![]),
            CallError::UnknownRpc => (Code::Unimplemented, ErrorReason::UnknownMethod, vec![]),
            CallError::Overloaded => {
                return overloaded(message, ErrorReason::Overloaded, RETRY_AFTER);
            }
            CallError::RateLimited(wait) => {
                return overloaded(message, ErrorReason::RateLimited, wait);
            }
            CallError::DeadlinePassed => {
                (Code::DeadlineExceeded, ErrorReason::DeadlinePassed, vec![])
            }
            CallError::Stopping => return unavailable(message, ErrorReason::ShuttingDown, []),
            CallError::WatchEnded { start_revision } => {
                let metadata = [("start_revision", start_revision.to_string())];
                return unavailable(message, ErrorReason::ShuttingDown, metadata);
            }
        };
        status(code, message, reason, metadata)
    }
}

/// The reason in the status's `ErrorInfo`.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The reason as a string, as in `ErrorInfo`.
fn name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

fn details<'k>(
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'k str, String)>,
) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), shorten_to(&value, MAX_METADATA)))
        .collect();
    ErrorDetails::with_error_info(name(reason), DOMAIN, metadata)
}

fn status<'k>(
    code: Code,
    message: &str,
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'k str, String)>,
) -> Status {
    Status::with_error_details(code, shorten(message), details(reason, metadata))
}

fn invalid_fields(message: &str, violations: Vec<FieldViolation>) -> Status {
    let reason = violations.first().map_or(ErrorReason::InvalidField, |first| first.reason);
    let mut details = details(reason, []);
    for violation in violations.into_iter().take(MAX_VIOLATIONS) {
        details.add_bad_request_violation(violation.field, shorten(&violation.description));
    }
    Status::with_error_details(Code::InvalidArgument, shorten(message), details)
}

fn write(message: &str, error: WriteError) -> Status {
    match error {
        WriteError::Unauthenticated(error) => access::unauthenticated(message, &error),
        WriteError::Denied(denied) => access::denied(message, &denied),
        WriteError::Refused(refusal) => refused(message, refusal, "").into(),
        WriteError::RequestIdReused(id) => {
            let mut details = details(ErrorReason::RequestIdReused, [("request_id", id)]);
            details.add_bad_request_violation("request_id", message);
            Status::with_error_details(Code::InvalidArgument, message, details)
        }
        WriteError::Store(error) => {
            let message = match *error {
                StoreError::Full(_) => {
                    "the server's disk is full, and nothing was changed: free space on it, and try \
                     again"
                }
                _ => {
                    "the change could not be stored, and nothing was changed: try again, and see \
                     the server's log"
                }
            };
            unavailable(message, ErrorReason::StoreUnavailable, [])
        }
        WriteError::Overloaded => overloaded(message, ErrorReason::Overloaded, RETRY_AFTER),
        WriteError::Stopping => unavailable(message, ErrorReason::ShuttingDown, []),
    }
}

fn overloaded(message: &str, reason: ErrorReason, wait: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(wait));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn unavailable<const N: usize>(
    message: &str,
    reason: ErrorReason,
    metadata: [(&str, String); N],
) -> Status {
    let mut details = details(reason, metadata);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// Adds the code and details that all other statuses have to a status that the transport returned
/// before a service was reached.
#[must_use]
pub fn add_details(response: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => match transport_error(&status) {
            Some(status) => status.into_http(),
            None => response,
        },
        _ => response,
    }
}

/// The status to send instead of the transport's own, if that is about the message.
#[must_use]
pub fn transport_error(original: &Status) -> Option<Status> {
    let message = original.message();
    match original.code() {
        Code::OutOfRange => {
            Some(status(Code::ResourceExhausted, message, ErrorReason::MessageTooLarge, []))
        }
        Code::Unimplemented => {
            Some(status(Code::Unimplemented, message, ErrorReason::UnsupportedCompression, []))
        }
        // The transport reports bytes that are not a message as an internal error.
        Code::Internal => {
            Some(status(Code::InvalidArgument, message, ErrorReason::MalformedMessage, []))
        }
        _ => None,
    }
}

fn join(ports: &[PortRange]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn shorten(text: &str) -> String {
    shorten_to(text, MAX_ECHO)
}

fn shorten_to(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max).chain(['…']).collect()
}
