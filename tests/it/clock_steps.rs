//! A clock that is set: forwards, backwards, and before 1970.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use portbook::access::Actor;
use portbook::metrics::Metrics;
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::Change;
use portbook::registry::command::{Command, RegistrationSelector};
use portbook::registry::decide::{Context, decide};
use portbook::store::history::{ChangeFilter, ChangePosition, ChangeRecord, History, Query};
use portbook::store::{DatabaseStore, Entry, Maintenance, Report, Store, StoreError};
use portbook::writer::{Clock, Environment, Proposal, RegistryHandle, WriteError, writer};
use proptest::prelude::*;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::conformance::registration;
use crate::decisions::command::command;
use crate::decisions::model_of;
use crate::decisions::operation::{Operation, operation, resolved, time};
use crate::harness::{seeded_store, within_timeout};
use crate::properties::{NEW, block_on};

/// An action on a running registry.
#[derive(Clone, Debug)]
enum Step {
    /// Sets the clock forwards or backwards by microseconds.
    Clock(i64),
    /// Sets the clock to this second since 1970.
    ClockTo(i64),
    Operation(Operation),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (-2_000_000..2_000_000i64).prop_map(Step::Clock),
        1 => (-4_000_000_000..4_000_000_000i64).prop_map(Step::Clock),
        1 => prop_oneof![Just(-86_400), Just(0), Just(1_000_000), Just(4_000_000)]
            .prop_map(Step::ClockTo),
        6 => operation().prop_map(Step::Operation),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A registry whose clock the test sets.
struct Running {
    handle: RegistryHandle,
    stop: CancellationToken,
    task: JoinHandle<Result<DatabaseStore, StoreError>>,
}

impl Running {
    async fn start(database: &Path, micros: &Arc<AtomicI64>) -> Self {
        let mut store = DatabaseStore::open(database).await.unwrap();
        let source = Arc::clone(micros);
        let clock = Clock::new(move || {
            Timestamp::from_microsecond(source.load(Ordering::Relaxed)).unwrap()
        });
        let loaded = store.load(clock.now()).await.unwrap().into_loaded();
        let environment = Environment::system(clock, Arc::new(Metrics::new([]).0));
        let (handle, writer) = writer(store, loaded, environment);
        let stop = CancellationToken::new();
        let task = tokio::spawn(writer.run(stop.clone()));
        Self { handle, stop, task }
    }

    async fn operate(&self, operation: &Operation) {
        let snapshot = self.handle.snapshot();
        let model = model_of(&snapshot, self.handle.now().as_second());
        let resolved = resolved(operation, &model);
        let Some(command) = resolved.and_then(|it| command(&it, &model)) else { return };
        let proposal = Proposal {
            command,
            actor: Actor("admin".into()),
            reason: String::new(),
            request: None,
            validate_only: false,
        };
        match within_timeout(self.handle.propose(proposal)).await {
            Ok(_) | Err(WriteError::Refused(_)) => {}
            Err(error) => panic!("{operation:?}: {error:?}"),
        }
    }

    async fn end(self) -> DatabaseStore {
        self.stop.cancel();
        drop(self.handle);
        within_timeout(self.task).await.unwrap().unwrap()
    }
}

/// Requires that times never decrease, that a query by time returns the state at that time, and that no
/// lease or cool-down ends before it begins.
async fn assert_times_are_consistent(history: &dyn History) {
    let query = Query {
        after: None,
        before: ChangePosition::end_of(Revision(u64::MAX)),
        newest_first: false,
        limit: 10_000,
        filter: ChangeFilter::default(),
    };
    let changes = history.changes(&query).await.unwrap();
    let mut last = Timestamp::MIN;
    for ChangeRecord { position, time, change, .. } in changes {
        assert!(time >= last, "revision {}: {time} after {last}", position.revision);
        last = time;
        assert!(history.revision_at(time).await.unwrap() >= position.revision);
        let just_before = time - SignedDuration::from_micros(1);
        assert!(history.revision_at(just_before).await.unwrap() < position.revision);
        let registration = change.after().and_then(|after| after.registration());
        if let Some(registration) = registration {
            assert!(registration.create_time <= registration.update_time);
            assert!(registration.update_time <= time, "{registration:?} at {time}");
            let lease = registration.lease;
            assert!(lease.is_none_or(|lease| lease.expire_time > registration.create_time));
        }
        if let Change::Registered { after } = &change {
            assert_eq!(after.registration().unwrap().create_time, time);
        }
        if let Change::Expired { before, .. } = &change {
            let lease = before.registration().unwrap().lease.unwrap();
            assert!(lease.expire_time <= time);
        }
        assert!(change.cooling_until().is_none_or(|until| until > time));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_database_stays_valid_however_the_clock_is_set(steps in steps()) {
        block_on(async {
            let (folder, store) = seeded_store().await;
            store.close().await.unwrap();
            let database = folder.path().join("portbook.db");
            let micros = Arc::new(AtomicI64::new(2_000_000_000_000));
            let mut running = Running::start(&database, &micros).await;
            for step in &steps {
                match step {
                    Step::Clock(by) => drop(micros.fetch_add(*by, Ordering::Relaxed)),
                    Step::ClockTo(second) => micros.store(second * 1_000_000, Ordering::Relaxed),
                    Step::Operation(operation) => running.operate(operation).await,
                    Step::Restart => {
                        running.end().await.close().await.unwrap();
                        running = Running::start(&database, &micros).await;
                    }
                }
            }
            let store = running.end().await;
            assert_times_are_consistent(&*store.history()).await;
            store.close().await.unwrap();
            let report = DatabaseStore::verify(&database, Timestamp::now()).await.unwrap();
            assert!(report.is_ok(), "{:?}", report.problems());
        });
    }
}

/// The entries of 0.1.0: it decided a command at the time of the clock, and moved only the time of the
/// revision after that of the last one. `moved` is that time, in microseconds after the last one.
async fn verify_history_of_0_1_0(moved: i64) -> Report {
    let (folder, mut store) = seeded_store().await;
    let mut snapshot = NEW.clone();
    let (mut entries, mut last) = (Vec::new(), time(2_000));
    let uid = |entries: &[Entry]| entries[0].changes[0].record().unwrap().uid;
    for (clock, registered) in [(2_000, Some(20_000)), (1_000, Some(20_001)), (1_001, None)] {
        let command = match registered {
            Some(port) => registration("suite", port),
            None => {
                let selector = RegistrationSelector::Uid { uid: uid(&entries), etag: None };
                Command::Release(selector)
            }
        };
        let mut new_uid = || Uid::new(Uuid::now_v7());
        let mut context = Context { now: time(clock), new_uid: &mut new_uid };
        let decision = decide(&snapshot, &command, &mut context).unwrap();
        let revision = snapshot.revision().next();
        if !entries.is_empty() {
            last += SignedDuration::from_micros(moved);
        }
        snapshot = snapshot.after(revision, &decision.changes);
        entries.push(Entry {
            revision,
            time: last,
            actor: Actor("admin".into()),
            reason: String::new(),
            changes: decision.changes,
            findings: Vec::new(),
            request: None,
        });
    }
    store.append(Revision(0), &entries).await.unwrap();
    store.close().await.unwrap();
    DatabaseStore::verify(&folder.path().join("portbook.db"), Timestamp::now()).await.unwrap()
}

#[tokio::test]
async fn a_history_that_0_1_0_wrote_under_a_clock_that_stepped_back_is_valid() {
    let report = verify_history_of_0_1_0(1).await;
    assert!(report.is_ok(), "{:?}", report.problems());
    // Another difference of the times has another cause.
    let problems = verify_history_of_0_1_0(2).await.problems().unwrap();
    assert!(problems.contains("its state after has another revision or time"), "{problems}");
    assert!(problems.ends_with("and 2 more"), "four registrations, and a cool-down: {problems}");
}
