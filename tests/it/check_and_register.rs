//! Checks predict registrations: a verdict equals the outcome of the registration.

use std::collections::{BTreeMap, BTreeSet};

use portbook::grpc::proto::{self, FindingCode, Outcome, Severity, Transport};
use tonic::Code;

use crate::check_port::{check_request, prepare_registry};
use crate::harness::{
    FREE, QUIET, Random, Server, assert_refused, codes, error_parts, numbers, ports, register,
    release,
};

/// Names, ranges and acknowledgements whose product covers every outcome.
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

/// The refusal that a verdict predicts: its reason, and the codes that need acknowledgement.
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

fn refusal_of<T: std::fmt::Debug>(
    response: Result<T, tonic::Status>,
) -> (String, BTreeSet<String>) {
    let (_, reason, details) = error_parts(response);
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
    prepare_registry(&mut writes).await;
    let mut outcomes = BTreeMap::new();
    for request in cases() {
        let response = reads.check_port(check_request(&request)).await.unwrap().into_inner();
        let verdict = &response.verdicts[0];
        *outcomes.entry(verdict.outcome()).or_insert(0) += 1;
        let response = writes.register_port(request.clone()).await;
        match expected(verdict, &request.acknowledge) {
            Some(refusal) => assert_eq!(refusal_of(response), refusal, "{request:?}"),
            None => {
                let response = response.unwrap_or_else(|refusal| panic!("{request:?}: {refusal}"));
                let response = response.into_inner();
                assert_eq!(response.findings, verdict.findings, "{request:?}");
                // Some registrations stay, so that later ones conflict with them.
                for held in response.assignments.iter().filter(|_| response.revision % 3 != 0) {
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
    let response = server.reads().await.batch_check_ports(batch).await.unwrap().into_inner();
    let outcomes: Vec<_> = response.verdicts.iter().map(|verdict| verdict.outcome()).collect();
    let needed = Outcome::AcknowledgementRequired;
    let (yes, no) = (Outcome::Accepted, Outcome::Refused);
    assert_eq!(outcomes, [yes, no, yes, needed, no, no]);
    for (position, code) in [(1, FindingCode::PortTaken), (2, FindingCode::TransportTwin)] {
        let found = &response.verdicts[position].findings[0];
        assert_eq!((found.code(), found.evidence_index), (code, Some(0)));
        let record = found.evidence.as_ref().unwrap();
        assert_eq!((record.uid.as_str(), record.service_name.as_str()), ("", "one"));
    }
    // An item that only needs acknowledgement still blocks later items.
    let found = &response.verdicts[4].findings[0];
    assert_eq!((found.code(), found.evidence_index), (FindingCode::PortTaken, Some(3)));
    assert!(response.verdicts.iter().all(|verdict| verdict.alternatives.is_empty()));

    let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
    let metadata = assert_refused(
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
    assert_eq!((metadata["index"].as_str(), metadata["holder"].as_str()), ("1", "one"));
    assert_eq!(server.info().await.revision, 0, "batches are atomic");
}

#[tokio::test]
async fn a_batch_check_predicts_the_batch_registration() {
    let server = Server::start();
    let (mut reads, mut writes) = (server.reads().await, server.writes().await);
    prepare_registry(&mut writes).await;
    let valid: Vec<_> = cases().into_iter().filter(|case| case.service_name == "mine").collect();
    let mut random = Random::new(7);
    let (mut made, mut refused) = (0, 0);
    for _ in 0..150 {
        let size = 1 + random.below(3);
        let mut pick = |_| {
            let mut one = valid[random.below(valid.len() as u32) as usize].clone();
            let bump = random.below(3);
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
        let response = writes.batch_register_ports(batch).await;
        let first = verdicts.iter().position(|verdict| verdict.outcome() != Outcome::Accepted);
        match first {
            Some(position) => {
                let index = response.as_ref().err().map(|status| {
                    let (_, _, details) = crate::harness::error_parts::<()>(Err(status.clone()));
                    details.error_info().unwrap().metadata["index"].clone()
                });
                assert_eq!(index, Some(position.to_string()), "{requests:?}");
                let refusal = expected(&verdicts[position], &requests[position].acknowledge);
                assert_eq!(Some(refusal_of(response)), refusal, "{requests:?}");
                refused += 1;
            }
            None => {
                let response = response.unwrap().into_inner();
                let findings = verdicts.iter().flat_map(|verdict| codes(&verdict.findings));
                assert_eq!(codes(&response.findings), findings.collect::<Vec<_>>());
                for held in &response.assignments {
                    writes.release_port(release(&held.uid)).await.unwrap();
                }
                made += 1;
            }
        }
    }
    assert!(made > 10 && refused > 50, "{made} {refused}");
}
