//! Namespace policies: accepted and forbidden findings, and the cool-down.

use portbook::grpc::proto::{self, FindingCode, NamespacePolicy, Outcome, Severity};
use tonic::Code;

use crate::check_port::check_request;
use crate::harness::{
    FREE, Server, acknowledge_all, assert_refused, codes, error_parts, namespace, numbers, ports,
    register, release, seconds,
};
use crate::namespaces::{delete, get, update, within};

async fn check(server: &Server, request: &proto::RegisterPortRequest) -> proto::Verdict {
    let response = server.reads().await.check_port(check_request(request)).await.unwrap();
    response.into_inner().verdicts.remove(0)
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
            Ok(response) => assert_eq!(response.into_inner().findings, verdict.findings),
            refusal => {
                drop(assert_refused(refusal, Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED"));
            }
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
    let before = acknowledge_all(within("prod", register("before", 22)));
    let before = writes.register_port(before).await.unwrap().into_inner().assignments.remove(0);
    let forbid = numbers(&[SystemPort, DynamicPort, NodePortRange]);
    let policy = Some(NamespacePolicy { forbid, ..Default::default() });
    let desired = proto::Namespace { name: "prod".into(), policy, ..Default::default() };
    writes.update_namespace(update(desired, &[])).await.unwrap();

    for (port, forbidden) in [(4, SystemPort), (61_001, DynamicPort), (30_100, NodePortRange)] {
        let request = acknowledge_all(within("prod", register("mine", port)));
        let verdict = check(&server, &request).await;
        assert_eq!(verdict.outcome(), Outcome::Refused);
        let first = &verdict.findings[0];
        assert_eq!((first.code(), first.severity()), (forbidden, Severity::Blocker));
        for run in &verdict.alternatives {
            assert!(
                !(1..=1023).contains(&run.first()) && !(30_000..=32_767).contains(&run.first())
            );
        }
        let (code, reason, details) = error_parts(writes.register_port(request).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "FORBIDDEN_BY_POLICY"));
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(
            (metadata["namespace"].as_str(), metadata["codes"].as_str()),
            ("prod", forbidden.as_str_name())
        );
        assert_eq!(details.precondition_failure().unwrap().violations.len(), 1);
        // Other namespaces are unaffected.
        writes.register_port(acknowledge_all(register("mine", port))).await.unwrap();
    }
    // Other findings can still be acknowledged.
    let mut request = within("prod", register("mine", 5432));
    request.acknowledge = numbers(&[IanaAssigned]);
    writes.register_port(request).await.unwrap();
    // Existing registrations stay, and can be updated.
    let desired = proto::Assignment { description: "old".into(), ..before };
    let request = proto::UpdateAssignmentRequest {
        assignment: Some(desired),
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
    let cooling_down = within("none", register("resting", FREE + 1));
    let cooling_down = writes.register_port(cooling_down).await.unwrap().into_inner().assignments;
    writes.release_port(release(&cooling_down[0].uid)).await.unwrap();
    let all: Vec<i32> = (3..=12).chain([16, 17]).collect();
    let policy = Some(NamespacePolicy { forbid: all.clone(), ..Default::default() });
    let desired = proto::Namespace { name: "none".into(), policy, ..Default::default() };
    writes.update_namespace(update(desired, &["policy"])).await.unwrap();

    let mut request = within("none", register("postgresql", 1));
    request.ports = ports(1, 65_535);
    let found = codes(&check(&server, &request).await.findings);
    assert_eq!(found.len(), all.len(), "{found:?}");
    let response = writes.register_port(request).await;
    let metadata = assert_refused(response, Code::FailedPrecondition, "FORBIDDEN_BY_POLICY");
    let output: Vec<_> = metadata["codes"].split(',').map(FindingCode::from_str_name).collect();
    assert_eq!(output.len(), found.len());
    assert!(found.into_iter().all(|code| output.contains(&Some(code))), "{}", metadata["codes"]);
}

#[tokio::test]
async fn a_zero_cool_down_frees_the_port_immediately() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let policy = NamespacePolicy { cool_down: seconds(0), ..Default::default() };
    writes.create_namespace(namespace("lab", policy)).await.unwrap();
    for name in ["lab", "default"] {
        let response = writes.register_port(within(name, register("first", FREE))).await.unwrap();
        let uid = response.into_inner().assignments.remove(0).uid;
        writes.release_port(release(&uid)).await.unwrap();
        let filter = proto::ChangeFilter { namespace: name.into(), uid, ..Default::default() };
        let released = server.history(filter).await.pop().unwrap();
        assert_eq!(released.cool_down_end_time.is_some(), name == "default");
        let response = writes.register_port(within(name, register("second", FREE))).await;
        match name {
            "lab" => assert_eq!(response.unwrap().into_inner().findings, []),
            _ => {
                let metadata =
                    assert_refused(response, Code::FailedPrecondition, "ACKNOWLEDGEMENT_REQUIRED");
                assert_eq!(metadata["codes"], "FINDING_CODE_COOLING_DOWN");
                assert_eq!(metadata["holder"], "first");
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
        let response = writes.register_port(within(name, register("first", FREE))).await.unwrap();
        let uid = response.into_inner().assignments.remove(0).uid;
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
