//! `PortAdminService`: writes, each handed to the writer.

use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use super::fields::{Fields, Read, parse};
use super::proto::port_admin_service_server::PortAdminService;
use super::request::{Note, register, release, update};
use super::status::CallError;
use super::{convert, proto};
use crate::access::Actor;
use crate::registry::change::Change;
use crate::registry::command::Command;
use crate::writer::{Outcome, Proposal, Registrar};

/// The writes.
#[derive(Clone, Debug)]
pub struct AdminService {
    registrar: Registrar,
}

impl AdminService {
    /// The writes of this registry.
    #[must_use]
    pub const fn new(registrar: Registrar) -> Self {
        Self { registrar }
    }

    /// Reads the request, and has it decided and carried out.
    async fn propose<R: Message>(
        &self,
        request: Request<R>,
        rpc: &str,
        validate_only: impl FnOnce(&R) -> bool,
        read: impl FnOnce(&mut Fields, R, [u8; 32]) -> Read<(Command, Note)>,
    ) -> Result<Outcome, CallError> {
        // The interceptor lets no call pass without an actor.
        let actor = request.extensions().get::<Actor>().cloned().ok_or(CallError::TokenMissing)?;
        let request = request.into_inner();
        let validate_only = validate_only(&request);
        let fingerprint = fingerprint(rpc, &request);
        let (command, note) = parse(|fields| read(fields, request, fingerprint))?;
        let Note { request, reason } = note;
        let who = actor.clone();
        let proposal = Proposal { command, actor, reason, request, validate_only };
        let outcome = self.registrar.propose(proposal).await.inspect_err(|refusal| {
            tracing::info!(rpc, actor = &*who.0, %refusal, "write refused");
        })?;
        tracing::info!(rpc, actor = &*who.0, validate_only, revision = outcome.revision.0, "write");
        Ok(outcome)
    }
}

/// Tells a request from every other one.
fn fingerprint(rpc: &str, request: &impl Message) -> [u8; 32] {
    let digest = Sha256::new().chain_update(rpc).chain_update(request.encode_to_vec());
    digest.finalize().into()
}

#[tonic::async_trait]
impl PortAdminService for AdminService {
    async fn register_port(
        &self,
        request: Request<proto::RegisterPortRequest>,
    ) -> Result<Response<proto::RegisterPortResponse>, Status> {
        let outcome = self
            .propose(request, "RegisterPort", |request| request.validate_only, register)
            .await?;
        let snapshot = self.registrar.snapshot();
        let reference = snapshot.reference();
        let registered = outcome.changes.iter().filter_map(Change::after);
        Ok(Response::new(proto::RegisterPortResponse {
            assignments: convert::assignments(reference, registered),
            findings: findings(reference, &outcome),
            revision: outcome.revision.0,
        }))
    }

    async fn update_assignment(
        &self,
        request: Request<proto::UpdateAssignmentRequest>,
    ) -> Result<Response<proto::UpdateAssignmentResponse>, Status> {
        let outcome = self
            .propose(request, "UpdateAssignment", |request| request.validate_only, update)
            .await?;
        let snapshot = self.registrar.snapshot();
        let reference = snapshot.reference();
        let changed = outcome.changes.iter().find_map(Change::after);
        let record = changed.or(outcome.unchanged.as_ref());
        Ok(Response::new(proto::UpdateAssignmentResponse {
            assignment: record.map(|record| convert::assignment(reference, record)),
            findings: findings(reference, &outcome),
            revision: outcome.revision.0,
        }))
    }

    async fn release_port(
        &self,
        request: Request<proto::ReleasePortRequest>,
    ) -> Result<Response<proto::ReleasePortResponse>, Status> {
        let outcome =
            self.propose(request, "ReleasePort", |request| request.validate_only, release).await?;
        let snapshot = self.registrar.snapshot();
        let released = outcome.changes.iter().filter_map(Change::before);
        Ok(Response::new(proto::ReleasePortResponse {
            assignments: convert::assignments(snapshot.reference(), released),
            revision: outcome.revision.0,
        }))
    }
}

fn findings(
    reference: &crate::registry::reference::Reference,
    outcome: &Outcome,
) -> Vec<proto::Finding> {
    outcome.findings.iter().map(|finding| convert::finding(reference, finding)).collect()
}
