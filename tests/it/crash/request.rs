//! Every kind of write, as one type that can be sent, and sent again.

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

/// What a write was about.
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Assignment(proto::Assignment),
    Namespace(proto::Namespace),
    Pool(proto::Pool),
}

/// What a write was answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub revision: u64,
    pub told: Vec<What>,
    /// The whole answer, encoded.
    whole: Vec<u8>,
}

impl What {
    /// What a change has made of it, or how it was before it went.
    pub fn of(change: &Change) -> Self {
        let change = change.clone();
        let assignment = change.after.or(change.before).map(Self::Assignment);
        let namespace = change.namespace_after.or(change.namespace_before).map(Self::Namespace);
        let pool = change.pool_after.or(change.pool_before).map(Self::Pool);
        assignment.or(namespace).or(pool).unwrap()
    }

    /// Names it, as long as it stands.
    pub fn key(&self) -> String {
        match self {
            Self::Assignment(assignment) => assignment.uid.clone(),
            Self::Namespace(namespace) => namespace.name.clone(),
            Self::Pool(pool) => format!("{}/{}", pool.namespace, pool.name),
        }
    }
}

impl Answer {
    fn of(message: &impl Message, revision: u64, told: impl IntoIterator<Item = What>) -> Self {
        Self { revision, told: told.into_iter().collect(), whole: message.encode_to_vec() }
    }
}

impl Request {
    /// What is told in the history as its reason, and taken as its id if it is to have one.
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

    pub async fn send(&self, writes: &mut Writes) -> Result<Answer, Status> {
        macro_rules! send {
            ($rpc:ident, $request:ident, $field:ident, $kind:ident) => {{
                let it = writes.$rpc($request.clone()).await?.into_inner();
                let told = it.$field.clone().into_iter().map(What::$kind);
                Answer::of(&it, it.revision, told)
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

    /// Whether it takes away what its answer tells.
    pub fn takes_away(&self) -> bool {
        matches!(self, Self::Release(_) | Self::DeleteNamespace(_) | Self::DeletePool(_))
    }
}
