//! `CheckPort` and `BatchCheckPorts`: what would come of registrations.

use std::collections::BTreeSet;

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto, request};
use crate::registry::decide::trial::{Wish, try_all};
use crate::registry::judge::Asked;
use crate::registry::snapshot::{Snapshot, View};
use crate::registry::verdict::{Looks, Verdict, check};

impl RegistryService {
    pub(super) fn check(
        &self,
        request: &proto::CheckPortRequest,
    ) -> Result<proto::CheckPortResponse, CallError> {
        let wishes = parse(|fields| request::check(fields, request))?;
        let snapshot = self.registrar.snapshot();
        let mut looks = Looks::default();
        let verdicts = wishes.iter().map(|wish| self.verdict(&snapshot, wish, &mut looks));
        let verdicts = verdicts.collect::<Result<Vec<_>, _>>()?;
        Ok(proto::CheckPortResponse {
            verdicts: answered(&snapshot, &verdicts),
            revision: snapshot.revision().0,
        })
    }

    fn verdict(
        &self,
        snapshot: &Snapshot,
        wish: &Wish,
        looks: &mut Looks,
    ) -> Result<Verdict, CallError> {
        let view: View<'_> = snapshot.seen_from(&wish.namespace)?;
        let pool = wish.pool.as_ref().map(|name| view.pool(name)).transpose()?;
        let name = wish.service_name.as_str();
        let asked = Asked {
            service_name: (!name.is_empty()).then_some(name),
            ports: wish.ports,
            transports: &wish.transports,
            pool: pool.map(|pool| &**pool),
            now: self.registrar.now(),
        };
        let acknowledged: &BTreeSet<_> = &wish.acknowledge;
        Ok(check(view, &asked, acknowledged, looks))
    }

    pub(super) fn check_batch(
        &self,
        request: &proto::BatchCheckPortsRequest,
    ) -> Result<proto::BatchCheckPortsResponse, CallError> {
        let wishes = parse(|fields| request::wishes(fields, &request.requests))?;
        let snapshot = self.registrar.snapshot();
        let verdicts = try_all(&snapshot, &wishes, self.registrar.now())?;
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
