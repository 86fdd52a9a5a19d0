//! The rpcs of namespaces and pools.

use super::RegistryService;
use crate::grpc::fields::parse;
use crate::grpc::page_token::{Binding, NamePosition};
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto};
use crate::registry::name::NamespaceName;
use crate::registry::pool::SharedPool;
use crate::registry::snapshot::View;
use crate::registry::usage::usage;

impl RegistryService {
    pub(super) fn handle_get_namespace(
        &self,
        request: &proto::GetNamespaceRequest,
    ) -> Result<proto::GetNamespaceResponse, CallError> {
        let name = parse(|fields| fields.namespace("name", &request.name))?;
        let snapshot = self.handle.snapshot();
        Ok(proto::GetNamespaceResponse {
            namespace: Some(convert::namespace_summary(snapshot.view(&name)?)),
            revision: snapshot.revision().0,
        })
    }

    pub(super) fn handle_list_namespaces(
        &self,
        request: &proto::ListNamespacesRequest,
    ) -> Result<proto::ListNamespacesResponse, CallError> {
        let query = proto::ListNamespacesRequest::default();
        let binding = Binding::new(&self.database_id, "ListNamespaces", &query);
        let size = parse(|fields| fields.page_size(request.page_size))?;
        let after = position(&binding, &request.page_token)?.map(|(namespace, _)| namespace);
        let snapshot = self.handle.snapshot();
        let views = snapshot.views_after(after.as_ref());
        let (page, next_page_token) = binding.page(views, size, |last| NamePosition {
            namespace: last.namespace().name.to_string(),
            pool: String::new(),
        });
        Ok(proto::ListNamespacesResponse {
            namespaces: page.iter().map(|view| convert::namespace_summary(*view)).collect(),
            next_page_token,
            total_size: snapshot.namespace_count() as u32,
            revision: snapshot.revision().0,
        })
    }

    pub(super) fn handle_get_pool(
        &self,
        request: &proto::GetPoolRequest,
    ) -> Result<proto::GetPoolResponse, CallError> {
        let (namespace, name) = parse(|fields| {
            let namespace = fields.namespace("namespace", &request.namespace);
            let name = fields.required("name", &request.name);
            Ok((namespace?, name?))
        })?;
        let snapshot = self.handle.snapshot();
        let view = snapshot.view(&namespace)?;
        Ok(proto::GetPoolResponse {
            pool: Some(self.pool_summary(view, view.pool(&name)?)),
            revision: snapshot.revision().0,
        })
    }

    pub(super) fn handle_list_pools(
        &self,
        request: &proto::ListPoolsRequest,
    ) -> Result<proto::ListPoolsResponse, CallError> {
        let query = proto::ListPoolsRequest {
            namespace: request.namespace.clone(),
            ..proto::ListPoolsRequest::default()
        };
        let binding = Binding::new(&self.database_id, "ListPools", &query);
        let (namespace, size) = parse(|fields| {
            let namespace = fields.namespace_or_all("namespace", &request.namespace);
            let size = fields.page_size(request.page_size);
            Ok((namespace?, size?))
        })?;
        let after = position(&binding, &request.page_token)?;
        let snapshot = self.handle.snapshot();
        let views: Vec<View<'_>> = match &namespace {
            Some(name) => vec![snapshot.view(name)?],
            None => snapshot.views_after(None).collect(),
        };
        let all = || views.iter().flat_map(|view| view.pools().map(move |pool| (*view, pool)));
        let is_remaining = |pool: &SharedPool| {
            after.as_ref().is_none_or(|(namespace, name)| {
                (&pool.namespace, pool.name.as_str()) > (namespace, name.as_str())
            })
        };
        let remaining = all().filter(|(_, pool)| is_remaining(pool));
        let (page, next_page_token) = binding.page(remaining, size, |(_, last)| NamePosition {
            namespace: last.namespace.to_string(),
            pool: last.name.to_string(),
        });
        Ok(proto::ListPoolsResponse {
            pools: page.iter().map(|(view, pool)| self.pool_summary(*view, pool)).collect(),
            next_page_token,
            total_size: all().count() as u32,
            revision: snapshot.revision().0,
        })
    }

    fn pool_summary(&self, view: View<'_>, pool: &SharedPool) -> proto::PoolSummary {
        convert::pool_summary(pool, usage(view, pool, self.handle.now()))
    }
}

/// The namespace and the name of the last item of the previous page.
fn position(binding: &Binding, token: &str) -> Result<Option<(NamespaceName, String)>, CallError> {
    let position = binding.position::<NamePosition>(token)?;
    let read = |NamePosition { namespace, pool }| {
        Ok((namespace.parse().map_err(|_| CallError::PageToken)?, pool))
    };
    position.map(read).transpose()
}
