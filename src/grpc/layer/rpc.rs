//! What kind of call an rpc is, by its path.

use crate::grpc::proto::{port_admin_service_server, port_registry_service_server};

/// What kind of call an rpc is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A question whether the server is there: always answered.
    Health,
    /// One answer, which costs hardly more than to refuse it; or one that waits for others: the
    /// writer, or those who read the history.
    Plain,
    /// The same, but the answer may be large.
    Large,
    /// One answer, which costs more than to refuse it.
    Costly,
    /// A stream of answers to one question.
    Streaming,
    /// A stream of answers to a stream of questions.
    Conversing,
}

impl Kind {
    /// Whether it may be answered where it came in, before others of its connection are looked at: its
    /// answer takes a few microseconds, or waits for somebody.
    pub(super) const fn is_answered_in_place(self) -> bool {
        matches!(self, Self::Health | Self::Plain | Self::Large)
    }

    /// Whether there may be many answers.
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::Streaming | Self::Conversing)
    }

    /// The kind of the rpc with this path.
    pub(super) fn of(path: &str) -> Self {
        let (service, rpc) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
        match (service, rpc) {
            ("grpc.health.v1.Health", "Watch")
            | (port_registry_service_server::SERVICE_NAME, "WatchAssignments") => Self::Streaming,
            ("grpc.health.v1.Health", _) => Self::Health,
            (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                _,
            )
            | (port_registry_service_server::SERVICE_NAME, "AnnotatePorts") => Self::Conversing,
            (
                port_registry_service_server::SERVICE_NAME,
                "LookupPort" | "LookupEndpoint" | "GetAssignment",
            ) => Self::Plain,
            (port_registry_service_server::SERVICE_NAME, "LookupService" | "ListChanges") => {
                Self::Large
            }
            (port_registry_service_server::SERVICE_NAME, _) => Self::Costly,
            (port_admin_service_server::SERVICE_NAME, rpc)
                if rpc.starts_with("Batch") || rpc.starts_with("List") =>
            {
                Self::Large
            }
            _ => Self::Plain,
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
    fn streams_are_known_as_such() {
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
                    (false, true) => Some(Kind::Streaming),
                    (true, _) => Some(Kind::Conversing),
                };
                let kind = Kind::of(&path);
                let kind = matches!(kind, Kind::Streaming | Kind::Conversing).then_some(kind);
                assert_eq!(kind, expected, "{path}");
                streams += usize::from(expected.is_some());
            }
        }
        assert_eq!(streams, 5);
    }
}
