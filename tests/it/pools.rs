//! Pools: validation, exclusivity, and usage.

use portbook::grpc::proto::{self, FindingCode, Transport};
use tonic::Code;

use crate::harness::{
    FREE, QUIET, Server, assert_refused, bad_fields, create_pool, ensure, error_parts, namespace,
    numbers, pool, ports, register, release, seconds,
};

fn update(pool: proto::Pool, paths: &[&str]) -> proto::UpdatePoolRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    proto::UpdatePoolRequest {
        pool: Some(pool),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

fn delete(name: &str) -> proto::DeletePoolRequest {
    proto::DeletePoolRequest { name: name.into(), ..Default::default() }
}

async fn get(server: &Server, name: &str) -> proto::PoolSummary {
    let request = proto::GetPoolRequest { name: name.into(), ..Default::default() };
    server.reads().await.get_pool(request).await.unwrap().into_inner().pool.unwrap()
}

/// The usage of a pool: size, held, cooling, skipped, free.
async fn usage(server: &Server, name: &str) -> [u32; 5] {
    let usage = get(server, name).await.usage.unwrap();
    [usage.size, usage.held, usage.cooling, usage.skipped, usage.free]
}

#[tokio::test]
async fn a_pool_is_created_updated_and_deleted() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    let desired = proto::Pool {
        description: "Web backends".into(),
        ports: [ports(QUIET + 20, QUIET + 29), ports(QUIET, QUIET + 9)].map(Option::unwrap).into(),
        transports: vec![Transport::Udp.into(), Transport::Tcp.into()],
        excluded_ports: [ports(QUIET + 22, QUIET + 23), ports(QUIET + 1, QUIET + 1)]
            .map(Option::unwrap)
            .into(),
        accept: numbers(&[FindingCode::IanaAssigned]),
        ..pool("web", 1, 1)
    };
    let response = writes.create_pool(create_pool(desired.clone())).await.unwrap().into_inner();
    let made = response.pool.unwrap();
    assert_eq!((made.namespace.as_str(), made.revision, response.revision), ("default", 1, 1));
    assert_eq!(made.ports, [desired.ports[1], desired.ports[0]], "lowest first");
    assert_eq!(made.excluded_ports, [desired.excluded_ports[1], desired.excluded_ports[0]]);
    assert_eq!(made.transports, [1, 2]);
    assert_eq!(made.cool_down, seconds(86_400), "if it is left out");
    assert_eq!(
        (made.accept.clone(), made.description.clone()),
        (desired.accept, desired.description)
    );
    let metadata = assert_refused(
        writes.create_pool(create_pool(pool("web", 5, 5))).await,
        Code::AlreadyExists,
        "POOL_ALREADY_EXISTS",
    );
    assert_eq!((metadata["namespace"].as_str(), metadata["pool"].as_str()), ("default", "web"));

    let desired = proto::Pool { cool_down: seconds(60), accept: vec![], ..made.clone() };
    let response = writes.update_pool(update(desired.clone(), &["cool_down"])).await.unwrap();
    let changed = response.into_inner().pool.unwrap();
    assert_eq!((changed.cool_down, changed.revision), (seconds(60), 2));
    assert_eq!((&changed.accept, changed.create_time), (&made.accept, made.create_time));
    let response = writes.update_pool(update(desired, &["cool_down"])).await;
    assert_eq!(assert_refused(response, Code::Aborted, "ETAG_MISMATCH")["etag"], changed.etag);
    let same = writes.update_pool(update(changed.clone(), &["*"])).await.unwrap().into_inner();
    assert_eq!((same.pool.as_ref(), same.revision), (Some(&changed), 2));

    server.kill();
    server.launch();
    assert_eq!(get(&server, "web").await.pool, Some(changed.clone()));
    let mut writes = server.writes().await;
    let stale = proto::DeletePoolRequest { etag: made.etag, ..delete("web") };
    assert_refused(writes.delete_pool(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let gone = writes.delete_pool(delete("web")).await.unwrap().into_inner();
    assert_eq!((gone.pool, gone.revision), (Some(changed), 3));
    // Its ports can be registered without a pool again.
    writes.register_port(register("mine", QUIET)).await.unwrap();
    assert_refused(writes.delete_pool(delete("web")).await, Code::NotFound, "POOL_NOT_FOUND");
}

#[tokio::test]
async fn an_unknown_pool_error_suggests_the_nearest_names() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    writes.create_pool(create_pool(pool("web-eu", QUIET, QUIET + 9))).await.unwrap();
    let get = proto::GetPoolRequest { name: "web-us".into(), ..Default::default() };
    let through = proto::RegisterPortRequest { pool: "web-us".into(), ..register("mine", QUIET) };
    let check = proto::CheckPortRequest {
        ports: ports(QUIET, QUIET).into_iter().collect(),
        transports: vec![1],
        pool: "web-us".into(),
        ..Default::default()
    };
    let desired = proto::Pool { description: "d".into(), ..pool("web-us", 1, 1) };
    for refusal in [
        reads.get_pool(get).await.map(drop),
        reads.check_port(check).await.map(drop),
        writes.register_port(through).await.map(drop),
        writes.ensure_port(ensure("web-us", "mine")).await.map(drop),
        writes.update_pool(update(desired, &["description"])).await.map(drop),
        writes.delete_pool(delete("web-us")).await.map(drop),
    ] {
        let metadata = assert_refused(refusal, Code::NotFound, "POOL_NOT_FOUND");
        let metadata = ["namespace", "pool", "nearest"].map(|name| metadata[name].as_str());
        assert_eq!(metadata, ["default", "web-us", "web-eu"]);
    }
}

#[tokio::test]
async fn pools_are_listed_once_sorted_by_namespace_and_name() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("a", proto::NamespacePolicy::default())).await.unwrap();
    for (number, (space, name)) in
        (0..).zip([("default", "web"), ("a", "z"), ("default", "db"), ("a", "b"), ("default", "c")])
    {
        let one =
            proto::Pool { namespace: space.into(), ..pool(name, QUIET + number, QUIET + number) };
        writes.create_pool(create_pool(one)).await.unwrap();
    }
    for (namespace, expected) in [
        ("-", &["a/b", "a/z", "default/c", "default/db", "default/web"][..]),
        ("", &["default/c", "default/db", "default/web"]),
        ("a", &["a/b", "a/z"]),
    ] {
        let mut request = proto::ListPoolsRequest {
            namespace: namespace.into(),
            page_size: 2,
            page_token: String::new(),
        };
        let (mut reads, mut names) = (server.reads().await, Vec::new());
        loop {
            let page = reads.list_pools(request.clone()).await.unwrap().into_inner();
            assert_eq!(page.total_size as usize, expected.len());
            assert!((1..=2).contains(&page.pools.len()));
            names.extend(page.pools.into_iter().map(|summary| {
                let pool = summary.pool.unwrap();
                format!("{}/{}", pool.namespace, pool.name)
            }));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_pool_overlaps_no_other_pool_and_no_outside_registration() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    let holder = proto::RegisterPortRequest {
        ports: ports(QUIET + 20, QUIET + 22),
        ..register("outside", QUIET)
    };
    let held = writes.register_port(holder).await.unwrap().into_inner().assignments.remove(0);

    let response = writes.create_pool(create_pool(pool("db", QUIET + 9, QUIET + 12))).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "POOL_OVERLAP");
    let output = ["namespace", "pool", "transport"].map(|name| metadata[name].as_str());
    assert_eq!(output, ["default", "web", "tcp"]);
    assert_eq!(metadata["ports"], format!("{}-{}", QUIET, QUIET + 9));
    let wide = pool("db", QUIET + 10, QUIET + 21);
    let response = writes.create_pool(create_pool(wide.clone())).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "POOL_OVERLAP");
    assert_eq!((metadata["holder"].as_str(), &metadata["holder_uid"]), ("outside", &held.uid));
    assert_eq!(metadata["ports"], format!("{}-{}", QUIET + 20, QUIET + 22));

    // Excluded ports, other transports and other namespaces are outside the pool.
    let excluded_ports = ports(QUIET + 20, QUIET + 21).into_iter().collect();
    let spared = proto::Pool { excluded_ports, ..wide.clone() };
    writes.create_pool(create_pool(spared.clone())).await.unwrap();
    let udp = proto::Pool { transports: vec![2], ..pool("udp", QUIET, QUIET + 22) };
    writes.create_pool(create_pool(udp)).await.unwrap();
    writes.create_namespace(namespace("lab", proto::NamespacePolicy::default())).await.unwrap();
    let other = proto::Pool { namespace: "lab".into(), ..wide.clone() };
    writes.create_pool(create_pool(other)).await.unwrap();
    // Updates follow the same rules.
    for desired in
        [wide, proto::Pool { ports: ports(QUIET + 5, QUIET + 12).into_iter().collect(), ..spared }]
    {
        let response = writes.update_pool(update(desired, &["ports", "excluded_ports"])).await;
        assert_refused(response, Code::FailedPrecondition, "POOL_OVERLAP");
    }
    let (code, reason, details) = error_parts({
        let excluded_ports = ports(QUIET + 30, QUIET + 39).into_iter().collect();
        let nothing = proto::Pool { excluded_ports, ..pool("none", QUIET + 30, QUIET + 39) };
        writes.create_pool(create_pool(nothing)).await
    });
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert_eq!(bad_fields(&details), ["pool.excluded_ports"]);
    assert_eq!(server.info().await.revision, 6);
}

#[tokio::test]
async fn an_update_cannot_exclude_allocated_ports() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let both = proto::Pool { transports: vec![1, 2], ..pool("web", QUIET, QUIET + 9) };
    let both = writes.create_pool(create_pool(both)).await.unwrap().into_inner().pool.unwrap();
    let held = proto::RegisterPortRequest { pool: "web".into(), ..register("direct", QUIET + 5) };
    let held = writes.register_port(held).await.unwrap().into_inner().assignments.remove(0);
    assert_eq!((held.pool.as_str(), held.instance.as_str()), ("web", ""));
    writes.ensure_port(ensure("web", "ensured")).await.unwrap();

    let without = |ports, excluded_ports, transports| proto::Pool {
        ports,
        excluded_ports,
        transports,
        ..both.clone()
    };
    let whole = || both.ports.clone();
    let run = |first, last| ports(QUIET + first, QUIET + last).into_iter().collect::<Vec<_>>();
    let paths = ["ports", "excluded_ports", "transports"];
    for (desired, count, first) in [
        (without(run(1, 9), vec![], vec![1, 2]), "2", "ensured"),
        (without(run(0, 4), vec![], vec![1, 2]), "1", "direct"),
        (without(whole(), run(5, 5), vec![1, 2]), "1", "direct"),
        (without(whole(), vec![], vec![1]), "1", "ensured"),
    ] {
        let response = writes.update_pool(update(desired, &paths)).await;
        let metadata = assert_refused(response, Code::FailedPrecondition, "POOL_NOT_EMPTY");
        assert_eq!((metadata["pool"].as_str(), metadata["namespace"].as_str()), ("web", "default"));
        assert_eq!((metadata["assignments"].as_str(), metadata["holder"].as_str()), (count, first));
    }
    let response = writes.delete_pool(delete("web")).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "POOL_NOT_EMPTY");
    assert_eq!((metadata["assignments"].as_str(), metadata["holder"].as_str()), ("3", "ensured"));
    // It may shrink around the allocated ports, and grow.
    let desired = without(run(0, 7), run(1, 4), vec![1, 2, 3]);
    writes.update_pool(update(desired, &paths)).await.unwrap();
    assert_eq!(usage(&server, "web").await, [4, 2, 0, 0, 2]);
    for assignment in server.all_registrations().await {
        writes.release_port(release(&assignment.uid)).await.unwrap();
    }
    writes.delete_pool(delete("web")).await.unwrap();
}

#[tokio::test]
async fn ports_of_a_pool_are_registered_only_through_the_pool() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let excluded_ports = ports(QUIET + 4, QUIET + 4).into_iter().collect();
    let web = proto::Pool { excluded_ports, ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(web)).await.unwrap();
    for (first, last) in [(0, 0), (9, 9), (9, 12), (5, 6)] {
        let run = ports(QUIET + first, QUIET + last);
        let request = proto::RegisterPortRequest { ports: run, ..register("mine", QUIET) };
        let metadata = assert_refused(
            writes.register_port(request).await,
            Code::FailedPrecondition,
            "PORT_IN_POOL",
        );
        assert_eq!((metadata["namespace"].as_str(), metadata["pool"].as_str()), ("default", "web"));
    }
    let through = |first, last| proto::RegisterPortRequest {
        ports: ports(QUIET + first, QUIET + last),
        pool: "web".into(),
        ..register("mine", QUIET)
    };
    for (first, last) in [(9, 10), (3, 5), (4, 4), (20, 20)] {
        let response = writes.register_port(through(first, last)).await;
        let metadata = assert_refused(response, Code::FailedPrecondition, "OUTSIDE_POOL");
        assert_eq!(metadata["pool"], "web");
    }
    let held = writes.register_port(through(5, 7)).await.unwrap().into_inner().assignments;
    assert_eq!((held[0].pool.as_str(), held[0].ports), ("web", ports(QUIET + 5, QUIET + 7)));
    let filter = proto::AssignmentFilter { pool: "web".into(), ..Default::default() };
    writes.register_port(register("mine", QUIET + 4)).await.unwrap();
    writes.register_port(register("mine", FREE)).await.unwrap();
    assert_eq!(server.registered(filter, None).await, held);
}

#[tokio::test]
async fn the_usage_of_a_pool_counts_each_port_once() {
    let server = Server::start();
    let mut writes = server.writes().await;
    // 5432 - 5435 are assigned by IANA; 5436 and 5438 are free.
    let both = proto::Pool { transports: vec![1, 2], ..pool("db", QUIET, QUIET + 9) };
    let with_iana = proto::Pool {
        ports: [ports(5432, 5433), ports(QUIET, QUIET + 9)].map(Option::unwrap).into(),
        ..both
    };
    writes.create_pool(create_pool(with_iana.clone())).await.unwrap();
    assert_eq!(usage(&server, "db").await, [12, 0, 0, 2, 10]);
    let through = |port, transport: Transport| proto::RegisterPortRequest {
        pool: "db".into(),
        transports: vec![transport.into()],
        ..register("one", port)
    };
    writes.register_port(through(QUIET, Transport::Tcp)).await.unwrap();
    writes.register_port(through(QUIET, Transport::Udp)).await.unwrap();
    let response = writes.register_port(through(QUIET + 1, Transport::Udp)).await.unwrap();
    assert_eq!(usage(&server, "db").await, [12, 2, 0, 2, 8]);
    let uid = response.into_inner().assignments.remove(0).uid;
    writes.release_port(release(&uid)).await.unwrap();
    assert_eq!(usage(&server, "db").await, [12, 1, 1, 2, 8]);
    // A port in cool-down on one transport may be held on the other.
    writes.register_port(through(QUIET + 1, Transport::Tcp)).await.unwrap();
    assert_eq!(usage(&server, "db").await, [12, 2, 0, 2, 8]);
    let accept = numbers(&[FindingCode::IanaAssigned]);
    writes.update_pool(update(proto::Pool { accept, ..with_iana }, &["accept"])).await.unwrap();
    assert_eq!(usage(&server, "db").await, [12, 2, 0, 0, 10]);
}

#[tokio::test]
async fn a_changed_namespace_policy_applies_to_its_pools() {
    let server = Server::start();
    let mut writes = server.writes().await;
    // The upper five are Kubernetes' node ports.
    let both = [ports(QUIET, QUIET + 4), ports(30_200, 30_204)].map(Option::unwrap).into();
    let edge = proto::Pool { ports: both, ..pool("edge", 1, 1) };
    writes.create_pool(create_pool(edge)).await.unwrap();
    assert_eq!(usage(&server, "edge").await, [10, 0, 0, 0, 10]);
    let forbid = numbers(&[FindingCode::NodePortRange]);
    let policy = Some(proto::NamespacePolicy { forbid, ..Default::default() });
    let desired = proto::Namespace { name: "default".into(), policy, ..Default::default() };
    let request = proto::UpdateNamespaceRequest { namespace: Some(desired), ..Default::default() };
    writes.update_namespace(request).await.unwrap();
    assert_eq!(usage(&server, "edge").await, [10, 0, 0, 5, 5]);
    for number in 0..5 {
        writes.ensure_port(ensure("edge", &format!("service-{number}"))).await.unwrap();
    }
    let response = writes.ensure_port(ensure("edge", "late")).await;
    let metadata = assert_refused(response, Code::ResourceExhausted, "POOL_EXHAUSTED");
    assert_eq!((metadata["held"].as_str(), metadata["skipped"].as_str()), ("5", "5"));
}
