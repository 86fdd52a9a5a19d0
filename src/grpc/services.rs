//! Routes calls to the services.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use super::admin_service::AdminService;
use super::proto::port_admin_service_server::{self, PortAdminServiceServer};
use super::proto::port_registry_service_server::{self, PortRegistryServiceServer};
use super::registry_service::RegistryService;
use super::rpcs::Rpc;
use crate::access::Token;

/// The services.
pub struct Services {
    /// The reads.
    pub registry: PortRegistryServiceServer<RegistryService>,
    /// The writes.
    pub admin: PortAdminServiceServer<AdminService>,
    /// Health and reflection.
    pub others: Routes,
}

impl Services {
    /// Calls the service of the rpc.
    pub async fn call<B>(
        &self,
        rpc: &Rpc,
        caller: Option<Arc<Token>>,
        mut request: Request<B>,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        // A generic router would cost more than a lookup.
        let response = match rpc.service {
            port_registry_service_server::SERVICE_NAME => self.registry.clone().call(request).await,
            port_admin_service_server::SERVICE_NAME => self.admin.clone().call(request).await,
            _ => self.others.clone().call(request).await,
        };
        response.unwrap_or_else(|never| match never {})
    }
}
