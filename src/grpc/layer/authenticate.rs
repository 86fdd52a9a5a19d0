//! Who calls, and whether their role allows the rpc: decided before anything else is looked at.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, FutureExt, TryFutureExt, ready};
use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::peer::Peer;
use super::rate::Rate;
use crate::access::{AuthError, Denied, PlainToken, Role, Token};
use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};
use crate::grpc::status::CallError;
use crate::writer::Registrar;

/// Lets a call pass whose token allows it, and notes whose it is.
#[derive(Clone, Debug)]
pub struct Authenticate {
    registrar: Registrar,
    rate: Rate,
    is_needed_to_read: bool,
}

impl Authenticate {
    /// Checks calls against the tokens of this registry, and how often each caller calls; whoever
    /// only reads needs a token if that is asked for.
    #[must_use]
    pub const fn new(registrar: Registrar, rate: Rate, is_needed_to_read: bool) -> Self {
        Self { registrar, rate, is_needed_to_read }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated { inner, checks: self.clone() }
    }
}

/// A service that hears only calls that may be made.
#[derive(Clone, Debug)]
pub struct Authenticated<S> {
    inner: S,
    checks: Authenticate,
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let caller = match self.checks.check(&request) {
            Ok(None) => return Either::Left(self.inner.call(request)),
            Ok(Some(caller)) => caller,
            Err((caller, refusal)) => {
                let mut refusal = refusal.into_http();
                if let Some(caller) = caller {
                    refusal.extensions_mut().insert(caller);
                }
                return Either::Right(ready(Ok(refusal)).boxed());
            }
        };
        request.extensions_mut().insert(Arc::clone(&caller));
        // Whoever observes the call learns whose it was.
        let answer = self.inner.call(request).map_ok(|mut response| {
            response.extensions_mut().insert(caller);
            response
        });
        Either::Right(answer.boxed())
    }
}

/// Whose call it is, if anybody's.
type Caller = Option<Arc<Token>>;

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
    fn check(&self, request: &Request<Body>) -> Result<Caller, (Caller, CallError)> {
        let need = match Need::of(request.uri().path()) {
            Need::Nothing => return Ok(None),
            Need::Read if self.is_needed_to_read => Need::Token,
            need => need,
        };
        let peer = request.extensions().get::<Peer>();
        let caller = match self.caller(request) {
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
    fn caller(&self, request: &Request<Body>) -> Result<Arc<Token>, CallError> {
        if let Some(secret) = secret(request.headers())? {
            let (tokens, now) = (self.registrar.tokens(), self.registrar.now());
            return Ok(Arc::clone(tokens.by_secret(&secret, now)?));
        }
        let peer = request.extensions().get::<Peer>();
        let Some(certificate) = peer.and_then(|peer| peer.certificate.as_deref()) else {
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
