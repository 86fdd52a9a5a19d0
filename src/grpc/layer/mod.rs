//! The layers that each call passes through before a service: metrics and logs, authentication, limits.

pub mod authenticate;
mod deadline;
pub mod limit;
pub mod observe;
pub mod peer;
pub mod rate_limit;
mod request_buffer;
mod response_buffer;
pub mod trace;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};

use self::authenticate::Authenticate;
use self::limit::{Limit, LimitedResponse};
use self::observe::{Observe, ObservedBody};
use self::peer::Peer;
use super::rpcs::Rpc;
use super::services::Services;
use super::status::{CallError, add_details};

/// The layers and the services, outermost first.
pub struct Calls {
    /// Metrics, logs and traces.
    pub observe: Observe,
    /// Tokens and roles.
    pub authenticate: Authenticate,
    /// Limits.
    pub limit: Limit,
    /// The services.
    pub services: Services,
}

impl Calls {
    /// Responds to a call.
    pub async fn call<B>(&self, peer: &Arc<Peer>, request: Request<B>) -> Response<ObservedBody>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let (rpc, index) = Rpc::find(request.uri().path());
        let mut call = self.observe.begin(rpc, index, peer, &request);
        let authenticated = if !is_grpc(&request) {
            Err((None, CallError::NotGrpc))
        } else if rpc.is_known() {
            self.authenticate.check(rpc, peer, &request)
        } else {
            Err((None, CallError::UnknownRpc))
        };
        let mut limited = match authenticated {
            Ok(caller) => {
                call.caller.clone_from(&caller);
                let service = |request| self.services.call(rpc, caller, request);
                self.limit.call(rpc.kind, peer, request, service).await
            }
            Err((caller, error)) => {
                call.caller = caller;
                LimitedResponse::from(error)
            }
        };
        limited.response = add_details(limited.response);
        call.respond(limited)
    }
}

/// Whether this is a gRPC call. A web page can make a browser send any other request, authenticated by
/// the certificate of the browser's user.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|it| it.strip_prefix(b"application/grpc"));
    request.method() == Method::POST && matches!(rest, Some([] | [b'+' | b';', ..]))
}
