//! WatchAssignments: every change once, in order, from any revision, across reconnects.

use std::time::Instant;

use portbook::grpc::proto::{
    self, AssignmentFilter, Change, WatchAssignmentsResponse, WatchFilter,
};
use tonic::{Code, Status, Streaming};

use crate::harness::{
    FREE, QUIET, Random, Replay, Server, Writes, acknowledge_all, assert_refused, namespace, ports,
    register, release, within_timeout,
};

type Watch = Streaming<WatchAssignmentsResponse>;

fn all_namespaces() -> WatchFilter {
    WatchFilter { namespace: "-".into(), ..Default::default() }
}

async fn next(watch: &mut Watch) -> WatchAssignmentsResponse {
    within_timeout(watch.message()).await.unwrap().unwrap()
}

/// The changes up to the message that marks the end of the initial changes.
async fn initial_changes(watch: &mut Watch) -> (Vec<Change>, u64) {
    let mut output = Vec::new();
    loop {
        let message = next(watch).await;
        if message.changes.is_empty() {
            return (output, message.revision);
        }
        output.extend(message.changes);
    }
}

/// Registers these ports in a namespace on all transports: four changes a port, in one revision.
async fn register_all(writes: &mut Writes, namespace: &str, first: u32, last: u32) -> Vec<String> {
    let request = |port| proto::RegisterPortRequest {
        namespace: namespace.into(),
        transports: vec![1, 2, 3, 4],
        ..acknowledge_all(register("batch", port))
    };
    let requests = (first..=last).map(request).collect();
    let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
    let response = writes.batch_register_ports(batch).await.unwrap().into_inner();
    response.assignments.into_iter().map(|record| record.uid).collect()
}

#[tokio::test]
async fn a_watch_starts_at_the_requested_revision() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let nothing = initial_changes(&mut server.watch(0, all_namespaces()).await).await;
    assert_eq!(nothing, (vec![], 0));
    for port in QUIET..QUIET + 5 {
        writes.register_port(register("billing", port)).await.unwrap();
    }
    let mut watches = Vec::new();
    for (start, expected) in [(0, 6..6), (1, 1..6), (3, 3..6), (5, 5..6), (6, 6..6)] {
        let mut watch = server.watch(start, all_namespaces()).await;
        let (output, revision) = initial_changes(&mut watch).await;
        let output: Vec<_> = output.iter().map(|change| change.revision).collect();
        assert_eq!((output, revision), (expected.collect(), 5), "from {start}");
        watches.push(watch);
    }
    writes.register_port(register("billing", QUIET + 5)).await.unwrap();
    let written = server.history(proto::ChangeFilter::default()).await.pop();
    for mut watch in watches {
        let message = next(&mut watch).await;
        assert_eq!(
            (message.changes.into_iter().next_back(), message.revision),
            (written.clone(), 6)
        );
    }
}

#[tokio::test]
async fn a_filter_matches_the_record_before_or_after_the_change() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("lab", proto::NamespacePolicy::default())).await.unwrap();
    let filters = [
        (all_namespaces(), vec![2, 3, 4, 5, 6, 7, 8, 9]),
        (WatchFilter { namespace: "lab".into(), ..Default::default() }, vec![2]),
        (WatchFilter { ports: ports(FREE + 2, FREE + 3), ..Default::default() }, vec![9]),
        (WatchFilter { service_name: "Orders".into(), ..Default::default() }, vec![5, 6, 7]),
        (
            WatchFilter {
                ports: ports(FREE, FREE + 1),
                service_name: "two".into(),
                ..all_namespaces()
            },
            vec![4],
        ),
    ];
    let mut live = Vec::new();
    for (filter, _) in &filters {
        let mut watch = server.watch(0, filter.clone()).await;
        initial_changes(&mut watch).await;
        live.push(watch);
    }
    let within = proto::RegisterPortRequest { namespace: "lab".into(), ..register("lab", FREE) };
    writes.register_port(within).await.unwrap();
    let uid = writes.register_port(register("billing", FREE)).await.unwrap().into_inner();
    let uid = uid.assignments[0].uid.clone();
    writes.register_port(register("two", FREE + 1)).await.unwrap();
    for (name, description) in [("orders", ""), ("", "still"), ("web", ""), ("", "no more")] {
        let desired = proto::Assignment {
            uid: uid.clone(),
            service_name: name.into(),
            description: description.into(),
            ..Default::default()
        };
        let request =
            proto::UpdateAssignmentRequest { assignment: Some(desired), ..Default::default() };
        writes.update_assignment(request).await.unwrap();
    }
    let run =
        proto::RegisterPortRequest { ports: ports(FREE + 3, FREE + 5), ..register("run", FREE) };
    writes.register_port(run).await.unwrap();
    for ((filter, expected), mut watch) in filters.into_iter().zip(live) {
        let mut past = server.watch(1, filter.clone()).await;
        let (output, revision) = initial_changes(&mut past).await;
        let revisions: Vec<_> = output.iter().map(|change| change.revision).collect();
        assert_eq!((revisions, revision), (expected, 9), "{filter:?}");
        // A live watch receives the same changes as a later one.
        let mut results = Vec::new();
        while results.len() < output.len() {
            results.extend(next(&mut watch).await.changes);
        }
        assert_eq!(results, output, "{filter:?}");
    }
}

#[tokio::test]
async fn a_large_revision_is_split_into_messages_and_marked_when_complete() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.register_port(register("first", FREE)).await.unwrap();
    let mut live = server.watch(2, all_namespaces()).await;
    initial_changes(&mut live).await;
    register_all(&mut writes, "", 20_000, 20_999).await;
    let mut past = server.watch(2, all_namespaces()).await;
    for watch in [&mut live, &mut past] {
        let (mut output, mut messages) = (Vec::new(), 0);
        while output.len() < 4000 {
            let message = next(watch).await;
            messages += 1;
            output.extend(message.changes.iter().map(|change| (change.revision, change.position)));
            let revision = if output.len() < 4000 { 1 } else { 2 };
            assert_eq!(message.revision, revision, "after {} changes", output.len());
        }
        assert!(messages > 4, "{messages}");
        assert!(output.iter().copied().eq((0..4000).map(|position| (2, position))));
    }
}

/// Follows the registry like a correct client: it applies a revision when it is complete.
#[derive(Default)]
struct Follower {
    state: Replay,
    /// The last complete revision.
    revision: u64,
    /// The received changes of an incomplete revision.
    partial: Vec<Change>,
}

impl Follower {
    fn take(&mut self, message: WatchAssignmentsResponse) {
        assert!(message.revision >= self.revision);
        self.partial.extend(message.changes);
        self.revision = message.revision;
        let complete = self.partial.partition_point(|change| change.revision <= message.revision);
        for change in self.partial.drain(..complete) {
            self.state.apply(&change);
        }
    }

    /// Reads until that revision.
    async fn catch_up(&mut self, watch: &mut Watch, revision: u64) {
        within_timeout(async {
            while self.revision < revision {
                self.take(next(watch).await);
            }
        })
        .await;
    }

    /// Resumes with a new watch on a new connection.
    async fn resume(&mut self, server: &Server) -> Watch {
        self.partial.clear();
        server.watch(self.revision + 1, all_namespaces()).await
    }
}

#[tokio::test]
async fn a_watch_ends_with_the_server_and_resumes_on_the_next() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    let writing = tokio::spawn(async move {
        // Until the server stops.
        for port in 10_000.. {
            let mut request = acknowledge_all(register("billing", port));
            request.transports = vec![1, 2];
            let Ok(response) = writes.register_port(request).await else { return };
            if port % 3 == 0 {
                let uid = &response.into_inner().assignments[0].uid;
                if writes.release_port(release(uid)).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut follower = Follower::default();
    let mut watch = follower.resume(&server).await;
    follower.catch_up(&mut watch, 100).await;
    let stopping = tokio::spawn(async move { (server.signal("TERM").await, server) });
    let end: Status = loop {
        match watch.message().await {
            Ok(message) => follower.take(message.unwrap()),
            Err(end) => break end,
        }
    };
    let metadata = assert_refused::<()>(Err(end), Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(metadata["start_revision"], (follower.revision + 1).to_string());
    drop(watch);
    writing.await.unwrap();
    let (status, mut server) = stopping.await.unwrap();
    assert!(status.success());
    server.launch();
    let present = server.info().await.revision;
    assert!(present >= follower.revision);
    let mut watch = follower.resume(&server).await;
    follower.catch_up(&mut watch, present).await;
    follower.state.assert_is(server.all_registrations().await);
}

#[tokio::test]
async fn a_watcher_disconnected_fifty_times_sees_every_change_once() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let (permits, mut permitted) = tokio::sync::mpsc::channel::<u32>(100);
    let writing = tokio::spawn(async move {
        let (mut written, mut port, mut uids) = (0, 10_000, Vec::new());
        while let Some(amount) = permitted.recv().await {
            // A revision of many messages, then many small ones.
            let last = port + amount;
            uids.extend(register_all(&mut writes, "", port, last - 1).await);
            written += 4 * amount;
            port = last;
            for _ in 0..30 {
                writes.release_port(release(&uids.remove(uids.len() / 2))).await.unwrap();
                written += 1;
            }
        }
        written
    });
    let (mut follower, mut random, mut torn) = (Follower::default(), Random::new(5), 0);
    for round in 0..50 {
        permits.send(if round % 5 == 0 { 150 } else { 10 }).await.unwrap();
        let mut watch = follower.resume(&server).await;
        // Disconnect within each large revision once; otherwise anywhere up to the mark.
        let (mut left, mut marks) = (random.below(6), 0);
        while left > 0 || (round % 5 == 0 && follower.partial.is_empty()) {
            let message = next(&mut watch).await;
            let is_abreast = message.changes.is_empty();
            marks += u32::from(is_abreast);
            assert!(marks < 3, "a large revision was not split");
            follower.take(message);
            let is_torn = !follower.partial.is_empty();
            left = if is_abreast || is_torn { 0 } else { left.saturating_sub(1) };
        }
        torn += usize::from(!follower.partial.is_empty());
    }
    drop(permits);
    let written = writing.await.unwrap();
    assert!(written >= 5000, "{written}");
    assert!(torn >= 10, "disconnected within a revision {torn} times");
    let present = server.info().await.revision;
    let mut watch = follower.resume(&server).await;
    follower.catch_up(&mut watch, present).await;
    follower.state.assert_is(server.all_registrations().await);
}

/// Reads until that revision, and asserts that nothing is missing or duplicated.
async fn read_all(watch: &mut Watch, end: u64) -> usize {
    let (mut last, mut count) = ((0, 0), 0);
    loop {
        let message = next(watch).await;
        for change in &message.changes {
            let position = (change.revision, change.position);
            let follows =
                position == (last.0, last.1 + 1) || (position.0 > last.0 && position.1 == 0);
            assert!(follows, "{position:?} after {last:?}");
            last = position;
            count += 1;
        }
        if message.revision >= end {
            return count;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_delays_no_other_client() {
    const SPACES: u64 = 5;
    let server = Server::start();
    let mut writes = server.writes().await;
    for number in 0..SPACES {
        let made = namespace(&format!("n{number}"), proto::NamespacePolicy::default());
        writes.create_namespace(made).await.unwrap();
    }
    let mut idle = server.watch(1, all_namespaces()).await;
    let mut watches = Vec::new();
    for _ in 0..99 {
        watches.push(server.watch(1, all_namespaces()).await);
    }
    let (before, _) = server.memory_kib();
    let started = Instant::now();
    let reading: Vec<_> = watches
        .into_iter()
        .map(|mut watch| tokio::spawn(async move { read_all(&mut watch, 2 * SPACES).await }))
        .collect();
    for number in 0..SPACES {
        let all = register_all(&mut writes, &format!("n{number}"), 20_000, 20_999).await;
        assert_eq!(all.len(), 4000);
    }
    let written = started.elapsed();
    for reader in reading {
        assert_eq!(within_timeout(reader).await.unwrap(), 4000 * SPACES as usize);
    }
    let (after, most) = server.memory_kib();
    println!("written in {written:?}, read in {:?}", started.elapsed());
    println!("{before} KiB before, {after} KiB after, {most} KiB at most");
    assert!(most < before + 200 * 1024, "{before} KiB before, {most} KiB at most");
    assert_eq!(within_timeout(read_all(&mut idle, 2 * SPACES)).await, 4000 * SPACES as usize);
    let registered = server
        .registered(AssignmentFilter { namespace: "n0".into(), ..Default::default() }, None)
        .await;
    assert_eq!(registered.len(), 4000);
}
