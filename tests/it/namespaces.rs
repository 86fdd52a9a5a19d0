//! Namespaces: created, updated, deleted, and isolated from each other.

use portbook::grpc::proto::{self, FindingCode, NamespacePolicy};
use tonic::Code;

use crate::harness::{
    FREE, QUIET, Server, assert_refused, create_pool, namespace, numbers, pool, ports, register,
    release, seconds,
};

pub fn within(namespace: &str, request: proto::RegisterPortRequest) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest { namespace: namespace.into(), ..request }
}

pub async fn get(server: &Server, name: &str) -> proto::NamespaceSummary {
    let request = proto::GetNamespaceRequest { name: name.into() };
    server.reads().await.get_namespace(request).await.unwrap().into_inner().namespace.unwrap()
}

pub fn update(namespace: proto::Namespace, paths: &[&str]) -> proto::UpdateNamespaceRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    proto::UpdateNamespaceRequest {
        namespace: Some(namespace),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

pub fn delete(name: &str, etag: &str) -> proto::DeleteNamespaceRequest {
    proto::DeleteNamespaceRequest { name: name.into(), etag: etag.into(), ..Default::default() }
}

#[tokio::test]
async fn a_namespace_is_created_updated_and_deleted() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    let policy = NamespacePolicy {
        accept: numbers(&[FindingCode::IanaAssigned]),
        forbid: numbers(&[FindingCode::SystemPort, FindingCode::NodePortRange]),
        cool_down: None,
    };
    let mut request = namespace("prod", policy);
    request.namespace.as_mut().unwrap().description = "Production".into();
    request.validate_only = true;
    let response = writes.create_namespace(request.clone()).await.unwrap().into_inner();
    assert_eq!((response.namespace.unwrap().name.as_str(), response.revision), ("prod", 0));
    request.validate_only = false;
    let response = writes.create_namespace(request.clone()).await.unwrap().into_inner();
    let made = response.namespace.unwrap();
    assert_eq!((made.description.as_str(), made.revision, response.revision), ("Production", 1, 1));
    assert_eq!(made.policy.as_ref().unwrap().cool_down, seconds(86_400), "the default");
    assert!(made.create_time.is_some() && made.create_time == made.update_time);
    let metadata = assert_refused(
        writes.create_namespace(request).await,
        Code::AlreadyExists,
        "NAMESPACE_ALREADY_EXISTS",
    );
    assert_eq!(metadata["namespace"], "prod");

    // Fields outside the mask and equal values stay unchanged.
    let desired = proto::Namespace { description: "Live".into(), policy: None, ..made.clone() };
    let response =
        writes.update_namespace(update(desired.clone(), &["description"])).await.unwrap();
    let changed = response.into_inner().namespace.unwrap();
    assert_eq!((changed.description.as_str(), changed.revision), ("Live", 2));
    assert_eq!(changed.policy, made.policy);
    assert_eq!((changed.create_time, changed.name.as_str()), (made.create_time, "prod"));
    let fresh = proto::Namespace { etag: changed.etag.clone(), ..desired.clone() };
    let response = writes.update_namespace(update(fresh.clone(), &[])).await.unwrap().into_inner();
    assert_eq!((response.revision, response.namespace.as_ref()), (2, Some(&changed)));
    let response = writes.update_namespace(update(fresh, &["*"])).await.unwrap().into_inner();
    let plain = response.namespace.unwrap();
    assert!(plain.policy.as_ref().unwrap().accept.is_empty());

    for stale in [made.etag, changed.etag] {
        let desired = proto::Namespace { etag: stale.clone(), ..desired.clone() };
        let response = writes.update_namespace(update(desired, &["description"])).await;
        assert_eq!(assert_refused(response, Code::Aborted, "ETAG_MISMATCH")["etag"], plain.etag);
        assert_refused(
            writes.delete_namespace(delete("prod", &stale)).await,
            Code::Aborted,
            "ETAG_MISMATCH",
        );
    }
    server.kill();
    server.launch();
    assert_eq!(get(&server, "prod").await.namespace, Some(plain.clone()));
    let mut writes = server.writes().await;
    let gone = writes.delete_namespace(delete("prod", &plain.etag)).await.unwrap().into_inner();
    assert_eq!((gone.namespace, gone.revision), (Some(plain), 4));
    let response = writes.delete_namespace(delete("prod", "")).await;
    assert_refused(response, Code::NotFound, "NAMESPACE_NOT_FOUND");
}

#[tokio::test]
async fn only_an_empty_namespace_can_be_deleted() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("lab", NamespacePolicy::default())).await.unwrap();
    let own = proto::Pool { namespace: "lab".into(), ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(own)).await.unwrap();
    let mut held = Vec::new();
    for port in [FREE, FREE + 1] {
        let response =
            writes.register_port(within("lab", register("billing", port))).await.unwrap();
        held.extend(response.into_inner().assignments);
    }
    let summary = get(&server, "lab").await;
    assert_eq!((summary.assignments, summary.pools), (2, 1));
    let response = writes.delete_namespace(delete("lab", "")).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    assert_eq!((metadata["namespace"].as_str(), metadata["assignments"].as_str()), ("lab", "2"));
    assert_eq!(metadata["pools"], "1");
    for assignment in held {
        writes.release_port(release(&assignment.uid)).await.unwrap();
    }
    let response = writes.delete_namespace(delete("lab", "")).await;
    assert_refused(response, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
    let request = proto::DeletePoolRequest {
        namespace: "lab".into(),
        name: "web".into(),
        ..Default::default()
    };
    writes.delete_pool(request).await.unwrap();
    writes.delete_namespace(delete("lab", "")).await.unwrap();
    let lookup = proto::LookupPortRequest {
        port: Some(FREE),
        namespace: "lab".into(),
        ..Default::default()
    };
    let response = server.reads().await.lookup_port(lookup).await;
    assert_refused(response, Code::NotFound, "NAMESPACE_NOT_FOUND");
}

#[tokio::test]
async fn the_default_namespace_is_permanent_but_its_policy_can_change() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let untouched = get(&server, "").await.namespace.unwrap();
    assert_eq!((untouched.name.as_str(), untouched.revision), ("default", 0));
    assert_eq!((untouched.create_time, untouched.update_time), (None, None));
    let response = writes.delete_namespace(delete("default", "")).await;
    assert_refused(response, Code::FailedPrecondition, "NAMESPACE_PERMANENT");
    let policy =
        NamespacePolicy { accept: numbers(&[FindingCode::IanaAssigned]), ..Default::default() };
    let desired = proto::Namespace { policy: Some(policy), ..untouched };
    writes.update_namespace(update(desired, &["policy"])).await.unwrap();
    writes.register_port(register("mine", 5432)).await.unwrap();
    let changed = get(&server, "default").await.namespace.unwrap();
    assert!(changed.create_time.is_none() && changed.update_time.is_some());
}

#[tokio::test]
async fn namespaces_are_listed_once_sorted_by_name() {
    let server = Server::start();
    let mut writes = server.writes().await;
    for name in ["z9", "b", "a-2", "e", "prod", "a1"] {
        writes.create_namespace(namespace(name, NamespacePolicy::default())).await.unwrap();
    }
    let mut request = proto::ListNamespacesRequest { page_size: 3, page_token: String::new() };
    let (mut reads, mut names, mut sizes) = (server.reads().await, Vec::new(), Vec::new());
    loop {
        let page = reads.list_namespaces(request.clone()).await.unwrap().into_inner();
        assert_eq!((page.total_size, page.revision), (7, 6));
        sizes.push(page.namespaces.len());
        names.extend(page.namespaces.into_iter().map(|summary| summary.namespace.unwrap().name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
    assert_eq!(names, ["a-2", "a1", "b", "default", "e", "prod", "z9"]);
}

#[tokio::test]
async fn an_unknown_namespace_error_suggests_the_nearest_names() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    writes.create_namespace(namespace("prod-eu", NamespacePolicy::default())).await.unwrap();
    let name = || "prod-us".to_owned();
    let get = proto::GetNamespaceRequest { name: name() };
    let lookup =
        proto::LookupPortRequest { port: Some(1), namespace: name(), ..Default::default() };
    let desired = proto::Namespace { name: name(), description: "d".into(), ..Default::default() };
    let list = proto::ListPoolsRequest { namespace: name(), ..Default::default() };
    let check = proto::CheckPortRequest {
        namespace: name(),
        ports: ports(1, 1).into_iter().collect(),
        transports: vec![1],
        ..Default::default()
    };
    let filter = Some(proto::ChangeFilter { namespace: name(), ..Default::default() });
    let changes = proto::ListChangesRequest { filter, ..Default::default() };
    let filter = Some(proto::WatchFilter { namespace: name(), ..Default::default() });
    let watch = proto::WatchAssignmentsRequest { filter, ..Default::default() };
    let own = proto::Pool { namespace: name(), ..pool("web", QUIET, QUIET) };
    let mine = within("prod-us", register("mine", FREE));
    for refusal in [
        reads.get_namespace(get).await.map(drop),
        reads.lookup_port(lookup).await.map(drop),
        reads.list_pools(list).await.map(drop),
        reads.check_port(check).await.map(drop),
        reads.list_changes(changes).await.map(drop),
        reads.watch_assignments(watch).await.map(drop),
        writes.register_port(mine).await.map(drop),
        writes.update_namespace(update(desired, &["description"])).await.map(drop),
        writes.delete_namespace(delete("prod-us", "")).await.map(drop),
        writes.create_pool(create_pool(own)).await.map(drop),
    ] {
        let metadata = assert_refused(refusal, Code::NotFound, "NAMESPACE_NOT_FOUND");
        assert_eq!(
            (metadata["namespace"].as_str(), metadata["nearest"].as_str()),
            ("prod-us", "prod-eu")
        );
    }
}

#[tokio::test]
async fn a_port_can_be_held_once_in_each_namespace() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("lab", NamespacePolicy::default())).await.unwrap();
    for name in ["default", "lab"] {
        let request = within(name, register(&format!("in-{name}"), FREE));
        let response = writes.register_port(request).await.unwrap().into_inner();
        assert_eq!(response.findings, []);
        let response = writes.register_port(within(name, register("late", FREE))).await;
        assert_eq!(assert_refused(response, Code::AlreadyExists, "PORT_TAKEN")["namespace"], name);
        let request = proto::LookupPortRequest {
            port: Some(FREE),
            namespace: name.into(),
            ..Default::default()
        };
        let info = server.reads().await.lookup_port(request).await.unwrap().into_inner();
        let info: proto::PortInfo = crate::harness::decode(&info.port_info);
        assert_eq!(info.assignments[0].service_name, format!("in-{name}"));
        assert!(info.assignments[1..].iter().all(|other| other.namespace.is_empty()));
    }
    assert_eq!(server.all_registrations().await.len(), 2);
}

#[tokio::test]
async fn a_repeated_write_of_a_namespace_or_pool_gets_the_first_response() {
    let mut server = Server::start();
    let mut create = namespace("lab", NamespacePolicy::default());
    let desired =
        proto::Namespace { name: "lab".into(), description: "d".into(), ..Default::default() };
    let mut change = update(desired, &["description"]);
    let mut make =
        create_pool(proto::Pool { namespace: "lab".into(), ..pool("web", QUIET, QUIET) });
    let grown = proto::Pool { namespace: "lab".into(), ..pool("web", QUIET, QUIET + 9) };
    let mut grow = proto::UpdatePoolRequest { pool: Some(grown), ..Default::default() };
    let mut remove = proto::DeletePoolRequest {
        namespace: "lab".into(),
        name: "web".into(),
        ..Default::default()
    };
    let mut end = delete("lab", "");
    create.request_id = "create".into();
    change.request_id = "change".into();
    make.request_id = "make".into();
    grow.request_id = "grow".into();
    remove.request_id = "remove".into();
    end.request_id = "end".into();
    let mut first = None;
    for _ in 0..3 {
        let mut writes = server.writes().await;
        let responses = (
            writes.create_namespace(create.clone()).await.unwrap().into_inner(),
            writes.update_namespace(change.clone()).await.unwrap().into_inner(),
            writes.create_pool(make.clone()).await.unwrap().into_inner(),
            writes.update_pool(grow.clone()).await.unwrap().into_inner(),
            writes.delete_pool(remove.clone()).await.unwrap().into_inner(),
            writes.delete_namespace(end.clone()).await.unwrap().into_inner(),
        );
        assert_eq!((responses.0.revision, responses.5.revision), (1, 6));
        assert!(responses.5.namespace.is_some() && responses.4.pool.is_some());
        assert_eq!(*first.get_or_insert_with(|| responses.clone()), responses);
        server.kill();
        server.launch();
    }
    assert_eq!(server.info().await.revision, 6);
    end.name = "other".into();
    let response = server.writes().await.delete_namespace(end).await;
    assert_refused(response, Code::InvalidArgument, "REQUEST_ID_REUSED");
}
