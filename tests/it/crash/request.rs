//! Every kind of write as one type that can be sent repeatedly.

use portbook::grpc::proto::{self, Change};
use prost::Message;
use tonic::Status;

use crate::harness::Writes;

/// A write.
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Clone, Debug)]
pub enum Request {
    Register(proto::RegisterPortRequest),
    Batch(proto::BatchRegisterPortsRequest),
    Ensure(proto::EnsurePortRequest),
    Renew(proto::RenewLeaseRequest),
    Update(proto::UpdateAssignmentRequest),
    Release(proto::ReleasePortRequest),
    CreateNamespace(proto::CreateNamespaceRequest),
    UpdateNamespace(proto::UpdateNamespaceRequest),
    DeleteNamespace(proto::DeleteNamespaceRequest),
    CreatePool(proto::CreatePoolRequest),
    UpdatePool(proto::UpdatePoolRequest),
    DeletePool(proto::DeletePoolRequest),
}

/// The resource that a write changes.
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Assignment(proto::Assignment),
    Namespace(proto::Namespace),
    Pool(proto::Pool),
}

/// The response to a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub revision: u64,
    pub resources: Vec<Resource>,
    /// The complete encoded response.
    encoded: Vec<u8>,
}

impl Resource {
    /// The resource after a change, or before its deletion.
    pub fn of(change: &Change) -> Self {
        let change = change.clone();
        let assignment = change.after.or(change.before).map(Self::Assignment);
        let namespace = change.namespace_after.or(change.namespace_before).map(Self::Namespace);
        let pool = change.pool_after.or(change.pool_before).map(Self::Pool);
        assignment.or(namespace).or(pool).unwrap()
    }

    /// The unique key of the resource while it exists.
    pub fn key(&self) -> String {
        match self {
            Self::Assignment(assignment) => assignment.uid.clone(),
            Self::Namespace(namespace) => namespace.name.clone(),
            Self::Pool(pool) => format!("{}/{}", pool.namespace, pool.name),
        }
    }
}

impl Response {
    fn of(
        message: &impl Message,
        revision: u64,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Self {
        Self {
            revision,
            resources: resources.into_iter().collect(),
            encoded: message.encode_to_vec(),
        }
    }
}

impl Request {
    /// Sets the reason in the history to the tag, and the request id too if `has_id`.
    pub fn mark(&mut self, tag: &str, has_id: bool) {
        let id = if has_id { tag } else { "" };
        macro_rules! mark {
            ($($kind:ident)*) => {
                match self {
                    $(Self::$kind(it) => {
                        (it.reason, it.request_id) = (tag.to_owned(), id.to_owned());
                    })*
                }
            };
        }
        mark!(Register Batch Ensure Renew Update Release CreateNamespace UpdateNamespace
            DeleteNamespace CreatePool UpdatePool DeletePool);
    }

    pub async fn send(&self, writes: &mut Writes) -> Result<Response, Status> {
        macro_rules! send {
            ($rpc:ident, $request:ident, $field:ident, $kind:ident) => {{
                let it = writes.$rpc($request.clone()).await?.into_inner();
                let resources = it.$field.clone().into_iter().map(Resource::$kind);
                Response::of(&it, it.revision, resources)
            }};
        }
        Ok(match self {
            Self::Register(it) => send!(register_port, it, assignments, Assignment),
            Self::Batch(it) => send!(batch_register_ports, it, assignments, Assignment),
            Self::Ensure(it) => send!(ensure_port, it, assignments, Assignment),
            Self::Renew(it) => send!(renew_lease, it, assignments, Assignment),
            Self::Update(it) => send!(update_assignment, it, assignment, Assignment),
            Self::Release(it) => send!(release_port, it, assignments, Assignment),
            Self::CreateNamespace(it) => send!(create_namespace, it, namespace, Namespace),
            Self::UpdateNamespace(it) => send!(update_namespace, it, namespace, Namespace),
            Self::DeleteNamespace(it) => send!(delete_namespace, it, namespace, Namespace),
            Self::CreatePool(it) => send!(create_pool, it, pool, Pool),
            Self::UpdatePool(it) => send!(update_pool, it, pool, Pool),
            Self::DeletePool(it) => send!(delete_pool, it, pool, Pool),
        })
    }

    /// True if the request removes the resources in its response.
    pub fn removes(&self) -> bool {
        matches!(self, Self::Release(_) | Self::DeleteNamespace(_) | Self::DeletePool(_))
    }
}
