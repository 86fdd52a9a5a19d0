//! How often one caller may call.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::peer::Peer;
use crate::access::{Token, TokenName};
use crate::grpc::status::CallError;
use crate::metrics::{Metrics, Shed};

/// After how many calls those who have not called for a while are forgotten.
const SWEEP: u32 = 1024;

/// Counts the calls of callers.
#[derive(Clone, Debug)]
pub struct Rate(Option<Arc<Counted>>);

#[derive(Debug)]
struct Counted {
    limiter: DefaultKeyedRateLimiter<Caller>,
    calls: AtomicU32,
    metrics: Arc<Metrics>,
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Token(TokenName),
    Address(IpAddr),
}

impl Rate {
    /// Lets each caller make so many calls a second, or as many as they like.
    #[must_use]
    pub fn new(most: Option<NonZeroU32>, metrics: Arc<Metrics>) -> Self {
        Self(most.map(|most| {
            let limiter = RateLimiter::keyed(Quota::per_second(most));
            Arc::new(Counted { limiter, calls: AtomicU32::new(0), metrics })
        }))
    }

    /// Counts a call with this token or, without one, from there.
    ///
    /// # Errors
    /// If it is one too many.
    pub fn check(&self, token: Option<&Token>, peer: &Peer) -> Result<(), CallError> {
        let Some(counted) = &self.0 else { return Ok(()) };
        if counted.calls.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            counted.limiter.retain_recent();
            counted.limiter.shrink_to_fit();
        }
        let caller = match token {
            Some(token) => Caller::Token(token.name.clone()),
            None => Caller::Address(network(peer.address.ip())),
        };
        counted.limiter.check_key(&caller).map_err(|until| {
            counted.metrics.shed(Shed::Rate);
            CallError::RateLimited(until.wait_time_from(DefaultClock::default().now()))
        })
    }
}

/// The address, or of IPv6 the network of 64 bits that its holder has all of.
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
    fn an_ipv6_network_is_one_caller() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }
}
