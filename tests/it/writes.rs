//! Registrations: visible immediately, never lost, never duplicated.

use std::collections::HashSet;

use portbook::grpc::proto::{self, FindingCode, Source, State, Transport};
use tonic::Code;

use crate::harness::{FREE, Server, acknowledge_all, error_parts, ports, register};

#[tokio::test]
async fn a_registration_is_visible_immediately_on_another_connection() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = register("billing", FREE);
    request.transports = vec![Transport::Udp.into(), Transport::Tcp.into()];
    request.assignee = "team payments".into();
    request.labels = [("tier".into(), "1".into())].into();
    let response = writes.register_port(request).await.unwrap().into_inner();
    assert_eq!(response.revision, 1);
    let transports: Vec<_> = response.assignments.iter().map(|a| a.transport()).collect();
    assert_eq!(transports, [Transport::Udp, Transport::Tcp], "in the order of the request");

    let info = server.lookup(FREE).await;
    assert_eq!(info.state(), State::Assigned);
    let own = &info.assignments[..2];
    for assignment in own {
        assert_eq!(assignment.source(), Source::Custom);
        assert_eq!(assignment.namespace, "default");
        assert_eq!(assignment.service_name, "billing");
        assert_eq!(assignment.assignee, "team payments");
        assert_eq!(assignment.labels["tier"], "1");
        assert_eq!(assignment.revision, 1);
        assert!(
            assignment.create_time.is_some() && assignment.create_time == assignment.update_time
        );
        assert!(response.assignments.contains(assignment));
    }
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn a_registered_range_is_found_at_each_port() {
    let server = Server::start();
    let mut request = register("cluster", FREE);
    request.ports = ports(FREE, FREE + 9);
    server.writes().await.register_port(request).await.unwrap();
    for port in [FREE, FREE + 5, FREE + 9] {
        assert_eq!(server.lookup(port).await.assignments[0].service_name, "cluster");
    }
    for port in [FREE - 1, FREE + 10] {
        assert_ne!(server.lookup(port).await.assignments[0].service_name, "cluster");
    }
    // One port of a range cannot be released alone.
    let one = proto::ReleasePortRequest { port: Some(FREE + 5), ..Default::default() };
    let (code, reason, details) = error_parts(server.writes().await.release_port(one).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "PART_OF_RANGE"));
    let uid = details.error_info().unwrap().metadata["uids"].clone();
    let all = proto::ReleasePortRequest { uid, ..Default::default() };
    server.writes().await.release_port(all).await.unwrap();
    assert_eq!(server.lookup(FREE).await.state(), State::Unassigned);
}

#[tokio::test]
async fn a_conflicting_registration_names_the_holder() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut first = register("first", FREE + 3);
    first.assignee = "team one".into();
    first.contact = "one@example.com".into();
    let held = writes.register_port(first).await.unwrap().into_inner().assignments.remove(0);
    for (low, high) in [(3, 3), (0, 3), (3, 9), (0, 9)] {
        let mut request = register("second", FREE);
        request.ports = ports(FREE + low, FREE + high);
        let (code, reason, details) = error_parts(writes.register_port(request).await);
        assert_eq!((code, reason.as_str()), (Code::AlreadyExists, "PORT_TAKEN"));
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["holder"], "first");
        assert_eq!(metadata["holder_uid"], held.uid);
        assert_eq!(metadata["holder_assignee"], "team one");
        assert_eq!(metadata["holder_contact"], "one@example.com");
        assert_eq!(metadata["ports"], (FREE + 3).to_string());
        assert_eq!(metadata["transport"], "tcp");
    }
    // Another transport of the port is free.
    let mut twin = register("second", FREE + 3);
    twin.transports = vec![Transport::Udp.into()];
    let response = writes.register_port(twin).await.unwrap().into_inner();
    assert_eq!(response.findings[0].code(), FindingCode::TransportTwin);
    assert_eq!(response.findings[0].evidence.as_ref().unwrap().uid, held.uid);
}

#[tokio::test]
async fn several_transports_are_registered_atomically() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.register_port(register("first", FREE)).await.unwrap();
    let mut request = register("second", FREE);
    request.transports = vec![Transport::Udp.into(), Transport::Tcp.into()];
    error_parts(writes.register_port(request).await);
    let info = server.lookup(FREE).await;
    assert!(info.assignments.iter().all(|assignment| assignment.service_name != "second"));
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn each_finding_must_be_acknowledged() {
    let server = Server::start();
    let mut writes = server.writes().await;
    for (port, codes) in [
        (5432, vec![FindingCode::IanaAssigned]),
        (7420, vec![FindingCode::IanaReserved]),
        (50123, vec![FindingCode::DynamicPort]),
        (443, vec![FindingCode::SystemPort, FindingCode::IanaAssigned]),
        // IANA's record has no transport, so it may apply to this one.
        (6400, vec![FindingCode::IanaAssigned]),
    ] {
        let mut request = register("mine", port);
        let names: Vec<_> = codes.iter().map(|code| code.as_str_name()).collect();
        let (code, reason, details) = error_parts(writes.register_port(request.clone()).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED"));
        assert_eq!(details.error_info().unwrap().metadata["codes"], names.join(","), "{port}");
        let violations = &details.precondition_failure().unwrap().violations;
        assert_eq!(violations.len(), codes.len());

        request.acknowledge = codes[1..].iter().map(|code| (*code).into()).collect();
        error_parts(writes.register_port(request.clone()).await);
        request.acknowledge = codes.iter().map(|code| (*code).into()).collect();
        let response = writes.register_port(request).await.unwrap().into_inner();
        let found: Vec<_> = response.findings.iter().map(|finding| finding.code()).collect();
        assert!(codes.iter().all(|code| found.contains(code)), "{port}: {found:?}");
    }
}

#[tokio::test]
async fn the_iana_service_may_register_its_own_port() {
    let server = Server::start();
    let mut request = register("PostgreSQL", 5432);
    request.labels = [("cluster".into(), "a".into())].into();
    let response = server.writes().await.register_port(request).await.unwrap().into_inner();
    assert!(response.findings.is_empty(), "{:?}", response.findings);
    assert_eq!(response.assignments[0].guide, "postgresql");
}

#[tokio::test]
async fn validate_only_returns_the_result_and_changes_nothing() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = register("maybe", FREE);
    request.validate_only = true;
    let response = writes.register_port(request).await.unwrap().into_inner();
    assert_eq!(response.assignments[0].service_name, "maybe");
    assert_eq!(response.revision, 0);
    assert_eq!(server.info().await.revision, 0);
    assert_eq!(server.lookup(FREE).await.state(), State::Unassigned);
}

fn update(assignment: proto::Assignment, paths: &[&str]) -> proto::UpdateAssignmentRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    proto::UpdateAssignmentRequest {
        assignment: Some(assignment),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_update_changes_the_fields_in_its_mask() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = register("billing", FREE);
    request.description = "old".into();
    request.contact = "a@example.com".into();
    let before = writes.register_port(request).await.unwrap().into_inner().assignments.remove(0);

    let desired = proto::Assignment {
        description: "new".into(),
        contact: String::new(),
        assignee: "not in the mask".into(),
        ..before.clone()
    };
    let response = writes.update_assignment(update(desired, &["description", "contact"])).await;
    let response = response.unwrap().into_inner();
    let after = response.assignment.unwrap();
    assert_eq!(after.description, "new");
    assert_eq!(after.contact, "");
    assert_eq!(after.assignee, "");
    assert_eq!(after.uid, before.uid);
    assert_eq!((after.revision, response.revision), (2, 2));
    assert_ne!(after.etag, before.etag);
    assert_eq!(server.lookup(FREE).await.assignments[0], after);

    // Without a mask, fields that are not empty are changed; a repeat makes no revision.
    let desired =
        proto::Assignment { uid: before.uid, assignee: "team".into(), ..Default::default() };
    let request =
        proto::UpdateAssignmentRequest { assignment: Some(desired), ..Default::default() };
    for _ in 0..2 {
        let response = writes.update_assignment(request.clone()).await.unwrap().into_inner();
        let assignment = response.assignment.unwrap();
        assert_eq!(
            (assignment.assignee.as_str(), assignment.description.as_str()),
            ("team", "new")
        );
        assert_eq!(response.revision, 3);
    }
}

#[tokio::test]
async fn a_stale_etag_stops_an_update_and_a_release() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let response = writes.register_port(register("billing", FREE)).await.unwrap();
    let before = response.into_inner().assignments.remove(0);
    let desired = proto::Assignment { description: "mine".into(), ..before.clone() };
    writes.update_assignment(update(desired.clone(), &["description"])).await.unwrap();

    let (code, reason, details) =
        error_parts(writes.update_assignment(update(desired, &["description"])).await);
    assert_eq!((code, reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(details.error_info().unwrap().metadata["etag"], "r2");
    let release = |etag: &str| proto::ReleasePortRequest {
        uid: before.uid.clone(),
        etag: etag.into(),
        ..Default::default()
    };
    let (code, _, _) = error_parts(writes.release_port(release(&before.etag)).await);
    assert_eq!(code, Code::Aborted);
    writes.release_port(release("r2")).await.unwrap();
}

#[tokio::test]
async fn a_rename_is_checked_like_a_registration() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let response = writes.register_port(register("postgresql", 5432)).await.unwrap();
    let before = response.into_inner().assignments.remove(0);
    let desired = proto::Assignment { service_name: "mine".into(), ..before };
    let mut request = update(desired, &["service_name"]);
    let (_, reason, _) = error_parts(writes.update_assignment(request.clone()).await);
    assert_eq!(reason, "ACKNOWLEDGEMENT_REQUIRED");
    request.acknowledge = vec![FindingCode::IanaAssigned.into()];
    let response = writes.update_assignment(request).await.unwrap().into_inner();
    assert_eq!(response.assignment.unwrap().service_name, "mine");
    let found = proto::LookupServiceRequest { service_name: "mine".into(), ..Default::default() };
    server.reads().await.lookup_service(found).await.unwrap();
}

#[tokio::test]
async fn a_port_is_released_by_uid_or_by_number() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = register("billing", FREE);
    request.transports = vec![Transport::Tcp.into(), Transport::Udp.into()];
    let taken = writes.register_port(request.clone()).await.unwrap().into_inner();
    let by_uid =
        proto::ReleasePortRequest { uid: taken.assignments[0].uid.clone(), ..Default::default() };
    let released = writes.release_port(by_uid.clone()).await.unwrap().into_inner();
    assert_eq!(released.assignments, taken.assignments[..1]);
    let (code, reason, _) = error_parts(writes.release_port(by_uid).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "ASSIGNMENT_NOT_FOUND"));

    let by_number = proto::ReleasePortRequest { port: Some(FREE), ..Default::default() };
    writes.release_port(by_number.clone()).await.unwrap();
    assert_eq!(server.lookup(FREE).await.state(), State::Unassigned);
    let (code, _, _) = error_parts(writes.release_port(by_number.clone()).await);
    assert_eq!(code, Code::NotFound);

    // Both transports of one service are released together; those of two services are not.
    writes.register_port(request).await.unwrap();
    let released = writes.release_port(by_number.clone()).await.unwrap().into_inner();
    assert_eq!(released.assignments.len(), 2);
    writes.register_port(acknowledge_all(register("one", FREE))).await.unwrap();
    let mut two = register("two", FREE);
    two.transports = vec![Transport::Udp.into()];
    writes.register_port(acknowledge_all(two)).await.unwrap();
    let (_, reason, details) = error_parts(writes.release_port(by_number).await);
    assert_eq!(reason, "TRANSPORT_AMBIGUOUS");
    assert_eq!(details.error_info().unwrap().metadata["holders"], "one/tcp,two/udp");
}

#[tokio::test]
async fn iana_records_cannot_be_changed() {
    let server = Server::start();
    let https = server.lookup(443).await.assignments.remove(0);
    let mut writes = server.writes().await;
    let release = proto::ReleasePortRequest { uid: https.uid.clone(), ..Default::default() };
    let (code, reason, _) = error_parts(writes.release_port(release).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "NOT_CUSTOM"));
    let (_, reason, _) =
        error_parts(writes.update_assignment(update(https, &["description"])).await);
    assert_eq!(reason, "NOT_CUSTOM");
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_response_even_after_a_restart() {
    let mut server = Server::start();
    let mut request = acknowledge_all(register("billing", 5432));
    request.request_id = "6d1f9a52-6f0e-4b56-9d6c-0f4ab6a2d1f3".into();
    let mut writes = server.writes().await;
    let first = writes.register_port(request.clone()).await.unwrap().into_inner();
    assert!(!first.findings.is_empty());
    assert_eq!(writes.register_port(request.clone()).await.unwrap().into_inner(), first);
    server.kill();
    server.launch();
    let mut writes = server.writes().await;
    assert_eq!(writes.register_port(request.clone()).await.unwrap().into_inner(), first);

    let other = proto::RegisterPortRequest { assignee: "other".into(), ..request.clone() };
    let (code, reason, _) = error_parts(writes.register_port(other).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));

    // The responses of a release and an update are stored in the same way.
    let uid = first.assignments[0].uid.clone();
    let release =
        proto::ReleasePortRequest { uid, request_id: "release".into(), ..Default::default() };
    let gone = writes.release_port(release.clone()).await.unwrap().into_inner();
    assert_eq!(writes.release_port(release).await.unwrap().into_inner(), gone);
    // The response of the registration is returned, but nothing is registered again.
    assert_eq!(writes.register_port(request).await.unwrap().into_inner(), first);
    assert_eq!(server.info().await.revision, 2);
}

#[tokio::test]
async fn a_stored_response_keeps_its_findings() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.register_port(register("holder", FREE)).await.unwrap();
    let mut twin = register("twin", FREE);
    twin.transports = vec![Transport::Udp.into()];
    twin.request_id = "twin".into();
    let first = writes.register_port(twin.clone()).await.unwrap().into_inner();
    assert_eq!(first.findings[0].code(), FindingCode::TransportTwin);
    let release = proto::ReleasePortRequest {
        port: Some(FREE),
        transport: Transport::Tcp.into(),
        ..Default::default()
    };
    writes.release_port(release).await.unwrap();
    assert_eq!(writes.register_port(twin).await.unwrap().into_inner(), first);
}

#[tokio::test]
async fn concurrent_registrations_of_a_port_have_one_winner_and_name_it() {
    let server = Server::start();
    let clients = (0..64).map(|number| {
        let address = server.writes();
        async move { (number, address.await) }
    });
    let mut concurrent = Vec::new();
    for client in clients {
        let (number, mut writes) = client.await;
        concurrent.push(tokio::spawn(async move {
            (number, writes.register_port(register(&format!("racer-{number}"), FREE)).await)
        }));
    }
    let mut winners = HashSet::new();
    let mut named_holders = HashSet::new();
    for racer in concurrent {
        match racer.await.unwrap() {
            (number, Ok(_)) => drop(winners.insert(format!("racer-{number}"))),
            (_, refusal) => {
                let (code, _, details) = error_parts(refusal);
                assert_eq!(code, Code::AlreadyExists);
                named_holders.insert(details.error_info().unwrap().metadata["holder"].clone());
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(named_holders, winners);
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill_at_any_time() {
    let mut server = Server::start();
    let mut acknowledged: Vec<(u32, String)> = Vec::new();
    for round in 0..3u32 {
        let mut clients = Vec::new();
        for client in 0..8u32 {
            let mut writes = server.writes().await;
            clients.push(tokio::spawn(async move {
                let mut done = Vec::new();
                for number in 0.. {
                    let port = 10_000 + round * 3000 + client * 300 + number % 300;
                    let request = acknowledge_all(register("survivor", port));
                    match writes.register_port(request).await {
                        Ok(response) => {
                            let mut response = response.into_inner();
                            done.push((port, response.assignments.remove(0).uid));
                        }
                        Err(_) => break,
                    }
                }
                done
            }));
        }
        // The server is killed during the writes, once some are done.
        while server.info().await.revision < u64::from(round + 1) * 50 {}
        server.kill();
        for client in clients {
            acknowledged.extend(client.await.unwrap());
        }
        server.launch();
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    for (port, uid) in acknowledged {
        let info = server.lookup(port).await;
        assert!(info.assignments.iter().any(|assignment| assignment.uid == uid), "{port}");
    }
}
