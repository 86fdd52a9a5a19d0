//! Who calls, and whether their role allows the rpc: decided before anything else is looked at.

use std::sync::Arc;

use http::{HeaderMap, Request};

use super::peer::Peer;
use super::rate::Rate;
use crate::access::{AuthError, Denied, PlainToken, Role, Token};
use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};
use crate::grpc::status::CallError;
use crate::writer::RegistryHandle;

/// Lets a call pass whose token allows it, and notes whose it is.
#[derive(Clone, Debug)]
pub struct Authenticate {
    registrar: RegistryHandle,
    rate: Rate,
    is_needed_to_read: bool,
}

impl Authenticate {
    /// Checks calls against the tokens of this registry, and how often each caller calls; whoever
    /// only reads needs a token if that is asked for.
    #[must_use]
    pub const fn new(registrar: RegistryHandle, rate: Rate, is_needed_to_read: bool) -> Self {
        Self { registrar, rate, is_needed_to_read }
    }
}

/// Whose call it is, if anybody's.
pub(super) type Caller = Option<Arc<Token>>;

/// What a call asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: health, reflection, and what there is not.
    Nothing,
    /// A token, if reads need one.
    Read,
    /// A token.
    Token,
    /// The role of a registrar.
    Registrar,
    /// The role of an admin.
    Admin,
}

impl Need {
    fn of(path: &str) -> Self {
        match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some((port_registry_service_server::SERVICE_NAME, _)) => Self::Read,
            Some((port_admin_service_server::SERVICE_NAME, rpc)) => match rpc {
                "GetCaller" => Self::Token,
                "RegisterPort" | "BatchRegisterPorts" | "EnsurePort" | "RenewLease"
                | "UpdateAssignment" | "ReleasePort" => Self::Registrar,
                // What is new is closed until it is opened here.
                _ => Self::Admin,
            },
            _ => Self::Nothing,
        }
    }

    fn check(self, role: &Role) -> Result<(), Denied> {
        match (self, role) {
            (Self::Registrar, Role::Viewer) => Err(Denied::Role { needed: "registrar" }),
            (Self::Admin, Role::Viewer | Role::Registrar(_)) => {
                Err(Denied::Role { needed: "admin" })
            }
            _ => Ok(()),
        }
    }
}

impl Authenticate {
    /// Whose call it is, if anybody's, and that it may be made. A refusal tells whose it was.
    pub(super) fn check<B>(
        &self,
        peer: &Peer,
        request: &Request<B>,
    ) -> Result<Caller, (Caller, CallError)> {
        let need = match Need::of(request.uri().path()) {
            Need::Nothing => return Ok(None),
            Need::Read if self.is_needed_to_read => Need::Token,
            need => need,
        };
        let caller = match self.caller(peer, request.headers()) {
            Ok(caller) => Some(caller),
            // Reads are open to whoever brings no token.
            Err(CallError::TokenMissing) if need == Need::Read => None,
            // Whoever guesses is counted by where they are.
            Err(fault) => return Err((None, self.rate.check(None, peer).err().unwrap_or(fault))),
        };
        let checked = self.rate.check(caller.as_deref(), peer).and_then(|()| match &caller {
            Some(caller) => Ok(need.check(&caller.role)?),
            None => Ok(()),
        });
        match checked {
            Ok(()) => Ok(caller),
            Err(refusal) => Err((caller, refusal)),
        }
    }

    /// Whose secret the call brings; without one, whose certificate its connection was opened with.
    fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Token>, CallError> {
        if let Some(secret) = secret(headers)? {
            let (tokens, now) = (self.registrar.tokens(), self.registrar.now());
            return Ok(Arc::clone(tokens.by_secret(&secret, now)?));
        }
        let Some(certificate) = peer.certificate.as_deref() else {
            return Err(CallError::TokenMissing);
        };
        let (tokens, now) = (self.registrar.tokens(), self.registrar.now());
        if certificate.end <= now {
            return Err(CallError::TokenMissing);
        }
        match tokens.by_certificate(certificate.names.iter().map(String::as_str), now) {
            Ok(token) => Ok(Arc::clone(token)),
            // A certificate that stands for no token is none the worse for it.
            Err(AuthError::Unknown) => Err(CallError::TokenMissing),
            Err(fault) => Err(fault.into()),
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
