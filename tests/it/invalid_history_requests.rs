//! Invalid historical queries, histories, watches and page tokens are refused with code, reason and
//! field.

use portbook::grpc::proto::{self, AsOf, as_of::Moment};
use prost_types::Timestamp;
use tonic::Code;

use crate::harness::{
    FREE, QUIET, Server, assert_refused, bad_fields, create_pool, error_parts, namespace, pool,
    ports, register,
};
use crate::invalid_admin_requests::{FIELD, invalid};

#[tokio::test]
async fn as_of_outside_the_history_is_refused() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    writes.register_port(register("billing", FREE)).await.unwrap();
    let lookup = |moment| proto::LookupPortRequest {
        port: Some(FREE),
        as_of: Some(AsOf { moment }),
        ..Default::default()
    };
    let list = |moment| proto::ListAssignmentsRequest {
        as_of: Some(AsOf { moment }),
        ..Default::default()
    };
    let find = |moment| proto::LookupServiceRequest {
        service_name: "billing".into(),
        as_of: Some(AsOf { moment }),
        ..Default::default()
    };
    let time = |seconds, nanos| Some(Moment::Time(Timestamp { seconds, nanos }));
    let end_of_time = 253_402_300_799;
    for (moment, code, reason, fact) in [
        (Some(Moment::Revision(2)), Code::OutOfRange, "IN_THE_FUTURE", "revision"),
        (Some(Moment::Revision(u64::MAX)), Code::OutOfRange, "IN_THE_FUTURE", "revision"),
        (time(4_000_000_000, 0), Code::OutOfRange, "IN_THE_FUTURE", "revision"),
        (time(1_000_000_000, 0), Code::OutOfRange, "BEFORE_THE_BEGINNING", "create_time"),
        (time(-1, 0), Code::OutOfRange, "BEFORE_THE_BEGINNING", "create_time"),
        (time(0, -1), Code::InvalidArgument, FIELD, "as_of.time"),
        (time(0, 1_000_000_000), Code::InvalidArgument, FIELD, "as_of.time"),
        (time(end_of_time + 1, 0), Code::InvalidArgument, FIELD, "as_of.time"),
        (None, Code::InvalidArgument, FIELD, "as_of"),
    ] {
        for refusal in [
            reads.lookup_port(lookup(moment)).await.map(drop),
            reads.list_assignments(list(moment)).await.map(drop),
            reads.lookup_service(find(moment)).await.map(drop),
        ] {
            let (found, why, details) = error_parts(refusal);
            assert_eq!((found, why.as_str()), (code, reason), "{moment:?}");
            let metadata = &details.error_info().unwrap().metadata;
            match code {
                Code::InvalidArgument => assert_eq!(bad_fields(&details), [fact]),
                _ if fact == "revision" => assert_eq!(metadata[fact], "1"),
                _ => drop(metadata[fact].parse::<jiff::Timestamp>().unwrap()),
            }
        }
    }
    let watch = |start_revision| proto::WatchAssignmentsRequest { start_revision, filter: None };
    for start in [3, u64::MAX] {
        let response = reads.watch_assignments(watch(start)).await;
        assert_eq!(assert_refused(response, Code::OutOfRange, "IN_THE_FUTURE")["revision"], "1");
    }
    reads.watch_assignments(watch(2)).await.unwrap();
}

#[tokio::test]
async fn histories_and_watches_name_each_invalid_field() {
    let server = Server::start();
    let mut reads = server.reads().await;
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let with = |change: &dyn Fn(&mut proto::ChangeFilter)| {
        let mut filter = proto::ChangeFilter::default();
        change(&mut filter);
        proto::ListChangesRequest { filter: Some(filter), ..Default::default() }
    };
    for (request, field) in [
        (with(&|f| (f.start_time, f.end_time) = (at(9), at(9))), "filter.end_time"),
        (with(&|f| (f.start_time, f.end_time) = (at(9), at(8))), "filter.end_time"),
        (with(&|f| f.start_time = Some(Timestamp { seconds: 0, nanos: -1 })), "filter.start_time"),
        (with(&|f| f.namespace = "a/b".into()), "filter.namespace"),
        (with(&|f| f.ports = ports(9, 3)), "filter.ports"),
        (with(&|f| f.transport = 9), "filter.transport"),
        (with(&|f| f.service_name = "n".repeat(129)), "filter.service_name"),
        (with(&|f| f.uid = "x".into()), "filter.uid"),
        (with(&|f| f.actor = "a".repeat(254)), "filter.actor"),
        (with(&|f| f.kinds = vec![0]), "filter.kinds"),
        (with(&|f| f.kinds = vec![1, 12]), "filter.kinds"),
        (proto::ListChangesRequest { page_size: -1, ..Default::default() }, "page_size"),
    ] {
        invalid(reads.list_changes(request).await, FIELD, &[field]);
    }
    let with = |filter| proto::WatchAssignmentsRequest { start_revision: 0, filter: Some(filter) };
    for (filter, field) in [
        (proto::WatchFilter { namespace: "a/b".into(), ..Default::default() }, "filter.namespace"),
        (proto::WatchFilter { ports: ports(9, 3), ..Default::default() }, "filter.ports"),
        (
            proto::WatchFilter { service_name: "n".repeat(129), ..Default::default() },
            "filter.service_name",
        ),
    ] {
        invalid(reads.watch_assignments(with(filter)).await, FIELD, &[field]);
    }
    let pools = proto::ListPoolsRequest { page_size: -1, ..Default::default() };
    invalid(reads.list_pools(pools).await, FIELD, &["page_size"]);
    let namespaces = proto::ListNamespacesRequest { page_size: -1, ..Default::default() };
    invalid(reads.list_namespaces(namespaces).await, FIELD, &["page_size"]);
    invalid(reads.get_pool(proto::GetPoolRequest::default()).await, FIELD, &["name"]);
}

#[tokio::test]
async fn a_page_token_is_valid_only_for_its_rpc() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    for number in 0..2 {
        let name = format!("n{number}");
        writes.create_namespace(namespace(&name, proto::NamespacePolicy::default())).await.unwrap();
        let one = pool(&name, QUIET + number, QUIET + number);
        writes.create_pool(create_pool(one)).await.unwrap();
    }
    let assignments = |page_token: &str| proto::ListAssignmentsRequest {
        page_size: 1,
        page_token: page_token.into(),
        ..Default::default()
    };
    let changes = |page_token: &str, newest_first| proto::ListChangesRequest {
        filter: Some(proto::ChangeFilter { namespace: "-".into(), ..Default::default() }),
        page_size: 1,
        page_token: page_token.into(),
        newest_first,
    };
    let namespaces = |page_token: &str| proto::ListNamespacesRequest {
        page_size: 1,
        page_token: page_token.into(),
    };
    let pools = |page_token: &str, namespace: &str| proto::ListPoolsRequest {
        namespace: namespace.into(),
        page_size: 1,
        page_token: page_token.into(),
    };
    let tokens = [
        reads.list_assignments(assignments("")).await.unwrap().into_inner().next_page_token,
        reads.list_changes(changes("", false)).await.unwrap().into_inner().next_page_token,
        reads.list_namespaces(namespaces("")).await.unwrap().into_inner().next_page_token,
        reads.list_pools(pools("", "")).await.unwrap().into_inner().next_page_token,
    ];
    for (from, token) in tokens.iter().enumerate() {
        assert!(!token.is_empty());
        for (to, response) in [
            reads.list_assignments(assignments(token)).await.map(drop),
            reads.list_changes(changes(token, false)).await.map(drop),
            reads.list_namespaces(namespaces(token)).await.map(drop),
            reads.list_pools(pools(token, "")).await.map(drop),
        ]
        .into_iter()
        .enumerate()
        {
            match response {
                Ok(()) => assert_eq!(from, to),
                refusal => {
                    invalid(refusal, "PAGE_TOKEN_INVALID", &["page_token"]);
                    assert_ne!(from, to);
                }
            }
        }
    }
    // Nor is it valid for the other order, another filter, or another time.
    let [of_assignments, of_changes, _, of_pools] = &tokens;
    let then = AsOf { moment: Some(Moment::Revision(1)) };
    let past = proto::ListAssignmentsRequest { as_of: Some(then), ..assignments(of_assignments) };
    for refusal in [
        reads.list_changes(changes(of_changes, true)).await.map(drop),
        reads.list_pools(pools(of_pools, "-")).await.map(drop),
        reads.list_assignments(past).await.map(drop),
    ] {
        invalid(refusal, "PAGE_TOKEN_INVALID", &["page_token"]);
    }
}
