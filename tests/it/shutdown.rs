//! Shutdown under full load: no acknowledged write is lost, every watch gets its resume revision,
//! and no client delays it beyond the grace period.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portbook::grpc::proto::{self, Change, WatchFilter};
use portbook::store::Store;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{
    Random, Server, Writes, acknowledge_all, assert_refused, register, release, within_timeout,
};
use crate::in_process::{InProcess, Settings};

const CONNECTIONS: u64 = 10;
const WATCHES: u64 = 10;
const WRITERS: u32 = 8;
/// The number of acknowledgements after which the server is stopped, while the writers continue.
const WRITTEN: usize = 400;

/// A watch, and all changes of complete revisions that it received.
struct Followed {
    /// The start revision.
    start: u64,
    received: Vec<Change>,
    /// The last complete revision.
    revision: u64,
}

impl Followed {
    /// Reads until the end, or until it is complete up to a revision.
    async fn read(&mut self, server: &Server, until: u64) -> Result<(), tonic::Status> {
        let mut watch = server.watch(self.revision + 1, WatchFilter::default()).await;
        while self.revision < until {
            let message = within_timeout(watch.message()).await?.unwrap();
            self.received.extend(message.changes);
            self.revision = message.revision;
        }
        Ok(())
    }
}

/// Registers and releases until the server stops; returns the acknowledged revisions.
async fn write(mut writes: Writes, number: u32, acknowledged: UnboundedSender<()>) -> Vec<u64> {
    let (mut revisions, mut random) = (Vec::new(), Random::new(number.into()));
    let mut held: Vec<String> = Vec::new();
    for port in 10_000 + number * 2_000.. {
        let response = if held.len() > 5 && random.below(2) == 0 {
            let request = release(&held.remove(0));
            writes.release_port(request).await.map(|response| response.into_inner().revision)
        } else {
            let mut request = acknowledge_all(register("load", port));
            request.transports = vec![1, 2];
            writes.register_port(request).await.map(|response| {
                let response = response.into_inner();
                held.extend(response.assignments.into_iter().map(|record| record.uid));
                response.revision
            })
        };
        match response {
            Ok(revision) => revisions.push(revision),
            Err(status) => {
                // Refused because the server stops, or never received (an error of the client).
                let details = status.get_error_details();
                let reason = details.error_info().map(|info| info.reason.as_str());
                assert!(matches!(reason, None | Some("SHUTTING_DOWN")), "{status:?}");
                break;
            }
        }
        // The test stops counting.
        let _ = acknowledged.send(());
    }
    revisions
}

fn log_of(server: &Server) -> PathBuf {
    server.database().with_extension("db-wal")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watches_can_resume_after_shutdown_and_nothing_is_lost() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    for port in 30_000..30_020 {
        writes.register_port(acknowledge_all(register("before", port))).await.unwrap();
    }
    let mut watches = Vec::new();
    for connection in 0..CONNECTIONS {
        let reads = server.reads().await;
        for watch in 0..WATCHES {
            // Some from the first revision, some from the middle, some from the current one.
            let start = [1, 11, 21][((connection + watch) % 3) as usize];
            let request = proto::WatchAssignmentsRequest { start_revision: start, filter: None };
            let mut stream = reads.clone().watch_assignments(request).await.unwrap().into_inner();
            let mut followed = Followed { start, received: Vec::new(), revision: start - 1 };
            watches.push(tokio::spawn(async move {
                loop {
                    match within_timeout(stream.message()).await {
                        Ok(message) => {
                            let message = message.unwrap();
                            followed.received.extend(message.changes);
                            followed.revision = message.revision;
                        }
                        Err(end) => return (followed, end),
                    }
                }
            }));
        }
    }
    let (acknowledged, mut results) = unbounded_channel();
    let mut writing = Vec::new();
    for number in 0..WRITERS {
        let writes = server.writes().await;
        writing.push(tokio::spawn(write(writes, number, acknowledged.clone())));
    }
    for _ in 0..WRITTEN {
        within_timeout(results.recv()).await.unwrap();
    }
    let started = Instant::now();
    let status = server.signal("TERM").await;
    let stopped = started.elapsed();
    assert!(status.success(), "{status}");
    assert!(
        stopped < Duration::from_secs(10),
        "the stop must not need the full grace period: {stopped:?}"
    );
    assert!(!log_of(&server).exists(), "the WAL is checkpointed");
    let mut revisions = Vec::new();
    for writer in writing {
        revisions.extend(within_timeout(writer).await.unwrap());
    }

    server.launch();
    let present = server.info().await.revision;
    let all = server.history(proto::ChangeFilter::default()).await;
    let there: std::collections::HashSet<_> = all.iter().map(|change| change.revision).collect();
    let lost: Vec<_> = revisions.iter().filter(|revision| !there.contains(revision)).collect();
    assert_eq!(lost, Vec::<&u64>::new());
    let mut resumed = Vec::new();
    for watch in join_all(watches).await {
        let (mut followed, end) = watch.unwrap();
        let metadata = assert_refused::<()>(Err(end), Code::Unavailable, "SHUTTING_DOWN");
        let next: u64 = metadata["start_revision"].parse().unwrap();
        assert_eq!(next, followed.revision + 1);
        assert!(next > followed.start);
        // Changes of an incomplete revision are sent again.
        followed.received.retain(|change| change.revision < next);
        resumed.push(followed);
    }
    let server = &server;
    let reading = resumed.into_iter().map(|mut followed| async move {
        followed.read(server, present).await.unwrap();
        followed
    });
    let followed = join_all(reading).await;
    for followed in &followed {
        let from = all.iter().position(|change| change.revision >= followed.start).unwrap();
        assert!(followed.received == all[from..], "missed or repeated, from {}", followed.start);
    }
    println!(
        "stopped in {stopped:.0?} with {} watches and {WRITERS} writers: {} writes acknowledged, \
         {} lost; {} revisions, {} watches went on without a gap",
        CONNECTIONS * WATCHES,
        revisions.len(),
        lost.len(),
        present,
        followed.len(),
    );
}

#[tokio::test]
async fn a_client_that_never_reads_delays_shutdown_only_for_the_grace_period() {
    let grace = Duration::from_secs(1);
    let mut settings = Settings { grace, ..Settings::default() };
    settings.timeouts.drain_idle = Duration::from_millis(100);
    let drain_idle = settings.timeouts.drain_idle;
    let in_process = InProcess::start(settings).await;
    let server = &in_process.server;
    let requests = (0..400).map(|number| proto::RegisterPortRequest {
        transports: vec![1, 2, 3, 4],
        assignment_notes: "n".repeat(2000),
        ..acknowledge_all(register("large", 10_000 + number))
    });
    let batch =
        proto::BatchRegisterPortsRequest { requests: requests.collect(), ..Default::default() };
    server.writes().await.batch_register_ports(batch).await.unwrap();
    // A message is far larger than the flow control window of a client that does not read.
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let path = "/portbook.v1.PortRegistryService/WatchAssignments";
    let request = http::Request::post(format!("http://{}{path}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    let requested =
        proto::WatchAssignmentsRequest { start_revision: 1, filter: None }.encode_to_vec();
    let mut message = vec![0, 0, 0, 0, u8::try_from(requested.len()).unwrap()];
    message.extend(requested);
    body.send_data(message.into(), true).unwrap();
    let mut unread = within_timeout(response).await.unwrap().into_body();
    within_timeout(unread.data()).await.unwrap().unwrap();
    server.lookup(443).await;
    let started = Instant::now();
    let (server, store) = in_process.stop().await;
    let stopped = started.elapsed();
    println!("stopped in {stopped:.1?} with a client that does not read, and a grace of {grace:?}");
    store.close().await.unwrap();
    assert!(stopped >= drain_idle, "the server must have waited for the client: {stopped:?}");
    assert!(stopped < grace + Duration::from_secs(3), "{stopped:?}");
    assert!(!log_of(&server).exists(), "the WAL is checkpointed");
    drop((client, unread));
    connection.abort();
}
