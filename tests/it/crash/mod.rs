//! A server that is killed with SIGKILL at a random time has every acknowledged write after the
//! next start, and no partial write.
//!
//! All rounds use one database. In each round, writers send all kinds of writes, the server is
//! killed at a random time, and the next server's state is checked. To reproduce a failure, or to
//! run more rounds:
//!
//! ```sh
//! CRASH_SEED=17 CRASH_ROUNDS=1000 cargo test --test it crash -- --nocapture
//! ```
//!
//! `CRASH_SEED` (default 1) seeds the random generator, which determines the writes, and after how
//! many acknowledgements the server is killed. `CRASH_ROUNDS` (default 100) is the number of rounds.

mod checker;
mod request;
mod workload;

use std::time::{Duration, Instant};

use portbook::grpc::proto::{self, Transport};
use tokio::sync::mpsc::unbounded_channel;

use self::checker::{Checker, assert_intact};
use self::request::Request;
use self::workload::{LAB, SHARED, Sent, WriteOutcome, Writer};
use crate::harness::{Random, Server, namespace, pool, seconds, serve, within_timeout};

const WRITERS: u32 = 8;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Creates the namespace and the pool that all writers share.
async fn prepare(server: &Server) -> Vec<Sent> {
    let policy = proto::NamespacePolicy { cool_down: seconds(0), ..Default::default() };
    let shared = proto::Pool {
        namespace: LAB.into(),
        transports: vec![Transport::Tcp.into(), Transport::Udp.into()],
        cool_down: seconds(0),
        ..pool(SHARED, 29_500, 29_800)
    };
    let pool = proto::CreatePoolRequest { pool: Some(shared), ..Default::default() };
    let requests = [Request::CreateNamespace(namespace(LAB, policy)), Request::CreatePool(pool)];
    let (mut writes, mut all) = (server.writes().await, Vec::new());
    for mut request in requests {
        let tag = format!("begin.{}", all.len());
        request.mark(&tag, true);
        let outcome = WriteOutcome::of(request.send(&mut writes).await);
        all.push(Sent { tag, request, has_id: true, changes: 1, outcome });
    }
    all
}

/// Runs all writers, and kills the server shortly after this many acknowledgements.
async fn round(
    server: &mut Server,
    checker: &Checker,
    number: u32,
    random: &mut Random,
) -> Vec<Sent> {
    let (acknowledged, mut results) = unbounded_channel();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let writer = Writer {
            number: writer,
            round: number,
            random: Random::new(u64::from(random.below(1 << 30))),
            writes: server.writes().await,
            owned: checker.owned_by(&format!("w{writer}")),
            acknowledged: acknowledged.clone(),
        };
        writers.push(tokio::spawn(writer.run()));
    }
    // Sometimes few, to cover kills at the start of a round.
    let most = [10, 100, 300][random.below(3) as usize];
    for _ in 0..random.below(most) {
        within_timeout(results.recv()).await.unwrap();
    }
    // Kill at any time, not only right after an acknowledgement.
    tokio::time::sleep(Duration::from_micros(random.below(4_000).into())).await;
    server.kill();
    let mut sent = Vec::new();
    for writer in writers {
        sent.extend(within_timeout(writer).await.unwrap());
    }
    sent
}

/// Kills a server during its start.
async fn kill_while_it_starts(server: &Server, most: Duration, random: &mut Random) {
    let mut child = serve(&server.database()).spawn().unwrap();
    let most = u32::try_from(most.as_micros()).unwrap().max(1);
    tokio::time::sleep(Duration::from_micros(random.below(most).into())).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_and_no_write_is_partial() {
    let (seed, rounds) = (setting("CRASH_SEED", 1), setting("CRASH_ROUNDS", 100));
    let (mut random, mut checker, started) =
        (Random::new(seed), Checker::default(), Instant::now());
    let (mut while_starting, mut start_time) = (0, Duration::ZERO);
    let mut server = Server::start();
    checker.record(prepare(&server).await);
    for number in 0..u32::try_from(rounds).unwrap() {
        checker.check(&server).await;
        let (lost, halves) = (&checker.lost, &checker.half_applied);
        assert!(
            checker.is_complete(),
            "seed {seed}, round {number}: lost {lost:#?}, by halves {halves:#?}"
        );
        if number % 10 == 9 {
            assert_intact(&server).await;
        }
        if random.below(8) == 0 {
            server.kill();
            kill_while_it_starts(&server, start_time, &mut random).await;
            while_starting += 1;
        } else {
            let sent = round(&mut server, &checker, number, &mut random).await;
            checker.record(sent);
        }
        let again = Instant::now();
        server.launch();
        start_time = again.elapsed();
    }
    checker.check(&server).await;
    assert!(server.signal("TERM").await.success());
    server.launch();
    checker.check_all(&server).await;
    assert_intact(&server).await;
    println!(
        "{rounds} rounds in {:.0?}, {while_starting} of them killed while starting: {} writes \
         acknowledged, {} unanswered of which {} were carried out, {} sent again, {} leases ended, \
         revision {}; lost {}, half-applied {}; seed {seed}",
        started.elapsed(),
        checker.acknowledged,
        checker.unanswered,
        checker.carried_out,
        checker.repeated,
        checker.expired,
        server.info().await.revision,
        checker.lost.len(),
        checker.half_applied.len(),
    );
    assert_eq!((&checker.lost, &checker.half_applied), (&vec![], &vec![]));
}

#[tokio::test]
async fn a_new_database_is_seeded_completely_despite_interruptions() {
    let mut random = Random::new(setting("CRASH_SEED", 1));
    for number in 0..3 {
        let mut server = Server::stopped();
        // Up to three interrupted starts on the same file.
        for _ in 0..=number {
            kill_while_it_starts(&server, Duration::from_millis(400), &mut random).await;
        }
        server.launch();
        let line = &server.ready_line;
        assert!(line.contains("revision 0, 15047 assignments"), "{line:?}");
        assert_intact(&server).await;
        let request = crate::harness::register("billing", crate::harness::FREE);
        server.writes().await.register_port(request).await.unwrap();
    }
}
