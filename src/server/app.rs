//! Builds the gRPC services over a store.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::ServeError;
use crate::grpc::admin_service::AdminService;
use crate::grpc::proto;
use crate::grpc::proto::port_admin_service_server::{self, PortAdminServiceServer};
use crate::grpc::proto::port_registry_service_server::{self, PortRegistryServiceServer};
use crate::grpc::registry_service::RegistryService;
use crate::grpc::services::Services;
use crate::metrics::Metrics;
use crate::store::history::History;
use crate::store::{LoadedRegistry, Store};
use crate::writer::{Clock, Environment, RegistryHandle, Writer, writer};

/// The services whose health is reported. The empty name means the complete server.
pub(super) const SERVICES: [&str; 3] =
    ["", port_registry_service_server::SERVICE_NAME, port_admin_service_server::SERVICE_NAME];

/// The dependencies of the services.
pub struct App {
    pub(super) handle: RegistryHandle,
    history: Arc<dyn History>,
    database_id: Arc<str>,
    max_request_bytes: usize,
}

impl App {
    /// The application over a store, and its writer, which the caller must run.
    pub fn new<S: Store>(
        store: S,
        loaded: LoadedRegistry,
        clock: Clock,
        metrics: Arc<Metrics>,
        max_request_bytes: u32,
    ) -> (Self, Writer<S>) {
        let (history, database_id) = (store.history(), loaded.database_id.as_str().into());
        let (handle, writer) = writer(store, loaded, Environment::system(clock, metrics));
        let max_request_bytes = max_request_bytes as usize;
        (Self { handle, history, database_id, max_request_bytes }, writer)
    }

    /// Builds the services, including reflection in both versions.
    pub(super) fn services(
        self,
        health: HealthReporter,
        shutdown: CancellationToken,
    ) -> Result<Services, ServeError> {
        let Self { handle, history, database_id, max_request_bytes } = self;
        let registry =
            RegistryService::new(handle.clone(), history, Arc::clone(&database_id), shutdown);
        let registry =
            PortRegistryServiceServer::new(registry).max_decoding_message_size(max_request_bytes);
        let admin = PortAdminServiceServer::new(AdminService::new(handle, database_id))
            .max_decoding_message_size(max_request_bytes);
        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure();
            DESCRIPTORS.into_iter().fold(builder, |builder, descriptors| {
                builder.register_encoded_file_descriptor_set(descriptors)
            })
        };
        let others = Routes::new(HealthServer::new(HealthService::from_health_reporter(health)))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .prepare();
        Ok(Services { registry, admin, others })
    }
}

/// The descriptors that reflection serves.
const DESCRIPTORS: [&[u8]; 3] = [
    proto::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
];
