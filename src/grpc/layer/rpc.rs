//! What kind of call an rpc is, by its path.

use crate::grpc::proto::port_registry_service_server;

/// An rpc, as far as limits are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// What kind it is.
    pub kind: Kind,
}

/// What kind of call an rpc is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A question whether the server is there: always answered.
    Health,
    /// One answer, which costs hardly more than to refuse it; or a write, which waits for the writer.
    Plain,
    /// One answer, which costs more than to refuse it.
    Costly,
    /// A stream of answers.
    Streaming,
}

impl Rpc {
    /// The rpc with this path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let (service, rpc) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
        let kind = match (service, rpc) {
            ("grpc.health.v1.Health", "Check") => Kind::Health,
            ("grpc.health.v1.Health", "Watch")
            | ("grpc.reflection.v1.ServerReflection", _)
            | ("grpc.reflection.v1alpha.ServerReflection", _)
            | (_, "AnnotatePorts" | "WatchAssignments") => Kind::Streaming,
            (
                port_registry_service_server::SERVICE_NAME,
                "LookupPort" | "LookupService" | "LookupEndpoint" | "GetAssignment",
            ) => Kind::Plain,
            (port_registry_service_server::SERVICE_NAME, _) => Kind::Costly,
            _ => Kind::Plain,
        };
        Self { kind }
    }
}
