//! Attacks by clients that reach the port without a token: the server may close the connection, but
//! keeps serving other clients, in bounded memory.
//!
//! `FLOOD_REQUESTS` (default 5000) is the number of malformed requests. For a million:
//!
//! ```sh
//! FLOOD_REQUESTS=1000000 cargo test --test it hostile_clients::malformed -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portbook::grpc::proto;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{FREE, Random, Server, TOKEN, register, within_timeout};
use crate::in_process::{InProcess, Settings};
use crate::raw_calls::{
    CONTINUATION, DATA, END_HEADERS, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, frame, lookup_headers,
};

const MIB: u64 = 1024;
/// The number of concurrent senders of malformed requests.
const SENDERS: usize = 64;
const LOOKUP: &str = "/portbook.v1.PortRegistryService/LookupPort";
/// `:status: 431` (Request Header Fields Too Large) in HPACK.
const REFUSED: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];
/// The last accepted stream (none), and then the code.
const CALM: &[u8] = &[0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM];
/// An error code of RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u8 = 11;

/// Asserts that other clients are served, and that peak memory grew by at most `most` KiB.
async fn assert_served_within(server: &Server, before: u64, most: u64) {
    within_timeout(server.lookup(443)).await;
    let (_, peak) = server.memory_kib();
    println!("{before} KiB before, {peak} KiB at most");
    assert!(peak < before + most, "{before} KiB before, {peak} KiB at most");
}

/// A server that has answered one call, and its peak memory.
async fn start_warm() -> (Server, u64) {
    let server = Server::start();
    server.lookup(443).await;
    let (_, peak) = server.memory_kib();
    (server, peak)
}

/// The error code of the GOAWAY frame with which the server closed the connection.
async fn goaway_code(mut frames: Frames) -> Option<u8> {
    let mut code = None;
    while let Some((kind, payload)) = within_timeout(frames.next()).await {
        if kind == GOAWAY {
            code = Some(payload[7]);
        }
    }
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_one_gibibyte_is_refused_before_it_is_received() {
    const SIZE: usize = 1 << 30;
    let (server, before) = start_warm().await;
    let (mut client, connection) = connect(&server).await;
    let request = http::Request::post(format!("http://{}{LOOKUP}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    let sending = tokio::spawn(async move {
        let mut head = vec![0];
        head.extend(u32::try_from(SIZE).unwrap().to_be_bytes());
        let mut sent = 0;
        let mut next = Bytes::from(head);
        while sent < SIZE {
            body.reserve_capacity(next.len());
            let ready = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let Some(Ok(capacity)) = ready else { break };
            let part = next.split_to(capacity.min(next.len()));
            sent += part.len();
            if body.send_data(part, false).is_err() {
                break;
            }
            if next.is_empty() {
                next = Bytes::from(vec![0; 64 * 1024]);
            }
        }
        sent
    });
    let response = within_timeout(response).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
    let sent = within_timeout(sending).await.unwrap();
    println!("refused after {sent} bytes of {SIZE}");
    assert!(sent < 16 << 20, "{sent}");
    connection.abort();

    // A sender that ignores flow control has its call ended, and its data discarded.
    let mut frames = Frames::open(&server.address).await;
    let headers = frame(HEADERS, END_HEADERS, 1, &lookup_headers());
    frames.stream.write_all(&headers).await.unwrap();
    let (data, mut sent) = (frame(DATA, 0, 1, &[0; 16 * 1024]), 0);
    while sent < 64 << 20 && within_timeout(frames.stream.write_all(&data)).await.is_ok() {
        sent += data.len();
    }
    let is_ended =
        async { while !matches!(frames.next().await, None | Some((RST_STREAM | GOAWAY, _))) {} };
    within_timeout(is_ended).await;
    assert_served_within(&server, before, 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_all_answered() {
    let count: usize = std::env::var("FLOOD_REQUESTS").map_or(5_000, |it| it.parse().unwrap());
    let (server, before) = start_warm().await;
    let channel = server.channel().await;
    let started = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let (mut random, mut tallies) = (Random::new(sender as u64), BTreeMap::new());
            let mut interrupted = 0;
            for _ in 0..count / SENDERS {
                let paths = [LOOKUP, "/portbook.v1.PortAdminService/RegisterPort", "/no.such/Rpc"];
                let path = paths[random.below(paths.len() as u32) as usize];
                let mut body = vec![0xff; random.below(200) as usize];
                body.extend(
                    (0..random.below(50)).map(|_| random.below(256) as u8).collect::<Vec<_>>(),
                );
                let info = loop {
                    let status = call(channel.clone(), path, body.clone()).await.unwrap_err();
                    if let Some(info) = status.get_error_details().error_info() {
                        break (status.code() as i32, info.reason.clone());
                    }
                    // A connection with too many unread responses is closed, and the
                    // calls in flight on it are repeated.
                    let is_from_server = std::error::Error::source(&status).is_some();
                    assert!(
                        is_from_server,
                        "a refusal by the server without an ErrorInfo: {status:?}"
                    );
                    interrupted += 1;
                };
                *tallies.entry(info).or_insert(0) += 1;
            }
            (tallies, interrupted)
        })
    });
    let (mut tallies, mut interrupted) = (BTreeMap::<_, usize>::new(), 0);
    for sender in senders.collect::<Vec<_>>() {
        let (by_sender, again) = sender.await.unwrap();
        for (what, times) in by_sender {
            *tallies.entry(what).or_default() += times;
        }
        interrupted += again;
    }
    let answered = count / SENDERS * SENDERS;
    println!("{answered} answered in {:.1?}, {interrupted} twice: {tallies:?}", started.elapsed());
    assert!(interrupted <= answered / 100, "{interrupted}");
    assert_eq!(tallies.values().sum::<usize>(), answered);
    let reasons: Vec<_> = tallies.keys().map(|(_, reason)| reason.as_str()).collect();
    for reason in ["MALFORMED_MESSAGE", "TOKEN_MISSING", "UNKNOWN_METHOD"] {
        assert!(reasons.contains(&reason), "{tallies:?}");
    }
    assert_served_within(&server, before, 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_flood_delays_no_other_client() {
    let (server, before) = start_warm().await;
    let mut frames = Frames::open(&server.address).await;
    let pings = frame(PING, 0, 0, b"pingping").repeat(1_000);
    let started = Instant::now();
    let flood = tokio::spawn(async move {
        // Without reading responses: the write blocks when the server reads no more, and may fail.
        let mut sent = 0;
        while sent < 1_000_000 && frames.stream.write_all(&pings).await.is_ok() {
            sent += 1_000;
        }
        (sent, frames)
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let requested = Instant::now();
        server.lookup(443).await;
        slowest = slowest.max(requested.elapsed());
    }
    let is_over = flood.is_finished();
    println!(
        "in {:.1?}: a lookup took {slowest:?} at most; flood over: {is_over}",
        started.elapsed()
    );
    assert_served_within(&server, before, 16 * MIB).await;
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_the_connection() {
    // CANCEL
    assert_resets_end_the_connection(RST_STREAM, [0, 0, 0, 8]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provoked_server_resets_end_the_connection() {
    // A window update that overflows, so that the server resets the stream (CVE-2025-8671).
    assert_resets_end_the_connection(WINDOW_UPDATE, [0x7f, 0xff, 0xff, 0xff]).await;
}

/// Begins many calls, each followed by a frame that resets its stream.
async fn assert_resets_end_the_connection(frame_type: u8, payload: [u8; 4]) {
    let (server, before) = start_warm().await;
    let mut frames = Frames::open(&server.address).await;
    let mut sent = 0;
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        let mut both = frame(HEADERS, END_HEADERS, stream, &lookup_headers());
        both.extend(frame(frame_type, 0, stream, &payload));
        if frames.stream.write_all(&both).await.is_err() {
            break;
        }
        sent += 1;
    }
    let code = goaway_code(frames).await;
    println!("{sent} sent; ended with {code:?}");
    // The connection reset may arrive before the GOAWAY frame.
    assert!(code == Some(ENHANCE_YOUR_CALM) || (code.is_none() && sent < 10_000), "{code:?}");
    assert_served_within(&server, before, 16 * MIB).await;
}

/// `count` header fields without indexing, of 100 bytes each.
fn fields(count: usize) -> Vec<u8> {
    let mut field = b"\x00\x06x-bomb\x64".to_vec();
    field.extend([b'b'; 100]);
    field.repeat(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_headers_are_not_buffered() {
    let (server, before) = start_warm().await;
    // Header blocks that never end.
    let mut frames = Frames::open(&server.address).await;
    frames.stream.write_all(&frame(HEADERS, 0, 1, &lookup_headers())).await.unwrap();
    let (more, mut sent) = (frame(CONTINUATION, 0, 1, &fields(150)), 0);
    while sent < 256 << 20 && within_timeout(frames.stream.write_all(&more)).await.is_ok() {
        sent += more.len();
    }
    println!("endless: cut off after {sent} bytes");
    assert!(sent < 64 << 20, "{sent}");

    // Many fields, and few bytes that decode to many.
    let mut bomb = lookup_headers();
    bomb.extend(b"\x40\x06x-bomb\x7f\xa1\x1e");
    bomb.extend([b'b'; 4_000]);
    bomb.extend([0xbe; 10_000]);
    let mut many = frame(HEADERS, 0, 1, &lookup_headers());
    many.extend(frame(CONTINUATION, 0, 1, &fields(140)));
    many.extend(frame(CONTINUATION, END_HEADERS, 1, &fields(140)));
    let bomb = frame(HEADERS, END_HEADERS, 1, &bomb);
    let too_large = (HEADERS, REFUSED);
    for (name, bytes, expected) in [("many", many, too_large), ("bomb", bomb, (GOAWAY, CALM))] {
        let mut frames = Frames::open(&server.address).await;
        frames.stream.write_all(&bytes).await.unwrap();
        let response = loop {
            match within_timeout(frames.next()).await.unwrap() {
                (SETTINGS | WINDOW_UPDATE, _) => {}
                response => break response,
            }
        };
        assert_eq!((response.0, &response.1[..expected.1.len()]), expected, "{name}: {response:?}");
    }
    assert_served_within(&server, before, 16 * MIB).await;
}

#[tokio::test]
async fn an_incomplete_preface_delays_neither_other_clients_nor_shutdown() {
    let mut settings = Settings::default();
    settings.timeouts.drain_idle = Duration::from_millis(50);
    let in_process = InProcess::start(settings).await;
    let server = &in_process.server;
    let mut halves = vec![TcpStream::connect(&server.address).await.unwrap()];
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(&PREFACE[..12]).await.unwrap();
        halves.push(stream);
    }
    within_timeout(server.lookup(443)).await;
    let started = Instant::now();
    in_process.stop().await;
    println!("stopped in {:.1?} with {} half-open connections", started.elapsed(), halves.len());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "not by the grace: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn calls_without_a_request_message_do_not_block_others() {
    let (server, before) = start_warm().await;
    let block = lookup_headers();
    let mut begun = Vec::new();
    // More than the limit of calls in flight.
    for _ in 0..12 {
        let mut frames = Frames::open(&server.address).await;
        for stream in (1..200).step_by(2) {
            let head = frame(HEADERS, END_HEADERS, stream, &block);
            frames.stream.write_all(&head).await.unwrap();
        }
        begun.push(frames);
    }
    // Once the last of them was received.
    let ping = frame(PING, 0, 0, &[0; 8]);
    for frames in &mut begun {
        frames.stream.write_all(&ping).await.unwrap();
        while within_timeout(frames.next()).await.unwrap().0 != PING {}
    }
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    assert_served_within(&server, before, 32 * MIB).await;
}

#[tokio::test]
async fn a_call_without_a_request_message_gets_an_error() {
    let mut settings = Settings::default();
    settings.timeouts.receive = Duration::from_millis(50);
    let server = InProcess::start(settings).await.server;
    let mut frames = Frames::open(&server.address).await;
    let head = frame(HEADERS, END_HEADERS, 1, &lookup_headers());
    frames.stream.write_all(&head).await.unwrap();
    while within_timeout(frames.next()).await.unwrap().0 != HEADERS {}
}

/// A connection, and the task that drives it.
async fn connect(
    server: &Server,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Starts a call on this connection; returns the response and the sender of the request body.
fn begin(
    client: &mut h2::client::SendRequest<Bytes>,
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut request = http::Request::post(format!("http://{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

#[tokio::test]
async fn browser_requests_are_not_executed() {
    let server = Server::start();
    let (mut client, connection) = connect(&server).await;
    let path = "/portbook.v1.PortAdminService/CreateNamespace";
    let namespace = proto::Namespace { name: "forged".into(), ..Default::default() };
    let requested =
        proto::CreateNamespaceRequest { namespace: Some(namespace), ..Default::default() };
    let mut message = vec![0, 0, 0, 0, u8::try_from(requested.encoded_len()).unwrap()];
    message.extend(requested.encode_to_vec());
    let token = format!("Bearer {TOKEN}");
    for (content_type, code) in [("text/plain", 415), ("application/grpc", 200)] {
        let headers = [("content-type", content_type), ("authorization", token.as_str())];
        let (response, mut body) = begin(&mut client, &server, path, &headers);
        body.send_data(message.clone().into(), true).unwrap();
        let mut response = within_timeout(response).await.unwrap();
        assert_eq!(response.status(), code, "{response:?}");
        // That the repeated request is executed shows that the first one was not.
        let status = Status::from_header_map(response.headers());
        if code == 415 {
            assert_eq!(status.unwrap().code(), Code::InvalidArgument);
        } else {
            let body = response.body_mut();
            while let Some(part) = within_timeout(body.data()).await {
                body.flow_control().release_capacity(part.unwrap().len()).unwrap();
            }
            let trailers = within_timeout(body.trailers()).await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
        }
    }
    connection.abort();
}

#[tokio::test]
async fn partial_requests_share_a_bounded_buffer() {
    let (server, before) = start_warm().await;
    let (client, connection) = connect(&server).await;
    // A hundred calls on one connection that send nearly a mebibyte each; the buffer holds eight.
    let calls = (0..100).map(|_| {
        let mut client = client.clone();
        let (response, mut body) =
            begin(&mut client, &server, LOOKUP, &[("content-type", "application/grpc")]);
        let sending = tokio::spawn(async move {
            let mut rest = Bytes::from(vec![0; 1_000_000]);
            while !rest.is_empty() {
                body.reserve_capacity(rest.len());
                let capacity = std::future::poll_fn(|context| body.poll_capacity(context)).await;
                let Some(Ok(capacity)) = capacity else { return };
                if body.send_data(rest.split_to(capacity.min(rest.len())), false).is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        (response, sending)
    });
    let (responses, sending): (Vec<_>, Vec<_>) = calls.unzip();
    let mut responses: FuturesUnordered<_> = responses.into_iter().collect();
    for _ in 0..90 {
        let response = within_timeout(responses.next()).await.unwrap().unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
    sending.iter().for_each(JoinHandle::abort);
    connection.abort();
    assert_served_within(&server, before, 32 * MIB).await;
}

#[tokio::test]
async fn a_stream_of_many_small_messages_is_answered_completely() {
    const MESSAGES: usize = 50_000;
    let server = Server::start();
    let mut reads = server.reads().await;
    let requested = (0..MESSAGES).map(|number| proto::AnnotatePortsRequest {
        ports: vec![number as u32],
        ..Default::default()
    });
    let requested = tokio_stream::iter(requested);
    let mut responses = within_timeout(reads.annotate_ports(requested)).await.unwrap().into_inner();
    let mut answered = 0;
    while let Some(labels) = within_timeout(responses.message()).await.unwrap() {
        answered += labels.label_numbers.len();
    }
    assert_eq!(answered, MESSAGES);
}

#[tokio::test]
async fn a_deadline_covers_the_call_from_first_to_last_byte() {
    let server = Server::start();
    let (mut client, connection) = connect(&server).await;
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "300m")];
    let started = Instant::now();
    // The request never ends.
    let (response, _body) = begin(&mut client, &server, LOOKUP, &headers);
    let status =
        Status::from_header_map(within_timeout(response).await.unwrap().headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // The watch never ends on its own.
    let watch = "/portbook.v1.PortRegistryService/WatchAssignments";
    let (response, mut body) = begin(&mut client, &server, watch, &headers);
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let mut responses = within_timeout(response).await.unwrap().into_body();
    while within_timeout(responses.data()).await.is_some() {}
    let trailers = within_timeout(responses.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    connection.abort();
}
