//! Metrics, probes, the log, and traces.

use std::io::{Read, Write};
use std::net::TcpStream;

use portbook::grpc::proto;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::harness::{
    FREE, Server, assert_refused, create_pool, ensure, pool, register, within_timeout,
};
use crate::raw_calls::{END_HEADERS, Frames, HEADERS, frame, lookup_headers};

/// The status and the body of an HTTP response.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of the metric with this name and labels, in text format.
fn metric(server: &Server, name: &str) -> Option<f64> {
    let (status, body) = get(server.http(), "/metrics");
    assert_eq!(status, 200);
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn with_http() -> Server {
    Server::start_with(&["--http-listen", "127.0.0.1:0"])
}

fn calls(rpc: &str, code: &str) -> String {
    format!("portbook_calls_total{{rpc=\"portbook.v1.{rpc}\",code=\"{code}\"}}")
}

#[tokio::test]
async fn calls_are_counted_by_rpc_and_code() {
    let server = with_http();
    assert_eq!(metric(&server, &calls("PortRegistryService/LookupPort", "OK")), None);
    server.lookup(443).await;
    server.lookup(22).await;
    let bare = proto::LookupPortRequest::default();
    server.reads().await.lookup_port(bare).await.unwrap_err();
    let mut writes = server.writes().await;
    writes.register_port(register("billing", FREE)).await.unwrap();
    assert_refused(
        writes.register_port(register("late", FREE)).await,
        Code::AlreadyExists,
        "PORT_TAKEN",
    );
    writes.create_pool(create_pool(pool("apps", 9700, 9709))).await.unwrap();
    writes.ensure_port(ensure("apps", "billing")).await.unwrap();
    let of = |name: &str| metric(&server, name);
    assert_eq!(of(&calls("PortRegistryService/LookupPort", "OK")), Some(2.0));
    assert_eq!(of(&calls("PortRegistryService/LookupPort", "INVALID_ARGUMENT")), Some(1.0));
    assert_eq!(of(&calls("PortAdminService/RegisterPort", "OK")), Some(1.0));
    assert_eq!(of(&calls("PortAdminService/RegisterPort", "ALREADY_EXISTS")), Some(1.0));
    assert_eq!(of("portbook_revision"), Some(3.0));
    assert_eq!(of("portbook_assignments{source=\"CUSTOM\"}"), Some(2.0));
    let held = "portbook_pool_ports{namespace=\"default\",pool=\"apps\",status=\"held\"}";
    assert_eq!(of(held), Some(1.0));
    assert_eq!(of("portbook_commit_entries_count"), Some(3.0));
    assert_eq!(of("portbook_writer_queue_depth"), Some(0.0));
    assert!(of("portbook_database_bytes").unwrap() > 1e6);
    assert_eq!(of(&calls("PortRegistryService/WatchAssignments", "OK")), None);
    let in_flight = "portbook_calls_in_flight{rpc=\"portbook.v1.PortRegistryService/LookupPort\"}";
    assert_eq!(of(in_flight), Some(0.0));
}

#[tokio::test]
async fn a_cancelled_call_is_counted_as_cancelled() {
    let server = with_http();
    let mut watch = server.watch(1, proto::WatchFilter::default()).await;
    let in_flight =
        "portbook_calls_in_flight{rpc=\"portbook.v1.PortRegistryService/WatchAssignments\"}";
    assert!(watch.message().await.unwrap().is_some());
    assert_eq!(metric(&server, in_flight), Some(1.0));
    drop(watch);
    let cancelled = calls("PortRegistryService/WatchAssignments", "CANCELLED");
    let counted = async {
        while metric(&server, &cancelled) != Some(1.0) {
            tokio::task::yield_now().await;
        }
    };
    within_timeout(counted).await;
    assert_eq!(metric(&server, in_flight), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_and_readiness_probes_differ() {
    let mut server =
        Server::start_with(&["--http-listen", "127.0.0.1:0", "--shutdown-grace", "60"]);
    let http = server.http().to_owned();
    assert_eq!(get(&http, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&http, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(&http, "/elsewhere").0, 404);
    // The server waits for a call with an incomplete request until the grace period ends.
    let mut half = Frames::open(&server.address).await;
    let headers = frame(HEADERS, END_HEADERS, 1, &lookup_headers());
    half.stream.write_all(&headers).await.unwrap();
    let in_flight = "portbook_calls_in_flight{rpc=\"portbook.v1.PortRegistryService/LookupPort\"}";
    let has_begun = async {
        while metric(&server, in_flight) != Some(1.0) {
            tokio::task::yield_now().await;
        }
    };
    within_timeout(has_begun).await;
    let ended = tokio::spawn(async move { server.signal("TERM").await });
    // Once the process has ended, the request fails.
    let output = loop {
        let output = get(&http, "/readyz");
        if output.0 != 200 {
            break output;
        }
    };
    assert_eq!(output, (503, "stopping\n".into()));
    assert_eq!(get(&http, "/healthz"), (200, "ok\n".into()));
    drop(half);
    assert!(ended.await.unwrap().success());
}

#[tokio::test]
async fn a_refused_write_is_logged_with_actor_and_address() {
    let mut server = Server::seeded();
    let log = server.launch_logged(&["--log", "info"]);
    let mut writes = server.writes().await;
    let mut request = Request::new(register("billing", FREE));
    request.metadata_mut().insert("x-request-id", MetadataValue::from_static("order-66"));
    let response = writes.register_port(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "order-66");
    let revision = response.get_ref().revision;
    let refused = writes.register_port(register("late", FREE)).await.unwrap_err();
    let id = refused.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let mut unknown_client = server.writes_as(Some("Bearer wrong-wrong-wrong-wrong")).await;
    unknown_client.register_port(register("x", FREE)).await.unwrap_err();
    server.lookup(443).await;
    assert!(server.signal("TERM").await.success());
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}")))
        .collect();
    let call = |code: &str| {
        let found = lines.iter().filter(|line| line["message"] == "call" && line["code"] == code);
        let mut found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{code}: {lines:#?}");
        found.pop().unwrap().clone()
    };
    let taken = call("ALREADY_EXISTS");
    assert_eq!(taken["actor"], "admin");
    assert_eq!(taken["rpc"], "portbook.v1.PortAdminService/RegisterPort");
    assert_eq!(taken["request_id"], id.as_str());
    assert!(taken["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{taken}");
    assert_eq!(taken["reason"], "PORT_TAKEN");
    assert!(taken["duration_ms"].as_f64().unwrap() > 0.0);
    let unknown = call("UNAUTHENTICATED");
    assert!(unknown["actor"].is_null() && unknown["level"] == "WARN", "{unknown}");
    let written = call("OK");
    assert_eq!(written["request_id"], "order-66");
    assert_eq!(written["revision"], revision);
    assert_eq!(written["validate_only"], false);
    let is_write = |line: &&serde_json::Value| !line["revision"].is_null();
    assert_eq!(lines.iter().filter(is_write).count(), 1, "a write is one line: {lines:#?}");
    assert!(taken["revision"].is_null(), "{taken}");
    assert!(
        !lines.iter().any(|line| line.to_string().contains("LookupPort")),
        "reads are not logged"
    );
}

/// A minimal trace collector.
mod collector {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
        TraceService, TraceServiceServer,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;

    struct Collector(mpsc::UnboundedSender<Span>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            let of = request.into_inner().resource_spans.into_iter();
            for span in of.flat_map(|of| of.scope_spans).flat_map(|of| of.spans) {
                self.0.send(span).unwrap();
            }
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    pub(super) async fn start() -> (String, mpsc::UnboundedReceiver<Span>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, spans) = mpsc::unbounded_channel();
        let service = TraceServiceServer::new(Collector(sender));
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        (format!("http://{address}"), spans)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_in_the_trace_of_the_caller() {
    let (endpoint, mut spans) = collector::start().await;
    let mut server = Server::start_with(&["--otlp-endpoint", &endpoint, "--trace-ratio", "0"]);
    // Not one of the calls that are sampled anyway.
    server.lookup(22).await;
    let mut request = Request::new(register("billing", FREE));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(parent));
    server.writes().await.register_port(request).await.unwrap();
    let (ended, span) = tokio::join!(server.signal("TERM"), within_timeout(spans.recv()));
    let span = span.unwrap();
    assert!(ended.success());
    assert_eq!(span.name, "portbook.v1.PortAdminService/RegisterPort");
    let hex = |bytes: &[u8]| {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert!(span.attributes.iter().any(|fact| fact.key == "user.name"), "{span:?}");
    assert!(spans.try_recv().is_err(), "one span per call");
}
