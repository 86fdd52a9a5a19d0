//! On a full disk, the server answers reads, refuses writes with the cause, loses no acknowledged
//! write, and accepts writes again once there is space.

use std::collections::{BTreeMap, BTreeSet};

use portbook::grpc::proto::{self, ChangeFilter, WatchFilter};
use tonic::Code;

use crate::harness::{Replay, Server, acknowledge_all, error_parts, register, within_timeout};
use crate::tmpfs_disk::TmpfsDisk;

/// The largest possible registration.
fn large(port: u32) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest {
        transports: vec![1, 2, 3, 4],
        assignment_notes: "n".repeat(2000),
        ..acknowledge_all(register("large", port))
    }
}

/// The results of writes: how often each occurred, and the registered ports.
#[derive(Default, Debug)]
struct WriteResults {
    figures: BTreeMap<String, usize>,
    ports: BTreeSet<u32>,
}

impl WriteResults {
    /// Registers these ports, 16 at a time, and records the results.
    async fn write(&mut self, server: &Server, ports: std::ops::Range<u32>) {
        let writes = server.writes().await;
        let calls = ports.map(|port| {
            let mut writes = writes.clone();
            async move { (port, within_timeout(writes.register_port(large(port))).await) }
        });
        let mut calls =
            futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(calls), 16);
        while let Some((port, response)) = futures_util::StreamExt::next(&mut calls).await {
            let result = match response {
                Ok(_) => {
                    self.ports.insert(port);
                    "OK".to_owned()
                }
                Err(status) => {
                    let message = status.message().to_owned();
                    let (code, reason, details) = error_parts::<()>(Err(status));
                    assert_eq!((code, reason.as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
                    assert!(details.retry_info().is_some());
                    assert!(message.contains("the server's disk is full"), "{message}");
                    format!("{code:?} {reason}: {message}")
                }
            };
            *self.figures.entry(result).or_default() += 1;
        }
    }

    /// Registers ports from `first` on until at least this many were refused. Returns the first port
    /// that was not tried.
    ///
    /// A full disk does not refuse the first writes: SQLite overwrites its WAL from the start after a
    /// checkpoint, so they use the space that the file already has, which differs from run to run.
    async fn write_until_refused(&mut self, server: &Server, first: u32, refusals: usize) -> u32 {
        let (expected, mut next) = (self.refusals() + refusals, first);
        while self.refusals() < expected {
            assert!(next < first + 5_000, "the disk is not full: {:?}", self.figures);
            self.write(server, next..next + 40).await;
            next += 40;
        }
        next
    }

    fn refusals(&self) -> usize {
        self.figures.values().sum::<usize>() - self.figures.get("OK").unwrap_or(&0)
    }

    /// Asserts that the server has exactly the acknowledged writes, and answers every kind of read.
    async fn assert_there(&self, server: &Server) {
        let registered = server.all_registrations().await;
        let ports: BTreeSet<_> = registered.iter().map(crate::harness::first_port).collect();
        assert_eq!(ports, self.ports);
        let mut replay = Replay::default();
        for change in server.history(ChangeFilter::default()).await {
            replay.apply(&change);
        }
        replay.assert_is(registered);
        assert_eq!(server.lookup(443).await.assignments[0].service_name, "https");
        let mut watch = server.watch(1, WatchFilter::default()).await;
        let mut received = 0;
        loop {
            let message = within_timeout(watch.message()).await.unwrap().unwrap();
            received += message.changes.len();
            if message.changes.is_empty() {
                break;
            }
        }
        assert_eq!(received, 4 * self.ports.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_until_space_is_free_and_loses_nothing() {
    let Some(mut disk) = TmpfsDisk::new(
        "a_full_disk_refuses_writes_until_space_is_free_and_loses_nothing",
        24 * 1024,
    ) else {
        return;
    };
    disk.start().unwrap();
    let mut results = WriteResults::default();
    for cycle in 0..3 {
        let first = 10_000 + cycle * 10_000;
        let before = results.ports.len();
        results.write(&disk.server, first..first + 20).await;
        assert_eq!(results.ports.len(), before + 20, "the disk has space: {:?}", results.figures);
        disk.fill();
        let end = results.write_until_refused(&disk.server, first + 20, 40).await;
        results.assert_there(&disk.server).await;
        disk.free();
        let again: Vec<_> = (first..end).filter(|it| !results.ports.contains(it)).collect();
        for port in again {
            results.write(&disk.server, port..port + 1).await;
        }
        results.write(&disk.server, end..end + 20).await;
        let written = (end + 20 - first) as usize;
        assert_eq!(results.ports.len(), before + written, "{:?}", results.figures);
    }
    disk.end("KILL");
    disk.start().unwrap();
    results.assert_there(&disk.server).await;
    disk.fill();
    results.write(&disk.server, 50_000..50_100).await;
    // The WAL is kept: a stop on a full disk loses nothing either.
    assert_eq!(disk.end("TERM"), "0");
    disk.free();
    disk.start().unwrap();
    results.assert_there(&disk.server).await;
    assert!(disk.stderr().contains("the disk of the database is full"), "{}", disk.stderr());
    println!("{:#?}", results.figures);
}

#[tokio::test]
async fn a_killed_server_starts_on_a_full_disk() {
    let Some(mut disk) = TmpfsDisk::new("a_killed_server_starts_on_a_full_disk", 24 * 1024) else {
        return;
    };
    disk.start().unwrap();
    let mut results = WriteResults::default();
    results.write(&disk.server, 10_000..10_050).await;
    disk.end("KILL");
    disk.fill();
    disk.start().unwrap();
    results.assert_there(&disk.server).await;
    let end = results.write_until_refused(&disk.server, 10_050, 1).await;
    results.assert_there(&disk.server).await;
    disk.free();
    results.write(&disk.server, end..end + 10).await;
    assert!((end..end + 10).all(|port| results.ports.contains(&port)), "{:?}", results.figures);
    assert_eq!(disk.end("TERM"), "0");
    // After a clean stop a start needs a little space; without it, it reports that.
    disk.fill();
    let (code, stderr) = disk.start().unwrap_err();
    assert_eq!(code, "5");
    assert!(
        stderr.contains("disk of the database") && stderr.contains("free some space"),
        "{stderr}"
    );
    disk.free();
    disk.start().unwrap();
    results.assert_there(&disk.server).await;
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_fails_and_succeeds_once_space_is_free() {
    for space in [0, 1_000, 2_000] {
        let Some(mut disk) = TmpfsDisk::new(
            "a_first_start_on_a_full_disk_fails_and_succeeds_once_space_is_free",
            space + 10_000,
        ) else {
            return;
        };
        disk.fill();
        if space > 0 {
            // Space for a part of the seed.
            disk.free();
            disk.remount(&format!("size={space}k"));
        }
        let (code, stderr) = disk.start().unwrap_err();
        assert_eq!(code, "5", "{space}: {stderr}");
        let fault = stderr.lines().last().unwrap();
        assert!(
            fault.contains("disk of the database") && fault.contains("full"),
            "{space}: {stderr}"
        );
        if space > 0 {
            disk.remount("size=10m");
        } else {
            disk.free();
        }
        disk.start().unwrap();
        let line = &disk.server.ready_line;
        assert!(line.contains("revision 0, 15047 assignments"), "{line:?}");
    }
}

#[tokio::test]
async fn a_read_only_disk_is_reported() {
    let Some(mut disk) = TmpfsDisk::new("a_read_only_disk_is_reported", 10_000) else { return };
    disk.remount("ro");
    for _ in 0..2 {
        let (code, stderr) = disk.start().unwrap_err();
        assert_eq!(code, "5");
        assert!(stderr.contains("can't be written: check the permissions"), "{stderr}");
        // First without a database, then with one.
        disk.remount("rw");
        disk.start().unwrap();
        assert_eq!(disk.end("TERM"), "0");
        disk.remount("ro");
    }
}
