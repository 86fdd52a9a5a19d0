//! Asking and registering agree: what a check says is what a registration does.

use std::collections::{BTreeMap, BTreeSet};

use portbook::grpc::proto::{self, FindingCode, Outcome, Severity, Transport};
use tonic::Code;

use crate::check_port::{furnish, question};
use crate::harness::{
    Dice, FREE, QUIET, Server, codes, denied, numbers, ports, refused, register, release,
};

/// Names, runs and acknowledgements whose product has every outcome.
fn cases() -> Vec<proto::RegisterPortRequest> {
    let runs = [
        (0, 0),
        (FREE, FREE),
        (FREE + 1, FREE + 4),
        (FREE + 3, FREE + 3),
        (4, 4),
        (5432, 5432),
        (5430, 5434),
        (7420, 7420),
        (61_001, 61_001),
        (4222, 4222),
        (1021, 1022),
        (1491, 1491),
        (QUIET + 5, QUIET + 5),
        (QUIET - 2, QUIET + 1),
        (QUIET + 12, QUIET + 12),
        (33_124, 33_126),
        (30_100, 30_100),
        (0, 65_535),
    ];
    let acknowledged = [
        vec![],
        numbers(&[FindingCode::IanaAssigned]),
        numbers(&[FindingCode::CoolingDown, FindingCode::SystemPort, FindingCode::IanaAssigned]),
    ];
    let (tcp, udp) = (Transport::Tcp.into(), Transport::Udp.into());
    let places = [("", vec![tcp]), ("", vec![udp, tcp]), ("web", vec![tcp])];
    let mut cases = Vec::new();
    for (name, (first, last), acknowledge, (pool, transports)) in
        itertools::iproduct!(["mine", "postgresql", "a--b"], runs, acknowledged, places)
    {
        cases.push(proto::RegisterPortRequest {
            service_name: name.into(),
            ports: ports(first, last),
            acknowledge,
            transports,
            pool: pool.into(),
            ..Default::default()
        });
    }
    cases
}

/// What stands in the way of a verdict, as a refusal names it: its reason, and codes to acknowledge.
fn expected(verdict: &proto::Verdict, acknowledged: &[i32]) -> Option<(String, BTreeSet<String>)> {
    let first = verdict.findings.first()?;
    match verdict.outcome() {
        Outcome::Refused => {
            assert_eq!(first.severity(), Severity::Blocker);
            Some((first.code().as_str_name().replace("FINDING_CODE_", ""), BTreeSet::new()))
        }
        Outcome::AcknowledgementRequired => {
            let open = verdict.findings.iter().filter(|found| {
                found.severity() == Severity::Acknowledge && !acknowledged.contains(&found.code)
            });
            let codes = open.map(|found| found.code().as_str_name().to_owned()).collect();
            Some(("ACKNOWLEDGEMENT_REQUIRED".into(), codes))
        }
        _ => None,
    }
}

fn told<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> (String, BTreeSet<String>) {
    let (_, reason, details) = refused(answer);
    let info = details.error_info().unwrap();
    let codes = match reason.as_str() {
        "ACKNOWLEDGEMENT_REQUIRED" => info.metadata["codes"].split(',').map(Into::into).collect(),
        _ => BTreeSet::new(),
    };
    (reason, codes)
}

#[tokio::test]
async fn a_check_predicts_the_registration() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    furnish(&mut writes).await;
    let mut outcomes = BTreeMap::new();
    for request in cases() {
        let answer = reads.check_port(question(&request)).await.unwrap().into_inner();
        let verdict = &answer.verdicts[0];
        *outcomes.entry(verdict.outcome()).or_insert(0) += 1;
        let answer = writes.register_port(request.clone()).await;
        match expected(verdict, &request.acknowledge) {
            Some(refusal) => assert_eq!(told(answer), refusal, "{request:?}"),
            None => {
                let answer = answer.unwrap_or_else(|refusal| panic!("{request:?}: {refusal}"));
                let answer = answer.into_inner();
                assert_eq!(answer.findings, verdict.findings, "{request:?}");
                // Now and then it stays, and later ones meet it.
                for held in answer.assignments.iter().filter(|_| answer.revision % 3 != 0) {
                    writes.release_port(release(&held.uid)).await.unwrap();
                }
            }
        }
    }
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.values().all(|count| *count > 20), "{outcomes:?}");
}

#[tokio::test]
async fn each_item_of_a_batch_is_checked_after_the_items_before_it() {
    let server = Server::start();
    let udp = vec![Transport::Udp.into()];
    let requests = vec![
        register("one", FREE),
        register("two", FREE),
        proto::RegisterPortRequest { transports: udp, ..register("three", FREE) },
        register("four", 5432),
        register("five", 5432),
        register("a--b", FREE + 5),
    ];
    let batch = proto::BatchCheckPortsRequest { requests: requests.clone() };
    let answer = server.reads().await.batch_check_ports(batch).await.unwrap().into_inner();
    let outcomes: Vec<_> = answer.verdicts.iter().map(|verdict| verdict.outcome()).collect();
    let needed = Outcome::AcknowledgementRequired;
    let (yes, no) = (Outcome::Accepted, Outcome::Refused);
    assert_eq!(outcomes, [yes, no, yes, needed, no, no]);
    for (place, code) in [(1, FindingCode::PortTaken), (2, FindingCode::TransportTwin)] {
        let found = &answer.verdicts[place].findings[0];
        assert_eq!((found.code(), found.evidence_index), (code, Some(0)));
        let record = found.evidence.as_ref().unwrap();
        assert_eq!((record.uid.as_str(), record.service_name.as_str()), ("", "one"));
    }
    // Who only has to acknowledge something is in the way of those behind it.
    let found = &answer.verdicts[4].findings[0];
    assert_eq!((found.code(), found.evidence_index), (FindingCode::PortTaken, Some(3)));
    assert!(answer.verdicts.iter().all(|verdict| verdict.alternatives.is_empty()));

    let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
    let facts = denied(
        server
            .writes()
            .await
            .batch_register_ports(proto::BatchRegisterPortsRequest {
                requests: batch.requests[..5].to_vec(),
                ..Default::default()
            })
            .await,
        Code::AlreadyExists,
        "PORT_TAKEN",
    );
    assert_eq!((facts["index"].as_str(), facts["holder"].as_str()), ("1", "one"));
    assert_eq!(server.info().await.revision, 0, "all of them or none");
}

#[tokio::test]
async fn a_batch_check_predicts_the_batch_registration() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    furnish(&mut writes).await;
    let valid: Vec<_> = cases().into_iter().filter(|case| case.service_name == "mine").collect();
    let mut dice = Dice::new(7);
    let (mut made, mut refused) = (0, 0);
    for _ in 0..150 {
        let size = 1 + dice.roll(3);
        let mut pick = |_| {
            let mut one = valid[dice.roll(valid.len() as u32) as usize].clone();
            let bump = dice.roll(3);
            one.ports = one.ports.map(|run| proto::PortRange {
                first: Some((run.first() + bump).min(65_535)),
                last: Some((run.last() + bump).min(65_535)),
            });
            one
        };
        let requests: Vec<_> = (0..size).map(&mut pick).collect();
        let check = proto::BatchCheckPortsRequest { requests: requests.clone() };
        let verdicts = reads.batch_check_ports(check).await.unwrap().into_inner().verdicts;
        let batch =
            proto::BatchRegisterPortsRequest { requests: requests.clone(), ..Default::default() };
        let answer = writes.batch_register_ports(batch).await;
        let first = verdicts.iter().position(|verdict| verdict.outcome() != Outcome::Accepted);
        match first {
            Some(place) => {
                let index = answer.as_ref().err().map(|status| {
                    let (_, _, details) = crate::harness::refused::<()>(Err(status.clone()));
                    details.error_info().unwrap().metadata["index"].clone()
                });
                assert_eq!(index, Some(place.to_string()), "{requests:?}");
                let refusal = expected(&verdicts[place], &requests[place].acknowledge);
                assert_eq!(Some(told(answer)), refusal, "{requests:?}");
                refused += 1;
            }
            None => {
                let answer = answer.unwrap().into_inner();
                let findings = verdicts.iter().flat_map(|verdict| codes(&verdict.findings));
                assert_eq!(codes(&answer.findings), findings.collect::<Vec<_>>());
                for held in &answer.assignments {
                    writes.release_port(release(&held.uid)).await.unwrap();
                }
                made += 1;
            }
        }
    }
    assert!(made > 10 && refused > 50, "{made} {refused}");
}
