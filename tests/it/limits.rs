//! Limits of the server, and the errors when they are exceeded.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use portbook::grpc::proto;
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{
    FREE, Server, assert_refused, error_parts, first_port, register, within_timeout,
};
use crate::in_process::{InProcess, Settings};

async fn is_healthy(server: &Server) {
    let mut health = HealthClient::new(server.channel().await);
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_stream_over_the_limit_is_refused_with_a_retry_hint() {
    let server = Server::start_with(&["--max-streaming-calls", "2"]);
    let first = server.watch(1, proto::WatchFilter::default()).await;
    let _second = server.watch(1, proto::WatchFilter::default()).await;
    let third = || async {
        let request = proto::WatchAssignmentsRequest::default();
        server.reads().await.watch_assignments(request).await
    };
    let (code, reason, details) = error_parts(third().await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    server.lookup(443).await;
    is_healthy(&server).await;
    drop(first);
    let has_room = async { while third().await.is_err() {} };
    within_timeout(has_room).await;
}

#[tokio::test]
async fn calls_over_the_rate_limit_get_a_retry_delay() {
    let server = Server::start_with(&["--rate-limit", "5"]);
    let mut reads = server.reads().await;
    let mut responses = Vec::new();
    for _ in 0..20 {
        let request = proto::LookupPortRequest { port: Some(443), ..Default::default() };
        responses.push(reads.lookup_port(request).await);
    }
    // A rate-limited client can still check the health of the server.
    is_healthy(&server).await;
    let limited: Vec<_> = responses.into_iter().filter(Result::is_err).collect();
    assert!(!limited.is_empty(), "20 calls at once are more than 5 a second");
    for response in limited {
        let (code, reason, details) = error_parts(response);
        assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
        let wait = details.retry_info().unwrap().retry_delay.unwrap();
        assert!(wait > Duration::ZERO && wait < Duration::from_secs(1), "{wait:?}");
    }
    // Each token has a separate limit.
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_deadline_passed_in_the_queue_is_not_executed() {
    let mut settings = Settings::default();
    settings.limits.request_timeout = Duration::from_millis(200);
    let server = InProcess::start(settings).await.server;
    // Another connection locks the file: nothing can be committed.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let mut holder = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut holder).await.unwrap();
    let mut writes = server.writes().await;
    // A request with an id waits until the store can be queried.
    let second =
        proto::RegisterPortRequest { request_id: "second".into(), ..register("second", FREE + 1) };
    for request in [register("first", FREE), second] {
        let late = writes.register_port(request).await;
        assert_refused(late, Code::DeadlineExceeded, "DEADLINE_PASSED");
    }
    server.lookup(443).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    writes.register_port(register("third", FREE + 2)).await.unwrap();
    let held: Vec<_> = server.all_registrations().await.iter().map(first_port).collect();
    assert_eq!(held, [FREE, FREE + 2], "the write in progress, and the later one");
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_immediately() {
    let server = Server::start_with(&["--max-connections", "2"]);
    let _first = server.channel().await;
    let _second = server.channel().await;
    let mut third = TcpStream::connect(&server.address).unwrap();
    third.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut output = Vec::new();
    // Closed, with or without a reset.
    let read = third.read_to_end(&mut output);
    assert!(output.is_empty(), "{read:?}");
    assert!(!read.is_err_and(|fault| fault.kind() == std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_closed() {
    let mut settings = Settings::default();
    settings.timeouts.handshake = Duration::from_millis(50);
    let server = InProcess::start(settings).await.server;
    let mut silent = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    let mut slow = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        // Closed, with or without a reset.
        let _ = within_timeout(stream.read_to_end(&mut Vec::new())).await;
    }
}
