//! What all calls pass through before a service hears of them.

mod answers;
pub mod authenticate;
mod deadline;
mod heard;
pub mod limit;
pub mod observe;
pub mod peer;
pub mod rate;
mod rpc;
pub mod trace;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};

use self::authenticate::Authenticate;
use self::limit::{Carried, Limit};
use self::observe::{Answer, Observe};
use self::peer::Peer;
use super::services::Services;
use super::status::{CallError, explain};

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
        let permitted = if is_of_grpc(&request) {
            self.authenticate.check(peer, &request)
        } else {
            Err((None, CallError::NotGrpc))
        };
        let mut carried = match permitted {
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

/// Whether the request is a call as gRPC makes it. A web page can have a browser send others in its
/// user's name, with the certificate that the browser has.
fn is_of_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|it| it.strip_prefix(b"application/grpc"));
    request.method() == Method::POST && matches!(rest, Some([] | [b'+' | b';', ..]))
}
