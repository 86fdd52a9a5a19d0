//! Invalid requests for namespaces, pools, leases, batches and checks are refused with code, reason
//! and field, and change nothing.

use portbook::grpc::proto::{self, FindingCode};
use prost_types::Duration;
use tonic::{Code, Status};

use crate::harness::{
    FREE, QUIET, Server, assert_refused, bad_fields, create_pool, ensure, error_parts, namespace,
    numbers, pool, ports, register, seconds,
};

pub fn invalid<T: std::fmt::Debug>(response: Result<T, Status>, reason: &str, fields: &[&str]) {
    let (code, output, details) = error_parts(response);
    assert_eq!((code, output.as_str()), (Code::InvalidArgument, reason));
    assert_eq!(bad_fields(&details), fields);
}

pub const FIELD: &str = "INVALID_FIELD";

#[tokio::test]
async fn pools_name_each_invalid_field() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let changed = |change: &dyn Fn(&mut proto::Pool)| {
        let mut desired = pool("web", QUIET, QUIET + 9);
        change(&mut desired);
        desired
    };
    let run = |first, last| ports(first, last).unwrap();
    let many = |count: u32| (0..count).map(|n| run(QUIET + 2 * n, QUIET + 2 * n)).collect();
    for (desired, field) in [
        (changed(&|p| p.ports = vec![run(9, 3)]), "pool.ports[0]"),
        (changed(&|p| p.ports = vec![run(5, 9), run(9, 12)]), "pool.ports"),
        (changed(&|p| p.ports = vec![run(1, 1), run(0, 9)]), "pool.ports[1]"),
        (changed(&|p| p.ports = vec![run(1, 65_536)]), "pool.ports[0].last"),
        (changed(&|p| p.ports = vec![proto::PortRange::default()]), "pool.ports[0].first"),
        (changed(&|p| p.ports = vec![]), "pool.ports"),
        (changed(&|p| p.ports = many(17)), "pool.ports"),
        (changed(&|p| p.excluded_ports = many(257)), "pool.excluded_ports"),
        (changed(&|p| p.excluded_ports = vec![run(QUIET + 5, QUIET)]), "pool.excluded_ports[0]"),
        (changed(&|p| p.excluded_ports = p.ports.clone()), "pool.excluded_ports"),
        (changed(&|p| p.transports = vec![]), "pool.transports"),
        (changed(&|p| p.transports = vec![1, 1]), "pool.transports"),
        (changed(&|p| p.transports = vec![0]), "pool.transports"),
        (changed(&|p| p.name = String::new()), "pool.name"),
        (changed(&|p| p.name = "a/b".into()), "pool.name"),
        (changed(&|p| p.name = "n".repeat(64)), "pool.name"),
        (changed(&|p| p.namespace = "No".into()), "pool.namespace"),
        (changed(&|p| p.description = "d".repeat(256)), "pool.description"),
        (changed(&|p| p.cool_down = seconds(366 * 86_400 + 1)), "pool.cool_down"),
        (changed(&|p| p.cool_down = seconds(-1)), "pool.cool_down"),
        (changed(&|p| p.accept = numbers(&[FindingCode::CommonUse])), "pool.accept"),
        (changed(&|p| p.accept = numbers(&[FindingCode::PortTaken])), "pool.accept"),
        (changed(&|p| p.accept = vec![99]), "pool.accept"),
    ] {
        invalid(writes.create_pool(create_pool(desired.clone())).await, FIELD, &[field]);
    }
    invalid(writes.create_pool(proto::CreatePoolRequest::default()).await, FIELD, &["pool"]);
    assert_eq!(server.info().await.revision, 0);
    // The maximum number is accepted.
    let widest = changed(&|p| {
        (p.ports, p.name) = (many(16), "n".repeat(63));
        p.excluded_ports = (1..257).map(|port| run(2 * port, 2 * port)).collect();
    });
    writes.create_pool(create_pool(widest)).await.unwrap();
    let update = proto::UpdatePoolRequest {
        pool: Some(pool("web", 9, 3)),
        update_mask: Some(prost_types::FieldMask { paths: vec!["name".into()] }),
        ..Default::default()
    };
    invalid(writes.update_pool(update).await, FIELD, &["update_mask"]);
}

#[tokio::test]
async fn namespaces_name_each_invalid_field() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let policy = |accept: &[FindingCode], forbid: &[FindingCode]| proto::NamespacePolicy {
        accept: numbers(accept),
        forbid: numbers(forbid),
        cool_down: None,
    };
    let plain = || policy(&[], &[]);
    for (name, policy, field) in [
        ("", plain(), "namespace.name"),
        ("a/b", plain(), "namespace.name"),
        ("-", plain(), "namespace.name"),
        ("1a", plain(), "namespace.name"),
        ("Prod", plain(), "namespace.name"),
        (&"n".repeat(64), plain(), "namespace.name"),
        ("ok", policy(&[FindingCode::NodePortRange], &[]), "namespace.policy.accept"),
        ("ok", policy(&[FindingCode::PortZero], &[]), "namespace.policy.accept"),
        ("ok", policy(&[], &[FindingCode::PortInPool]), "namespace.policy.forbid"),
        ("ok", policy(&[], &[FindingCode::Unspecified]), "namespace.policy.forbid"),
        (
            "ok",
            policy(&[FindingCode::SystemPort], &[FindingCode::SystemPort]),
            "namespace.policy.forbid",
        ),
        (
            "ok",
            proto::NamespacePolicy { cool_down: seconds(366 * 86_400 + 1), ..plain() },
            "namespace.policy.cool_down",
        ),
    ] {
        let response = writes.create_namespace(namespace(name, policy.clone())).await;
        invalid(response, FIELD, &[field]);
        if name == "ok" {
            let desired = proto::Namespace {
                name: "default".into(),
                policy: Some(policy),
                ..Default::default()
            };
            let update =
                proto::UpdateNamespaceRequest { namespace: Some(desired), ..Default::default() };
            invalid(writes.update_namespace(update).await, FIELD, &[field]);
        }
    }
    let missing = proto::CreateNamespaceRequest::default();
    invalid(writes.create_namespace(missing).await, FIELD, &["namespace"]);
    let nameless = proto::DeleteNamespaceRequest::default();
    invalid(writes.delete_namespace(nameless).await, FIELD, &["name"]);
    assert_eq!(server.info().await.revision, 0);
    writes.create_namespace(namespace(&"n".repeat(63), plain())).await.unwrap();
}

#[tokio::test]
async fn invalid_lease_durations_are_named() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    let held = proto::RegisterPortRequest { ttl: seconds(600), ..register("held", FREE) };
    writes.register_port(held).await.unwrap();
    let ten_years = 3650 * 86_400;
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, -1),
        (0, 999_999_999),
        (ten_years, 1),
        (ten_years + 1, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
        (5, 1_000_000_000),
        (5, -1),
        (-5, 1),
        (5, i32::MIN),
    ] {
        let ttl = Some(Duration { seconds, nanos });
        let request = proto::RegisterPortRequest { ttl, ..register("mine", FREE + 1) };
        invalid(writes.register_port(request).await, FIELD, &["ttl"]);
        let request = proto::EnsurePortRequest { ttl, ..ensure("web", "mine") };
        invalid(writes.ensure_port(request).await, FIELD, &["ttl"]);
        let request = proto::RenewLeaseRequest { port: Some(FREE), ttl, ..Default::default() };
        invalid(writes.renew_lease(request).await, FIELD, &["ttl"]);
    }
    let nothing = proto::RenewLeaseRequest::default();
    invalid(writes.renew_lease(nothing).await, FIELD, &["uid"]);
    assert_eq!(server.info().await.revision, 2);
    let longest =
        proto::RegisterPortRequest { ttl: seconds(ten_years), ..register("long", FREE + 1) };
    writes.register_port(longest).await.unwrap();
}

#[tokio::test]
async fn ensure_port_names_each_invalid_field() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    for count in [0, 11, 65_535, 65_536, u32::MAX] {
        let request = proto::EnsurePortRequest { count: Some(count), ..ensure("web", "mine") };
        invalid(writes.ensure_port(request).await, FIELD, &["count"]);
    }
    let request = proto::EnsurePortRequest { transports: vec![1, 1], ..ensure("web", "mine") };
    invalid(writes.ensure_port(request).await, FIELD, &["transports"]);
    let request = proto::EnsurePortRequest { instance: "i".repeat(64), ..ensure("web", "mine") };
    invalid(writes.ensure_port(request).await, FIELD, &["instance"]);
    invalid(writes.ensure_port(ensure("", "mine")).await, FIELD, &["pool"]);
    invalid(
        writes.ensure_port(ensure("web", "a--b")).await,
        "INVALID_SERVICE_NAME",
        &["service_name"],
    );
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn batches_and_checks_have_limits() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    let plain = register("mine", FREE);
    let all = || proto::RegisterPortRequest { ports: ports(1, 65_535), ..register("mine", 1) };
    let with = |change: &dyn Fn(&mut proto::RegisterPortRequest)| {
        let mut second = register("mine", FREE + 1);
        change(&mut second);
        vec![register("mine", FREE), second]
    };
    for (requests, field, is_checked) in [
        (vec![], "requests", true),
        (vec![plain.clone(); 1001], "requests", true),
        (vec![all(); 5], "requests", true),
        (with(&|r| r.ports = None), "requests[1].ports", true),
        (with(&|r| r.transports = vec![]), "requests[1].transports", true),
        (with(&|r| r.acknowledge = vec![2]), "requests[1].acknowledge", true),
        (with(&|r| r.namespace = "a/b".into()), "requests[1].namespace", true),
        (with(&|r| r.request_id = "id".into()), "requests[1].request_id", false),
        (with(&|r| r.validate_only = true), "requests[1].validate_only", false),
        (with(&|r| r.reason = "why".into()), "requests[1].reason", false),
        (with(&|r| r.ttl = seconds(0)), "requests[1].ttl", false),
    ] {
        if is_checked {
            let check = proto::BatchCheckPortsRequest { requests: requests.clone() };
            invalid(reads.batch_check_ports(check).await, FIELD, &[field]);
        }
        let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
        invalid(writes.batch_register_ports(batch).await, FIELD, &[field]);
    }
    let bad_name = vec![plain.clone(), register("a--b", FREE + 1)];
    let batch = proto::BatchRegisterPortsRequest { requests: bad_name, ..Default::default() };
    let response = writes.batch_register_ports(batch).await;
    invalid(response, "INVALID_SERVICE_NAME", &["requests[1].service_name"]);
    let unknown = proto::RegisterPortRequest { namespace: "prod".into(), ..plain.clone() };
    let requests = vec![plain, unknown];
    let check = proto::BatchCheckPortsRequest { requests: requests.clone() };
    let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
    for refusal in [
        reads.batch_check_ports(check).await.map(drop),
        writes.batch_register_ports(batch).await.map(drop),
    ] {
        assert_eq!(assert_refused(refusal, Code::NotFound, "NAMESPACE_NOT_FOUND")["index"], "1");
    }

    let check = |runs: Vec<proto::PortRange>, transports: &[i32]| proto::CheckPortRequest {
        service_name: "mine".into(),
        ports: runs,
        transports: transports.to_vec(),
        ..Default::default()
    };
    let run = |first, last| ports(first, last).unwrap();
    for (request, field) in [
        (check(vec![], &[1]), "ports"),
        (check(vec![run(1, 1); 101], &[1]), "ports"),
        (check(vec![run(1, 65_535); 5], &[1]), "ports"),
        (check(vec![run(0, 65_535), run(1, 1)], &[1, 2, 3, 4]), "ports"),
        (check(vec![run(1, 1), run(9, 3)], &[1]), "ports[1]"),
        (check(vec![run(1, 65_536)], &[1]), "ports[0].last"),
        (check(vec![run(1, 1)], &[]), "transports"),
        (check(vec![run(1, 1)], &[1, 1]), "transports"),
        (check(vec![run(1, 1)], &[0]), "transports"),
        (
            proto::CheckPortRequest {
                service_name: "n".repeat(129),
                ..check(vec![run(1, 1)], &[1])
            },
            "service_name",
        ),
        (
            proto::CheckPortRequest { acknowledge: vec![13], ..check(vec![run(1, 1)], &[1]) },
            "acknowledge",
        ),
        (proto::CheckPortRequest { pool: "a b".into(), ..check(vec![run(1, 1)], &[1]) }, "pool"),
    ] {
        invalid(reads.check_port(request).await, FIELD, &[field]);
    }
    // The largest valid request is answered.
    reads.check_port(check(vec![run(0, 65_535)], &[1, 2, 3, 4])).await.unwrap();
    assert_eq!(server.info().await.revision, 0);
}
