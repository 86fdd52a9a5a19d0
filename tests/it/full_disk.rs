//! A full disk costs no answer and nothing that was acknowledged: it refuses writes, says why, and
//! they go on by themselves once there is space.

use std::collections::{BTreeMap, BTreeSet};

use portbook::grpc::proto::{self, ChangeFilter, WatchFilter};
use tonic::Code;

use crate::harness::{Fold, Server, in_time, refused, register, whatever};
use crate::tmpfs_disk::SmallDisk;

/// As large a registration as there can be.
fn large(port: u32) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest {
        transports: vec![1, 2, 3, 4],
        assignment_notes: "n".repeat(2000),
        ..whatever(register("large", port))
    }
}

/// What writers were told: how often, and which ports they have.
#[derive(Default, Debug)]
struct Told {
    figures: BTreeMap<String, usize>,
    ports: BTreeSet<u32>,
}

impl Told {
    /// Has 16 writers register these ports, and notes what they are told.
    async fn write(&mut self, server: &Server, ports: std::ops::Range<u32>) {
        let writes = server.writes().await;
        let calls = ports.map(|port| {
            let mut writes = writes.clone();
            async move { (port, in_time(writes.register_port(large(port))).await) }
        });
        let mut calls =
            futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(calls), 16);
        while let Some((port, answer)) = futures_util::StreamExt::next(&mut calls).await {
            let told = match answer {
                Ok(_) => {
                    self.ports.insert(port);
                    "OK".to_owned()
                }
                Err(status) => {
                    let message = status.message().to_owned();
                    let (code, reason, details) = refused::<()>(Err(status));
                    assert_eq!((code, reason.as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
                    assert!(details.retry_info().is_some());
                    assert!(message.contains("the disk of the server is full"), "{message}");
                    format!("{code:?} {reason}: {message}")
                }
            };
            *self.figures.entry(told).or_default() += 1;
        }
    }

    fn refused(&self) -> usize {
        self.figures.values().sum::<usize>() - self.figures.get("OK").unwrap_or(&0)
    }

    /// That the server has what was acknowledged, and nothing else; and answers every kind of read.
    async fn assert_there(&self, server: &Server) {
        let registered = server.everything().await;
        let ports: BTreeSet<_> = registered.iter().map(crate::harness::first_port).collect();
        assert_eq!(ports, self.ports);
        let mut fold = Fold::default();
        for change in server.history(ChangeFilter::default()).await {
            fold.apply(&change);
        }
        fold.assert_is(registered);
        assert_eq!(server.lookup(443).await.assignments[0].service_name, "https");
        let mut watch = server.watch(1, WatchFilter::default()).await;
        let mut told = 0;
        loop {
            let message = in_time(watch.message()).await.unwrap().unwrap();
            told += message.changes.len();
            if message.changes.is_empty() {
                break;
            }
        }
        assert_eq!(told, 4 * self.ports.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_until_space_is_free_and_loses_nothing() {
    let mut disk = SmallDisk::new(24 * 1024);
    disk.start().unwrap();
    let mut told = Told::default();
    for cycle in 0..3 {
        let first = 10_000 + cycle * 1_000;
        told.write(&disk.server, first..first + 20).await;
        assert_eq!(
            told.ports.len(),
            cycle as usize * 160 + 20,
            "there is space: {:?}",
            told.figures
        );
        disk.fill();
        // The log of SQLite may have space left in it from before, for some of them.
        let before = told.refused();
        told.write(&disk.server, first + 20..first + 140).await;
        assert!(told.refused() > before + 40, "{:?}", told.figures);
        told.assert_there(&disk.server).await;
        disk.free();
        let again: Vec<_> = (first..first + 140).filter(|it| !told.ports.contains(it)).collect();
        for port in again {
            told.write(&disk.server, port..port + 1).await;
        }
        told.write(&disk.server, first + 140..first + 160).await;
        assert_eq!(told.ports.len(), (cycle as usize + 1) * 160, "{:?}", told.figures);
    }
    disk.end("KILL");
    disk.start().unwrap();
    told.assert_there(&disk.server).await;
    disk.fill();
    told.write(&disk.server, 20_000..20_100).await;
    // What is in the log stays there: nothing is lost by a stop either.
    assert_eq!(disk.end("TERM"), "0");
    disk.free();
    disk.start().unwrap();
    told.assert_there(&disk.server).await;
    assert!(disk.said().contains("the disk of the database is full"), "{}", disk.said());
    println!("{:#?}", told.figures);
}

#[tokio::test]
async fn a_killed_server_starts_on_a_full_disk() {
    let mut disk = SmallDisk::new(24 * 1024);
    disk.start().unwrap();
    let mut told = Told::default();
    told.write(&disk.server, 10_000..10_050).await;
    disk.end("KILL");
    disk.fill();
    disk.start().unwrap();
    told.assert_there(&disk.server).await;
    told.write(&disk.server, 10_050..10_150).await;
    assert!(told.refused() > 0, "{:?}", told.figures);
    told.assert_there(&disk.server).await;
    disk.free();
    told.write(&disk.server, 10_150..10_160).await;
    assert!((10_150..10_160).all(|port| told.ports.contains(&port)), "{:?}", told.figures);
    assert_eq!(disk.end("TERM"), "0");
    // After a clean stop a start needs a little space; without it, it says so.
    disk.fill();
    let (code, said) = disk.start().unwrap_err();
    assert_eq!(code, "5");
    assert!(said.contains("disk of the database") && said.contains("free some space"), "{said}");
    disk.free();
    disk.start().unwrap();
    told.assert_there(&disk.server).await;
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_fails_and_succeeds_once_space_is_free() {
    for space in [0, 1_000, 2_000] {
        let mut disk = SmallDisk::new(space + 10_000);
        disk.fill();
        if space > 0 {
            // Space for a part of the seed.
            disk.free();
            disk.remount(&format!("size={space}k"));
        }
        let (code, said) = disk.start().unwrap_err();
        assert_eq!(code, "5", "{space}: {said}");
        let fault = said.lines().last().unwrap();
        assert!(
            fault.contains("disk of the database") && fault.contains("full"),
            "{space}: {said}"
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
    let mut disk = SmallDisk::new(10_000);
    disk.remount("ro");
    for _ in 0..2 {
        let (code, said) = disk.start().unwrap_err();
        assert_eq!(code, "5");
        assert!(said.contains("can't be written: check the permissions"), "{said}");
        // First without a database, then with one.
        disk.remount("rw");
        disk.start().unwrap();
        assert_eq!(disk.end("TERM"), "0");
        disk.remount("ro");
    }
}
