//! ListAssignments: every record once, pages, and combined filters.

use std::collections::{BTreeMap, HashSet};

use portbook::grpc::proto::{
    Assignment, AssignmentFilter, ListAssignmentsRequest, Source, State, Transport,
};
use tonic::Code;

use crate::harness::{FREE, Server, acknowledge_all, error_parts, ports, register, sql_counts};

async fn list(server: &Server, filter: AssignmentFilter, page_size: i32) -> Vec<Assignment> {
    let mut reads = server.reads().await;
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let filter = Some(filter.clone());
        let request = ListAssignmentsRequest { filter, page_size, page_token, as_of: None };
        let page = reads.list_assignments(request).await.unwrap().into_inner();
        assert!(page.assignments.len() <= usize::try_from(page_size).unwrap());
        all.extend(page.assignments);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            assert_eq!(page.total_size as usize, all.len());
            return all;
        }
    }
}

#[tokio::test]
async fn every_stored_record_is_listed_once() {
    let server = Server::start();
    let all = list(&server, AssignmentFilter::default(), 500).await;
    let uids: HashSet<_> = all.iter().map(|assignment| &assignment.uid).collect();
    assert_eq!(uids.len(), all.len());

    let describe = |assignment: &Assignment| {
        let ports = assignment.ports.map(|p| format!("{}-{}", p.first(), p.last()));
        let transport = assignment.transport().as_str_name().to_lowercase();
        [
            assignment.source().as_str_name().trim_start_matches("SOURCE_").to_owned(),
            assignment.service_name.clone(),
            ports.unwrap_or_default(),
            transport.trim_start_matches("transport_").replace("unspecified", ""),
            assignment.description.clone(),
        ]
        .join("|")
    };
    let mut listed: BTreeMap<String, i64> = BTreeMap::new();
    for assignment in &all {
        *listed.entry(describe(assignment)).or_default() += 1;
    }
    let row = "coalesce(service_name, '') || '|' || coalesce(first_port || '-' || last_port, '') \
               || '|' || coalesce(transport, '') || '|' || coalesce(description, '')";
    let query = format!(
        "select row, count(*) from (select 'IANA|' || {row} as row from iana_record union all \
         select 'COMMON|' || {row} from common_use) group by row"
    );
    let stored: BTreeMap<String, i64> =
        sql_counts(&server.database(), &query).await.into_iter().collect();
    assert_eq!(listed, stored);
    let iana = all.iter().filter(|assignment| assignment.source() == Source::Iana).count();
    assert_eq!(iana, 14_447);
}

#[tokio::test]
async fn lists_are_sorted_by_port_transport_and_source() {
    let server = Server::start();
    server.writes().await.register_port(acknowledge_all(register("own", 80))).await.unwrap();
    let at_80 = AssignmentFilter { ports: ports(80, 80), ..Default::default() };
    let names: Vec<_> = list(&server, at_80, 100)
        .await
        .into_iter()
        .map(|a| (a.transport(), a.service_name))
        .collect();
    let expected = [
        (Transport::Tcp, "own"),
        (Transport::Tcp, "http"),
        (Transport::Tcp, "www"),
        (Transport::Tcp, "www-http"),
        (Transport::Udp, "http"),
        (Transport::Udp, "www"),
        (Transport::Udp, "www-http"),
        (Transport::Sctp, "http"),
    ];
    assert_eq!(names, expected.map(|(transport, name)| (transport, name.to_owned())));
    let all = list(&server, AssignmentFilter::default(), 1000).await;
    let first_port = |a: &Assignment| a.ports.map_or(u32::MAX, |ports| ports.first());
    assert!(all.is_sorted_by_key(first_port));
}

#[tokio::test]
async fn filters_combine() {
    let server = Server::start();
    let mut request = register("billing", FREE);
    request.assignee = "Team Payments".into();
    request.labels = [("tier".into(), "1".into()), ("env".into(), "prod".into())].into();
    server.writes().await.register_port(request).await.unwrap();
    let names = async |filter| -> Vec<String> {
        let all = list(&server, filter, 1000).await;
        all.into_iter().map(|assignment| assignment.service_name).collect()
    };
    let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();

    let custom = AssignmentFilter { sources: vec![Source::Custom.into()], ..Default::default() };
    assert_eq!(names(custom.clone()).await, ["billing"]);
    let payments = AssignmentFilter { assignee: "payments".into(), ..Default::default() };
    assert_eq!(names(payments).await, ["billing"]);
    let tier = |value| AssignmentFilter { labels: label("tier", value), ..Default::default() };
    assert_eq!(names(tier("1")).await, ["billing"]);
    assert!(names(tier("2")).await.is_empty());
    let reaching_in = AssignmentFilter {
        ports: ports(6001, 6001),
        sources: vec![Source::Iana.into()],
        ..Default::default()
    };
    assert_eq!(names(reaching_in).await, ["x11", "x11"]);
    let both = AssignmentFilter {
        service_name_prefix: "HTTPS".into(),
        transports: vec![Transport::Sctp.into()],
        ..Default::default()
    };
    assert_eq!(names(both).await, ["https"]);
    let reserved = AssignmentFilter {
        ports: ports(1023, 1024),
        states: vec![State::Reserved.into()],
        ..Default::default()
    };
    assert_eq!(names(reserved).await.len(), 4);
    let unsaid = AssignmentFilter {
        transports: vec![Transport::Unspecified.into()],
        sources: vec![Source::Iana.into()],
        ..Default::default()
    };
    assert_eq!(names(unsaid).await.len(), 1453);
    let all_namespaces = AssignmentFilter { namespace: "-".into(), ..custom };
    assert_eq!(names(all_namespaces).await, ["billing"]);
}

#[tokio::test]
async fn pages_contain_each_record_once_under_concurrent_writes() {
    let server = Server::start();
    let mut writes = server.writes().await;
    for port in (20_000..20_200).step_by(2) {
        writes.register_port(acknowledge_all(register("stays", port))).await.unwrap();
    }
    let writing = tokio::spawn(async move {
        for port in (20_001..20_200).step_by(2) {
            let response =
                writes.register_port(acknowledge_all(register("comes", port))).await.unwrap();
            let uid = response.into_inner().assignments.remove(0).uid;
            if port % 4 == 1 {
                let request =
                    portbook::grpc::proto::ReleasePortRequest { uid, ..Default::default() };
                writes.release_port(request).await.unwrap();
            }
        }
    });
    for _ in 0..10 {
        let mut reads = server.reads().await;
        let filter =
            Some(AssignmentFilter { sources: vec![Source::Custom.into()], ..Default::default() });
        let mut stays = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListAssignmentsRequest {
                filter: filter.clone(),
                page_size: 7,
                page_token,
                as_of: None,
            };
            let page = reads.list_assignments(request).await.unwrap().into_inner();
            let names = page.assignments.iter().filter(|a| a.service_name == "stays");
            stays.extend(names.map(|a| a.ports.unwrap().first()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(stays, (20_000..20_200).step_by(2).collect::<Vec<u32>>());
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn page_sizes_are_clamped_and_page_tokens_survive_a_restart() {
    let mut server = Server::start();
    let page = async |server: &Server, page_size, page_token: &str| {
        let request = ListAssignmentsRequest {
            page_size,
            page_token: page_token.into(),
            ..Default::default()
        };
        server.reads().await.list_assignments(request).await.unwrap().into_inner()
    };
    assert_eq!(page(&server, 0, "").await.assignments.len(), 50);
    assert_eq!(page(&server, 100_000, "").await.assignments.len(), 1000);
    let first = page(&server, 10, "").await;
    let second = page(&server, 10, &first.next_page_token).await;
    server.kill();
    server.launch();
    assert_eq!(page(&server, 10, &first.next_page_token).await, second);
}

#[tokio::test]
async fn a_page_token_is_valid_only_for_its_list() {
    let server = Server::start();
    // A database with another id: it is not a copy of the template.
    let mut other = Server::stopped();
    other.launch();
    let request = |prefix: &str, page_token: &str| ListAssignmentsRequest {
        filter: Some(AssignmentFilter { service_name_prefix: prefix.into(), ..Default::default() }),
        page_size: 5,
        page_token: page_token.into(),
        as_of: None,
    };
    let mut reads = server.reads().await;
    let token =
        reads.list_assignments(request("a", "")).await.unwrap().into_inner().next_page_token;
    reads.list_assignments(request("a", &token)).await.unwrap();
    let mut forged = token.clone();
    forged.replace_range(..1, if token.starts_with('C') { "D" } else { "C" });
    for (server, prefix, token) in [
        (&server, "b", token.as_str()),
        (&other, "a", &token),
        (&server, "a", &forged),
        (&server, "a", &token[1..]),
        (&server, "a", "5"),
        (&server, "a", "ü"),
    ] {
        let response = server.reads().await.list_assignments(request(prefix, token)).await;
        let (code, reason, _) = error_parts(response);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
    }
}
