//! The current state: checks that it is the result of the history, and that no registration overlaps
//! another or is in a pool that it was not allocated from.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::{Problems, Report};
use crate::registry::assignment::{Assignment, Record};
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};
use crate::store::sqlite::load::custom;
use crate::store::sqlite::{last_revision, token};
use crate::store::{StoreError, TwoThreads};

/// Compares the current state with the replayed state, and checks the registrations for conflicts.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    replayed: &Snapshot,
    now: Timestamp,
    report: &mut Report,
) {
    let mut problems = Problems::default();
    let Some(stored) = problems.check(load(connection, now).await, "the current state") else {
        report.conclude("state", problems, "");
        return;
    };
    let current =
        Snapshot::new(replayed.revision(), replayed.reference().clone(), stored.namespaces)
            .with_contents(
                stored.pools.into_iter().map(SharedPool::share),
                stored.assignments.iter().cloned().map(Record::share),
                &TwoThreads,
            )
            .with_cooling_down(
                stored
                    .cooling_down
                    .into_iter()
                    .map(|(record, until)| (Record::share(record), until)),
            );
    let (expected, found) = (StateSummary::of(replayed, now), StateSummary::of(&current, now));
    compare_maps(&expected.namespaces, &found.namespaces, "namespace", &mut problems);
    compare_maps(&expected.pools, &found.pools, "pool", &mut problems);
    compare_maps(&expected.assignments, &found.assignments, "assignment", &mut problems);
    compare_maps(&expected.cooling_down, &found.cooling_down, "cool-down of", &mut problems);
    compare_maps(&expected.pool_ranges, &stored.pool_ranges, "range of a pool", &mut problems);
    let detail = format!(
        "equal to the replayed history: namespaces {}, pools {}, assignments {}, cooling ports {}",
        found.namespaces.len(),
        found.pools.len(),
        found.assignments.len(),
        found.cooling_down.len()
    );
    report.conclude("state", problems, detail);

    let mut problems = Problems::default();
    check_overlaps(&stored.assignments, &mut problems);
    check_pools(&stored.assignments, &current, &mut problems);
    let detail = "none overlaps another, none is in a pool that it was not allocated from";
    report.conclude("assignments", problems, detail);
}

/// The content of the tables.
struct StoredState {
    namespaces: Vec<Namespace>,
    pools: Vec<Pool>,
    /// Ordered by namespace, transport and port.
    assignments: Vec<Assignment>,
    cooling_down: Vec<(Assignment, Timestamp)>,
    pool_ranges: BTreeMap<String, String>,
}

async fn load(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<StoredState, StoreError> {
    last_revision(connection).await?;
    token::all(connection).await?;
    Ok(StoredState {
        namespaces: custom::namespaces(connection).await?,
        pools: custom::pools(connection).await?,
        assignments: custom::assignments(connection).await?,
        cooling_down: custom::cooling_down(connection, now).await?,
        pool_ranges: pool_ranges(connection).await?,
    })
}

/// The pool of each port range in the table `pool_run`.
async fn pool_ranges(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = sqlx::query!(
        r#"select format('%s: %d-%d/%s', namespace, first_port, last_port, transport)
             as "range!: String", pool from pool_run"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.range, row.pool)).collect())
}

/// The content of a snapshot, keyed by names for messages.
#[derive(Default)]
struct StateSummary {
    namespaces: BTreeMap<String, Arc<Namespace>>,
    pools: BTreeMap<String, Pool>,
    assignments: BTreeMap<String, Assignment>,
    cooling_down: BTreeMap<String, Vec<(Timestamp, String)>>,
    pool_ranges: BTreeMap<String, String>,
}

impl StateSummary {
    fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let mut summary = Self::default();
        for view in snapshot.views_after(None) {
            let namespace = view.namespace();
            summary.namespaces.insert(namespace.name.to_string(), Arc::clone(namespace));
            for pool in view.pools() {
                summary.add_pool(pool);
            }
            summary.add_cooling_down(&view, now);
        }
        for record in snapshot.custom() {
            summary.assignments.insert(display_name(record), Assignment::clone(record));
        }
        summary
    }

    fn add_pool(&mut self, pool: &SharedPool) {
        for (transport, range) in
            itertools::iproduct!(&pool.transports, pool.member_ports().ranges())
        {
            let (first, last) = (range.first().number(), range.last().number());
            let range = format!("{}: {first}-{last}/{transport}", pool.namespace);
            self.pool_ranges.insert(range, pool.name.to_string());
        }
        self.pools.insert(format!("{}/{}", pool.namespace, pool.name), Pool::clone(pool));
    }

    fn add_cooling_down(&mut self, view: &View<'_>, now: Timestamp) {
        let Ok(all) = PortRange::new(Port::ZERO, Port::MAX) else { return };
        for transport in Transport::ALL {
            for (port, entry) in view.cooling_down_in(all, transport, now) {
                let port = format!("{}: {port}/{transport}", view.namespace().name);
                let of_port = self.cooling_down.entry(port).or_default();
                of_port.push((entry.until, entry.record.uid.to_string()));
                of_port.sort();
            }
        }
    }
}

/// A name for messages, such as `default: 7450/tcp billing (uid)`.
fn display_name(record: &Assignment) -> String {
    let namespace = record.registration().map(|registration| registration.namespace.to_string());
    let ports = record.ports.map(|ports| ports.to_string());
    let transport = record.transport.map_or("", Transport::name);
    format!(
        "{}: {}/{transport} {} ({})",
        namespace.unwrap_or_default(),
        ports.unwrap_or_default(),
        record.service_name.as_deref().unwrap_or_default(),
        record.uid
    )
}

fn compare_maps<T: PartialEq>(
    expected: &BTreeMap<String, T>,
    found: &BTreeMap<String, T>,
    kind: &str,
    problems: &mut Problems,
) {
    for (name, value) in found {
        match expected.get(name) {
            Some(expected) if expected == value => {}
            Some(_) => problems.add(format!("{kind} {name} differs from the history")),
            None => problems.add(format!("{kind} {name} is not in the history")),
        }
    }
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        problems.add(format!("{kind} {name} is missing"));
    }
}

/// Compares neighbours, because the assignments are ordered by namespace, transport and port.
fn check_overlaps(assignments: &[Assignment], problems: &mut Problems) {
    let key = |record: &Assignment| {
        let namespace = record.registration().map(|registration| registration.namespace.clone());
        (namespace, record.transport)
    };
    for pair in assignments.windows(2) {
        if let [one, other] = pair
            && key(one) == key(other)
            && one.ports.zip(other.ports).is_some_and(|(one, other)| one.overlaps(other))
        {
            problems.add(format!("{} overlaps {}", display_name(one), display_name(other)));
        }
    }
}

fn check_pools(assignments: &[Assignment], current: &Snapshot, problems: &mut Problems) {
    for record in assignments {
        let (Some(registration), Some(ports), Some(transport)) =
            (record.registration(), record.ports, record.transport)
        else {
            continue;
        };
        let Ok(view) = current.view(&registration.namespace) else {
            problems.add(format!("{} is in a namespace that does not exist", display_name(record)));
            continue;
        };
        let allocated_from = registration.pooled.as_ref().map(|pooled| &pooled.pool);
        let located_in = view.pool_in(ports, transport);
        if located_in.map(|pool| &pool.name) != allocated_from {
            let located_in = located_in.map_or("none".to_owned(), |pool| pool.name.to_string());
            let allocated_from = allocated_from.map_or("none".to_owned(), ToString::to_string);
            let name = display_name(record);
            problems.add(format!(
                "{name} was allocated from pool {allocated_from}, but is in pool {located_in}"
            ));
        } else if located_in.is_some_and(|pool| !pool.contains(ports, transport)) {
            problems.add(format!("{} is only partly in its pool", display_name(record)));
        }
    }
}
