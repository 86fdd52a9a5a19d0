//! Random operations on a registry, over few enough ports and names that they conflict.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use portbook::registry::finding::FindingCode;
use portbook::registry::lease::{CoolDown, Ttl};
use portbook::registry::port::{Port, PortRange, Transport};
use proptest::prelude::*;

use super::model::{self, Model, PortRequest, Seconds};

/// Few enough ports that operations conflict; IANA has assigned some of these
/// ports, reserved others, and differs between tcp and udp on 7420.
pub const LOW: u16 = 7415;
pub const PORTS: u16 = 30;

#[derive(Clone, Debug)]
pub enum Operation {
    Register {
        namespace: u8,
        name: u8,
        at: u16,
        width: u16,
        transports: u8,
        pool: Option<u8>,
        ttl: Option<i64>,
        acknowledges: bool,
    },
    RegisterBoth {
        first: Box<Operation>,
        second: Box<Operation>,
    },
    EnsureAgain {
        nth: usize,
        ttl: Option<i64>,
    },
    Ensure {
        namespace: u8,
        pool: u8,
        name: u8,
        instance: u8,
        count: u16,
        transports: u8,
        ttl: Option<i64>,
    },
    Renew {
        nth: usize,
        ttl: Option<i64>,
    },
    Rename {
        nth: usize,
        name: u8,
        acknowledges: bool,
    },
    Release {
        nth: usize,
    },
    Namespace {
        which: u8,
        accept: u8,
        forbid: u8,
        cool_down: i64,
    },
    DropNamespace {
        which: u8,
    },
    Pool {
        namespace: u8,
        which: u8,
        at: u16,
        width: u16,
        without: u16,
        transports: u8,
        accept: u8,
        cool_down: i64,
    },
    DropPool {
        namespace: u8,
        which: u8,
    },
    Wait {
        seconds: i64,
    },
}

pub fn operation() -> impl Strategy<Value = Operation> {
    let ttl = || proptest::option::weighted(0.3, 1..5_000i64);
    let cool_down = || prop_oneof![Just(0), 1..5_000i64];
    let register = (
        0..2u8,
        0..4u8,
        0..PORTS,
        1..4u16,
        1..16u8,
        proptest::option::weighted(0.3, 0..2u8),
        ttl(),
        any::<bool>(),
    )
        .prop_map(|(namespace, name, at, width, transports, pool, ttl, acknowledges)| {
            Operation::Register { namespace, name, at, width, transports, pool, ttl, acknowledges }
        })
        .boxed();
    let both = (register.clone(), register.clone()).prop_map(|(first, second)| {
        Operation::RegisterBoth { first: first.into(), second: second.into() }
    });
    let ensure = (0..2u8, 0..2u8, 0..4u8, 0..2u8, 1..4u16, 0..16u8, ttl()).prop_map(
        |(namespace, pool, name, instance, count, transports, ttl)| Operation::Ensure {
            namespace,
            pool,
            name,
            instance,
            count,
            transports,
            ttl,
        },
    );
    let pool = (0..2u8, 0..2u8, 0..PORTS, 1..15u16, 0..PORTS, 1..16u8, 0..8u8, cool_down())
        .prop_map(|(namespace, which, at, width, without, transports, accept, cool_down)| {
            Operation::Pool { namespace, which, at, width, without, transports, accept, cool_down }
        });
    let namespace =
        (0..2u8, 0..8u8, 0..16u8, cool_down()).prop_map(|(which, accept, forbid, cool_down)| {
            Operation::Namespace { which, accept, forbid, cool_down }
        });
    prop_oneof![
        5 => register,
        1 => both,
        5 => ensure,
        2 => (any::<usize>(), ttl()).prop_map(|(nth, ttl)| Operation::EnsureAgain { nth, ttl }),
        1 => (any::<usize>(), ttl()).prop_map(|(nth, ttl)| Operation::Renew { nth, ttl }),
        1 => (any::<usize>(), 0..4u8, any::<bool>())
            .prop_map(|(nth, name, acknowledges)| Operation::Rename { nth, name, acknowledges }),
        2 => any::<usize>().prop_map(|nth| Operation::Release { nth }),
        1 => namespace,
        1 => (0..2u8).prop_map(|which| Operation::DropNamespace { which }),
        3 => pool,
        1 => (0..2u8, 0..2u8).prop_map(|(namespace, which)| Operation::DropPool { namespace, which }),
        2 => (1..4_000i64).prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

pub fn operations() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(operation(), 1..40)
}

pub fn namespace_name(number: u8) -> String {
    ["default", "staging"][usize::from(number)].to_owned()
}

pub fn pool_name(number: u8) -> String {
    format!("pool-{number}")
}

pub fn service(number: u8) -> String {
    format!("service-{number}")
}

pub fn transports(bits: u8) -> Vec<Transport> {
    let is_in = |transport: &Transport| bits & (1 << transport.index()) != 0;
    Transport::ALL.into_iter().filter(is_in).collect()
}

/// Codes that a policy can accept or, with one more bit, forbid.
pub fn codes(bits: u8) -> BTreeSet<FindingCode> {
    let known = [
        FindingCode::IanaAssigned,
        FindingCode::IanaReserved,
        FindingCode::CoolingDown,
        FindingCode::TransportTwin,
    ];
    let chosen = known.into_iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    chosen.map(|(_, code)| code).collect()
}

pub fn port_range(first: u16, width: u16) -> PortRange {
    PortRange::new(Port::new(first), Port::new(first + width - 1)).unwrap()
}

pub fn ttl(seconds: Option<Seconds>) -> Option<Ttl> {
    seconds.map(|seconds| Ttl::new(SignedDuration::from_secs(seconds)).unwrap())
}

pub fn cool_down(seconds: Seconds) -> CoolDown {
    CoolDown::new(SignedDuration::from_secs(seconds)).unwrap()
}

pub fn time(seconds: Seconds) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub fn acknowledged(acknowledges: bool) -> BTreeSet<FindingCode> {
    if acknowledges { FindingCode::ALL.into_iter().collect() } else { BTreeSet::new() }
}

pub fn request(operation: &Operation) -> Option<PortRequest> {
    match operation {
        Operation::Register {
            namespace,
            name,
            at,
            width,
            transports: bits,
            pool,
            ttl,
            acknowledges,
        } => Some(PortRequest {
            namespace: namespace_name(*namespace),
            name: service(*name),
            first: LOW + at,
            width: *width,
            transports: transports(*bits),
            pool: pool.map(pool_name),
            ttl: *ttl,
            acknowledges: *acknowledges,
        }),
        _ => None,
    }
}

pub fn nth(model: &Model, nth: usize) -> Option<&model::RegistrationSelector> {
    (!model.held.is_empty()).then(|| &model.held[nth % model.held.len()])
}

/// Resolves `EnsureAgain` to the request of an existing registration; other operations are
/// unchanged.
pub fn resolved(operation: &Operation, model: &Model) -> Option<Operation> {
    let Operation::EnsureAgain { nth: which, ttl } = operation else {
        return Some(operation.clone());
    };
    let ensured: Vec<_> = model.held.iter().filter(|held| held.instance.is_some()).collect();
    let held = *ensured.get(which % ensured.len().max(1))?;
    let digit = |text: &str| text.bytes().last().map(|byte| byte - b'0');
    let is_of_it = |other: &&model::RegistrationSelector| {
        (&other.namespace, &other.pool, &other.name, &other.instance)
            == (&held.namespace, &held.pool, &held.name, &held.instance)
    };
    let group = ensured.iter().copied().filter(is_of_it);
    Some(Operation::Ensure {
        namespace: u8::from(held.namespace != "default"),
        pool: digit(held.pool.as_deref()?)?,
        name: digit(&held.name)?,
        instance: digit(held.instance.as_deref()?)?,
        count: held.last - held.first + 1,
        transports: group.map(|held| 1 << held.transport.index()).sum(),
        ttl: *ttl,
    })
}
