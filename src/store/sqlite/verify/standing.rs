//! What stands: that it is what the history leads to, and that nobody has what is another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::{Faults, Report};
use crate::registry::assignment::{Assignment, Record};
use crate::registry::namespace::Namespace;
use crate::registry::pool::{Pool, SharedPool};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::snapshot::{Snapshot, View};
use crate::store::StoreError;
use crate::store::sqlite::load::custom;
use crate::store::sqlite::{last_revision, token};

/// Compares what stands with what the history has led to, and looks at it by itself.
pub(super) async fn compare(
    connection: &mut SqliteConnection,
    replayed: &Snapshot,
    now: Timestamp,
    report: &mut Report,
) {
    let mut faults = Faults::default();
    let Some(stored) = faults.take(load(connection, now).await, "what stands") else {
        report.judge("state", faults, "");
        return;
    };
    let standing =
        Snapshot::new(replayed.revision(), replayed.reference().clone(), stored.namespaces)
            .with(
                stored.pools.into_iter().map(SharedPool::share),
                stored.assignments.iter().cloned().map(Record::share),
            )
            .with_cooling_down(
                stored.resting.into_iter().map(|(record, until)| (Record::share(record), until)),
            );
    let (meant, found) = (Things::of(replayed, now), Things::of(&standing, now));
    differences(&meant.namespaces, &found.namespaces, "namespace", &mut faults);
    differences(&meant.pools, &found.pools, "pool", &mut faults);
    differences(&meant.assignments, &found.assignments, "assignment", &mut faults);
    differences(&meant.resting, &found.resting, "rest of", &mut faults);
    differences(&meant.runs, &stored.runs, "run of a pool", &mut faults);
    let detail = format!(
        "what stands is what the history leads to: namespaces {}, pools {}, assignments {}, resting \
         ports {}",
        found.namespaces.len(),
        found.pools.len(),
        found.assignments.len(),
        found.resting.len()
    );
    report.judge("state", faults, detail);

    let mut faults = Faults::default();
    overlaps(&stored.assignments, &mut faults);
    pools(&stored.assignments, &standing, &mut faults);
    let detail = "none overlaps another, none is in a pool that it does not come from";
    report.judge("assignments", faults, detail);
}

struct Stored {
    namespaces: Vec<Namespace>,
    pools: Vec<Pool>,
    /// By namespace, transport and port.
    assignments: Vec<Assignment>,
    resting: Vec<(Assignment, Timestamp)>,
    runs: BTreeMap<String, String>,
}

async fn load(connection: &mut SqliteConnection, now: Timestamp) -> Result<Stored, StoreError> {
    last_revision(connection).await?;
    token::all(connection).await?;
    Ok(Stored {
        namespaces: custom::namespaces(connection).await?,
        pools: custom::pools(connection).await?,
        assignments: custom::assignments(connection).await?,
        resting: custom::resting(connection, now).await?,
        runs: runs(connection).await?,
    })
}

/// The runs of pools, and whose they are.
async fn runs(connection: &mut SqliteConnection) -> Result<BTreeMap<String, String>, StoreError> {
    let runs = sqlx::query!(
        r#"select format('%s: %d-%d/%s', namespace, first_port, last_port, transport)
             as "run!: String", pool from pool_run"#
    )
    .fetch_all(connection)
    .await?;
    Ok(runs.into_iter().map(|row| (row.run, row.pool)).collect())
}

/// What a snapshot has, each thing by a name to tell it by.
#[derive(Default)]
struct Things {
    namespaces: BTreeMap<String, Arc<Namespace>>,
    pools: BTreeMap<String, Pool>,
    assignments: BTreeMap<String, Assignment>,
    resting: BTreeMap<String, Vec<(Timestamp, String)>>,
    runs: BTreeMap<String, String>,
}

impl Things {
    fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let mut things = Self::default();
        for view in snapshot.views_after(None) {
            let namespace = view.namespace();
            things.namespaces.insert(namespace.name.to_string(), Arc::clone(namespace));
            for pool in view.pools() {
                things.take_pool(pool);
            }
            things.take_resting(&view, now);
        }
        for record in snapshot.custom() {
            things.assignments.insert(named(record), Assignment::clone(record));
        }
        things
    }

    fn take_pool(&mut self, pool: &SharedPool) {
        for (transport, run) in itertools::iproduct!(&pool.transports, pool.member_ports().ranges())
        {
            let (first, last) = (run.first().number(), run.last().number());
            let run = format!("{}: {first}-{last}/{transport}", pool.namespace);
            self.runs.insert(run, pool.name.to_string());
        }
        self.pools.insert(format!("{}/{}", pool.namespace, pool.name), Pool::clone(pool));
    }

    fn take_resting(&mut self, view: &View<'_>, now: Timestamp) {
        let Ok(all) = PortRange::new(Port::ZERO, Port::MAX) else { return };
        for transport in Transport::ALL {
            for (port, resting) in view.cooling_down_in(all, transport, now) {
                let port = format!("{}: {port}/{transport}", view.namespace().name);
                let of_port = self.resting.entry(port).or_default();
                of_port.push((resting.until, resting.record.uid.to_string()));
                of_port.sort();
            }
        }
    }
}

/// `default: 7450/tcp billing (uid)`.
fn named(record: &Assignment) -> String {
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

fn differences<T: PartialEq>(
    meant: &BTreeMap<String, T>,
    found: &BTreeMap<String, T>,
    what: &str,
    faults: &mut Faults,
) {
    for (name, thing) in found {
        match meant.get(name) {
            Some(meant) if meant == thing => {}
            Some(_) => faults.add(format!("{what} {name} is not as the history tells")),
            None => faults.add(format!("{what} {name} is not in the history")),
        }
    }
    for name in meant.keys().filter(|name| !found.contains_key(*name)) {
        faults.add(format!("{what} {name} is missing"));
    }
}

/// Those of a namespace and transport stand side by side, by port.
fn overlaps(assignments: &[Assignment], faults: &mut Faults) {
    let place = |record: &Assignment| {
        let namespace = record.registration().map(|registration| registration.namespace.clone());
        (namespace, record.transport)
    };
    for pair in assignments.windows(2) {
        if let [one, other] = pair
            && place(one) == place(other)
            && one.ports.zip(other.ports).is_some_and(|(one, other)| one.overlaps(other))
        {
            faults.add(format!("{} overlaps {}", named(one), named(other)));
        }
    }
}

fn pools(assignments: &[Assignment], standing: &Snapshot, faults: &mut Faults) {
    for record in assignments {
        let (Some(registration), Some(ports), Some(transport)) =
            (record.registration(), record.ports, record.transport)
        else {
            continue;
        };
        let Ok(view) = standing.view(&registration.namespace) else {
            faults.add(format!("{} is in a namespace that is not there", named(record)));
            continue;
        };
        let own = registration.pooled.as_ref().map(|pooled| &pooled.pool);
        let around = view.pool_in(ports, transport);
        if around.map(|pool| &pool.name) != own {
            let around = around.map_or("none".to_owned(), |pool| pool.name.to_string());
            let own = own.map_or("none".to_owned(), ToString::to_string);
            let name = named(record);
            faults.add(format!("{name} comes from the pool {own} and is in the pool {around}"));
        } else if around.is_some_and(|pool| !pool.contains(ports, transport)) {
            faults.add(format!("{} is not wholly in its pool", named(record)));
        }
    }
}
