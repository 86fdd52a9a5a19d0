//! EnsurePort: allocates the lowest free ports of a pool; repeated requests return the same ports.

use std::collections::BTreeMap;

use portbook::grpc::proto::{self, FindingCode, Severity, Transport};
use tonic::Code;

use crate::harness::{
    QUIET, Server, Writes, assert_refused, codes, create_pool, ensure, error_parts, first_port,
    numbers, pool, ports, register, release, seconds,
};

async fn allocate(
    writes: &mut Writes,
    request: proto::EnsurePortRequest,
) -> proto::EnsurePortResponse {
    writes.ensure_port(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_service_gets_the_lowest_free_port_and_keeps_it() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    let through =
        proto::RegisterPortRequest { pool: "web".into(), ..register("direct", QUIET + 1) };
    writes.register_port(through).await.unwrap();
    let mut request = ensure("web", "billing");
    request.assignee = "team payments".into();
    request.labels = [("tier".into(), "1".into())].into();
    request.validate_only = true;
    let response = allocate(&mut writes, request.clone()).await;
    assert!(response.created && response.revision == 2);
    request.validate_only = false;
    let first = allocate(&mut writes, request.clone()).await;
    assert!(first.created && first.revision == 3);
    let held = &first.assignments[0];
    assert_eq!(first_port(held), QUIET);
    assert_eq!((held.pool.as_str(), held.assignee.as_str()), ("web", "team payments"));
    assert_eq!(held.labels["tier"], "1");
    // Other fields and the case of the name do not matter: the service has its port.
    let again = proto::EnsurePortRequest { service_name: "Billing".into(), ..ensure("web", "") };
    for request in [request, again] {
        let response = allocate(&mut writes, request).await;
        assert!(!response.created && response.findings.is_empty());
        assert_eq!((&response.assignments, response.revision), (&first.assignments, 3));
    }
    let second = allocate(&mut writes, ensure("web", "orders")).await;
    assert_eq!(first_port(&second.assignments[0]), QUIET + 2, "the next one is held");
    server.kill();
    server.launch();
    let mut writes = server.writes().await;
    let response = allocate(&mut writes, ensure("web", "orders")).await;
    assert_eq!((response.created, response.assignments), (false, second.assignments));
    // After a release, the port is allocated again.
    writes.release_port(release(&held.uid)).await.unwrap();
    let response = allocate(&mut writes, ensure("web", "billing")).await;
    assert!(
        response.created && first_port(&response.assignments[0]) == QUIET,
        "the cool-down applies to other services"
    );
    assert_eq!(response.assignments[0].assignee, "");
}

#[tokio::test]
async fn instances_of_a_service_get_separate_ports() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    for (number, instance) in (0..).zip(["", "blue", "Blue", "gr\u{fc}n", "blue"]) {
        let request =
            proto::EnsurePortRequest { instance: instance.into(), ..ensure("web", "billing") };
        let response = allocate(&mut writes, request).await;
        let position = if number == 4 { 1 } else { number };
        assert_eq!(response.created, number < 4);
        assert_eq!(response.assignments[0].instance, instance);
        assert_eq!(first_port(&response.assignments[0]), QUIET + position, "{instance}");
    }
}

#[tokio::test]
async fn several_transports_get_the_same_port_number() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let three = proto::Pool { transports: vec![3, 2, 1], ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(three)).await.unwrap();
    let udp = vec![Transport::Udp.into()];
    let through = proto::RegisterPortRequest {
        pool: "web".into(),
        transports: udp.clone(),
        ..register("direct", QUIET)
    };
    writes.register_port(through).await.unwrap();
    let transports = |response: &proto::EnsurePortResponse| -> Vec<(i32, u32)> {
        response.assignments.iter().map(|held| (held.transport, first_port(held))).collect()
    };
    // All transports of the pool if none is requested, in the order of the enum.
    let all = allocate(&mut writes, ensure("web", "all")).await;
    assert_eq!(transports(&all), [(1, QUIET + 1), (2, QUIET + 1), (3, QUIET + 1)]);
    let two = proto::EnsurePortRequest { transports: vec![2, 1], ..ensure("web", "two") };
    assert_eq!(
        transports(&allocate(&mut writes, two.clone()).await),
        [(1, QUIET + 2), (2, QUIET + 2)]
    );
    let swapped = proto::EnsurePortRequest { transports: vec![1, 2], ..two };
    assert!(!allocate(&mut writes, swapped).await.created);
    // A port that is held on any of the pool's transports is not allocated to another service.
    let one = proto::EnsurePortRequest { transports: vec![3], ..ensure("web", "one") };
    assert_eq!(transports(&allocate(&mut writes, one).await), [(3, QUIET + 3)]);
    let unknown_client = proto::EnsurePortRequest { transports: vec![4], ..ensure("web", "dccp") };
    assert_refused(
        writes.ensure_port(unknown_client).await,
        Code::FailedPrecondition,
        "OUTSIDE_POOL",
    );
}

#[tokio::test]
async fn a_block_of_ports_is_one_range_inside_the_pool() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let excluded_ports = ports(QUIET + 12, QUIET + 12).into_iter().collect();
    let pool = proto::Pool { excluded_ports, ..pool("web", QUIET, QUIET + 19) };
    writes.create_pool(create_pool(pool)).await.unwrap();
    for number in [2, 7] {
        let through =
            proto::RegisterPortRequest { pool: "web".into(), ..register("direct", QUIET + number) };
        writes.register_port(through).await.unwrap();
    }
    // 2 and 7 are held, and 12 is not in the pool.
    for (name, count, first) in [("a", 3, 3), ("b", 4, 8), ("c", 2, 0), ("d", 7, 13), ("e", 1, 6)] {
        let request = proto::EnsurePortRequest { count: Some(count), ..ensure("web", name) };
        let response = allocate(&mut writes, request).await;
        assert_eq!(response.assignments.len(), 1, "one record for the range");
        let run = ports(QUIET + first, QUIET + first + count - 1);
        assert_eq!(response.assignments[0].ports, run, "{name}");
    }
    let request = proto::EnsurePortRequest { count: Some(1), ..ensure("web", "f") };
    let metadata = assert_refused(
        writes.ensure_port(request).await,
        Code::ResourceExhausted,
        "POOL_EXHAUSTED",
    );
    assert_eq!((metadata["size"].as_str(), metadata["held"].as_str()), ("19", "19"));
}

#[tokio::test]
async fn iana_assigned_ports_are_skipped_unless_the_pool_accepts_them() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let db = proto::Pool {
        ports: [ports(5432, 5433), ports(QUIET, QUIET + 9)].map(Option::unwrap).into(),
        ..pool("db", 1, 1)
    };
    writes.create_pool(create_pool(db.clone())).await.unwrap();
    let response = allocate(&mut writes, ensure("db", "first")).await;
    assert_eq!((first_port(&response.assignments[0]), response.findings), (QUIET, vec![]));
    // A service with an IANA port elsewhere gets a finding, and its port.
    let response = allocate(&mut writes, ensure("db", "redis")).await;
    assert_eq!(first_port(&response.assignments[0]), QUIET + 1);
    assert_eq!(codes(&response.findings), [FindingCode::ServiceNameElsewhere]);
    assert_eq!(response.findings[0].severity(), Severity::Note);

    let accept = numbers(&[FindingCode::IanaAssigned]);
    let request = proto::UpdatePoolRequest {
        pool: Some(proto::Pool { accept, ..db }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["accept".into()] }),
        ..Default::default()
    };
    writes.update_pool(request).await.unwrap();
    let response = allocate(&mut writes, ensure("db", "second")).await;
    assert_eq!(first_port(&response.assignments[0]), 5432);
    assert_eq!(codes(&response.findings), [FindingCode::IanaAssigned]);
    assert_eq!(response.findings[0].severity(), Severity::Note);
}

#[tokio::test]
async fn a_conflicting_request_reports_the_current_allocation() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let both = proto::Pool { transports: vec![1, 2], ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(both)).await.unwrap();
    let two = proto::EnsurePortRequest { count: Some(2), ..ensure("web", "billing") };
    let held = allocate(&mut writes, two.clone()).await.assignments;
    for other in [
        proto::EnsurePortRequest { count: None, ..two.clone() },
        proto::EnsurePortRequest { count: Some(3), ..two.clone() },
        proto::EnsurePortRequest { transports: vec![1], ..two.clone() },
    ] {
        let response = writes.ensure_port(other).await;
        let metadata = assert_refused(response, Code::FailedPrecondition, "ENSURED_OTHERWISE");
        assert_eq!(metadata["ports"], format!("{}-{}", QUIET, QUIET + 1));
        assert_eq!(metadata["transports"], "tcp,udp");
        assert_eq!(metadata["uids"], format!("{},{}", held[0].uid, held[1].uid));
    }
    // After one is released, the other is the current allocation.
    writes.release_port(release(&held[1].uid)).await.unwrap();
    let response = writes.ensure_port(two.clone()).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "ENSURED_OTHERWISE");
    assert_eq!(metadata["uids"], held[0].uid);
    let one = proto::EnsurePortRequest { transports: vec![1], ..two };
    assert_eq!(allocate(&mut writes, one).await.assignments, held[..1]);
}

#[tokio::test]
async fn adding_a_transport_to_a_pool_keeps_existing_allocations() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    let held = allocate(&mut writes, ensure("web", "billing")).await.assignments;
    let wider = proto::Pool { transports: vec![1, 2], ..Default::default() };
    let wider = proto::Pool { name: "web".into(), ..wider };
    let request = proto::UpdatePoolRequest { pool: Some(wider), ..Default::default() };
    writes.update_pool(request).await.unwrap();
    assert_eq!(allocate(&mut writes, ensure("web", "billing")).await.assignments, held);
    assert_eq!(allocate(&mut writes, ensure("web", "ledger")).await.assignments.len(), 2);
}

#[tokio::test]
async fn an_allocated_port_keeps_its_service_name() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    let held = allocate(&mut writes, ensure("web", "billing")).await.assignments.remove(0);
    let rename = |uid: &str, name: &str| proto::UpdateAssignmentRequest {
        assignment: Some(proto::Assignment {
            uid: uid.into(),
            service_name: name.into(),
            description: "new".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let response = writes.update_assignment(rename(&held.uid, "orders")).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "NAME_KEPT_BY_POOL");
    assert_eq!((&metadata["uid"], metadata["pool"].as_str()), (&held.uid, "web"));
    // Names are compared without case.
    let response = writes.update_assignment(rename(&held.uid, "Billing")).await.unwrap();
    let changed = response.into_inner().assignment.unwrap();
    assert_eq!((changed.service_name.as_str(), changed.description.as_str()), ("Billing", "new"));
    assert!(!allocate(&mut writes, ensure("web", "billing")).await.created);
    // A port that was registered through the pool by number may be renamed.
    let through =
        proto::RegisterPortRequest { pool: "web".into(), ..register("direct", QUIET + 5) };
    let direct = writes.register_port(through).await.unwrap().into_inner().assignments.remove(0);
    writes.update_assignment(rename(&direct.uid, "other")).await.unwrap();
}

#[tokio::test]
async fn an_exhausted_pool_reports_its_usage_and_the_next_expiry() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let db = proto::Pool {
        ports: [ports(5432, 5433), ports(QUIET, QUIET + 7)].map(Option::unwrap).into(),
        cool_down: seconds(3600),
        ..pool("db", 1, 1)
    };
    writes.create_pool(create_pool(db)).await.unwrap();
    // Seven leases, the last of which is requested first, and one port in cool-down.
    for number in (1..=7).rev() {
        let name = format!("s{number}");
        let request =
            proto::EnsurePortRequest { ttl: seconds(1000 * number), ..ensure("db", &name) };
        allocate(&mut writes, request).await;
    }
    let cooling_down = allocate(&mut writes, ensure("db", "resting")).await.assignments.remove(0);
    writes.release_port(release(&cooling_down.uid)).await.unwrap();
    let (code, reason, details) = error_parts(writes.ensure_port(ensure("db", "late")).await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "POOL_EXHAUSTED"));
    let metadata = &details.error_info().unwrap().metadata;
    let figures = ["namespace", "pool", "size", "held", "cooling", "skipped"];
    assert_eq!(figures.map(|name| metadata[name].as_str()), ["default", "db", "10", "7", "1", "2"]);
    let next: Vec<_> = metadata["next_expire_times"].split(',').collect();
    assert_eq!(next.len(), 5);
    assert!(next.is_sorted(), "each starts with its time: {next:?}");
    for (number, entry) in (1..).zip(next) {
        let words: Vec<_> = entry.split(' ').collect();
        let port = QUIET + 7 - number;
        assert!(words[1].starts_with(&port.to_string()), "{entry}");
        assert_eq!(words[2], format!("s{number}"));
    }
    let filter = proto::ChangeFilter { uid: cooling_down.uid, ..Default::default() };
    let end = server.history(filter).await.pop().unwrap().cool_down_end_time.unwrap();
    let entry: jiff::Timestamp = metadata["next_cool_down_end_time"].parse().unwrap();
    assert_eq!((entry.as_second(), entry.subsec_nanosecond()), (end.seconds, end.nanos));
    // The service that released the port can have it.
    assert!(allocate(&mut writes, ensure("db", "resting")).await.created);
}

#[tokio::test]
async fn ensuring_never_shortens_a_lease() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let both = proto::Pool { transports: vec![1, 2], ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(both)).await.unwrap();
    let lasting = |ttl| proto::EnsurePortRequest { ttl, ..ensure("web", "billing") };
    let first = allocate(&mut writes, lasting(seconds(1000))).await;
    assert!(first.assignments.iter().all(|held| held.ttl == seconds(1000)));
    let shorter = allocate(&mut writes, lasting(seconds(500))).await;
    assert_eq!((shorter.created, shorter.revision), (false, first.revision));
    assert_eq!(shorter.assignments, first.assignments);
    let longer = allocate(&mut writes, lasting(seconds(2000))).await;
    assert_eq!((longer.created, longer.revision), (false, first.revision + 1));
    for (held, before) in longer.assignments.iter().zip(&first.assignments) {
        assert_eq!((&held.uid, held.ttl), (&before.uid, seconds(2000)));
        assert!(held.expire_time.unwrap().seconds >= before.expire_time.unwrap().seconds + 1000);
    }
    let kinds = vec![proto::ChangeKind::Renewed.into()];
    let filter = proto::ChangeFilter { kinds, ..Default::default() };
    assert_eq!(server.history(filter).await.len(), 2);
    // A request without a lease neither changes nor creates one.
    let still = allocate(&mut writes, lasting(None)).await;
    assert_eq!((&still.assignments, still.revision), (&longer.assignments, longer.revision));
    let endless = allocate(&mut writes, ensure("web", "ledger")).await;
    let leased = proto::EnsurePortRequest { ttl: seconds(9000), ..ensure("web", "ledger") };
    let still = allocate(&mut writes, leased).await;
    assert_eq!((still.assignments, still.revision), (endless.assignments, endless.revision));
}

#[tokio::test]
async fn a_repeated_request_gets_the_complete_first_response() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    let both = proto::Pool { transports: vec![1, 2], ..pool("web", QUIET, QUIET + 9) };
    writes.create_pool(create_pool(both)).await.unwrap();
    let lasting = |ttl, request_id: &str| proto::EnsurePortRequest {
        ttl: seconds(ttl),
        request_id: request_id.into(),
        ..ensure("web", "billing")
    };
    let first = allocate(&mut writes, lasting(1000, "first")).await;
    // One of the two is renewed, so that only the other expires before the requested time.
    let renew = proto::RenewLeaseRequest {
        uid: first.assignments[1].uid.clone(),
        ttl: seconds(9000),
        ..Default::default()
    };
    writes.renew_lease(renew).await.unwrap();
    let second = allocate(&mut writes, lasting(5000, "second")).await;
    let ttls: Vec<_> = second.assignments.iter().map(|held| held.ttl).collect();
    assert_eq!(ttls, [seconds(5000), seconds(9000)]);
    for _ in 0..2 {
        assert_eq!(allocate(&mut writes, lasting(1000, "first")).await, first);
        assert_eq!(allocate(&mut writes, lasting(5000, "second")).await, second);
        server.kill();
        server.launch();
        writes = server.writes().await;
    }
}

/// 200 services request a port of a pool concurrently; the port of each, if it got one.
async fn ensure_all(server: &Server) -> BTreeMap<String, Option<(u32, String)>> {
    let channel = server.writes().await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let (mut writes, name) = (channel.clone(), format!("service-{number}"));
            tokio::spawn(async move {
                let response = writes.ensure_port(ensure("web", &name)).await;
                (name, response)
            })
        })
        .collect();
    let mut entry = BTreeMap::new();
    for requested in calls {
        let (name, response) = requested.await.unwrap();
        let got = match response {
            Ok(response) => {
                let held = response.into_inner().assignments.remove(0);
                Some((first_port(&held), held.uid))
            }
            refusal => {
                let metadata = assert_refused(refusal, Code::ResourceExhausted, "POOL_EXHAUSTED");
                assert_eq!((metadata["size"].as_str(), metadata["held"].as_str()), ("100", "100"));
                None
            }
        };
        entry.insert(name, got);
    }
    entry
}

#[tokio::test]
async fn a_pool_never_allocates_a_port_twice() {
    let mut server = Server::start();
    let made = create_pool(pool("web", QUIET, QUIET + 99));
    server.writes().await.create_pool(made).await.unwrap();
    let entry = ensure_all(&server).await;
    let mut allocate: Vec<_> = entry.values().flatten().map(|(port, _)| *port).collect();
    allocate.sort_unstable();
    assert_eq!(allocate, (QUIET..QUIET + 100).collect::<Vec<_>>());
    let revision = server.info().await.revision;
    assert_eq!(revision, 101);
    assert_eq!(ensure_all(&server).await, entry, "unchanged when repeated");
    server.kill();
    server.launch();
    assert_eq!(ensure_all(&server).await, entry, "unchanged after a kill");
    assert_eq!(server.info().await.revision, revision);
    assert_eq!(server.all_registrations().await.len(), 100);
}
