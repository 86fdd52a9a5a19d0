//! Pools in use: what they can give, what of it is held, and what rests.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::assignment::Record;
use super::finding::FindingCode;
use super::judge::{RegistrationQuery, is_blocked};
use super::pool::SharedPool;
use super::port::{Port, PortRange, Transport};
use super::port_set::PortSet;
use super::snapshot::View;

/// How much of a pool is used, in ports. One that is held on any of the pool's transports is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All its ports.
    pub size: u32,
    /// Those that are held.
    pub held: u32,
    /// Those that rest.
    pub cooling: u32,
    /// Those that are skipped because the rules speak against them.
    pub skipped: u32,
    /// Those that can be had.
    pub free: u32,
}

/// What the ports of a pool are doing.
#[derive(Debug)]
pub struct Occupation {
    held: Vec<bool>,
    resting: Vec<bool>,
}

impl Occupation {
    /// What they are doing at that time.
    #[must_use]
    pub fn of(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Self {
        let every_port = Port::MAX.index() + 1;
        let (mut held, mut resting) = (vec![false; every_port], vec![false; every_port]);
        for (run, &transport) in ranges_and_transports(pool) {
            for record in view.holders_in(run, transport) {
                for port in record.ports.into_iter().flat_map(PortRange::iter) {
                    held[port.index()] = true;
                }
            }
            for (port, _) in view.cooling_down_in(run, transport, now) {
                resting[port.index()] = true;
            }
        }
        Self { held, resting }
    }

    /// Whether somebody holds the port.
    #[must_use]
    pub fn is_held(&self, port: Port) -> bool {
        self.held[port.index()]
    }
}

fn ranges_and_transports(pool: &SharedPool) -> impl Iterator<Item = (PortRange, &Transport)> {
    itertools::iproduct!(pool.member_ports().ranges().iter().copied(), &pool.transports)
}

/// How much of the pool is used at that time.
#[must_use]
pub fn usage(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Usage {
    let Occupation { held, resting } = Occupation::of(view, pool, now);
    let given = allocatable_ports(view, pool);
    let policy = &view.namespace().policy;
    let cooling_down = FindingCode::CoolingDown;
    let gives_what_rests = !policy.forbid.contains(&cooling_down)
        && (policy.accept.contains(&cooling_down) || pool.accept.contains(&cooling_down));
    let mut usage =
        Usage { size: pool.member_ports().size(), held: 0, cooling: 0, skipped: 0, free: 0 };
    for port in pool.member_ports().iter() {
        let figure = match port {
            port if held[port.index()] => &mut usage.held,
            port if resting[port.index()] && !gives_what_rests => &mut usage.cooling,
            port if !given.contains(port) || has_twin(view, pool, port) => &mut usage.skipped,
            _ => &mut usage.free,
        };
        *figure += 1;
    }
    usage
}

/// Whether somebody has the port on a transport that is not the pool's, where that is forbidden.
fn has_twin(view: View<'_>, pool: &SharedPool, port: Port) -> bool {
    view.namespace().policy.forbid.contains(&FindingCode::TransportTwin)
        && view.holders(port, None).any(|record| {
            record.transport.is_some_and(|transport| !pool.transports.contains(&transport))
        })
}

/// The registrations on the pool's ports, lowest first on each transport.
pub fn holders<'a>(view: View<'a>, pool: &SharedPool) -> impl Iterator<Item = &'a Arc<Record>> {
    ranges_and_transports(pool).flat_map(move |(run, &transport)| view.holders_in(run, transport))
}

/// When the next port of the pool has rested long enough.
#[must_use]
pub fn next_cool_down_end(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Option<Timestamp> {
    ranges_and_transports(pool)
        .flat_map(|(run, &transport)| view.cooling_down_in(run, transport, now))
        .map(|(_, resting)| resting.until)
        .min()
}

/// The ports of a pool against which no rule speaks by itself, whoever asks and whoever holds what.
fn allocatable_ports<'p>(view: View<'_>, pool: &'p SharedPool) -> &'p PortSet {
    pool.allocatable_ports(|| {
        let is_given = |port: &Port| {
            let by_itself = FindingCode::ALL.into_iter().filter(|code| {
                !matches!(
                    code,
                    FindingCode::PortTaken | FindingCode::CoolingDown | FindingCode::TransportTwin
                )
            });
            let asked = RegistrationQuery {
                service_name: None,
                ports: PortRange::single(*port),
                transports: &pool.transports,
                pool: Some(pool),
                now: Timestamp::MIN,
            };
            !is_blocked(view, &asked, &BTreeSet::new(), by_itself)
        };
        PortSet::of(pool.member_ports().iter().filter(is_given))
    })
}
