//! `ListChanges`: the history, page by page.

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::page_token::{Binding, HistoryPosition};
use crate::grpc::request::change_filter;
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto};
use crate::registry::assignment::Revision;
use crate::store::history::{ChangePosition, Query};

impl RegistryService {
    pub(super) async fn handle_list_changes(
        &self,
        request: proto::ListChangesRequest,
    ) -> Result<proto::ListChangesResponse, CallError> {
        let query = proto::ListChangesRequest {
            page_size: 0,
            page_token: String::new(),
            ..request.clone()
        };
        let binding = Binding::new(&self.database_id, "ListChanges", &query);
        let (filter, size) = parse(|fields| {
            let size = fields.page_size(request.page_size);
            let filter = change_filter(fields, request.filter.unwrap_or_default());
            Ok((filter?, size?))
        })?;
        let last = binding
            .position::<HistoryPosition>(&request.page_token)?
            .map(|last| ChangePosition { revision: Revision(last.revision), index: last.position });
        let snapshot = self.handle.snapshot();
        // A stored revision may not be published yet.
        let end = ChangePosition::end_of(snapshot.revision());
        let newest_first = request.newest_first;
        let query = Query {
            after: last.filter(|_| !newest_first),
            before: last.filter(|_| newest_first).unwrap_or(end),
            newest_first,
            // One more, to know whether another page follows.
            limit: size as u32 + 1,
            filter,
        };
        let _permit = self.history_permit()?;
        let changes = self.history.changes(&query).await.map_err(CallError::History)?;
        if let (Some(namespace), []) = (&query.filter.namespace, &changes[..]) {
            self.check_namespace_existed(namespace).await?;
        }
        let (changes, next_page_token) = binding.page(changes, size, |last| HistoryPosition {
            revision: last.position.revision.0,
            position: last.position.index,
        });
        let reference = snapshot.reference();
        Ok(proto::ListChangesResponse {
            changes: changes.iter().map(|change| convert::change(reference, change)).collect(),
            next_page_token,
            revision: snapshot.revision().0,
        })
    }
}
