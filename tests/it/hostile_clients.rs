//! What can be done to the server by whoever reaches its port, without a token: it may end their
//! connection, but goes on serving the others, in bounded memory.
//!
//! `FLOOD_REQUESTS` (default 5000) is how many malformed requests are sent. For a million:
//!
//! ```sh
//! FLOOD_REQUESTS=1000000 cargo test --test it hostile_clients::malformed -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portbook::grpc::proto;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Dice, FREE, Server, TOKEN, in_time, register, serve};
use crate::raw_calls::{
    CONTINUATION, DATA, END_HEADERS, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, frame, lookup_headers,
};

const MIB: u64 = 1024;
/// How many send malformed requests at a time.
const SENDERS: usize = 64;
const LOOKUP: &str = "/portbook.v1.PortRegistryService/LookupPort";
/// `:status: 431` (Request Header Fields Too Large) and nothing else, as HPACK has it.
const REFUSED: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];
/// The last stream that was taken, none, and then the code.
const CALM: &[u8] = &[0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM];
/// An error code of RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u8 = 11;

/// That others are served, and that memory has not grown by more than this, in KiB, at any time.
async fn assert_unharmed(server: &Server, before: u64, most: u64) {
    in_time(server.lookup(443)).await;
    let (_, peak) = server.memory_kib();
    println!("{before} KiB before, {peak} KiB at most");
    assert!(peak < before + most, "{before} KiB before, {peak} KiB at most");
}

/// A server that has answered once, and the most memory that it had until then.
async fn warm() -> (Server, u64) {
    let server = Server::start();
    server.lookup(443).await;
    let (_, peak) = server.memory_kib();
    (server, peak)
}

/// The error code of the GOAWAY with which the server has ended the connection.
async fn goaway(mut frames: Frames) -> Option<u8> {
    let mut code = None;
    while let Some((kind, payload)) = in_time(frames.next()).await {
        if kind == GOAWAY {
            code = Some(payload[7]);
        }
    }
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_one_gibibyte_is_refused_before_it_is_received() {
    const SIZE: usize = 1 << 30;
    let (server, before) = warm().await;
    let (mut client, connection) = connect(&server).await;
    let request = http::Request::post(format!("http://{}{LOOKUP}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    let sending = tokio::spawn(async move {
        let mut head = vec![0];
        head.extend(u32::try_from(SIZE).unwrap().to_be_bytes());
        let mut sent = 0;
        let mut next = Bytes::from(head);
        while sent < SIZE {
            body.reserve_capacity(next.len());
            let ready = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let Some(Ok(room)) = ready else { break };
            let part = next.split_to(room.min(next.len()));
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
    let answer = in_time(answer).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
    let sent = in_time(sending).await.unwrap();
    println!("refused after {sent} bytes of {SIZE}");
    assert!(sent < 16 << 20, "{sent}");
    connection.abort();

    // Whoever does not wait for room has the call ended, and is not listened to any more.
    let mut frames = Frames::open(&server.address).await;
    let headers = frame(HEADERS, END_HEADERS, 1, &lookup_headers());
    frames.stream.write_all(&headers).await.unwrap();
    let (data, mut sent) = (frame(DATA, 0, 1, &[0; 16 * 1024]), 0);
    while sent < 64 << 20 && in_time(frames.stream.write_all(&data)).await.is_ok() {
        sent += data.len();
    }
    let is_ended =
        async { while !matches!(frames.next().await, None | Some((RST_STREAM | GOAWAY, _))) {} };
    in_time(is_ended).await;
    assert_unharmed(&server, before, 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_all_answered() {
    let count: usize = std::env::var("FLOOD_REQUESTS").map_or(5_000, |it| it.parse().unwrap());
    let (server, before) = warm().await;
    let channel = server.channel().await;
    let started = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let (mut dice, mut told) = (Dice::new(sender as u64), BTreeMap::new());
            let mut cut_off = 0;
            for _ in 0..count / SENDERS {
                let paths = [LOOKUP, "/portbook.v1.PortAdminService/RegisterPort", "/no.such/Rpc"];
                let path = paths[dice.roll(paths.len() as u32) as usize];
                let mut body = vec![0xff; dice.roll(200) as usize];
                body.extend((0..dice.roll(50)).map(|_| dice.roll(256) as u8).collect::<Vec<_>>());
                let info = loop {
                    let status = call(channel.clone(), path, body.clone()).await.unwrap_err();
                    if let Some(info) = status.get_error_details().error_info() {
                        break (status.code() as i32, info.reason.clone());
                    }
                    // A connection on which too much was sent that nobody read is ended, and the
                    // calls that were under way on it are made again.
                    let is_own = std::error::Error::source(&status).is_some();
                    assert!(is_own, "told by the server, without an ErrorInfo: {status:?}");
                    cut_off += 1;
                };
                *told.entry(info).or_insert(0) += 1;
            }
            (told, cut_off)
        })
    });
    let (mut told, mut cut_off) = (BTreeMap::<_, usize>::new(), 0);
    for sender in senders.collect::<Vec<_>>() {
        let (by_sender, again) = sender.await.unwrap();
        for (what, times) in by_sender {
            *told.entry(what).or_default() += times;
        }
        cut_off += again;
    }
    let answered = count / SENDERS * SENDERS;
    println!("{answered} answered in {:.1?}, {cut_off} twice: {told:?}", started.elapsed());
    assert!(cut_off <= answered / 100, "{cut_off}");
    assert_eq!(told.values().sum::<usize>(), answered);
    let reasons: Vec<_> = told.keys().map(|(_, reason)| reason.as_str()).collect();
    for reason in ["MALFORMED_MESSAGE", "TOKEN_MISSING", "UNKNOWN_METHOD"] {
        assert!(reasons.contains(&reason), "{told:?}");
    }
    assert_unharmed(&server, before, 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_flood_delays_no_other_client() {
    let (server, before) = warm().await;
    let mut frames = Frames::open(&server.address).await;
    let pings = frame(PING, 0, 0, b"pingping").repeat(1_000);
    let started = Instant::now();
    let flood = tokio::spawn(async move {
        // Without a look at the answers: it blocks where nobody takes more, and may be ended.
        let mut sent = 0;
        while sent < 1_000_000 && frames.stream.write_all(&pings).await.is_ok() {
            sent += 1_000;
        }
        (sent, frames)
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let asked = Instant::now();
        server.lookup(443).await;
        slowest = slowest.max(asked.elapsed());
    }
    let is_over = flood.is_finished();
    println!(
        "in {:.1?}: a lookup took {slowest:?} at most; flood over: {is_over}",
        started.elapsed()
    );
    assert_unharmed(&server, before, 16 * MIB).await;
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_the_connection() {
    let (server, before) = warm().await;
    let mut frames = Frames::open(&server.address).await;
    let mut sent = 0;
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        let mut both = frame(HEADERS, END_HEADERS, stream, &lookup_headers());
        // CANCEL
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        if frames.stream.write_all(&both).await.is_err() {
            break;
        }
        sent += 1;
    }
    let code = goaway(frames).await;
    println!("{sent} sent; ended with {code:?}");
    // The reset of the connection may have overtaken the words.
    assert!(code == Some(ENHANCE_YOUR_CALM) || (code.is_none() && sent < 10_000), "{code:?}");
    assert_unharmed(&server, before, 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provoked_server_resets_end_the_connection() {
    let (server, before) = warm().await;
    let mut frames = Frames::open(&server.address).await;
    let mut sent = 0;
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        let mut both = frame(HEADERS, END_HEADERS, stream, &lookup_headers());
        // More room than there can be, so that the server has to reset the stream (CVE-2025-8671).
        both.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        if frames.stream.write_all(&both).await.is_err() {
            break;
        }
        sent += 1;
    }
    let code = goaway(frames).await;
    println!("{sent} sent; ended with {code:?}");
    assert!(code == Some(ENHANCE_YOUR_CALM) || (code.is_none() && sent < 10_000), "{code:?}");
    assert_unharmed(&server, before, 16 * MIB).await;
}

/// Fields that are not kept, `count` of them with 100 bytes each.
fn fields(count: usize) -> Vec<u8> {
    let mut field = b"\x00\x06x-bomb\x64".to_vec();
    field.extend([b'b'; 100]);
    field.repeat(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_headers_are_not_buffered() {
    let (server, before) = warm().await;
    // Blocks that never end.
    let mut frames = Frames::open(&server.address).await;
    frames.stream.write_all(&frame(HEADERS, 0, 1, &lookup_headers())).await.unwrap();
    let (more, mut sent) = (frame(CONTINUATION, 0, 1, &fields(150)), 0);
    while sent < 256 << 20 && in_time(frames.stream.write_all(&more)).await.is_ok() {
        sent += more.len();
    }
    println!("endless: cut off after {sent} bytes");
    assert!(sent < 64 << 20, "{sent}");

    // Many fields, and few bytes that stand for many.
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
        let answer = loop {
            match in_time(frames.next()).await.unwrap() {
                (SETTINGS | WINDOW_UPDATE, _) => {}
                answer => break answer,
            }
        };
        assert_eq!((answer.0, &answer.1[..expected.1.len()]), expected, "{name}: {answer:?}");
    }
    assert_unharmed(&server, before, 16 * MIB).await;
}

#[tokio::test]
async fn an_incomplete_preface_delays_neither_other_clients_nor_shutdown() {
    let mut server = Server::stopped();
    server.launch_as(&mut serve(&server.database()));
    let mut halves = vec![TcpStream::connect(&server.address).await.unwrap()];
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(&PREFACE[..12]).await.unwrap();
        halves.push(stream);
    }
    in_time(server.lookup(443)).await;
    let started = Instant::now();
    let status = server.signal("TERM").await;
    println!("stopped in {:.1?} with {} half-open connections", started.elapsed(), halves.len());
    assert!(status.success(), "{status}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "not by the grace: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn calls_without_a_request_message_do_not_block_others() {
    let (server, before) = warm().await;
    let block = lookup_headers();
    let mut begun = Vec::new();
    // More than may be under way.
    for _ in 0..12 {
        let mut frames = Frames::open(&server.address).await;
        for stream in (1..200).step_by(2) {
            let head = frame(HEADERS, END_HEADERS, stream, &block);
            frames.stream.write_all(&head).await.unwrap();
        }
        begun.push(frames);
    }
    // Once the last of them was heard.
    let ping = frame(PING, 0, 0, &[0; 8]);
    for frames in &mut begun {
        frames.stream.write_all(&ping).await.unwrap();
        while in_time(frames.next()).await.unwrap().0 != PING {}
    }
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    assert_unharmed(&server, before, 32 * MIB).await;
    // Who never says it is told so.
    let last = &mut begun[0];
    while in_time(last.next()).await.unwrap().0 != HEADERS {}
}

/// A connection, and what drives it.
async fn connect(
    server: &Server,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

/// A call on this connection, the answer to it, and how to say more of it.
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
    let asked = proto::CreateNamespaceRequest { namespace: Some(namespace), ..Default::default() };
    let mut message = vec![0, 0, 0, 0, u8::try_from(asked.encoded_len()).unwrap()];
    message.extend(asked.encode_to_vec());
    let token = format!("Bearer {TOKEN}");
    for (content_type, code) in [("text/plain", 415), ("application/grpc", 200)] {
        let headers = [("content-type", content_type), ("authorization", token.as_str())];
        let (answer, mut body) = begin(&mut client, &server, path, &headers);
        body.send_data(message.clone().into(), true).unwrap();
        let mut answer = in_time(answer).await.unwrap();
        assert_eq!(answer.status(), code, "{answer:?}");
        // That it was carried out at last shows that it was not at first.
        let status = Status::from_header_map(answer.headers());
        if code == 415 {
            assert_eq!(status.unwrap().code(), Code::InvalidArgument);
        } else {
            let body = answer.body_mut();
            while let Some(part) = in_time(body.data()).await {
                body.flow_control().release_capacity(part.unwrap().len()).unwrap();
            }
            let trailers = in_time(body.trailers()).await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
        }
    }
    connection.abort();
}

#[tokio::test]
async fn partial_requests_share_a_bounded_buffer() {
    let (server, before) = warm().await;
    let (client, connection) = connect(&server).await;
    // A hundred on one connection that say nearly a mebibyte each, and there is room for eight.
    let calls = (0..100).map(|_| {
        let mut client = client.clone();
        let (answer, mut body) =
            begin(&mut client, &server, LOOKUP, &[("content-type", "application/grpc")]);
        let saying = tokio::spawn(async move {
            let mut rest = Bytes::from(vec![0; 1_000_000]);
            while !rest.is_empty() {
                body.reserve_capacity(rest.len());
                let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
                let Some(Ok(room)) = room else { return };
                if body.send_data(rest.split_to(room.min(rest.len())), false).is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        (answer, saying)
    });
    let mut refusals = 0;
    for (answer, saying) in calls.collect::<Vec<_>>() {
        let answer = in_time(answer).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        refusals += u32::from(status.code() == Code::ResourceExhausted);
        saying.abort();
    }
    connection.abort();
    println!("{refusals} of 100 refused");
    assert!(refusals >= 90, "{refusals}");
    assert_unharmed(&server, before, 32 * MIB).await;
}

#[tokio::test]
async fn a_stream_of_many_small_messages_is_answered_completely() {
    const MESSAGES: usize = 50_000;
    let server = Server::start();
    let mut reads = server.reads().await;
    let asked = (0..MESSAGES).map(|number| proto::AnnotatePortsRequest {
        ports: vec![number as u32],
        ..Default::default()
    });
    let asked = tokio_stream::iter(asked);
    let mut answers = in_time(reads.annotate_ports(asked)).await.unwrap().into_inner();
    let mut answered = 0;
    while let Some(labels) = in_time(answers.message()).await.unwrap() {
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
    // Never said to its end.
    let (answer, _body) = begin(&mut client, &server, LOOKUP, &headers);
    let status = Status::from_header_map(in_time(answer).await.unwrap().headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // Never ends by itself.
    let watch = "/portbook.v1.PortRegistryService/WatchAssignments";
    let (answer, mut body) = begin(&mut client, &server, watch, &headers);
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let mut answers = in_time(answer).await.unwrap().into_body();
    while in_time(answers.data()).await.is_some() {}
    let trailers = in_time(answers.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    connection.abort();
}
