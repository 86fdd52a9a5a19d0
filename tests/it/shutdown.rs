//! A stop under full load: nothing that was acknowledged is lost, every watch is told where to go
//! on, and nobody holds it up beyond the grace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portbook::grpc::proto::{self, Change, WatchFilter};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Dice, Server, Writes, denied, in_time, register, release, serve, whatever};

const CONNECTIONS: u64 = 10;
const WATCHES: u64 = 10;
const WRITERS: u32 = 8;
/// After how many acknowledgements the server is told to stop, while the writers go on.
const WRITTEN: usize = 400;

/// A watch, and everything that it told of complete revisions.
struct Followed {
    /// From where on it tells.
    start: u64,
    told: Vec<Change>,
    /// The last revision that is complete.
    revision: u64,
}

impl Followed {
    /// Takes what comes until the end, or until it is complete up to a revision.
    async fn read(&mut self, server: &Server, until: u64) -> Result<(), tonic::Status> {
        let mut watch = server.watch(self.revision + 1, WatchFilter::default()).await;
        while self.revision < until {
            let message = in_time(watch.message()).await?.unwrap();
            self.told.extend(message.changes);
            self.revision = message.revision;
        }
        Ok(())
    }
}

/// Registers and releases until the server stops; the revisions that were acknowledged.
async fn write(mut writes: Writes, number: u32, acknowledged: UnboundedSender<()>) -> Vec<u64> {
    let (mut revisions, mut dice) = (Vec::new(), Dice::new(number.into()));
    let mut held: Vec<String> = Vec::new();
    for port in 10_000 + number * 2_000.. {
        let answer = if held.len() > 5 && dice.roll(2) == 0 {
            let request = release(&held.remove(0));
            writes.release_port(request).await.map(|answer| answer.into_inner().revision)
        } else {
            let mut request = whatever(register("load", port));
            request.transports = vec![1, 2];
            writes.register_port(request).await.map(|answer| {
                let answer = answer.into_inner();
                held.extend(answer.assignments.into_iter().map(|record| record.uid));
                answer.revision
            })
        };
        match answer {
            Ok(revision) => revisions.push(revision),
            Err(status) => {
                // Refused as the server stops; else it never arrived there, in the client's words.
                let details = status.get_error_details();
                let reason = details.error_info().map(|info| info.reason.as_str());
                assert!(matches!(reason, None | Some("SHUTTING_DOWN")), "{status:?}");
                break;
            }
        }
        // The test has heard enough.
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
        writes.register_port(whatever(register("before", port))).await.unwrap();
    }
    let mut watches = Vec::new();
    for connection in 0..CONNECTIONS {
        let reads = server.reads().await;
        for watch in 0..WATCHES {
            // Some from the beginning, some from within, some from now on.
            let start = [1, 11, 21][((connection + watch) % 3) as usize];
            let request = proto::WatchAssignmentsRequest { start_revision: start, filter: None };
            let mut stream = reads.clone().watch_assignments(request).await.unwrap().into_inner();
            let mut followed = Followed { start, told: Vec::new(), revision: start - 1 };
            watches.push(tokio::spawn(async move {
                loop {
                    match in_time(stream.message()).await {
                        Ok(message) => {
                            let message = message.unwrap();
                            followed.told.extend(message.changes);
                            followed.revision = message.revision;
                        }
                        Err(end) => return (followed, end),
                    }
                }
            }));
        }
    }
    let (acknowledged, mut heard) = unbounded_channel();
    let mut writing = Vec::new();
    for number in 0..WRITERS {
        let writes = server.writes().await;
        writing.push(tokio::spawn(write(writes, number, acknowledged.clone())));
    }
    for _ in 0..WRITTEN {
        in_time(heard.recv()).await.unwrap();
    }
    let started = Instant::now();
    let status = server.signal("TERM").await;
    let stopped = started.elapsed();
    assert!(status.success(), "{status}");
    assert!(stopped < Duration::from_secs(10), "within the grace, and not by it: {stopped:?}");
    assert!(!log_of(&server).exists(), "all that the log held is in the file");
    let mut revisions = Vec::new();
    for writer in writing {
        revisions.extend(in_time(writer).await.unwrap());
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
        let facts = denied::<()>(Err(end), Code::Unavailable, "SHUTTING_DOWN");
        let next: u64 = facts["start_revision"].parse().unwrap();
        assert_eq!(next, followed.revision + 1);
        assert!(next > followed.start);
        // What was told of a revision that is not complete is told again.
        followed.told.retain(|change| change.revision < next);
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
        assert!(followed.told == all[from..], "missed or repeated, from {}", followed.start);
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
    let mut server = Server::stopped();
    let mut command = serve(&server.database());
    command.args(["--shutdown-grace", "2"]);
    server.launch_as(&mut command);
    let requests = (0..400).map(|number| proto::RegisterPortRequest {
        transports: vec![1, 2, 3, 4],
        assignment_notes: "n".repeat(2000),
        ..whatever(register("large", 10_000 + number))
    });
    let batch =
        proto::BatchRegisterPortsRequest { requests: requests.collect(), ..Default::default() };
    server.writes().await.batch_register_ports(batch).await.unwrap();
    // A message is far larger than what a client makes room for as long as it takes nothing.
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let path = "/portbook.v1.PortRegistryService/WatchAssignments";
    let request = http::Request::post(format!("http://{}{path}", server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    let asked = proto::WatchAssignmentsRequest { start_revision: 1, filter: None }.encode_to_vec();
    let mut message = vec![0, 0, 0, 0, u8::try_from(asked.len()).unwrap()];
    message.extend(asked);
    body.send_data(message.into(), true).unwrap();
    let mut unread = in_time(answer).await.unwrap().into_body();
    in_time(unread.data()).await.unwrap().unwrap();
    server.lookup(443).await;
    let started = Instant::now();
    let status = server.signal("TERM").await;
    let stopped = started.elapsed();
    println!("stopped in {stopped:.1?} with a client that does not read, and a grace of 2 s");
    assert!(status.success(), "{status}");
    let grace = Duration::from_secs(2);
    assert!(stopped >= Duration::from_secs(1), "it was there to be waited for: {stopped:?}");
    assert!(stopped < grace + Duration::from_secs(3), "{stopped:?}");
    assert!(!log_of(&server).exists(), "all that the log held is in the file");
    drop((client, unread));
    connection.abort();
}
