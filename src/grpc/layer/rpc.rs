//! The kind of each rpc, by its path.

use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};

/// The kind of an rpc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A health check: never limited.
    Health,
    /// A unary call that costs hardly more than its rejection, or waits for the writer or the history.
    Cheap,
    /// The same, but the response may be large.
    Large,
    /// A unary call that costs more CPU time than its rejection.
    Expensive,
    /// A stream of responses to one request.
    ServerStream,
    /// A stream of responses to a stream of requests.
    BidiStream,
}

impl Kind {
    /// Whether it may run on the connection's task, before the connection's other calls: it takes a few
    /// microseconds, or waits for another task.
    pub(super) const fn runs_inline(self) -> bool {
        matches!(self, Self::Health | Self::Cheap | Self::Large)
    }

    /// Whether the response is a stream.
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::ServerStream | Self::BidiStream)
    }

    /// The kind of the rpc at this path.
    pub(super) fn of(path: &str) -> Self {
        let (service, rpc) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
        match (service, rpc) {
            ("grpc.health.v1.Health", "Watch")
            | (port_registry_service_server::SERVICE_NAME, "WatchAssignments") => {
                Self::ServerStream
            }
            ("grpc.health.v1.Health", _) => Self::Health,
            (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                _,
            )
            | (port_registry_service_server::SERVICE_NAME, "AnnotatePorts") => Self::BidiStream,
            (
                port_registry_service_server::SERVICE_NAME,
                "LookupPort" | "LookupEndpoint" | "GetAssignment",
            ) => Self::Cheap,
            (port_registry_service_server::SERVICE_NAME, "LookupService" | "ListChanges") => {
                Self::Large
            }
            (port_registry_service_server::SERVICE_NAME, _) => Self::Expensive,
            (port_admin_service_server::SERVICE_NAME, rpc)
                if rpc.starts_with("Batch") || rpc.starts_with("List") =>
            {
                Self::Large
            }
            _ => Self::Cheap,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::proto;

    #[test]
    fn kinds_agree_with_the_descriptors() {
        let sets = [
            proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let sets = sets.map(|set| FileDescriptorSet::decode(set).unwrap());
        let mut streams = 0;
        for file in sets.iter().flat_map(|set| &set.file) {
            for (service, method) in
                file.service.iter().flat_map(|of| of.method.iter().map(move |it| (of, it)))
            {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let expected = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => None,
                    (false, true) => Some(Kind::ServerStream),
                    (true, _) => Some(Kind::BidiStream),
                };
                let kind = Kind::of(&path);
                let kind = matches!(kind, Kind::ServerStream | Kind::BidiStream).then_some(kind);
                assert_eq!(kind, expected, "{path}");
                streams += usize::from(expected.is_some());
            }
        }
        assert_eq!(streams, 5);
    }
}
