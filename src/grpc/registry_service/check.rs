//! `CheckPort` and `BatchCheckPorts`: what would come of registrations.

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto, request};
use crate::registry::decide::dry_run::{check_one, try_all};
use crate::registry::snapshot::Snapshot;
use crate::registry::verdict::{SearchBudget, Verdict};

impl RegistryService {
    pub(super) fn check(
        &self,
        request: &proto::CheckPortRequest,
    ) -> Result<proto::CheckPortResponse, CallError> {
        let wishes = parse(|fields| request::check(fields, request))?;
        let snapshot = self.handle.snapshot();
        let mut looks = SearchBudget::default();
        let now = self.handle.now();
        let verdicts = wishes.iter().map(|wish| check_one(&snapshot, wish, now, &mut looks));
        let verdicts = verdicts.collect::<Result<Vec<_>, _>>()?;
        Ok(proto::CheckPortResponse {
            verdicts: answered(&snapshot, &verdicts),
            revision: snapshot.revision().0,
        })
    }

    pub(super) fn check_batch(
        &self,
        request: &proto::BatchCheckPortsRequest,
    ) -> Result<proto::BatchCheckPortsResponse, CallError> {
        let wishes = parse(|fields| request::wishes(fields, &request.requests))?;
        let snapshot = self.handle.snapshot();
        let verdicts = try_all(&snapshot, &wishes, self.handle.now())?;
        Ok(proto::BatchCheckPortsResponse {
            verdicts: answered(&snapshot, &verdicts),
            revision: snapshot.revision().0,
        })
    }
}

fn answered(snapshot: &Snapshot, verdicts: &[Verdict]) -> Vec<proto::Verdict> {
    let reference = snapshot.reference();
    verdicts.iter().map(|verdict| convert::verdict(reference, verdict)).collect()
}
