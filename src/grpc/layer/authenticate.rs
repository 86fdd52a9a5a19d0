//! Authentication and roles, checked before the request is read.

use std::sync::Arc;

use http::{HeaderMap, Request};

use super::peer::Peer;
use super::rate_limit::RateLimit;
use crate::access::{AuthError, Denied, PlainToken, Role, Token};
use crate::grpc::rpcs::{RequiredRole, Rpc};
use crate::grpc::status::CallError;
use crate::writer::RegistryHandle;

/// Authenticates calls and checks roles.
#[derive(Clone, Debug)]
pub struct Authenticate {
    handle: RegistryHandle,
    rate_limit: RateLimit,
    reads_need_token: bool,
}

impl Authenticate {
    /// Checks calls against the tokens of this registry and the rate limit; `reads_need_token` closes
    /// reads to callers without a token.
    #[must_use]
    pub const fn new(
        handle: RegistryHandle,
        rate_limit: RateLimit,
        reads_need_token: bool,
    ) -> Self {
        Self { handle, rate_limit, reads_need_token }
    }
}

/// The token of a call, if it has one.
pub(super) type Caller = Option<Arc<Token>>;

impl RequiredRole {
    fn check(self, role: &Role) -> Result<(), Denied> {
        match (self, role) {
            (Self::Registrar, Role::Viewer) => Err(Denied::Role { required: "registrar" }),
            (Self::Admin, Role::Viewer | Role::Registrar(_)) => {
                Err(Denied::Role { required: "admin" })
            }
            _ => Ok(()),
        }
    }
}

impl Authenticate {
    /// The caller, if the call is allowed. An error contains the caller too, for the log.
    pub(super) fn check<B>(
        &self,
        rpc: &Rpc,
        peer: &Peer,
        request: &Request<B>,
    ) -> Result<Caller, (Caller, CallError)> {
        let required = match rpc.role {
            RequiredRole::None => return Ok(None),
            RequiredRole::Reader if self.reads_need_token => RequiredRole::Token,
            required => required,
        };
        let caller = match self.caller(peer, request.headers()) {
            Ok(caller) => Some(caller),
            // Reads are open to callers without a token.
            Err(CallError::TokenMissing) if required == RequiredRole::Reader => None,
            // Failed attempts count against the address.
            Err(error) => {
                return Err((None, self.rate_limit.check(None, peer).err().unwrap_or(error)));
            }
        };
        let checked = self.rate_limit.check(caller.as_deref(), peer).and_then(|()| match &caller {
            Some(caller) => Ok(required.check(&caller.role)?),
            None => Ok(()),
        });
        match checked {
            Ok(()) => Ok(caller),
            Err(error) => Err((caller, error)),
        }
    }

    /// The token of the secret in the headers, or else of the client certificate.
    fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Token>, CallError> {
        if let Some(secret) = secret(headers)? {
            let (tokens, now) = (self.handle.tokens(), self.handle.now());
            return Ok(Arc::clone(tokens.by_secret(&secret, now)?));
        }
        let Some(certificate) = peer.certificate.as_deref() else {
            return Err(CallError::TokenMissing);
        };
        let (tokens, now) = (self.handle.tokens(), self.handle.now());
        if certificate.expire_time <= now {
            return Err(CallError::TokenMissing);
        }
        match tokens.by_certificate(certificate.names.iter().map(String::as_str), now) {
            Ok(token) => Ok(Arc::clone(token)),
            // A certificate without a token is the same as no certificate.
            Err(AuthError::Unknown) => Err(CallError::TokenMissing),
            Err(error) => Err(error.into()),
        }
    }
}

fn secret(headers: &HeaderMap) -> Result<Option<PlainToken>, CallError> {
    let Some(header) = headers.get(http::header::AUTHORIZATION) else { return Ok(None) };
    let bearer = || {
        let (scheme, secret) = header.to_str().ok()?.split_once(' ')?;
        let secret = scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())?;
        PlainToken::parse(secret).ok()
    };
    bearer().map(Some).ok_or(CallError::Unauthenticated(AuthError::Unknown))
}
