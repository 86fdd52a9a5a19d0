//! The rules of a namespace: what it accepts, what it forbids, and how long its ports rest.

use portbook::grpc::proto::{self, FindingCode, NamespacePolicy, Outcome, Severity};
use tonic::Code;

use crate::check_port::question;
use crate::harness::{
    FREE, Server, codes, denied, namespace, numbers, ports, refused, register, release, seconds,
    whatever,
};
use crate::namespaces::{delete, get, update, within};

async fn check(server: &Server, request: &proto::RegisterPortRequest) -> proto::Verdict {
    let answer = server.reads().await.check_port(question(request)).await.unwrap();
    answer.into_inner().verdicts.remove(0)
}

#[tokio::test]
async fn an_accepted_finding_is_returned_as_a_note() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let accept = numbers(&[FindingCode::IanaAssigned, FindingCode::SystemPort]);
    let policy = NamespacePolicy { accept, ..Default::default() };
    writes.create_namespace(namespace("lab", policy)).await.unwrap();
    for (name, outcome, severity) in [
        ("lab", Outcome::Accepted, Severity::Note),
        ("default", Outcome::AcknowledgementRequired, Severity::Acknowledge),
    ] {
        let request = within(name, register("mine", 443));
        let verdict = check(&server, &request).await;
        assert_eq!(verdict.outcome(), outcome);
        assert!(verdict.findings[..2].iter().all(|found| found.severity() == severity));
        match writes.register_port(request).await {
            Ok(answer) => assert_eq!(answer.into_inner().findings, verdict.findings),
            refusal => drop(denied(refusal, Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED")),
        }
        assert_eq!(get(&server, name).await.assignments, u32::from(name == "lab"));
    }
}

#[tokio::test]
async fn a_forbidden_finding_is_refused_despite_acknowledgement() {
    use FindingCode::{DynamicPort, IanaAssigned, NodePortRange, SystemPort};
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("prod", NamespacePolicy::default())).await.unwrap();
    let before = whatever(within("prod", register("before", 22)));
    let before = writes.register_port(before).await.unwrap().into_inner().assignments.remove(0);
    let forbid = numbers(&[SystemPort, DynamicPort, NodePortRange]);
    let policy = Some(NamespacePolicy { forbid, ..Default::default() });
    let wish = proto::Namespace { name: "prod".into(), policy, ..Default::default() };
    writes.update_namespace(update(wish, &[])).await.unwrap();

    for (port, forbidden) in [(4, SystemPort), (61_001, DynamicPort), (30_100, NodePortRange)] {
        let request = whatever(within("prod", register("mine", port)));
        let verdict = check(&server, &request).await;
        assert_eq!(verdict.outcome(), Outcome::Refused);
        let first = &verdict.findings[0];
        assert_eq!((first.code(), first.severity()), (forbidden, Severity::Blocker));
        for run in &verdict.alternatives {
            assert!(
                !(1..=1023).contains(&run.first()) && !(30_000..=32_767).contains(&run.first())
            );
        }
        let (code, reason, details) = refused(writes.register_port(request).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "FORBIDDEN_BY_POLICY"));
        let facts = &details.error_info().unwrap().metadata;
        assert_eq!(
            (facts["namespace"].as_str(), facts["codes"].as_str()),
            ("prod", forbidden.as_str_name())
        );
        assert_eq!(details.precondition_failure().unwrap().violations.len(), 1);
        // Elsewhere it is as it was.
        writes.register_port(whatever(register("mine", port))).await.unwrap();
    }
    // What is not forbidden can be acknowledged still.
    let mut request = within("prod", register("mine", 5432));
    request.acknowledge = numbers(&[IanaAssigned]);
    writes.register_port(request).await.unwrap();
    // What was held before stays held, and can be spoken of.
    let wish = proto::Assignment { description: "old".into(), ..before };
    let request = proto::UpdateAssignmentRequest {
        assignment: Some(wish),
        update_mask: Some(prost_types::FieldMask { paths: vec!["description".into()] }),
        ..Default::default()
    };
    writes.update_assignment(request).await.unwrap();
}

#[tokio::test]
async fn every_forbidden_code_is_named() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("none", NamespacePolicy::default())).await.unwrap();
    let twin = proto::RegisterPortRequest { transports: vec![2], ..register("twin", FREE) };
    writes.register_port(within("none", twin)).await.unwrap();
    let resting = within("none", register("resting", FREE + 1));
    let resting = writes.register_port(resting).await.unwrap().into_inner().assignments;
    writes.release_port(release(&resting[0].uid)).await.unwrap();
    let all: Vec<i32> = (3..=12).chain([16, 17]).collect();
    let policy = Some(NamespacePolicy { forbid: all.clone(), ..Default::default() });
    let wish = proto::Namespace { name: "none".into(), policy, ..Default::default() };
    writes.update_namespace(update(wish, &["policy"])).await.unwrap();

    let mut request = within("none", register("postgresql", 1));
    request.ports = ports(1, 65_535);
    let found = codes(&check(&server, &request).await.findings);
    assert_eq!(found.len(), all.len(), "{found:?}");
    let answer = writes.register_port(request).await;
    let facts = denied(answer, Code::FailedPrecondition, "FORBIDDEN_BY_POLICY");
    let told: Vec<_> = facts["codes"].split(',').map(FindingCode::from_str_name).collect();
    assert_eq!(told.len(), found.len());
    assert!(found.into_iter().all(|code| told.contains(&Some(code))), "{}", facts["codes"]);
}

#[tokio::test]
async fn a_zero_cool_down_frees_the_port_immediately() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let policy = NamespacePolicy { cool_down: seconds(0), ..Default::default() };
    writes.create_namespace(namespace("lab", policy)).await.unwrap();
    for name in ["lab", "default"] {
        let answer = writes.register_port(within(name, register("first", FREE))).await.unwrap();
        let uid = answer.into_inner().assignments.remove(0).uid;
        writes.release_port(release(&uid)).await.unwrap();
        let filter = proto::ChangeFilter { namespace: name.into(), uid, ..Default::default() };
        let released = server.history(filter).await.pop().unwrap();
        assert_eq!(released.cool_down_end_time.is_some(), name == "default");
        let answer = writes.register_port(within(name, register("second", FREE))).await;
        match name {
            "lab" => assert_eq!(answer.unwrap().into_inner().findings, []),
            _ => {
                let facts = denied(answer, Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED");
                assert_eq!(facts["codes"], "FINDING_CODE_COOLING_DOWN");
                assert_eq!(facts["holder"], "first");
            }
        }
    }
}

#[tokio::test]
async fn a_recreated_namespace_has_no_ports_in_cool_down() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    for name in ["lab", "default"] {
        if name == "lab" {
            writes.create_namespace(namespace(name, NamespacePolicy::default())).await.unwrap();
        }
        let answer = writes.register_port(within(name, register("first", FREE))).await.unwrap();
        let uid = answer.into_inner().assignments.remove(0).uid;
        writes.release_port(release(&uid)).await.unwrap();
    }
    writes.delete_namespace(delete("lab", "")).await.unwrap();
    writes.create_namespace(namespace("lab", NamespacePolicy::default())).await.unwrap();
    for _ in 0..2 {
        let second = within("lab", register("second", FREE));
        assert!(check(&server, &second).await.findings.is_empty());
        let here = check(&server, &register("second", FREE)).await;
        assert_eq!(codes(&here.findings), [FindingCode::CoolingDown]);
        server.kill();
        server.launch();
    }
}
