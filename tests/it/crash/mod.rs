//! Ended by `kill -9` at any moment, a server has everything that it acknowledged when it is started
//! again, and nothing by halves.
//!
//! One database goes through all rounds. In each, writers send whatever there is to write; at a
//! random moment the server is killed; the next one is asked for all of it. To repeat a run, or to
//! have a longer one:
//!
//! ```sh
//! CRASH_SEED=17 CRASH_ROUNDS=1000 cargo test --test it crash -- --nocapture
//! ```
//!
//! `CRASH_SEED` (default 1) is what chance begins with: it says what is written, and after how many
//! acknowledgements the server is killed. `CRASH_ROUNDS` (default 100) is how often it is.

mod checker;
mod request;
mod workload;

use std::time::{Duration, Instant};

use portbook::grpc::proto::{self, Transport};
use tokio::sync::mpsc::unbounded_channel;

use self::checker::{Checker, assert_whole};
use self::request::Request;
use self::workload::{Fate, LAB, SHARED, Sent, Writer};
use crate::harness::{Dice, Server, in_time, namespace, pool, seconds, serve};

const WRITERS: u32 = 8;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The spaces that all writers share.
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
        let fate = Fate::of(request.send(&mut writes).await);
        all.push(Sent { tag, request, has_id: true, changes: 1, fate });
    }
    all
}

/// Has all writers write, and kills the server a moment after so many acknowledgements.
async fn round(server: &mut Server, checker: &Checker, number: u32, dice: &mut Dice) -> Vec<Sent> {
    let (acknowledged, mut heard) = unbounded_channel();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let writer = Writer {
            number: writer,
            round: number,
            dice: Dice::new(u64::from(dice.roll(1 << 30))),
            writes: server.writes().await,
            own: checker.own(&format!("w{writer}")),
            acknowledged: acknowledged.clone(),
        };
        writers.push(tokio::spawn(writer.run()));
    }
    // Few at times, so that the beginning is met as well.
    let most = [10, 100, 300][dice.roll(3) as usize];
    for _ in 0..dice.roll(most) {
        in_time(heard.recv()).await.unwrap();
    }
    // Not right after an acknowledgement, but anywhere.
    tokio::time::sleep(Duration::from_micros(dice.roll(4_000).into())).await;
    server.kill();
    let mut sent = Vec::new();
    for writer in writers {
        sent.extend(in_time(writer).await.unwrap());
    }
    sent
}

/// Kills a server that is still starting.
async fn kill_while_it_starts(server: &Server, most: Duration, dice: &mut Dice) {
    let mut child = serve(&server.database()).spawn().unwrap();
    let most = u32::try_from(most.as_micros()).unwrap().max(1);
    tokio::time::sleep(Duration::from_micros(dice.roll(most).into())).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_and_no_write_is_partial() {
    let (seed, rounds) = (setting("CRASH_SEED", 1), setting("CRASH_ROUNDS", 100));
    let (mut dice, mut checker, started) = (Dice::new(seed), Checker::default(), Instant::now());
    let (mut while_starting, mut start_time) = (0, Duration::ZERO);
    let mut server = Server::start();
    checker.note(prepare(&server).await);
    for number in 0..u32::try_from(rounds).unwrap() {
        checker.check(&server).await;
        let (lost, halves) = (&checker.lost, &checker.half_applied);
        assert!(
            checker.is_kept(),
            "seed {seed}, round {number}: lost {lost:#?}, by halves {halves:#?}"
        );
        if number % 10 == 9 {
            assert_whole(&server).await;
        }
        if dice.roll(8) == 0 {
            server.kill();
            kill_while_it_starts(&server, start_time, &mut dice).await;
            while_starting += 1;
        } else {
            let sent = round(&mut server, &checker, number, &mut dice).await;
            checker.note(sent);
        }
        let again = Instant::now();
        server.launch();
        start_time = again.elapsed();
    }
    checker.check(&server).await;
    assert!(server.signal("TERM").await.success());
    server.launch();
    checker.check_all(&server).await;
    assert_whole(&server).await;
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
    let mut dice = Dice::new(setting("CRASH_SEED", 1));
    for number in 0..3 {
        let mut server = Server::stopped();
        // Up to three times on the same file, in which it comes further or not.
        for _ in 0..=number {
            kill_while_it_starts(&server, Duration::from_millis(400), &mut dice).await;
        }
        server.launch();
        let line = &server.ready_line;
        assert!(line.contains("revision 0, 15047 assignments"), "{line:?}");
        assert_whole(&server).await;
        let request = crate::harness::register("billing", crate::harness::FREE);
        server.writes().await.register_port(request).await.unwrap();
    }
}
