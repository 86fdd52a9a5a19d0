//! Bounded durations for leases and cool-downs, and leases.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// A duration in microseconds, of at least `MIN` and at most `MAX` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundedDuration<const MIN: i64, const MAX: i64>(i64);

/// A duration out of bounds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("is {actual}: expected {min} - {max}", actual = display(*actual), min = display(*min), max = display(*max))]
pub struct DurationError {
    actual: SignedDuration,
    min: SignedDuration,
    max: SignedDuration,
}

fn display(duration: SignedDuration) -> String {
    const DAY: i64 = 24 * 60 * 60;
    match (duration.as_secs(), duration.subsec_nanos()) {
        (seconds, 0) if seconds > DAY && seconds % DAY == 0 => format!("{} days", seconds / DAY),
        (1, 0) => "1 second".to_owned(),
        (seconds, 0) => format!("{seconds} seconds"),
        _ => format!("{} seconds", duration.as_secs_f64()),
    }
}

/// The duration of a lease: 1 second - 10 years.
pub type Ttl = BoundedDuration<1, { 3650 * 24 * 60 * 60 }>;

/// The cool-down of ports after their release: 0 seconds - 366 days.
pub type CoolDown = BoundedDuration<0, { 366 * 24 * 60 * 60 }>;

const MICROS: i64 = 1_000_000;

impl<const MIN: i64, const MAX: i64> BoundedDuration<MIN, MAX> {
    /// Creates the duration, truncated to microseconds.
    ///
    /// # Errors
    /// If it is shorter or longer than allowed.
    pub fn new(duration: SignedDuration) -> Result<Self, DurationError> {
        let (min, max) = (SignedDuration::from_secs(MIN), SignedDuration::from_secs(MAX));
        if duration < min || duration > max {
            return Err(DurationError { actual: duration, min, max });
        }
        let micros = duration.as_secs() * MICROS + i64::from(duration.subsec_micros());
        Ok(Self(micros))
    }

    /// The duration of this many microseconds.
    ///
    /// # Errors
    /// If it is shorter or longer than allowed.
    pub fn from_micros(micros: i64) -> Result<Self, DurationError> {
        Self::new(SignedDuration::from_micros(micros))
    }

    /// The duration in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The duration.
    #[must_use]
    pub const fn duration(self) -> SignedDuration {
        SignedDuration::from_micros(self.0)
    }

    /// The time `self` after `now`, or the maximum timestamp.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Timestamp {
        now.checked_add(self.duration()).unwrap_or(Timestamp::MAX)
    }
}

impl CoolDown {
    /// No cool-down.
    pub const NONE: Self = Self(0);
}

impl Default for CoolDown {
    /// 24 hours.
    fn default() -> Self {
        Self(24 * 60 * 60 * MICROS)
    }
}

impl<const MIN: i64, const MAX: i64> fmt::Display for BoundedDuration<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(self.duration()))
    }
}

/// The lease of a registration that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The duration that was requested last.
    pub ttl: Ttl,
    /// When the lease expires.
    pub expire_time: Timestamp,
}

impl Lease {
    /// The lease of this duration that starts now.
    #[must_use]
    pub fn starting_at(now: Timestamp, ttl: Ttl) -> Self {
        Self { ttl, expire_time: ttl.after(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_out_of_bounds_are_rejected() {
        for seconds in [i64::MIN, -1, 0, 3650 * 24 * 60 * 60 + 1, i64::MAX] {
            assert!(Ttl::new(SignedDuration::from_secs(seconds)).is_err(), "{seconds}");
        }
        assert!(Ttl::new(SignedDuration::from_millis(999)).is_err());
        assert_eq!(
            Ttl::new(SignedDuration::from_nanos(1_500_000_999)).unwrap().as_micros(),
            1_500_000
        );
        assert!(CoolDown::from_micros(0).is_ok());
        assert!(CoolDown::from_micros(-1).is_err());
        let error = Ttl::new(SignedDuration::ZERO).unwrap_err().to_string();
        assert_eq!(error, "is 0 seconds: expected 1 second - 3650 days");
        assert_eq!(CoolDown::default().to_string(), "86400 seconds");
    }

    #[test]
    fn expiry_is_limited_to_the_maximum_timestamp() {
        let ttl = Ttl::from_micros(10 * MICROS).unwrap();
        assert_eq!(Lease::starting_at(Timestamp::MAX, ttl).expire_time, Timestamp::MAX);
    }
}
