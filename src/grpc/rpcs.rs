//! The table of rpcs: one line each, read by authentication, limits, metrics, logs and traces.
//!
//! A path that is not in the table is answered with UNIMPLEMENTED and reaches no service, so a new rpc
//! is closed to every caller until it has a line here.

/// An rpc of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Rpc {
    /// The path of its calls: `/package.Service/Method`.
    pub path: &'static str,
    /// The service with its package.
    pub service: &'static str,
    /// The method.
    pub method: &'static str,
    /// The kind of call, and the cost of a unary one.
    pub kind: Kind,
    /// The required role.
    pub role: RequiredRole,
    /// Whether it may change the registry or its tokens.
    pub is_write: bool,
}

/// The kind of an rpc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One request, one response.
    Unary(Cost),
    /// One request, a stream of responses.
    ServerStream,
    /// A stream of requests, a stream of responses.
    BidiStream,
}

/// The cost of a unary rpc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A health check: never limited.
    Unlimited,
    /// Hardly more than a rejection, or waits for the writer or the history.
    Cheap,
    /// The same, but the response may be large.
    Large,
    /// More CPU time than a rejection. The response may be large.
    Expensive,
}

/// The role that an rpc requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredRole {
    /// None, and no token: health and reflection.
    None,
    /// Any token, if the server requires one for reads; else none.
    Reader,
    /// Any token.
    Token,
    /// A registrar or an admin.
    Registrar,
    /// An admin.
    Admin,
}

impl Kind {
    /// Whether the response is a stream.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::ServerStream | Self::BidiStream)
    }

    /// Whether it may run on the connection's task, before the connection's other calls: it takes a few
    /// microseconds, or waits for another task.
    #[must_use]
    pub const fn runs_inline(self) -> bool {
        matches!(self, Self::Unary(Cost::Unlimited | Cost::Cheap | Cost::Large))
    }
}

macro_rules! table {
    ($($service:literal { $($method:ident: $kind:expr, $role:ident, $access:ident;)+ })+) => {
        &[$($(Rpc {
            path: concat!("/", $service, "/", stringify!($method)),
            service: $service,
            method: stringify!($method),
            kind: $kind,
            role: RequiredRole::$role,
            is_write: table!($access),
        }),+),+]
    };
    (read) => { false };
    (write) => { true };
}

const CHEAP: Kind = Kind::Unary(Cost::Cheap);
const LARGE: Kind = Kind::Unary(Cost::Large);
const EXPENSIVE: Kind = Kind::Unary(Cost::Expensive);

/// All rpcs. The first is the most frequent: [`Rpc::find`] compares paths in this order.
#[rustfmt::skip]
pub static RPCS: &[Rpc] = table! {
    "portbook.v1.PortRegistryService" {
        LookupPort:         CHEAP, Reader, read;
        LookupService:      LARGE, Reader, read;
        LookupEndpoint:     CHEAP, Reader, read;
        BatchLookupPorts:   EXPENSIVE, Reader, read;
        AnnotatePorts:      Kind::BidiStream, Reader, read;
        GetAssignment:      CHEAP, Reader, read;
        ListAssignments:    EXPENSIVE, Reader, read;
        SearchAssignments:  EXPENSIVE, Reader, read;
        CheckPort:          EXPENSIVE, Reader, read;
        BatchCheckPorts:    EXPENSIVE, Reader, read;
        GetNamespace:       EXPENSIVE, Reader, read;
        ListNamespaces:     EXPENSIVE, Reader, read;
        GetPool:            EXPENSIVE, Reader, read;
        ListPools:          EXPENSIVE, Reader, read;
        ListChanges:        LARGE, Reader, read;
        WatchAssignments:   Kind::ServerStream, Reader, read;
        GetRegistryInfo:    EXPENSIVE, Reader, read;
    }
    "portbook.v1.PortAdminService" {
        RegisterPort:       CHEAP, Registrar, write;
        BatchRegisterPorts: LARGE, Registrar, write;
        EnsurePort:         CHEAP, Registrar, write;
        RenewLease:         CHEAP, Registrar, write;
        UpdateAssignment:   CHEAP, Registrar, write;
        ReleasePort:        CHEAP, Registrar, write;
        CreateNamespace:    CHEAP, Admin, write;
        UpdateNamespace:    CHEAP, Admin, write;
        DeleteNamespace:    CHEAP, Admin, write;
        CreatePool:         CHEAP, Admin, write;
        UpdatePool:         CHEAP, Admin, write;
        DeletePool:         CHEAP, Admin, write;
        CreateToken:        CHEAP, Admin, write;
        GetToken:           CHEAP, Admin, read;
        ListTokens:         LARGE, Admin, read;
        UpdateToken:        CHEAP, Admin, write;
        RotateToken:        CHEAP, Admin, write;
        RevokeToken:        CHEAP, Admin, write;
        GetCaller:          CHEAP, Token, read;
    }
    "grpc.health.v1.Health" {
        Check:              Kind::Unary(Cost::Unlimited), None, read;
        Watch:              Kind::ServerStream, None, read;
    }
    "grpc.reflection.v1.ServerReflection" {
        ServerReflectionInfo: Kind::BidiStream, None, read;
    }
    "grpc.reflection.v1alpha.ServerReflection" {
        ServerReflectionInfo: Kind::BidiStream, None, read;
    }
};

/// Stands for all paths that are not in the table. No caller has access.
static UNKNOWN: Rpc = Rpc {
    path: "/unknown",
    service: "",
    method: "unknown",
    kind: CHEAP,
    role: RequiredRole::Admin,
    is_write: false,
};

impl Rpc {
    /// The rpc at a path, and its index in [`RPCS`]: for an unknown path, the number of rpcs.
    #[must_use]
    pub fn find(path: &str) -> (&'static Self, usize) {
        // A loop over lengths is faster than hashing a path.
        match RPCS.iter().position(|rpc| rpc.path == path) {
            Some(index) => (&RPCS[index], index),
            None => (&UNKNOWN, RPCS.len()),
        }
    }

    /// Whether the rpc is in the table.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.service.is_empty()
    }

    /// The name in metrics, logs and traces: `package.Service/Method`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.path[1..]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;
    use prost_types::method_options::IdempotencyLevel;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;
    use crate::grpc::proto;

    /// All methods in the descriptors, by path.
    fn methods() -> BTreeMap<String, MethodDescriptorProto> {
        let sets = [
            proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let sets = sets.map(|set| FileDescriptorSet::decode(set).unwrap());
        let files = sets.into_iter().flat_map(|set| set.file);
        let services = files.flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().map(move |service| (package.clone(), service))
        });
        let methods = services.flat_map(|(package, service)| {
            let prefix = format!("/{package}.{}", service.name());
            let path = move |method: &MethodDescriptorProto| format!("{prefix}/{}", method.name());
            service.method.into_iter().map(move |method| (path(&method), method))
        });
        methods.collect()
    }

    #[test]
    fn the_table_has_exactly_the_rpcs_of_the_descriptors() {
        let methods = methods();
        let missing: Vec<_> =
            methods.keys().filter(|path| RPCS.iter().all(|rpc| rpc.path != **path)).collect();
        assert!(missing.is_empty(), "rpcs without a line in the table: {missing:?}");
        let unknown: Vec<_> =
            RPCS.iter().map(|rpc| rpc.path).filter(|path| !methods.contains_key(*path)).collect();
        assert!(unknown.is_empty(), "lines for rpcs that are in no descriptor: {unknown:?}");
        assert_eq!(RPCS.len(), methods.len(), "an rpc has two lines");
    }

    #[test]
    fn kinds_and_writes_agree_with_the_descriptors() {
        let methods = methods();
        for rpc in RPCS {
            let method = &methods[rpc.path];
            let is_stream = (method.client_streaming(), method.server_streaming());
            let expected = match rpc.kind {
                Kind::Unary(_) => (false, false),
                Kind::ServerStream => (false, true),
                Kind::BidiStream => (true, true),
            };
            assert_eq!(is_stream, expected, "{}: streams", rpc.path);
            let is_ours = rpc.path.starts_with("/portbook.");
            let level = method.options.as_ref().map(|options| options.idempotency_level());
            let is_write = is_ours && level != Some(IdempotencyLevel::NoSideEffects);
            assert_eq!(rpc.is_write, is_write, "{}: is_write against idempotency_level", rpc.path);
            let may_write = matches!(rpc.role, RequiredRole::Registrar | RequiredRole::Admin);
            assert!(may_write || !rpc.is_write, "{}: a write needs a role", rpc.path);
        }
    }

    #[test]
    fn every_rpc_is_found_by_its_path() {
        for (index, rpc) in RPCS.iter().enumerate() {
            assert_eq!(Rpc::find(rpc.path), (rpc, index));
            assert_eq!(rpc.name(), format!("{}/{}", rpc.service, rpc.method));
        }
        for path in ["", "/", "/portbook.v1.PortRegistryService/", "portbook", "/no.such/Rpc"] {
            assert_eq!(Rpc::find(path), (&UNKNOWN, RPCS.len()));
            assert!(!Rpc::find(path).0.is_known());
        }
    }
}
