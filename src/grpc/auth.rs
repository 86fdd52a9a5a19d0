//! Who may call: the token of a write, checked before anything else is looked at.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::status::CallError;
use crate::access::{Actor, PlainToken, Tokens};

/// Lets a call pass that brings a valid token, and notes whose it is.
#[derive(Clone, Debug)]
pub struct Authenticate {
    tokens: Arc<Tokens>,
}

impl Authenticate {
    /// Checks calls against these tokens.
    #[must_use]
    pub const fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens }
    }

    fn actor(&self, request: &Request<()>) -> Result<Actor, CallError> {
        let header = request.metadata().get("authorization").ok_or(CallError::TokenMissing)?;
        let header = header.to_str().map_err(|_| CallError::TokenInvalid)?;
        let (scheme, token) = header.split_once(' ').ok_or(CallError::TokenInvalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CallError::TokenInvalid);
        }
        let token = PlainToken::parse(token.trim()).map_err(|_| CallError::TokenInvalid)?;
        self.tokens.actor(&token).cloned().ok_or(CallError::TokenInvalid)
    }
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let actor = self.actor(&request).inspect_err(|error| {
            let peer = request.remote_addr().map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(peer, %error, "write refused");
        })?;
        request.extensions_mut().insert(actor);
        Ok(request)
    }
}
