//! `CheckPort` and `BatchCheckPorts`: the verdicts of proposed registrations.

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto, request};
use crate::registry::decide::dry_run::{check_one, try_all};
use crate::registry::snapshot::Snapshot;
use crate::registry::verdict::{SearchBudget, Verdict};

impl RegistryService {
    pub(super) fn handle_check_port(
        &self,
        request: &proto::CheckPortRequest,
    ) -> Result<proto::CheckPortResponse, CallError> {
        let proposed = parse(|fields| request::check(fields, request))?;
        let snapshot = self.handle.snapshot();
        let mut budget = SearchBudget::default();
        let now = self.handle.now();
        let verdicts = proposed.iter().map(|one| check_one(&snapshot, one, now, &mut budget));
        let verdicts = verdicts.collect::<Result<Vec<_>, _>>()?;
        Ok(proto::CheckPortResponse {
            verdicts: verdicts_of(&snapshot, &verdicts),
            revision: snapshot.revision().0,
        })
    }

    pub(super) fn handle_batch_check_ports(
        &self,
        request: &proto::BatchCheckPortsRequest,
    ) -> Result<proto::BatchCheckPortsResponse, CallError> {
        let proposed = parse(|fields| request::check_batch(fields, &request.requests))?;
        let snapshot = self.handle.snapshot();
        let verdicts = try_all(&snapshot, &proposed, self.handle.now())?;
        Ok(proto::BatchCheckPortsResponse {
            verdicts: verdicts_of(&snapshot, &verdicts),
            revision: snapshot.revision().0,
        })
    }
}

fn verdicts_of(snapshot: &Snapshot, verdicts: &[Verdict]) -> Vec<proto::Verdict> {
    let reference = snapshot.reference();
    verdicts.iter().map(|verdict| convert::verdict(reference, verdict)).collect()
}
