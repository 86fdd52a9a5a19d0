//! Limits the calls per second of each caller.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::peer::Peer;
use crate::access::{Token, TokenName};
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, ShedCause};

/// Idle callers are removed after this many calls.
const SWEEP_INTERVAL: u32 = 1024;

/// Limits the calls per second of each caller.
#[derive(Clone, Debug)]
pub struct RateLimit(Option<Arc<Limiter>>);

#[derive(Debug)]
struct Limiter {
    by_caller: DefaultKeyedRateLimiter<Caller>,
    calls: AtomicU32,
    metrics: Arc<Metrics>,
}

/// A token, or an address without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Token(TokenName),
    Address(IpAddr),
}

impl RateLimit {
    /// Allows each caller `max` calls per second, or any number.
    #[must_use]
    pub fn new(max: Option<NonZeroU32>, metrics: Arc<Metrics>) -> Self {
        Self(max.map(|max| {
            let by_caller = RateLimiter::keyed(Quota::per_second(max));
            Arc::new(Limiter { by_caller, calls: AtomicU32::new(0), metrics })
        }))
    }

    /// Counts a call with this token or, without one, from this address.
    ///
    /// # Errors
    /// If the limit is exceeded.
    pub fn check(&self, token: Option<&Token>, peer: &Peer) -> Result<(), CallError> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_INTERVAL == SWEEP_INTERVAL - 1 {
            limiter.by_caller.retain_recent();
            limiter.by_caller.shrink_to_fit();
        }
        let caller = match token {
            Some(token) => Caller::Token(token.name.clone()),
            None => Caller::Address(network(peer.address.ip())),
        };
        limiter.by_caller.check_key(&caller).map_err(|not_until| {
            limiter.metrics.record_shed(ShedCause::Rate);
            CallError::RateLimited(not_until.wait_time_from(DefaultClock::default().now()))
        })
    }
}

/// The IPv4 address, or the IPv6 /64 network: one client usually owns all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_of_a_network_are_one_caller() {
        let network_of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network_of("192.0.2.1"), "192.0.2.1");
    }
}
