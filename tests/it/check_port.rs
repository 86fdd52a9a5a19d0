//! CheckPort: findings for a port, and alternatives.

use std::collections::BTreeSet;

use portbook::grpc::proto::{self, FindingCode, Outcome, Severity, Source, State, Transport};

use crate::harness::{
    FREE, QUIET, Server, Writes, create_pool, numbers, pool, ports, register, release,
};

/// Prepares a registry: 7450/tcp is registered, 7453/tcp cools down, ten ports are in a pool.
pub async fn prepare_registry(writes: &mut Writes) -> (proto::Assignment, proto::Assignment) {
    let mut holder = register("holder", FREE);
    holder.assignee = "team one".into();
    let held = writes.register_port(holder).await.unwrap().into_inner().assignments.remove(0);
    let former = writes.register_port(register("former", FREE + 3)).await.unwrap().into_inner();
    writes.release_port(release(&former.assignments[0].uid)).await.unwrap();
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    (held, former.assignments.into_iter().next().unwrap())
}

/// The check that corresponds to this registration.
pub fn check_request(request: &proto::RegisterPortRequest) -> proto::CheckPortRequest {
    proto::CheckPortRequest {
        namespace: request.namespace.clone(),
        service_name: request.service_name.clone(),
        ports: request.ports.into_iter().collect(),
        transports: request.transports.clone(),
        pool: request.pool.clone(),
        acknowledge: request.acknowledge.clone(),
    }
}

async fn check(server: &Server, request: &proto::RegisterPortRequest) -> proto::Verdict {
    let response = server.reads().await.check_port(check_request(request)).await.unwrap();
    response.into_inner().verdicts.remove(0)
}

#[tokio::test]
async fn each_finding_has_a_severity_and_evidence() {
    use FindingCode as Code;
    use Severity::{Acknowledge, Blocker, Note};
    let server = Server::start();
    let (held, former) = prepare_registry(&mut server.writes().await).await;
    let on = |name: &str, port, transport: Transport, pool: &str| proto::RegisterPortRequest {
        transports: vec![transport.into()],
        pool: pool.into(),
        ..register(name, port)
    };
    let (tcp, udp) = (Transport::Tcp, Transport::Udp);
    let mut seen = BTreeSet::new();
    for (name, port, transport, pool, code, severity, evidence) in [
        ("a--b", FREE + 1, tcp, "", Code::InvalidServiceName, Blocker, ""),
        ("mine", 0, tcp, "", Code::PortZero, Blocker, "0-0"),
        ("mine", FREE, tcp, "", Code::PortTaken, Blocker, "holder"),
        ("mine", QUIET + 5, tcp, "", Code::PortInPool, Blocker, "web 29420-29429"),
        ("mine", FREE + 1, tcp, "web", Code::OutsidePool, Blocker, "web"),
        ("mine", QUIET, udp, "web", Code::OutsidePool, Blocker, "web"),
        ("mine", FREE + 3, tcp, "", Code::CoolingDown, Acknowledge, "former"),
        ("mine", 4, tcp, "", Code::SystemPort, Acknowledge, "1-1023"),
        ("mine", 5432, tcp, "", Code::IanaAssigned, Acknowledge, "postgresql"),
        ("mine", 7420, tcp, "", Code::IanaReserved, Acknowledge, "RESERVED"),
        ("mine", 61_001, tcp, "", Code::DynamicPort, Acknowledge, "49152-65535"),
        ("postgresql", FREE + 1, tcp, "", Code::ServiceNameElsewhere, Acknowledge, "postgresql"),
        ("postgresql", QUIET, tcp, "web", Code::ServiceNameElsewhere, Note, "postgresql"),
        ("mine", 4440, tcp, "", Code::CommonUse, Note, "rundeck"),
        ("mine", FREE, udp, "", Code::TransportTwin, Note, "holder"),
        ("mine", 1491, tcp, "", Code::UnauthorizedUse, Note, "UNASSIGNED"),
        ("mine", 33_124, tcp, "", Code::EphemeralRange, Note, "32768-60999"),
        ("mine", 30_200, tcp, "", Code::NodePortRange, Note, "30000-32767"),
        ("mine", 1021, tcp, "", Code::Experimental, Note, "1021-1022"),
    ] {
        let verdict = check(&server, &on(name, port, transport, pool)).await;
        assert_eq!(verdict.ports, ports(port, port));
        let found = verdict.findings.iter().find(|finding| finding.code() == code);
        let Some(found) = found else { panic!("{code:?}: {verdict:?}") };
        assert_eq!(found.severity(), severity, "{code:?}");
        assert_eq!((found.ports, found.transport()), (ports(port, port), transport));
        assert!(!found.message.is_empty());
        assert_eq!(found.end_time.is_some(), code == Code::CoolingDown);
        assert_eq!(found.evidence_index, None);
        // The kind of evidence.
        let mut words = vec![found.evidence_pool.clone()];
        words.extend(found.evidence.iter().map(|record| match record.service_name.as_str() {
            "" => record.state().as_str_name().replace("STATE_", ""),
            name => name.to_owned(),
        }));
        words.extend(found.evidence_ports.iter().map(|p| format!("{}-{}", p.first(), p.last())));
        words.retain(|word| !word.is_empty());
        assert_eq!(words.join(" "), evidence, "{code:?}");
        match (code, &found.evidence) {
            (Code::PortTaken | Code::TransportTwin, Some(record)) => assert_eq!(*record, held),
            (Code::CoolingDown, Some(record)) => assert_eq!(*record, former),
            (Code::CommonUse, Some(record)) => assert_eq!(record.source(), Source::Common),
            (Code::IanaReserved, Some(record)) => assert_eq!(record.state(), State::Reserved),
            (Code::UnauthorizedUse, Some(record)) => {
                assert!(!record.unauthorized_use_reported.is_empty());
            }
            (_, Some(record)) => assert_eq!(record.source(), Source::Iana),
            (_, None) => {}
        }
        let outcome = match severity {
            Blocker => Outcome::Refused,
            Acknowledge => Outcome::AcknowledgementRequired,
            _ => Outcome::Accepted,
        };
        if code != Code::Experimental {
            assert_eq!(verdict.outcome(), outcome, "{code:?}: {verdict:?}");
        }
        seen.insert(code);
    }
    assert_eq!(seen.len(), 17, "every code is covered");
}

#[tokio::test]
async fn a_port_cools_down_as_long_as_the_history_states() {
    let server = Server::start();
    prepare_registry(&mut server.writes().await).await;
    let verdict = check(&server, &register("mine", FREE + 3)).await;
    let kinds = vec![proto::ChangeKind::Released.into()];
    let filter = proto::ChangeFilter { kinds, ..Default::default() };
    let released = server.history(filter).await.remove(0);
    assert_eq!(verdict.findings[0].end_time, released.cool_down_end_time);
    let (end, time) = (released.cool_down_end_time.unwrap(), released.time.unwrap());
    assert!((86_399..=86_401).contains(&(end.seconds - time.seconds)), "24 hours");
    // The cool-down does not apply to the same service.
    assert_eq!(check(&server, &register("Former", FREE + 3)).await.findings, []);
}

#[tokio::test]
async fn notes_are_returned_with_a_success() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let mut request = register("mine", 1021);
    request.acknowledge = numbers(&[FindingCode::SystemPort, FindingCode::IanaAssigned]);
    let verdict = check(&server, &request).await;
    assert_eq!(verdict.outcome(), Outcome::Accepted);
    let severities: Vec<_> = verdict.findings.iter().map(|found| found.severity()).collect();
    assert_eq!(severities, [Severity::Acknowledge, Severity::Acknowledge, Severity::Note]);
    let response = writes.register_port(request).await.unwrap().into_inner();
    assert_eq!(response.findings, verdict.findings);
}

/// Asserts that the alternatives are the nearest ones and can be registered as returned.
async fn assert_alternatives(server: &Server, request: &proto::RegisterPortRequest) {
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    let verdict = check(server, request).await;
    assert_ne!(verdict.outcome(), Outcome::Accepted);
    let requested = request.ports.unwrap();
    let width = requested.last() - requested.first();
    let distance = |run: &proto::PortRange| run.first().abs_diff(requested.first());
    assert_eq!(verdict.alternatives.len(), 5, "{verdict:?}");
    assert!(verdict.alternatives.is_sorted_by_key(distance), "{verdict:?}");
    // Every nearer port is unavailable, or is an alternative, or overlaps one.
    let last = distance(verdict.alternatives.last().unwrap());
    for start in requested.first() - last + 1..requested.first() + last {
        let run = proto::PortRange { first: Some(start), last: Some(start + width) };
        let meets = |alternative: &proto::PortRange| {
            alternative.first() <= run.last() && run.first() <= alternative.last()
        };
        if !verdict.alternatives.iter().any(meets) {
            let check_request =
                proto::CheckPortRequest { ports: vec![run], ..check_request(request) };
            let response = reads.check_port(check_request).await.unwrap().into_inner();
            assert_ne!(response.verdicts[0].outcome(), Outcome::Accepted, "{start}");
        }
    }
    for run in verdict.alternatives {
        assert_eq!(run.last() - run.first(), width);
        let instead = proto::RegisterPortRequest { ports: Some(run), ..request.clone() };
        writes.register_port(instead).await.unwrap();
    }
}

#[tokio::test]
async fn alternatives_can_be_registered() {
    let server = Server::start();
    prepare_registry(&mut server.writes().await).await;
    assert_alternatives(&server, &register("mine", FREE)).await;
    assert_alternatives(&server, &register("mine", 5432)).await;
    let both = vec![Transport::Udp.into(), Transport::Tcp.into()];
    let run = proto::RegisterPortRequest {
        ports: ports(FREE, FREE + 3),
        transports: both,
        ..register("mine", FREE)
    };
    assert_alternatives(&server, &run).await;
    let acknowledge = numbers(&[FindingCode::IanaAssigned, FindingCode::SystemPort]);
    let among_iana = proto::RegisterPortRequest { acknowledge, ..register("mine", 1080) };
    server.writes().await.register_port(among_iana.clone()).await.unwrap();
    assert_alternatives(&server, &among_iana).await;
}

#[tokio::test]
async fn alternatives_for_a_pool_are_in_the_pool() {
    let server = Server::start();
    let mut writes = server.writes().await;
    prepare_registry(&mut writes).await;
    let requested =
        proto::RegisterPortRequest { pool: "web".into(), ..register("mine", QUIET + 2) };
    writes.register_port(requested.clone()).await.unwrap();
    let verdict = check(&server, &requested).await;
    let near: Vec<_> = verdict.alternatives.iter().map(|run| run.first() - QUIET).collect();
    assert_eq!(near, [3, 1, 4, 0, 5]);
    assert_alternatives(&server, &requested).await;
    // With four left, four are returned; for a range wider than any free one, none.
    let verdict = check(&server, &requested).await;
    assert_eq!(verdict.alternatives.len(), 4);
    let wide = proto::RegisterPortRequest { ports: ports(QUIET, QUIET + 4), ..requested };
    assert_eq!(check(&server, &wide).await.alternatives, []);
    // Without the pool, none of its ports is an alternative.
    let verdict = check(&server, &register("mine", QUIET + 9)).await;
    assert!(verdict.alternatives.iter().all(|run| run.first() > QUIET + 9 || run.first() < QUIET));
}
