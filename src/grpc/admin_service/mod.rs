//! `PortAdminService`: writes, each sent to the writer.

mod tokens;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use self::tokens::caller;
use super::fields::parse;
use super::layer::observe::Written;
use super::proto::port_admin_service_server::PortAdminService;
use super::request::{WriteOptions, WriteRequest};
use super::status::CallError;
use super::{convert, proto};
use crate::registry::assignment::Record;
use crate::registry::change::{Change, ChangeKind};
use crate::registry::decide::Unchanged;
use crate::writer::{Outcome, Proposal, RegistryHandle};

/// The writes.
#[derive(Clone, Debug)]
pub struct AdminService {
    handle: RegistryHandle,
    database_id: Arc<str>,
}

impl AdminService {
    /// The writes of this registry.
    #[must_use]
    pub const fn new(handle: RegistryHandle, database_id: Arc<str>) -> Self {
        Self { handle, database_id }
    }

    /// Parses a request, sends the command to the writer, and responds with its outcome.
    async fn write<R: WriteRequest, T>(
        &self,
        request: Request<R>,
        respond: impl FnOnce(&Outcome) -> T,
    ) -> Result<Response<T>, Status> {
        let caller = caller(&request)?;
        let (command, options) = parse(|fields| request.into_inner().parse(fields))?;
        let WriteOptions { request, reason, validate_only } = options;
        let actor = caller.name.actor();
        let proposal = Proposal { command, actor, reason, request, validate_only };
        let outcome = self.handle.propose(proposal).await.map_err(CallError::from)?;
        let mut response = Response::new(respond(&outcome));
        let written = Written { revision: outcome.revision, validate_only };
        response.extensions_mut().insert(written);
        Ok(response)
    }

    fn assignments<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Arc<Record>>,
    ) -> Vec<proto::Assignment> {
        convert::assignments(self.handle.snapshot().reference(), records)
    }

    fn findings(&self, outcome: &Outcome) -> Vec<proto::Finding> {
        let snapshot = self.handle.snapshot();
        let reference = snapshot.reference();
        outcome.findings.iter().map(|finding| convert::finding(reference, finding)).collect()
    }
}

/// The current registrations of an outcome, by transport.
fn current_registrations(outcome: &Outcome) -> Vec<&Arc<Record>> {
    let unchanged = match &outcome.unchanged {
        Unchanged::Assignments(records) => &records[..],
        _ => &[],
    };
    let mut records: Vec<_> =
        outcome.changes.iter().filter_map(Change::after).chain(unchanged).collect();
    records.sort_by_key(|record| record.transport);
    records
}

/// The namespace of an outcome, unless it is about something else.
fn namespace(outcome: &Outcome) -> Option<proto::Namespace> {
    match (&outcome.changes[..], &outcome.unchanged) {
        ([Change::Namespace(change), ..], _) => Some(convert::namespace(change.latest())),
        (_, Unchanged::Namespace(namespace)) => Some(convert::namespace(namespace)),
        _ => None,
    }
}

/// The pool of an outcome, unless it is about something else.
fn pool(outcome: &Outcome) -> Option<proto::Pool> {
    match (&outcome.changes[..], &outcome.unchanged) {
        ([Change::Pool(change), ..], _) => Some(convert::pool(change.latest())),
        (_, Unchanged::Pool(pool)) => Some(convert::pool(pool)),
        _ => None,
    }
}

#[tonic::async_trait]
impl PortAdminService for AdminService {
    async fn register_port(
        &self,
        request: Request<proto::RegisterPortRequest>,
    ) -> Result<Response<proto::RegisterPortResponse>, Status> {
        self.write(request, |outcome| proto::RegisterPortResponse {
            assignments: self.assignments(outcome.changes.iter().filter_map(Change::after)),
            findings: self.findings(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn batch_register_ports(
        &self,
        request: Request<proto::BatchRegisterPortsRequest>,
    ) -> Result<Response<proto::BatchRegisterPortsResponse>, Status> {
        self.write(request, |outcome| proto::BatchRegisterPortsResponse {
            assignments: self.assignments(outcome.changes.iter().filter_map(Change::after)),
            findings: self.findings(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn ensure_port(
        &self,
        request: Request<proto::EnsurePortRequest>,
    ) -> Result<Response<proto::EnsurePortResponse>, Status> {
        self.write(request, |outcome| {
            let is_new = |change: &Change| change.kind() == ChangeKind::Registered;
            proto::EnsurePortResponse {
                assignments: self.assignments(current_registrations(outcome)),
                findings: self.findings(outcome),
                created: outcome.changes.iter().any(is_new),
                revision: outcome.revision.0,
            }
        })
        .await
    }

    async fn renew_lease(
        &self,
        request: Request<proto::RenewLeaseRequest>,
    ) -> Result<Response<proto::RenewLeaseResponse>, Status> {
        self.write(request, |outcome| proto::RenewLeaseResponse {
            assignments: self.assignments(current_registrations(outcome)),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn update_assignment(
        &self,
        request: Request<proto::UpdateAssignmentRequest>,
    ) -> Result<Response<proto::UpdateAssignmentResponse>, Status> {
        self.write(request, |outcome| proto::UpdateAssignmentResponse {
            assignment: self.assignments(current_registrations(outcome)).pop(),
            findings: self.findings(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn release_port(
        &self,
        request: Request<proto::ReleasePortRequest>,
    ) -> Result<Response<proto::ReleasePortResponse>, Status> {
        self.write(request, |outcome| proto::ReleasePortResponse {
            assignments: self.assignments(outcome.changes.iter().filter_map(Change::before)),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn create_namespace(
        &self,
        request: Request<proto::CreateNamespaceRequest>,
    ) -> Result<Response<proto::CreateNamespaceResponse>, Status> {
        self.write(request, |outcome| proto::CreateNamespaceResponse {
            namespace: namespace(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn create_pool(
        &self,
        request: Request<proto::CreatePoolRequest>,
    ) -> Result<Response<proto::CreatePoolResponse>, Status> {
        self.write(request, |outcome| proto::CreatePoolResponse {
            pool: pool(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn update_namespace(
        &self,
        request: Request<proto::UpdateNamespaceRequest>,
    ) -> Result<Response<proto::UpdateNamespaceResponse>, Status> {
        self.write(request, |outcome| proto::UpdateNamespaceResponse {
            namespace: namespace(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn update_pool(
        &self,
        request: Request<proto::UpdatePoolRequest>,
    ) -> Result<Response<proto::UpdatePoolResponse>, Status> {
        self.write(request, |outcome| proto::UpdatePoolResponse {
            pool: pool(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn delete_namespace(
        &self,
        request: Request<proto::DeleteNamespaceRequest>,
    ) -> Result<Response<proto::DeleteNamespaceResponse>, Status> {
        self.write(request, |outcome| proto::DeleteNamespaceResponse {
            namespace: namespace(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn delete_pool(
        &self,
        request: Request<proto::DeletePoolRequest>,
    ) -> Result<Response<proto::DeletePoolResponse>, Status> {
        self.write(request, |outcome| proto::DeletePoolResponse {
            pool: pool(outcome),
            revision: outcome.revision.0,
        })
        .await
    }

    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        Ok(Response::new(self.handle_create_token(request).await?))
    }

    async fn get_token(
        &self,
        request: Request<proto::GetTokenRequest>,
    ) -> Result<Response<proto::GetTokenResponse>, Status> {
        Ok(Response::new(self.handle_get_token(request.get_ref())?))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<proto::ListTokensResponse>, Status> {
        Ok(Response::new(self.handle_list_tokens(request.get_ref())?))
    }

    async fn update_token(
        &self,
        request: Request<proto::UpdateTokenRequest>,
    ) -> Result<Response<proto::UpdateTokenResponse>, Status> {
        Ok(Response::new(self.handle_update_token(request).await?))
    }

    async fn rotate_token(
        &self,
        request: Request<proto::RotateTokenRequest>,
    ) -> Result<Response<proto::RotateTokenResponse>, Status> {
        Ok(Response::new(self.handle_rotate_token(request).await?))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        Ok(Response::new(self.handle_revoke_token(request).await?))
    }

    async fn get_caller(
        &self,
        request: Request<proto::GetCallerRequest>,
    ) -> Result<Response<proto::GetCallerResponse>, Status> {
        let token = Some(convert::token(&*caller(&request)?));
        Ok(Response::new(proto::GetCallerResponse { token }))
    }
}
