//! Start, stop, and the state after a restart.

use std::time::{Duration, Instant};

use portbook::grpc::proto::AnnotatePortsRequest;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::{FREE, Server, error_parts, failed_start, portbook, register, serve};

#[tokio::test]
async fn a_restart_preserves_the_revision_and_the_responses() {
    let mut server = Server::start();
    let mut request = register("billing", FREE);
    request.labels = [("tier".into(), "1".into())].into();
    request.assignment_notes = "with ünïcode and \"quotes\"".into();
    server.writes().await.register_port(request).await.unwrap();
    let before = (server.lookup(FREE).await, server.info().await);
    server.kill();
    server.launch();
    assert_eq!((server.lookup(FREE).await, server.info().await), before);
    assert!(server.signal("TERM").await.success());
    server.launch();
    assert_eq!((server.lookup(FREE).await, server.info().await), before);
    assert!(
        server.ready_line.contains("revision 1, ") && server.ready_line.contains("IANA 2024-06-12")
    );
}

#[tokio::test]
async fn a_database_file_has_one_server() {
    let mut server = Server::start();
    let (code, text) = failed_start(&mut serve(&server.database()));
    assert_eq!(code, Some(5));
    assert!(text.contains("in use by another portbook server"), "{text}");
    server.lookup(443).await;
    // The lock is released with the process, however it ends.
    server.kill();
    server.launch();
}

#[test]
fn a_link_to_the_database_shares_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The link exists before the file.
    std::os::unix::fs::symlink("real.db", at("link.db")).unwrap();
    let mut first = serve(&at("link.db")).spawn().unwrap();
    let mut line = String::new();
    let stdout = first.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    std::fs::hard_link(at("real.db"), at("hard.db")).unwrap();
    for name in ["real.db", "hard.db", "link.db"] {
        let (code, text) = failed_start(&mut serve(&at(name)));
        assert_eq!(code, Some(5), "{name}");
        assert!(text.contains("in use by another portbook server"), "{name}: {text}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let mut command = portbook();
    command.args(["serve", "--listen", &server.address, "--database"]);
    command.arg(folder.path().join("portbook.db"));
    let (code, text) = failed_start(&mut command);
    assert_eq!(code, Some(5));
    assert!(text.contains(&server.address) && text.contains("in use"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was created");
}

#[tokio::test]
async fn both_signals_stop_the_server_and_end_its_streams() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start();
        let mut health = HealthClient::new(server.channel().await);
        let request = HealthCheckRequest { service: "portbook.v1.PortRegistryService".into() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let serving = |response: Option<HealthCheckResponse>| response.map(|a| a.status());
        assert_eq!(serving(watch.message().await.unwrap()), Some(ServingStatus::Serving));

        let (blocks, stream) = tokio::sync::mpsc::channel(1);
        blocks.send(AnnotatePortsRequest { ports: vec![443], ..Default::default() }).await.unwrap();
        let mut reads = server.reads().await;
        let responses = reads.annotate_ports(ReceiverStream::new(stream)).await.unwrap();
        let mut responses = responses.into_inner();
        assert!(responses.message().await.unwrap().is_some());

        let started = Instant::now();
        let stopped = tokio::spawn(async move { server.signal(signal).await });
        let (code, reason, _) = error_parts(responses.message().await);
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
        assert_eq!(serving(watch.message().await.unwrap()), Some(ServingStatus::NotServing));
        drop((blocks, responses, watch, reads, health));
        assert!(stopped.await.unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(10), "within the grace period");
    }
}

#[tokio::test]
async fn every_service_reports_serving() {
    let server = Server::start();
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "portbook.v1.PortRegistryService", "portbook.v1.PortAdminService"] {
        let request = HealthCheckRequest { service: service.into() };
        let response = health.check(request).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn an_interrupted_first_start_is_completed_by_the_next() {
    // The first start is killed at a random point.
    for delay in [0, 20, 60, 120] {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("portbook.db");
        let mut child = serve(&database).spawn().unwrap();
        tokio::time::timeout(Duration::from_millis(delay), std::future::pending::<()>())
            .await
            .unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut child = serve(&database).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains("revision 0, 15047 assignments"), "{line:?}");
    }
}

#[test]
fn the_health_command_reports_whether_the_server_serves() {
    let mut server = Server::start();
    let health = |server: &Server, service: Option<&str>| {
        let mut command = portbook();
        command.arg("health").args(service).env("PORTBOOK_ADDR", &server.address);
        // Health checks need no token.
        let output = command.env("PORTBOOK_TOKEN", "short").output().unwrap();
        let text =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        (output.status.code(), text.concat())
    };
    for service in [None, Some("portbook.v1.PortAdminService")] {
        assert_eq!(health(&server, service), (Some(0), "serving\n".to_owned()));
    }
    let (code, text) = health(&server, Some("portbook.v1.Nothing"));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("has no service \"portbook.v1.Nothing\"\nservices: "), "{text}");
    server.kill();
    let (code, text) = health(&server, None);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("tcp connect error: Connection refused"), "{text}");
}

#[test]
fn a_health_check_of_an_unresponsive_server_times_out() {
    // It accepts connections and sends nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = portbook();
    command.args(["health", "--addr", &listener.local_addr().unwrap().to_string()]);
    let started = Instant::now();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("within 3 seconds"));
    assert!(started.elapsed() < Duration::from_secs(30));
}
