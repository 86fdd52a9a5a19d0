//! Invalid requests are refused with code, reason and field, and change nothing.

use portbook::grpc::proto::{self, FindingCode, Transport};
use tonic::Code;

use crate::harness::{FREE, Server, bad_fields, error_parts, failed_start, ports, register, serve};
use crate::raw_calls::call;

/// A uid that no record has.
const UID: &str = "7f70d13f-1294-517b-b3ec-000000000000";

fn invalid<T: std::fmt::Debug>(response: Result<T, tonic::Status>, reason: &str, fields: &[&str]) {
    let (code, output, details) = error_parts(response);
    assert_eq!((code, output.as_str()), (Code::InvalidArgument, reason));
    assert_eq!(bad_fields(&details), fields);
}

#[tokio::test]
async fn reads_name_each_invalid_field() {
    let server = Server::start();
    let mut reads = server.reads().await;
    let field = "INVALID_FIELD";
    let port = |port, transport| proto::LookupPortRequest { port, transport, ..Default::default() };
    invalid(reads.lookup_port(port(None, 0)).await, field, &["port"]);
    invalid(reads.lookup_port(port(Some(65_536), 0)).await, field, &["port"]);
    invalid(reads.lookup_port(port(Some(u32::MAX), 5)).await, field, &["port", "transport"]);
    invalid(reads.lookup_port(port(Some(1), -1)).await, field, &["transport"]);
    for name in ["Prod", "a/b", &"n".repeat(64), "ü"] {
        let request = proto::LookupPortRequest { namespace: name.into(), ..port(Some(1), 0) };
        invalid(reads.lookup_port(request).await, field, &["namespace"]);
    }
    let unknown = proto::LookupPortRequest { namespace: "defaul".into(), ..port(Some(1), 0) };
    let (code, reason, details) = error_parts(reads.lookup_port(unknown).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
    assert_eq!(details.error_info().unwrap().metadata["nearest"], "default");

    for name in ["", "   ", "a\0b", &"n".repeat(129)] {
        let request =
            proto::LookupServiceRequest { service_name: name.into(), ..Default::default() };
        invalid(reads.lookup_service(request).await, field, &["service_name"]);
        let request = proto::SearchAssignmentsRequest { query: name.into(), ..Default::default() };
        invalid(reads.search_assignments(request).await, field, &["query"]);
    }
    let request =
        proto::SearchAssignmentsRequest { query: "a".into(), limit: -1, ..Default::default() };
    invalid(reads.search_assignments(request).await, field, &["limit"]);
    for text in ["", "10.0.0.1", "10.0.0.1:", "1.2.3.4:99999", "::1:80", "a b:80", "x:80/icmp"] {
        let request = proto::LookupEndpointRequest { endpoint: text.into(), ..Default::default() };
        invalid(reads.lookup_endpoint(request).await, field, &["endpoint"]);
    }
    for uid in ["", "1", "7f70d13f1294517bb3ecd5e0fb1b800b", "7f70d13f-1294-517b-b3ec-d5e0fb1b800z"]
    {
        let request = proto::GetAssignmentRequest { uid: uid.into() };
        invalid(reads.get_assignment(request).await, field, &["uid"]);
    }
    let request = proto::GetAssignmentRequest { uid: UID.into() };
    let (code, reason, _) = error_parts(reads.get_assignment(request).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "ASSIGNMENT_NOT_FOUND"));

    let query = |port| proto::PortQuery { port, transport: 0 };
    let batch = |queries| proto::BatchLookupPortsRequest { queries, ..Default::default() };
    invalid(reads.batch_lookup_ports(batch(vec![])).await, field, &["queries"]);
    let many = vec![query(Some(1)); 10_001];
    invalid(reads.batch_lookup_ports(batch(many)).await, field, &["queries"]);
    let second = vec![query(Some(1)), query(None)];
    invalid(reads.batch_lookup_ports(batch(second)).await, field, &["queries[1].port"]);
    let most = vec![query(Some(443)); 10_000];
    let response = reads.batch_lookup_ports(batch(most)).await.unwrap().into_inner();
    assert_eq!(response.port_infos.len(), 10_000);
}

#[tokio::test]
async fn lists_name_each_invalid_field() {
    let server = Server::start();
    let mut reads = server.reads().await;
    let list = |filter, page_size| proto::ListAssignmentsRequest {
        filter: Some(filter),
        page_size,
        ..Default::default()
    };
    let field = "INVALID_FIELD";
    let plain = proto::AssignmentFilter::default();
    invalid(reads.list_assignments(list(plain.clone(), -1)).await, field, &["page_size"]);
    let bad = proto::AssignmentFilter {
        sources: vec![0],
        states: vec![7],
        transports: vec![5],
        ports: ports(9, 3),
        service_name_prefix: "p".repeat(129),
        labels: [("Bad Key".into(), String::new())].into(),
        ..plain.clone()
    };
    let fields = [
        "filter.sources",
        "filter.states",
        "filter.transports",
        "filter.ports",
        "filter.service_name_prefix",
        "filter.labels",
    ];
    invalid(reads.list_assignments(list(bad, 1)).await, field, &fields);
    let beyond = proto::AssignmentFilter { ports: ports(1, 65_536), ..plain.clone() };
    invalid(reads.list_assignments(list(beyond, 1)).await, field, &["filter.ports.last"]);
    let open = Some(proto::PortRange { first: None, last: Some(5) });
    let open = proto::AssignmentFilter { ports: open, ..plain };
    invalid(reads.list_assignments(list(open, 1)).await, field, &["filter.ports.first"]);
}

#[tokio::test]
async fn registrations_name_each_invalid_field() {
    let server = Server::start();
    let mut writes = server.writes().await;
    for name in ["", "abcdefghijklmnop", "bücher", "123", "-a", "a-", "a--b", "a b", "a\0"] {
        let response = writes.register_port(register(name, FREE)).await;
        invalid(response, "INVALID_SERVICE_NAME", &["service_name"]);
    }
    let plain = || register("billing", FREE);
    let with = |change: fn(&mut proto::RegisterPortRequest)| {
        let mut request = plain();
        change(&mut request);
        request
    };
    let field = "INVALID_FIELD";
    for (request, bad) in [
        (with(|r| r.ports = None), "ports"),
        (with(|r| r.ports = Some(proto::PortRange::default())), "ports.first"),
        (with(|r| r.ports = ports(5000, 4999)), "ports"),
        (with(|r| r.ports = ports(65_000, 65_536)), "ports.last"),
        (with(|r| r.transports = vec![]), "transports"),
        (with(|r| r.transports = vec![Transport::Unspecified.into()]), "transports"),
        (with(|r| r.transports = vec![Transport::Tcp.into(); 2]), "transports"),
        (with(|r| r.transports = vec![17]), "transports"),
        (with(|r| r.description = "d".repeat(256)), "description"),
        (with(|r| r.assignee = "line\nbreak".into()), "assignee"),
        (with(|r| r.contact = "\u{1b}[2J".into()), "contact"),
        (with(|r| r.reference = "nul\0".into()), "reference"),
        (with(|r| r.assignment_notes = "n".repeat(2001)), "assignment_notes"),
        (with(|r| r.labels = [("Key".into(), String::new())].into()), "labels"),
        (
            with(|r| r.labels = (0..33).map(|n| (format!("k{n}"), String::new())).collect()),
            "labels",
        ),
        (with(|r| r.labels = [("k".into(), "v".repeat(256))].into()), "labels"),
        (with(|r| r.acknowledge = vec![0]), "acknowledge"),
        (with(|r| r.acknowledge = vec![99]), "acknowledge"),
        (with(|r| r.acknowledge = vec![FindingCode::PortTaken.into()]), "acknowledge"),
        (with(|r| r.request_id = "i".repeat(65)), "request_id"),
        (with(|r| r.request_id = "a b".into()), "request_id"),
        (with(|r| r.reason = "r".repeat(513)), "reason"),
        (with(|r| r.namespace = "No".into()), "namespace"),
    ] {
        invalid(writes.register_port(request).await, field, &[bad]);
    }
    invalid(writes.register_port(register("billing", 0)).await, "PORT_ZERO", &["ports"]);
    let unknown = with(|r| r.namespace = "prod".into());
    let (code, reason, _) = error_parts(writes.register_port(unknown).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
    assert_eq!(server.info().await.revision, 0);
}

#[tokio::test]
async fn updates_and_releases_name_each_invalid_field() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let response = writes.register_port(register("billing", FREE)).await.unwrap();
    let held = response.into_inner().assignments.remove(0);
    let field = "INVALID_FIELD";
    let update = |assignment, paths: &[&str]| proto::UpdateAssignmentRequest {
        assignment: Some(assignment),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }),
        ..Default::default()
    };
    invalid(
        writes.update_assignment(proto::UpdateAssignmentRequest::default()).await,
        field,
        &["assignment"],
    );
    for paths in [&["uid"][..], &["ports"], &["nonsense"], &["*", "description"]] {
        invalid(
            writes.update_assignment(update(held.clone(), paths)).await,
            field,
            &["update_mask"],
        );
    }
    let bad = proto::Assignment { uid: "x".into(), etag: "17".into(), ..held.clone() };
    let both = ["assignment.uid", "assignment.etag"];
    invalid(writes.update_assignment(update(bad, &["description"])).await, field, &both);
    let bad = proto::Assignment { description: "\0".into(), ..held.clone() };
    invalid(
        writes.update_assignment(update(bad.clone(), &["description"])).await,
        field,
        &["assignment.description"],
    );
    // Fields outside the mask are not validated.
    writes.update_assignment(update(bad, &["contact"])).await.unwrap();
    let bad = proto::Assignment { service_name: String::new(), ..held.clone() };
    invalid(
        writes.update_assignment(update(bad, &["service_name"])).await,
        "INVALID_SERVICE_NAME",
        &["assignment.service_name"],
    );

    let release = |change: fn(&mut proto::ReleasePortRequest)| {
        let mut request = proto::ReleasePortRequest::default();
        change(&mut request);
        request
    };
    for (request, bad) in [
        (release(|_| ()), "uid"),
        (release(|r| r.uid = "x".into()), "uid"),
        (release(|r| r.port = Some(65_536)), "port"),
        (release(|r| (r.port, r.etag) = (Some(1), "r1".into())), "etag"),
        (release(|r| (r.port, r.transport) = (Some(1), 9)), "transport"),
        (release(|r| (r.uid, r.etag) = (UID.into(), "r01".into())), "etag"),
    ] {
        let (code, reason, details) = error_parts(writes.release_port(request).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, field));
        assert!(bad_fields(&details).iter().any(|named| named == bad), "{details:?}");
    }
    let both = proto::ReleasePortRequest { uid: held.uid, port: Some(1), ..Default::default() };
    invalid(writes.release_port(both).await, field, &["port"]);
}

#[tokio::test]
async fn undecodable_messages_have_a_reason() {
    let server = Server::start();
    let lookup = "/portbook.v1.PortRegistryService/LookupPort";
    for garbage in [vec![0xff; 40], vec![0x08], vec![0x1a, 0x05, b'a'], vec![0x1a, 0x01, 0xff]] {
        let (code, reason, _) = error_parts(call(server.channel().await, lookup, garbage).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "MALFORMED_MESSAGE"));
    }
    let large = call(server.channel().await, lookup, vec![0; 2 * 1024 * 1024]).await;
    let (code, reason, _) = error_parts(large);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    for path in ["/portbook.v1.PortRegistryService/Nonsense", "/no.such.Service/Rpc"] {
        let (code, reason, _) = error_parts(call(server.channel().await, path, vec![]).await);
        assert_eq!((code, reason.as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
    }
    server.lookup(443).await;
}

#[test]
fn each_unusable_database_has_a_specific_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let output = |path: &std::path::Path| {
        let (code, output) = failed_start(&mut serve(path));
        assert_eq!(code, Some(5), "{output}");
        assert_eq!(output.trim_end().lines().count(), 1, "{output}");
        output
    };
    let no_database = |path: &std::path::Path| {
        let (code, output) = failed_start(&mut serve(path));
        assert_eq!(code, Some(6), "{output}");
        assert!(!output.contains("portbook restore"), "{output}");
        output
    };
    assert!(output(folder.path()).contains("is a folder"));
    assert!(output(&at("no/such/file.db")).contains("folder of the database"));
    if cfg!(target_os = "linux") {
        // A folder in which no user can create a file.
        assert!(output(std::path::Path::new("/proc/portbook.db")).contains("/proc/portbook.db"));
    }
    std::fs::write(at("text.db"), "this is a shopping list, and no database at all\n".repeat(100))
        .unwrap();
    assert!(no_database(&at("text.db")).contains("is not a SQLite database"));
    assert_eq!(std::fs::read(at("text.db")).unwrap()[..4], *b"this", "unchanged");
}

#[tokio::test]
async fn a_database_of_another_program_or_a_newer_portbook_is_not_changed() {
    use sqlx::Connection;
    let mut server = Server::start();
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    let sql = async |path: &std::path::Path, sql: &'static str| {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    sql(&other, "create table recipe (name text)").await;
    let (_, output) = failed_start(&mut serve(&other));
    assert!(output.contains("not a Portbook database"), "{output}");
    sql(
        &server.database(),
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9999, 'from the future', true, x'00', 0)",
    )
    .await;
    let (code, output) = failed_start(&mut serve(&server.database()));
    assert_eq!(code, Some(5));
    assert!(output.contains("newer Portbook") && output.contains("9999"), "{output}");
}
