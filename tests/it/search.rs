//! SearchAssignments: hits, their order, and the reason of each hit.

use portbook::grpc::proto::{MatchReason, SearchAssignmentsRequest, SearchHit};

use crate::harness::{FREE, Server, register};

async fn search(server: &Server, query: &str) -> Vec<SearchHit> {
    let request = SearchAssignmentsRequest { query: query.into(), ..Default::default() };
    server.reads().await.search_assignments(request).await.unwrap().into_inner().hits
}

#[tokio::test]
async fn common_queries_find_the_intended_service() {
    let server = Server::start();
    for (query, name, reason) in [
        ("https", "https", MatchReason::ExactName),
        ("HTTPS", "https", MatchReason::ExactName),
        ("remote desktop", "ms-wbt-server", MatchReason::Alias),
        ("Remote-Desktop", "ms-wbt-server", MatchReason::Alias),
        ("postgres", "postgresql", MatchReason::Alias),
        ("postgress", "postgresql", MatchReason::Similar),
        ("elasticsaerch", "elasticsearch", MatchReason::Similar),
        ("mail submission", "submission", MatchReason::Alias),
        ("domain name", "domain", MatchReason::Alias),
        ("3389", "ms-wbt-server", MatchReason::Port),
        ("53/udp", "domain", MatchReason::Port),
        ("udp 53", "domain", MatchReason::Port),
        ("port 443", "https", MatchReason::Port),
        ("ssh server", "ssh", MatchReason::Word),
        ("postgresq", "postgresql", MatchReason::Prefix),
        ("kubernetes", "kube-apiserver", MatchReason::Alias),
        ("x window system", "x11", MatchReason::Prefix),
    ] {
        let hits = search(&server, query).await;
        let best = hits.first().unwrap_or_else(|| panic!("{query}: nothing found"));
        assert_eq!((best.service_name.as_str(), best.reason()), (name, reason), "{query}");
    }
}

#[tokio::test]
async fn a_hit_is_a_service_with_all_its_records() {
    let hits = search(&Server::start(), "http-alt").await;
    let ports: Vec<_> = hits[0].assignments.iter().map(|a| a.ports.unwrap().first()).collect();
    assert_eq!(ports, [591, 591, 8008, 8008, 8080, 8080]);
}

#[tokio::test]
async fn all_words_must_match_and_better_matches_come_first() {
    let hits = search(&Server::start(), "windows file sharing").await;
    assert!(hits.iter().any(|hit| hit.service_name == "microsoft-ds"), "{hits:?}");
    let reasons: Vec<_> = hits.iter().map(|hit| hit.reason).collect();
    assert!(reasons.is_sorted(), "{reasons:?}");
}

#[tokio::test]
async fn a_registration_is_searchable_immediately() {
    let server = Server::start();
    let mut request = register("billing-api", FREE);
    request.assignee = "Team Payments".into();
    request.description = "Invoices of the Zürich office".into();
    server.writes().await.register_port(request).await.unwrap();
    for query in ["billing", "BILLING API", "team payments", "invoices zürich", "biling-api"] {
        assert_eq!(search(&server, query).await[0].service_name, "billing-api", "{query}");
    }
}

#[tokio::test]
async fn an_empty_result_is_not_an_error() {
    let server = Server::start();
    assert!(search(&server, "qqqqqqqqzzzz").await.is_empty());
    assert!(search(&server, "+++").await.is_empty());
}

#[tokio::test]
async fn the_limit_is_respected() {
    let server = Server::start();
    for (limit, most) in [(0, 20), (3, 3), (1000, 100)] {
        let request =
            SearchAssignmentsRequest { query: "server".into(), limit, ..Default::default() };
        let response = server.reads().await.search_assignments(request).await.unwrap();
        assert_eq!(response.into_inner().hits.len(), most, "{limit}");
    }
}
