//! The unary rpcs of the API: the method of each request, and what lists and writes have in common.

use tonic::{Response, Status};

use super::args::WriteArgs;
use super::pages::Page;
use super::session::Session;
use crate::grpc::{proto, wire};

/// The request of a unary rpc.
pub(super) trait Request {
    /// The response of the rpc.
    type Response;

    /// Calls the rpc.
    async fn call(self, session: &Session) -> Result<Response<Self::Response>, Status>;
}

macro_rules! rpcs {
    ($client:ident: $($method:ident($request:ident) -> $response:path)+) => {$(
        impl Request for proto::$request {
            type Response = $response;

            async fn call(self, session: &Session) -> Result<Response<Self::Response>, Status> {
                session.$client().$method(self).await
            }
        }
    )+};
}

rpcs! { registry:
    batch_check_ports(BatchCheckPortsRequest) -> proto::BatchCheckPortsResponse
    check_port(CheckPortRequest) -> proto::CheckPortResponse
    get_namespace(GetNamespaceRequest) -> proto::GetNamespaceResponse
    get_pool(GetPoolRequest) -> proto::GetPoolResponse
    get_registry_info(GetRegistryInfoRequest) -> proto::GetRegistryInfoResponse
    list_assignments(ListAssignmentsRequest) -> proto::ListAssignmentsResponse
    list_changes(ListChangesRequest) -> proto::ListChangesResponse
    list_namespaces(ListNamespacesRequest) -> proto::ListNamespacesResponse
    list_pools(ListPoolsRequest) -> proto::ListPoolsResponse
    lookup_endpoint(LookupEndpointRequest) -> wire::LookupEndpointResponse
    lookup_port(LookupPortRequest) -> wire::LookupPortResponse
    lookup_service(LookupServiceRequest) -> proto::LookupServiceResponse
    search_assignments(SearchAssignmentsRequest) -> proto::SearchAssignmentsResponse
}

rpcs! { admin:
    batch_register_ports(BatchRegisterPortsRequest) -> proto::BatchRegisterPortsResponse
    create_namespace(CreateNamespaceRequest) -> proto::CreateNamespaceResponse
    create_pool(CreatePoolRequest) -> proto::CreatePoolResponse
    create_token(CreateTokenRequest) -> proto::CreateTokenResponse
    delete_namespace(DeleteNamespaceRequest) -> proto::DeleteNamespaceResponse
    delete_pool(DeletePoolRequest) -> proto::DeletePoolResponse
    ensure_port(EnsurePortRequest) -> proto::EnsurePortResponse
    get_caller(GetCallerRequest) -> proto::GetCallerResponse
    get_token(GetTokenRequest) -> proto::GetTokenResponse
    list_tokens(ListTokensRequest) -> proto::ListTokensResponse
    register_port(RegisterPortRequest) -> proto::RegisterPortResponse
    release_port(ReleasePortRequest) -> proto::ReleasePortResponse
    renew_lease(RenewLeaseRequest) -> proto::RenewLeaseResponse
    revoke_token(RevokeTokenRequest) -> proto::RevokeTokenResponse
    rotate_token(RotateTokenRequest) -> proto::RotateTokenResponse
    update_assignment(UpdateAssignmentRequest) -> proto::UpdateAssignmentResponse
    update_namespace(UpdateNamespaceRequest) -> proto::UpdateNamespaceResponse
    update_pool(UpdatePoolRequest) -> proto::UpdatePoolResponse
    update_token(UpdateTokenRequest) -> proto::UpdateTokenResponse
}

/// The request of a list, whose response is one page.
pub(super) trait ListRequest: Request + Clone {
    /// An item of the list.
    type Item;

    /// The request for the page of this size at this token.
    fn at(&self, page_size: i32, page_token: String) -> Self;

    /// The page in a response.
    fn page(response: Self::Response) -> Page<Self::Item>;
}

macro_rules! lists {
    ($($request:ident: $items:ident of $item:ident, $total:expr;)+) => {$(
        impl ListRequest for proto::$request {
            type Item = proto::$item;

            fn at(&self, page_size: i32, page_token: String) -> Self {
                let mut request = self.clone();
                (request.page_size, request.page_token) = (page_size, page_token);
                request
            }

            fn page(response: Self::Response) -> Page<Self::Item> {
                let total: fn(&Self::Response) -> u32 = $total;
                let total = total(&response);
                Page { items: response.$items, next: response.next_page_token, total }
            }
        }
    )+};
}

lists! {
    ListAssignmentsRequest: assignments of Assignment, |page| page.total_size;
    ListChangesRequest: changes of Change, |_| 0;
    ListNamespacesRequest: namespaces of NamespaceSummary, |page| page.total_size;
    ListPoolsRequest: pools of PoolSummary, |page| page.total_size;
    ListTokensRequest: tokens of Token, |page| page.total_size;
}

/// The request of a write with the options of `WriteArgs`.
pub(super) trait WriteRequest: Request {
    /// The request with the options.
    fn with(self, options: &WriteArgs) -> Self;
}

macro_rules! writes {
    ($($request:ident)+) => {$(
        impl WriteRequest for proto::$request {
            fn with(self, options: &WriteArgs) -> Self {
                Self {
                    validate_only: options.dry_run,
                    request_id: options.request_id.clone(),
                    reason: options.reason.clone(),
                    ..self
                }
            }
        }
    )+};
}

writes! {
    BatchRegisterPortsRequest
    CreateNamespaceRequest
    CreatePoolRequest
    DeleteNamespaceRequest
    DeletePoolRequest
    EnsurePortRequest
    RegisterPortRequest
    ReleasePortRequest
    RenewLeaseRequest
    UpdateAssignmentRequest
    UpdateNamespaceRequest
    UpdatePoolRequest
}
