//! How a refusal looks that is about who calls.

use tonic::{Code, Status};

use super::{FieldViolation, fields, status};
use crate::access::{AuthError, Denied, TokenRefusal};
use crate::grpc::proto::ErrorReason;

pub(super) fn unauthenticated(message: &str, fault: &AuthError) -> Status {
    let (reason, end) = match fault {
        AuthError::Unknown => (ErrorReason::TokenInvalid, String::new()),
        AuthError::Expired(end) => (ErrorReason::TokenExpired, end.to_string()),
    };
    status(Code::Unauthenticated, message, reason, [("expire_time", end)])
}

pub(super) fn denied(message: &str, denied: &Denied) -> Status {
    let mut facts = [("role", ""), ("namespace", ""), ("pool", "")];
    match denied {
        Denied::Role { needed } => facts[0].1 = needed,
        Denied::SystemPort => facts[0].1 = "admin",
        Denied::NotGranted { namespace, pool } => {
            facts[1].1 = namespace.as_str();
            facts[2].1 = pool.as_ref().map(|pool| pool.as_str()).unwrap_or_default();
        }
        Denied::Assignment => {}
    }
    let facts = facts.map(|(name, fact)| (name, fact.to_owned()));
    status(Code::PermissionDenied, message, ErrorReason::PermissionDenied, facts)
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
            let fault = FieldViolation {
                field: "token.expire_time".into(),
                description: format!("{end} is not to come"),
                reason: ErrorReason::InvalidField,
            };
            return fields(message, vec![fault]);
        }
    };
    status(code, message, reason, [("token", name.to_string())])
}
