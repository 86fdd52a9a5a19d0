//! Lookups of ports, services and endpoints.

use portbook::grpc::proto::{self, HostKind, PortClass, Source, State, Transport};
use tonic::Code;

use crate::harness::{FREE, Server, acknowledge_all, decode, error_parts, register};

fn named(info: &proto::PortInfo) -> Vec<(&str, Transport, Source)> {
    info.assignments
        .iter()
        .map(|assignment| {
            (assignment.service_name.as_str(), assignment.transport(), assignment.source())
        })
        .collect()
}

#[tokio::test]
async fn well_known_ports_have_a_guide() {
    let server = Server::start();
    let known = [
        (20, "ftp-data", "FTP data"),
        (21, "ftp", "FTP"),
        (22, "ssh", "SSH"),
        (25, "smtp", "SMTP"),
        (53, "domain", "DNS"),
        (80, "http", "HTTP"),
        (123, "ntp", "NTP"),
        (179, "bgp", "BGP"),
        (443, "https", "HTTPS"),
        (500, "isakmp", "IKE"),
        (995, "pop3s", "POP3S"),
        (3389, "ms-wbt-server", "RDP"),
    ];
    for (port, name, title) in known {
        let info = server.lookup(port).await;
        assert_eq!(info.port, port);
        assert_eq!(info.state(), State::Assigned, "{port}");
        assert_eq!(info.assignments[0].service_name, name);
        let guide = info.guide.unwrap_or_else(|| panic!("{port} has no guide"));
        assert_eq!(info.assignments[0].guide, guide.id);
        assert!(guide.title.contains(title) || guide.full_name.contains(title), "{guide:?}");
        assert!(guide.summary.len() > 40, "{port}");
    }
}

#[tokio::test]
async fn port_443_is_https_on_three_transports() {
    let info = Server::start().lookup(443).await;
    assert_eq!(info.port_class(), PortClass::System);
    let https = |transport| ("https", transport, Source::Iana);
    assert_eq!(
        named(&info),
        [https(Transport::Tcp), https(Transport::Udp), https(Transport::Sctp)]
    );
}

#[tokio::test]
async fn all_records_of_a_port_are_returned_in_registry_order() {
    let server = Server::start();
    let tcp_names = |info: &proto::PortInfo| -> Vec<String> {
        let tcp = info.assignments.iter().filter(|a| a.transport() == Transport::Tcp);
        tcp.map(|assignment| assignment.service_name.clone()).collect()
    };
    assert_eq!(tcp_names(&server.lookup(80).await), ["http", "www", "www-http"]);
    assert_eq!(tcp_names(&server.lookup(512).await), ["exec"]);
    let elastic = server.lookup(9200).await;
    assert_eq!(elastic.assignments[0].service_name, "wap-wsp");
    let last = elastic.assignments.last().unwrap();
    assert_eq!((last.service_name.as_str(), last.source()), ("elasticsearch", Source::Common));
}

#[tokio::test]
async fn a_port_inside_a_range_is_found_and_the_narrower_record_comes_first() {
    let server = Server::start();
    let x11 = server.lookup(6001).await;
    assert_eq!(x11.assignments[0].service_name, "x11");
    assert_eq!(x11.assignments[0].ports, crate::harness::ports(6000, 6063));
    let inetfs = server.lookup(7775).await;
    assert!(inetfs.assignments.iter().all(|assignment| assignment.state() != State::Unassigned));
    assert_eq!(inetfs.assignments[0].service_name, "inetfs");
    assert_eq!(server.lookup(7997).await.assignments[0].service_name, "pushns");
}

#[tokio::test]
async fn port_classes_and_states_are_returned() {
    let server = Server::start();
    let cases = [
        (0, PortClass::System, State::Reserved),
        (1023, PortClass::System, State::Reserved),
        (4748, PortClass::User, State::Unassigned),
        (24, PortClass::System, State::Assigned),
        (50000, PortClass::Dynamic, State::Unlisted),
        (65535, PortClass::Dynamic, State::Unlisted),
    ];
    for (port, class, state) in cases {
        let info = server.lookup(port).await;
        assert_eq!((info.port_class(), info.state()), (class, state), "{port}");
    }
}

#[tokio::test]
async fn a_record_without_a_transport_matches_queries_without_one() {
    let server = Server::start();
    let request = proto::LookupPortRequest {
        port: Some(4201),
        transport: Transport::Tcp.into(),
        ..Default::default()
    };
    let response = server.reads().await.lookup_port(request).await.unwrap().into_inner();
    let info: proto::PortInfo = decode(&response.port_info);
    let iana = info.assignments.iter().find(|a| a.source() == Source::Iana).unwrap();
    assert_eq!(iana.service_name, "vrml-multi-use");
    assert_eq!(iana.transport(), Transport::Unspecified);
}

async fn service(server: &Server, name: &str) -> Vec<(String, Option<u32>, String)> {
    let request = proto::LookupServiceRequest { service_name: name.into(), ..Default::default() };
    let response = server.reads().await.lookup_service(request).await.unwrap().into_inner();
    let first = |ports: proto::PortRange| ports.first();
    let tuple = |assignment: proto::Assignment| {
        (assignment.service_name, assignment.ports.map(first), assignment.description)
    };
    response.assignments.into_iter().map(tuple).collect()
}

#[tokio::test]
async fn a_service_is_found_by_its_common_name() {
    let server = Server::start();
    for (word, name, port) in [
        ("dns", "domain", 53),
        ("DNS", "domain", 53),
        ("postgres", "postgresql", 5432),
        ("Remote Desktop Protocol", "ms-wbt-server", 3389),
        ("remote_desktop", "ms-wbt-server", 3389),
        ("k8s", "kube-apiserver", 6443),
        ("HTTPS", "https", 443),
    ] {
        let found = service(&server, word).await;
        assert_eq!((found[0].0.as_str(), found[0].1), (name, Some(port)), "{word}");
    }
}

#[tokio::test]
async fn the_three_meanings_of_rdp_are_distinguished() {
    let found = service(&Server::start(), "rdp").await;
    assert_eq!(found[0].0, "ms-wbt-server");
    assert_eq!(found[0].1, Some(3389));
    let portless: Vec<_> = found.iter().filter(|(_, port, _)| port.is_none()).collect();
    let descriptions: Vec<_> = portless.iter().map(|(_, _, words)| words.as_str()).collect();
    assert_eq!(descriptions, ["Reliable Data Protocol", "Windows Remote Desktop Protocol"]);
}

#[tokio::test]
async fn legacy_names_are_linked_to_their_replacements() {
    let server = Server::start();
    let found = service(&server, "whois++").await;
    let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(names.contains(&"whois++") && names.contains(&"whoispp"), "{names:?}");
    let info = server.lookup(63).await;
    let modern = info.assignments.iter().find(|a| a.service_name == "whoispp").unwrap();
    assert_eq!(modern.aliases, ["whois++"]);
}

#[tokio::test]
async fn an_unknown_service_error_suggests_the_nearest_names() {
    let server = Server::start();
    let request =
        proto::LookupServiceRequest { service_name: "postgresq".into(), ..Default::default() };
    let (code, reason, details) = error_parts(server.reads().await.lookup_service(request).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "SERVICE_NOT_FOUND"));
    let nearest = &details.error_info().unwrap().metadata["nearest"];
    assert!(nearest.split(',').any(|name| name == "postgresql"), "{nearest}");
}

async fn endpoint(server: &Server, text: &str) -> (String, HostKind, Transport, String) {
    let request = proto::LookupEndpointRequest { endpoint: text.into(), ..Default::default() };
    let response = server.reads().await.lookup_endpoint(request).await.unwrap().into_inner();
    let info: proto::PortInfo = decode(&response.port_info);
    let name = info.assignments[0].service_name.clone();
    (response.host.clone(), response.host_kind(), response.transport(), name)
}

#[tokio::test]
async fn endpoints_are_parsed_in_every_form() {
    let server = Server::start();
    let any = Transport::Unspecified;
    for (text, host, kind, transport, name) in [
        ("32.23.55.21:80", "32.23.55.21", HostKind::Ipv4, any, "http"),
        ("39.56.88.32:443", "39.56.88.32", HostKind::Ipv4, any, "https"),
        ("90.32.41.58:21", "90.32.41.58", HostKind::Ipv4, any, "ftp"),
        ("[2001:db8::1]:443", "2001:db8::1", HostKind::Ipv6, any, "https"),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", HostKind::Ipv6, any, "ssh"),
        ("db.example.com:postgresql", "db.example.com", HostKind::Name, any, "postgresql"),
        (":22", "", HostKind::Unspecified, any, "ssh"),
        ("10.0.0.1:53/udp", "10.0.0.1", HostKind::Ipv4, Transport::Udp, "domain"),
        ("https://example.com", "example.com", HostKind::Name, any, "https"),
        ("wss://example.com/chat", "example.com", HostKind::Name, any, "https"),
        ("postgres://u@db:5433/x", "db", HostKind::Name, any, "pyrrho"),
    ] {
        let response = endpoint(&server, text).await;
        assert_eq!(response, (host.to_owned(), kind, transport, name.to_owned()), "{text}");
    }
}

#[tokio::test]
async fn an_endpoint_with_an_ambiguous_service_name_needs_a_number() {
    let server = Server::start();
    for (endpoint, reason, ports) in [
        ("host:http-alt", "SERVICE_AMBIGUOUS", Some("591,8008,8080")),
        ("host:x11", "SERVICE_AMBIGUOUS", Some("6000-6063")),
        ("host:argus", "SERVICE_WITHOUT_PORT", None),
    ] {
        let request =
            proto::LookupEndpointRequest { endpoint: endpoint.into(), ..Default::default() };
        let response = server.reads().await.lookup_endpoint(request).await;
        let (code, output, details) = error_parts(response);
        assert_eq!((code, output.as_str()), (Code::FailedPrecondition, reason), "{endpoint}");
        let named = details.error_info().unwrap().metadata.get("ports").map(String::as_str);
        assert_eq!(named, ports, "{endpoint}");
    }
}

#[tokio::test]
async fn a_url_scheme_keeps_its_port_when_the_name_is_registered_elsewhere() {
    let server = Server::start();
    server.writes().await.register_port(acknowledge_all(register("https", FREE))).await.unwrap();
    assert_eq!(endpoint(&server, "https://example.com").await.3, "https");
    let request =
        proto::LookupEndpointRequest { endpoint: "host:https".into(), ..Default::default() };
    let (_, reason, _) = error_parts(server.reads().await.lookup_endpoint(request).await);
    assert_eq!(reason, "SERVICE_AMBIGUOUS");
}

#[tokio::test]
async fn a_batch_preserves_the_order_of_the_request() {
    let server = Server::start();
    let requested = [443, 0, 60001, 443, 22];
    let queries =
        requested.map(|port| proto::PortQuery { port: Some(port), transport: 0 }).to_vec();
    let request = proto::BatchLookupPortsRequest { queries, ..Default::default() };
    let response = server.reads().await.batch_lookup_ports(request).await.unwrap().into_inner();
    let infos: Vec<proto::PortInfo> = response.port_infos.iter().map(|b| decode(b)).collect();
    assert_eq!(infos.iter().map(|info| info.port).collect::<Vec<_>>(), requested);
    assert!(infos.iter().all(|info| info.guide.is_none()), "guides are returned once, separately");
    let guides: Vec<proto::Guide> = response.guides.iter().map(|bytes| decode(bytes)).collect();
    assert_eq!(guides.iter().map(|guide| guide.id.as_str()).collect::<Vec<_>>(), ["https", "ssh"]);
}

#[tokio::test]
async fn a_record_is_found_by_uid() {
    let server = Server::start();
    let requested = server.lookup(443).await.assignments.remove(0);
    let request = proto::GetAssignmentRequest { uid: requested.uid.to_uppercase() };
    let response = server.reads().await.get_assignment(request).await.unwrap().into_inner();
    assert_eq!(response.assignment, Some(requested));
    assert_eq!(response.guide.unwrap().id, "https");
}
