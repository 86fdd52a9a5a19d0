//! How a refusal looks to clients: the one place that builds a status.
//!
//! Every status of our services has one `ErrorInfo` of domain `portbook`. What went wrong inside is logged here,
//! once, and never sent.

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
use crate::writer::{AdministerError, WriteError};
use proto::ErrorReason;

const DOMAIN: &str = "portbook";
/// How much of a text that a client sent is sent back to it.
const MAX_ECHO: usize = 300;
/// How much of a fact is told: all codes, or five leases, are less than that.
const MAX_FACT: usize = 600;
/// How many bad fields, or findings, one status names: it travels in a header.
const MAX_VIOLATIONS: usize = 20;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A field of a request that is missing or not valid.
#[derive(Debug)]
pub struct FieldViolation {
    /// Which.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
    /// Its reason.
    pub reason: ErrorReason,
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Fields are missing or not valid.
    #[error("{}", .0.iter().map(|fault| format!("{}: {}", fault.field, fault.description)).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldViolation>),
    /// The page token was not made here, or for another filter.
    #[error(
        "page_token: this token was not made by this server for this filter: leave it out to begin anew"
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
    /// A name that stands for several ports.
    #[error("{service_name} is on several ports ({}): write the number instead", join(.ports))]
    ServiceAmbiguous {
        /// The name.
        service_name: String,
        /// The ports.
        ports: Vec<PortRange>,
    },
    /// A name that has no port.
    #[error("{0} is registered without a port: write the number")]
    ServiceWithoutPort(String),
    /// An answer beyond what one may hold.
    #[error("the answer would have more than {most} bytes: ask for fewer ports at once")]
    AnswerTooLarge {
        /// The most it may have.
        most: usize,
    },
    /// A moment that is still to come.
    #[error("that is still to come: the registry is at revision {0} now")]
    InTheFuture(Revision),
    /// A moment from which nothing is known.
    #[error("that is before the beginning: this registry was made at {0:.0}")]
    BeforeTheBeginning(Timestamp),
    /// The history can't be read.
    #[error("the history could not be read: try again, and see the server's log")]
    History(#[source] StoreError),
    /// A write that changed nothing.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No token.
    #[error("this call needs a token: send the metadata authorization: Bearer <token>")]
    TokenMissing,
    /// Not a good token.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// Not a token of the role that the rpc needs.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No such token.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// No randomness for a secret.
    #[error("a secret could not be made: try again, and see the server's log")]
    Random(getrandom::Error),
    /// Not a call as gRPC makes it.
    #[error("this is no gRPC call: one is a POST whose content-type is application/grpc")]
    NotGrpc,
    /// Too many calls are under way.
    #[error("the server has more calls under way than it can do in time: try again in a moment")]
    Overloaded,
    /// The caller calls too often.
    #[error("more calls than the server takes from one caller: try again in {} ms", .0.as_millis() + 1)]
    RateLimited(Duration),
    /// The time of the call is over.
    #[error("the deadline of the call has passed")]
    DeadlinePassed,
    /// The server ends a stream because it stops.
    #[error("the server is stopping: try again in a moment")]
    Stopping,
    /// The server ends a watch because it stops.
    #[error("the server is stopping: watch again in a moment, from revision {start_revision} on")]
    WatchEnded {
        /// The first revision that was not told.
        start_revision: Revision,
    },
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Write(WriteError::Refused(refusal))
    }
}

impl From<AdministerError> for CallError {
    fn from(error: AdministerError) -> Self {
        match error {
            AdministerError::Unauthenticated(fault) => Self::Unauthenticated(fault),
            AdministerError::Denied(denied) => Self::Denied(denied),
            AdministerError::Refused(refusal) => Self::Token(refusal),
            AdministerError::Store(fault) => Self::Write(WriteError::Store(Arc::new(fault))),
            AdministerError::Stopping => Self::Stopping,
        }
    }
}

impl CallError {
    /// It as an answer, where no service is reached.
    #[must_use]
    pub fn into_http(self) -> http::Response<Body> {
        let code = match self {
            Self::NotGrpc => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => http::StatusCode::OK,
        };
        let mut answer = Status::from(self).into_http();
        *answer.status_mut() = code;
        answer
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Fields(faults) => fields(&message, faults),
            CallError::PageToken => fields(
                &message,
                vec![FieldViolation {
                    field: "page_token".into(),
                    description: "was not made by this server for this filter".into(),
                    reason: ErrorReason::PageTokenInvalid,
                }],
            ),
            CallError::UnknownNamespace(unknown) => refused(&message, unknown.into(), "").into(),
            CallError::UnknownPool(unknown) => refused(&message, unknown.into(), "").into(),
            CallError::UnknownService(unknown) => {
                let nearest = unknown.nearest.join(",");
                let facts = [("service_name", unknown.name), ("nearest", nearest)];
                status(Code::NotFound, &message, ErrorReason::ServiceNotFound, facts)
            }
            CallError::ServiceAmbiguous { service_name, ports } => {
                let facts = [("service_name", service_name), ("ports", join(&ports))];
                status(Code::FailedPrecondition, &message, ErrorReason::ServiceAmbiguous, facts)
            }
            CallError::ServiceWithoutPort(name) => {
                let facts = [("service_name", name)];
                status(Code::FailedPrecondition, &message, ErrorReason::ServiceWithoutPort, facts)
            }
            CallError::AnswerTooLarge { .. } => {
                status(Code::ResourceExhausted, &message, ErrorReason::AnswerTooLarge, [])
            }
            CallError::InTheFuture(now) => {
                let facts = [("revision", now.to_string())];
                status(Code::OutOfRange, &message, ErrorReason::InTheFuture, facts)
            }
            CallError::BeforeTheBeginning(beginning) => {
                let facts = [("create_time", beginning.to_string())];
                status(Code::OutOfRange, &message, ErrorReason::BeforeTheBeginning, facts)
            }
            CallError::History(fault) => {
                tracing::error!(error = &fault as &dyn std::error::Error, "history not read");
                unavailable(&message, ErrorReason::HistoryUnavailable, [])
            }
            CallError::Write(error) => write(&message, error),
            CallError::TokenMissing => {
                status(Code::Unauthenticated, &message, ErrorReason::TokenMissing, [])
            }
            CallError::Unauthenticated(fault) => access::unauthenticated(&message, &fault),
            CallError::Denied(denied) => access::denied(&message, &denied),
            CallError::Token(refusal) => access::token_refused(&message, refusal),
            CallError::Random(fault) => {
                tracing::error!(error = &fault as &dyn std::error::Error, "no randomness");
                unavailable(&message, ErrorReason::StoreUnavailable, [])
            }
            CallError::NotGrpc => {
                status(Code::InvalidArgument, &message, ErrorReason::MalformedMessage, [])
            }
            CallError::Overloaded => {
                retry_later(Code::ResourceExhausted, &message, ErrorReason::Overloaded, RETRY_AFTER)
            }
            CallError::RateLimited(wait) => {
                retry_later(Code::ResourceExhausted, &message, ErrorReason::RateLimited, wait)
            }
            CallError::DeadlinePassed => {
                status(Code::DeadlineExceeded, &message, ErrorReason::DeadlinePassed, [])
            }
            CallError::Stopping => unavailable(&message, ErrorReason::ShuttingDown, []),
            CallError::WatchEnded { start_revision } => {
                let facts = [("start_revision", start_revision.to_string())];
                unavailable(&message, ErrorReason::ShuttingDown, facts)
            }
        }
    }
}

/// The reason that a status tells: that of its `ErrorInfo`.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The reason's name, as `ErrorInfo` carries it.
fn name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

fn details<'f>(
    reason: ErrorReason,
    facts: impl IntoIterator<Item = (&'f str, String)>,
) -> ErrorDetails {
    let metadata: HashMap<String, String> = facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), shorten_to(&value, MAX_FACT)))
        .collect();
    ErrorDetails::with_error_info(name(reason), DOMAIN, metadata)
}

fn status<const N: usize>(
    code: Code,
    message: &str,
    reason: ErrorReason,
    facts: [(&str, String); N],
) -> Status {
    Status::with_error_details(code, shorten(message), details(reason, facts))
}

fn fields(message: &str, faults: Vec<FieldViolation>) -> Status {
    let reason = faults.first().map_or(ErrorReason::InvalidField, |fault| fault.reason);
    let mut details = details(reason, []);
    for fault in faults.into_iter().take(MAX_VIOLATIONS) {
        details.add_bad_request_violation(fault.field, shorten(&fault.description));
    }
    Status::with_error_details(Code::InvalidArgument, shorten(message), details)
}

fn write(message: &str, error: WriteError) -> Status {
    match error {
        WriteError::Unauthenticated(fault) => access::unauthenticated(message, &fault),
        WriteError::Denied(denied) => access::denied(message, &denied),
        WriteError::Refused(refusal) => refused(message, refusal, "").into(),
        WriteError::RequestIdReused(id) => {
            let mut details = details(ErrorReason::RequestIdReused, [("request_id", id)]);
            details.add_bad_request_violation("request_id", message);
            Status::with_error_details(Code::InvalidArgument, message, details)
        }
        WriteError::Store(fault) => {
            let message = match *fault {
                StoreError::Full(_) => {
                    "the disk of the server is full, so nothing was changed: have space freed on \
                     it, and try again"
                }
                _ => {
                    "the change could not be stored, and nothing was changed: try again, and see \
                     the server's log"
                }
            };
            unavailable(message, ErrorReason::StoreUnavailable, [])
        }
        WriteError::Overloaded => {
            retry_later(Code::ResourceExhausted, message, ErrorReason::Overloaded, RETRY_AFTER)
        }
        WriteError::Stopping => unavailable(message, ErrorReason::ShuttingDown, []),
    }
}

fn retry_later(code: Code, message: &str, reason: ErrorReason, wait: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, message, details)
}

fn unavailable<const N: usize>(
    message: &str,
    reason: ErrorReason,
    facts: [(&str, String); N],
) -> Status {
    let mut details = details(reason, facts);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// Gives the statuses that the transport makes by itself, before a service is reached, the code and
/// the details that all others have.
#[must_use]
pub fn add_details(response: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(made) if made.details().is_empty() => match transport_error(&made) {
            Some(status) => status.into_http(),
            None => response,
        },
        _ => response,
    }
}

/// What the transport means by a status of its own, if it is about the message or the method.
#[must_use]
pub fn transport_error(made: &Status) -> Option<Status> {
    let message = made.message();
    match made.code() {
        Code::OutOfRange => {
            Some(status(Code::ResourceExhausted, message, ErrorReason::MessageTooLarge, []))
        }
        Code::Unimplemented if message.is_empty() => Some(status(
            Code::Unimplemented,
            "there is no such service or rpc here: reflection lists what there is",
            ErrorReason::UnknownMethod,
            [],
        )),
        Code::Unimplemented => {
            Some(status(Code::Unimplemented, message, ErrorReason::UnsupportedCompression, []))
        }
        // The transport calls bytes that are no message an internal fault.
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

fn shorten_to(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most).chain(['…']).collect()
}
