//! The statuses of authentication, authorization and changes of tokens.

use tonic::{Code, Status};

use super::{FieldViolation, invalid_fields, status};
use crate::access::{AuthError, Denied, TokenRefusal};
use crate::grpc::proto::ErrorReason;

pub(super) fn unauthenticated(message: &str, error: &AuthError) -> Status {
    let (reason, end) = match error {
        AuthError::Unknown => (ErrorReason::TokenInvalid, String::new()),
        AuthError::Expired(end) => (ErrorReason::TokenExpired, end.to_string()),
    };
    status(Code::Unauthenticated, message, reason, [("expire_time", end)])
}

pub(super) fn denied(message: &str, denied: &Denied) -> Status {
    let mut metadata = [("role", ""), ("namespace", ""), ("pool", "")];
    match denied {
        Denied::Role { required } => metadata[0].1 = required,
        Denied::SystemPort => metadata[0].1 = "admin",
        Denied::NotGranted { namespace, pool } => {
            metadata[1].1 = namespace.as_str();
            metadata[2].1 = pool.as_ref().map(|pool| pool.as_str()).unwrap_or_default();
        }
        Denied::Assignment => {}
    }
    let metadata = metadata.map(|(key, value)| (key, value.to_owned()));
    status(Code::PermissionDenied, message, ErrorReason::PermissionDenied, metadata)
}

pub(super) fn token_refused(message: &str, refusal: TokenRefusal) -> Status {
    let (code, reason, name) = match refusal {
        TokenRefusal::NotFound(name) => (Code::NotFound, ErrorReason::TokenNotFound, name),
        TokenRefusal::AlreadyExists(name) => {
            (Code::AlreadyExists, ErrorReason::TokenAlreadyExists, name)
        }
        TokenRefusal::Revoked(name) => (Code::FailedPrecondition, ErrorReason::TokenRevoked, name),
        TokenRefusal::NoSecret(name) => (Code::FailedPrecondition, ErrorReason::NoSecret, name),
        TokenRefusal::LastAdmin(name) => (Code::FailedPrecondition, ErrorReason::LastAdmin, name),
        TokenRefusal::ExpiryInPast(end) => {
            let violation = FieldViolation {
                field: "token.expire_time".into(),
                description: format!("{end} is not in the future"),
                reason: ErrorReason::InvalidField,
            };
            return invalid_fields(message, vec![violation]);
        }
    };
    status(code, message, reason, [("token", name.to_string())])
}
