//! What all calls pass through before a service hears of them.

pub mod authenticate;
pub mod limit;
pub mod observe;
pub mod peer;
pub mod rate;
mod rpc;
pub mod trace;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use self::authenticate::Authenticate;
use self::limit::{Carried, Limit};
use self::observe::{Answer, Observe};
use self::peer::Peer;
use super::services::Services;
use super::status::explain;

/// What answers calls: each is observed, authenticated and kept within limits, outermost first.
pub struct Calls {
    /// Counts, times, logs and traces them.
    pub observe: Observe,
    /// Knows who may make them.
    pub authenticate: Authenticate,
    /// Keeps them within limits.
    pub limit: Limit,
    /// Answers them.
    pub services: Services,
}

impl Calls {
    /// The answer to a call.
    pub async fn answer<B>(&self, peer: &Arc<Peer>, request: Request<B>) -> Response<Answer>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let mut call = self.observe.begin(peer, &request);
        let mut carried = match self.authenticate.check(peer, &request) {
            Ok(caller) => {
                call.caller.clone_from(&caller);
                let answer = |request| self.services.answer(caller, request);
                self.limit.carry(peer, request, answer).await
            }
            Err((caller, refusal)) => {
                call.caller = caller;
                Carried::from(refusal)
            }
        };
        carried.response = explain(carried.response);
        call.follow(carried)
    }
}
