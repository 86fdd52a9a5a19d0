//! The usage of pools: held, cooling, skipped and free ports.

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

/// The usage of a pool, in ports. A port that is held on any of the pool's transports is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All ports.
    pub size: u32,
    /// Held ports.
    pub held: u32,
    /// Ports in cool-down.
    pub cooling: u32,
    /// Ports that are skipped because of a finding.
    pub skipped: u32,
    /// Ports that can be allocated.
    pub free: u32,
}

/// The held and cooling ports of a pool, indexed by port number.
#[derive(Debug)]
pub struct Occupation {
    held: Vec<bool>,
    cooling: Vec<bool>,
}

impl Occupation {
    /// The occupation at that time.
    #[must_use]
    pub fn of(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Self {
        let every_port = Port::MAX.index() + 1;
        let (mut held, mut cooling) = (vec![false; every_port], vec![false; every_port]);
        for (range, &transport) in ranges_and_transports(pool) {
            for record in view.holders_in(range, transport) {
                for port in record.ports.into_iter().flat_map(PortRange::iter) {
                    held[port.index()] = true;
                }
            }
            for (port, _) in view.cooling_down_in(range, transport, now) {
                cooling[port.index()] = true;
            }
        }
        Self { held, cooling }
    }

    /// Whether the port is held.
    #[must_use]
    pub fn is_held(&self, port: Port) -> bool {
        self.held[port.index()]
    }
}

fn ranges_and_transports(pool: &SharedPool) -> impl Iterator<Item = (PortRange, &Transport)> {
    itertools::iproduct!(pool.member_ports().ranges().iter().copied(), &pool.transports)
}

/// The usage of the pool at that time.
#[must_use]
pub fn usage(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Usage {
    let Occupation { held, cooling } = Occupation::of(view, pool, now);
    let allocatable = allocatable_ports(view, pool);
    let policy = &view.namespace().policy;
    let cooling_down = FindingCode::CoolingDown;
    let allocates_cooling_ports = !policy.forbid.contains(&cooling_down)
        && (policy.accept.contains(&cooling_down) || pool.accept.contains(&cooling_down));
    let mut usage =
        Usage { size: pool.member_ports().size(), held: 0, cooling: 0, skipped: 0, free: 0 };
    for port in pool.member_ports().iter() {
        let count = match port {
            port if held[port.index()] => &mut usage.held,
            port if cooling[port.index()] && !allocates_cooling_ports => &mut usage.cooling,
            port if !allocatable.contains(port) || has_twin(view, pool, port) => &mut usage.skipped,
            _ => &mut usage.free,
        };
        *count += 1;
    }
    usage
}

/// Whether the port is held on a transport outside the pool, where the policy forbids that.
fn has_twin(view: View<'_>, pool: &SharedPool, port: Port) -> bool {
    view.namespace().policy.forbid.contains(&FindingCode::TransportTwin)
        && view.holders(port, None).any(|record| {
            record.transport.is_some_and(|transport| !pool.transports.contains(&transport))
        })
}

/// The registrations on the pool's ports, lowest first on each transport.
pub fn holders<'a>(view: View<'a>, pool: &SharedPool) -> impl Iterator<Item = &'a Arc<Record>> {
    ranges_and_transports(pool)
        .flat_map(move |(range, &transport)| view.holders_in(range, transport))
}

/// When the next cool-down of a port of the pool ends.
#[must_use]
pub fn next_cool_down_end(view: View<'_>, pool: &SharedPool, now: Timestamp) -> Option<Timestamp> {
    ranges_and_transports(pool)
        .flat_map(|(range, &transport)| view.cooling_down_in(range, transport, now))
        .map(|(_, entry)| entry.until)
        .min()
}

/// The ports of a pool that no rule excludes, regardless of the service and of current
/// registrations.
fn allocatable_ports<'p>(view: View<'_>, pool: &'p SharedPool) -> &'p PortSet {
    pool.allocatable_ports(|| {
        let is_allocatable = |port: &Port| {
            let static_rules = FindingCode::ALL.into_iter().filter(|code| {
                !matches!(
                    code,
                    FindingCode::PortTaken | FindingCode::CoolingDown | FindingCode::TransportTwin
                )
            });
            let query = RegistrationQuery {
                service_name: None,
                ports: PortRange::single(*port),
                transports: &pool.transports,
                pool: Some(pool),
                now: Timestamp::MIN,
            };
            !is_blocked(view, &query, &BTreeSet::new(), static_rules)
        };
        PortSet::from_sorted(pool.member_ports().iter().filter(is_allocatable))
    })
}
