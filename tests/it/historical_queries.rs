//! Historical queries: the registry as of a revision or a time.

use portbook::grpc::proto::{self, AsOf, ChangeFilter, FindingCode, as_of::Moment};
use prost_types::Timestamp;
use tonic::Code;

use crate::harness::{
    FREE, QUIET, Random, Server, Writes, acknowledge_all, assert_refused, create_pool, decode,
    ensure, namespace, numbers, pool, ports, register, release,
};

#[expect(clippy::unnecessary_wraps, reason = "as the field of a message has it")]
fn at_revision(revision: u64) -> Option<AsOf> {
    Some(AsOf { moment: Some(Moment::Revision(revision)) })
}

#[expect(clippy::unnecessary_wraps, reason = "as the field of a message has it")]
fn at_time(time: Timestamp) -> Option<AsOf> {
    Some(AsOf { moment: Some(Moment::Time(time)) })
}

/// One microsecond earlier.
fn just_before(time: Timestamp) -> Timestamp {
    match time.nanos {
        0 => Timestamp { seconds: time.seconds - 1, nanos: 999_999_000 },
        nanos => Timestamp { nanos: nanos - 1000, ..time },
    }
}

async fn lookup(
    server: &Server,
    namespace: &str,
    port: u32,
    as_of: Option<AsOf>,
) -> Result<(proto::PortInfo, u64), tonic::Status> {
    let namespace = namespace.into();
    let request = proto::LookupPortRequest { port: Some(port), namespace, as_of, transport: 0 };
    let response = server.reads().await.lookup_port(request).await?.into_inner();
    Ok((decode(&response.port_info), response.revision))
}

/// The service names that hold the port.
async fn holders(server: &Server, port: u32, as_of: Option<AsOf>) -> Vec<String> {
    let (info, _) = lookup(server, "", port, as_of).await.unwrap();
    let own = info.assignments.into_iter().filter(|record| !record.namespace.is_empty());
    own.map(|record| record.service_name).collect()
}

/// Registered, released, registered by another service, renamed: revisions 1 - 4.
async fn write_history(writes: &mut Writes) {
    let first = writes.register_port(register("first", FREE)).await.unwrap().into_inner();
    writes.release_port(release(&first.assignments[0].uid)).await.unwrap();
    let mut second = register("second", FREE);
    second.acknowledge = numbers(&[FindingCode::CoolingDown]);
    let mut second = writes.register_port(second).await.unwrap().into_inner();
    let renamed =
        proto::Assignment { service_name: "third".into(), ..second.assignments.remove(0) };
    let request = proto::UpdateAssignmentRequest {
        assignment: Some(renamed),
        update_mask: Some(prost_types::FieldMask { paths: vec!["service_name".into()] }),
        acknowledge: numbers(&[FindingCode::CoolingDown]),
        ..Default::default()
    };
    writes.update_assignment(request).await.unwrap();
}

#[tokio::test]
async fn the_former_holder_is_found_by_revision_and_by_time() {
    let mut server = Server::start();
    write_history(&mut server.writes().await).await;
    let held: [&[&str]; 5] = [&[], &["first"], &[], &["second"], &["third"]];
    let times: Vec<_> = {
        let changes = server.history(ChangeFilter::default()).await;
        changes.into_iter().map(|change| change.time.unwrap()).collect()
    };
    assert_eq!(times.len(), 4);
    for _ in 0..2 {
        for (revision, names) in (0..).zip(held) {
            assert_eq!(holders(&server, FREE, at_revision(revision)).await, names, "{revision}");
            let (_, output) = lookup(&server, "", FREE, at_revision(revision)).await.unwrap();
            assert_eq!(output, revision);
        }
        for (time, (before, after)) in times.iter().zip(held.iter().zip(&held[1..])) {
            assert_eq!(holders(&server, FREE, at_time(*time)).await, *after);
            assert_eq!(holders(&server, FREE, at_time(just_before(*time))).await, *before);
        }
        server.kill();
        server.launch();
    }
    // IANA's records exist at any time.
    let (then, _) = lookup(&server, "", 443, at_revision(0)).await.unwrap();
    assert_eq!(then, server.lookup(443).await);
}

#[tokio::test]
async fn the_former_ports_of_a_service_are_found() {
    let server = Server::start();
    write_history(&mut server.writes().await).await;
    let names = ["first", "second", "third"];
    for (revision, found) in (0..).zip([None, Some("first"), None, Some("second"), Some("third")]) {
        for name in names {
            let request = proto::LookupServiceRequest {
                service_name: name.into(),
                as_of: at_revision(revision),
                ..Default::default()
            };
            match server.reads().await.lookup_service(request).await {
                Ok(response) => {
                    let response = response.into_inner();
                    assert_eq!((Some(name), response.revision), (found, revision));
                    assert_eq!(response.assignments[0].ports, ports(FREE, FREE));
                    assert_eq!(response.total_size, 1);
                }
                refusal => {
                    assert_refused(refusal, Code::NotFound, "SERVICE_NOT_FOUND");
                    assert_ne!(Some(name), found);
                }
            }
        }
        let list =
            server.registered(proto::AssignmentFilter::default(), at_revision(revision)).await;
        let list: Vec<_> = list.iter().map(|record| record.service_name.as_str()).collect();
        assert_eq!(list, found.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_deleted_namespace_can_be_queried() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let lab = || namespace("lab", proto::NamespacePolicy::default());
    writes.create_namespace(lab()).await.unwrap();
    let within = proto::RegisterPortRequest { namespace: "lab".into(), ..register("old", FREE) };
    let held = writes.register_port(within).await.unwrap().into_inner().assignments;
    writes.release_port(release(&held[0].uid)).await.unwrap();
    let end = proto::DeleteNamespaceRequest { name: "lab".into(), ..Default::default() };
    writes.delete_namespace(end).await.unwrap();
    for _ in 0..2 {
        let filter = proto::AssignmentFilter { namespace: "lab".into(), ..Default::default() };
        let (info, _) = lookup(&server, "lab", FREE, at_revision(2)).await.unwrap();
        assert_eq!(info.assignments[0], held[0]);
        assert_eq!(server.registered(filter.clone(), at_revision(2)).await, held);
        assert_eq!(server.registered(filter, at_revision(3)).await, []);
        for revision in [0, 4] {
            let response = lookup(&server, "lab", FREE, at_revision(revision)).await;
            assert_refused(response, Code::NotFound, "NAMESPACE_NOT_FOUND");
        }
        // A namespace created later with that name is a different one.
        writes.create_namespace(lab()).await.ok();
    }
}

#[tokio::test]
async fn a_historical_list_is_paginated() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut uids = Vec::new();
    for port in QUIET..QUIET + 30 {
        let response = writes.register_port(register("stays", port)).await.unwrap();
        uids.push(response.into_inner().assignments.remove(0).uid);
    }
    let mut request = proto::ListAssignmentsRequest {
        filter: Some(proto::AssignmentFilter { sources: vec![1], ..Default::default() }),
        page_size: 7,
        as_of: at_revision(30),
        ..Default::default()
    };
    let (mut reads, mut output) = (server.reads().await, Vec::new());
    loop {
        let page = reads.list_assignments(request.clone()).await.unwrap().into_inner();
        assert_eq!((page.total_size, page.revision), (30, 30));
        output.extend(page.assignments.into_iter().map(|record| record.uid));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        // The current state changes meanwhile.
        for uid in uids.iter().rev().skip(output.len()).step_by(3).take(2) {
            writes.release_port(release(uid)).await.ok();
        }
    }
    assert_eq!(output, uids);
    assert!(server.info().await.revision > 35);
}

/// A random write. A refusal changes nothing and is accepted.
async fn write(random: &mut Random, writes: &mut Writes, uids: &mut Vec<String>) {
    let space = ["default", "a", "b"][random.below(3) as usize].to_owned();
    let port = QUIET + random.below(12);
    let name = ["billing", "orders", "web"][random.below(3) as usize];
    let uid = match uids.len() as u32 {
        0 => String::new(),
        count => uids[random.below(count) as usize].clone(),
    };
    match random.below(12) {
        0 => drop(
            writes.create_namespace(namespace(&space, proto::NamespacePolicy::default())).await,
        ),
        1 => {
            let name = space;
            let end = proto::DeleteNamespaceRequest { name, ..Default::default() };
            drop(writes.delete_namespace(end).await);
        }
        2 => {
            let web = proto::Pool { namespace: space, ..pool("web", QUIET + 8, QUIET + 11) };
            drop(writes.create_pool(create_pool(web)).await);
        }
        3 => {
            let (namespace, name) = (space, "web".into());
            let end = proto::DeletePoolRequest { namespace, name, ..Default::default() };
            drop(writes.delete_pool(end).await);
        }
        4 | 5 => {
            let request = proto::EnsurePortRequest { namespace: space, ..ensure("web", name) };
            if let Ok(response) = writes.ensure_port(request).await {
                uids.extend(response.into_inner().assignments.into_iter().map(|record| record.uid));
            }
        }
        6 => {
            let desired = proto::Assignment {
                uid,
                service_name: name.into(),
                description: format!("d{}", random.below(9)),
                ..Default::default()
            };
            let request = proto::UpdateAssignmentRequest {
                assignment: Some(desired),
                acknowledge: acknowledge_all(register("", 0)).acknowledge,
                ..Default::default()
            };
            drop(writes.update_assignment(request).await);
        }
        7 | 8 => drop(writes.release_port(release(&uid)).await),
        _ => {
            let request = proto::RegisterPortRequest {
                namespace: space,
                ports: ports(port, port + random.below(3)),
                transports: [vec![1], vec![1, 2]][random.below(2) as usize].clone(),
                ..acknowledge_all(register(name, port))
            };
            if let Ok(response) = writes.register_port(request).await {
                uids.extend(response.into_inner().assignments.into_iter().map(|record| record.uid));
            }
        }
    }
}

#[tokio::test]
async fn a_historical_query_returns_the_response_of_that_time() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let (mut random, mut uids) = (Random::new(11), Vec::new());
    let all = || proto::AssignmentFilter { namespace: "-".into(), ..Default::default() };
    let position = |random: &mut Random| {
        (["default", "a", "b"][random.below(3) as usize], QUIET + random.below(14))
    };
    let code = |response: Result<(proto::PortInfo, u64), tonic::Status>| {
        response.map(|(info, _)| info).map_err(|status| status.code())
    };
    let mut answered = Vec::new();
    while server.info().await.revision < 200 {
        write(&mut random, &mut writes, &mut uids).await;
        let revision = server.info().await.revision;
        let mut ports = Vec::new();
        for (space, port) in [position(&mut random), position(&mut random)] {
            ports.push((space, port, code(lookup(&server, space, port, None).await)));
        }
        answered.push((revision, ports, server.registered(all(), None).await));
    }
    let changes =
        server.history(ChangeFilter { namespace: "-".into(), ..Default::default() }).await;
    let (mut held, mut refused) = (0, 0);
    for (revision, ports, list) in answered {
        let time = changes.iter().rfind(|change| change.revision == revision);
        let moments =
            [at_revision(revision), time.and_then(|change| at_time(change.time.unwrap()))];
        for as_of in moments.into_iter().flatten().map(Some) {
            for (space, port, info) in &ports {
                let then = code(lookup(&server, space, *port, as_of).await);
                assert_eq!(then, *info, "{space} {port} at {revision}");
                held +=
                    usize::from(info.as_ref().is_ok_and(|info| info.assignments[0].source == 1));
                refused += usize::from(info.is_err());
            }
            assert_eq!(server.registered(all(), as_of).await, list, "at {revision}");
        }
    }
    assert!(held > 100 && refused > 20, "{held} {refused}");
}
