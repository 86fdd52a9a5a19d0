//! Times and durations in arguments: `r123`, `2026-03-31`, `7d`.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, ToSpan, Zoned};

use crate::grpc::proto;
use crate::grpc::proto::as_of;

/// Why an argument is not a valid time or duration.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimeError {
    #[error(
        "not a valid revision or time: expected a revision (r123), a time (2026-03-31T12:00:00Z, \
         2026-03-31T12:00), a day (2026-03-31) or an age (7d)"
    )]
    AsOf,
    #[error(
        "not a valid time: expected a time (2026-03-31T12:00:00Z, 2026-03-31T12:00), a day \
         (2026-03-31) or an age (7d)"
    )]
    Time,
    #[error(
        "not a valid duration: expected a number with a unit, such as 90s, 12h, 30d or 2w; the \
         longest unit is weeks"
    )]
    Duration,
    #[error("the time is out of range")]
    OutOfRange(#[from] jiff::Error),
}

/// A time or a day.
enum TimeOrDay {
    Time(Timestamp),
    Day { start: Timestamp, next: Timestamp },
}

impl TimeOrDay {
    /// Parses a time or a day. Without an offset, it is in this time zone.
    fn parse(text: &str, zone: &TimeZone) -> Result<Option<Self>, TimeError> {
        if let Ok(time) = text.parse() {
            return Ok(Some(Self::Time(time)));
        }
        // Check the length, because `Date` also parses a date with a time and drops the time.
        if text.len() == "2026-03-31".len()
            && let Ok(day) = text.parse::<Date>()
        {
            let start = day.to_zoned(zone.clone())?.timestamp();
            let next = day.tomorrow()?.to_zoned(zone.clone())?.timestamp();
            return Ok(Some(Self::Day { start, next }));
        }
        match text.parse::<DateTime>() {
            Ok(time) if text.contains(':') => {
                Ok(Some(Self::Time(time.to_zoned(zone.clone())?.timestamp())))
            }
            _ => Ok(None),
        }
    }
}

/// Parses `--as-of`. A day means its end; a time in whole seconds, as the history prints it, means
/// the end of that second. If that end is in the future, it means now.
pub(super) fn as_of(text: &str) -> Result<proto::AsOf, TimeError> {
    as_of_at(text, &Zoned::now())
}

fn as_of_at(text: &str, now: &Zoned) -> Result<proto::AsOf, TimeError> {
    let digits = text.strip_prefix(['r', 'R']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let revision = digits.parse().map_err(|_| TimeError::AsOf)?;
        return Ok(proto::AsOf { moment: Some(as_of::Moment::Revision(revision)) });
    }
    // Commit times have microsecond resolution.
    let last_before = |next: Timestamp| next.checked_sub(1.microsecond());
    let until_now = |start: Timestamp, last: Timestamp| {
        if start <= now.timestamp() { last.min(now.timestamp()) } else { last }
    };
    let time = match TimeOrDay::parse(text, now.time_zone())? {
        Some(TimeOrDay::Time(time)) if time.subsec_nanosecond() == 0 => {
            until_now(time, last_before(time.checked_add(1.second())?)?)
        }
        Some(TimeOrDay::Time(time)) => time,
        Some(TimeOrDay::Day { start, next }) => until_now(start, last_before(next)?),
        None => {
            let ago: Span = text.parse().map_err(|_| TimeError::AsOf)?;
            now.checked_sub(ago.abs())?.timestamp()
        }
    };
    Ok(proto::AsOf { moment: Some(as_of::Moment::Time(timestamp(time))) })
}

/// Parses `--since`: a time, a day (its start) or an age.
pub(super) fn since(text: &str) -> Result<Timestamp, TimeError> {
    bound(text, &Zoned::now(), |start, _| start)
}

/// Parses `--until`: a time, a day (its end) or an age.
pub(super) fn until(text: &str) -> Result<Timestamp, TimeError> {
    bound(text, &Zoned::now(), |_, next| next)
}

fn bound(
    text: &str,
    now: &Zoned,
    of_day: fn(Timestamp, Timestamp) -> Timestamp,
) -> Result<Timestamp, TimeError> {
    match TimeOrDay::parse(text, now.time_zone())? {
        Some(TimeOrDay::Time(time)) => Ok(time),
        Some(TimeOrDay::Day { start, next }) => Ok(of_day(start, next)),
        None => {
            let ago: Span = text.parse().map_err(|_| TimeError::Time)?;
            Ok(now.checked_sub(ago.abs())?.timestamp())
        }
    }
}

/// Parses a duration: `90s`, `12h`, `30d`, `1h 30m`. A day has 24 hours.
pub(super) fn duration(text: &str) -> Result<prost_types::Duration, TimeError> {
    if text == "0" {
        return Ok(prost_types::Duration::default());
    }
    let span: Span = text.parse().map_err(|_| TimeError::Duration)?;
    match span.to_duration(SpanRelativeTo::days_are_24_hours()) {
        Ok(duration) if !duration.is_negative() => Ok(prost_types::Duration {
            seconds: duration.as_secs(),
            nanos: duration.subsec_nanos(),
        }),
        _ => Err(TimeError::Duration),
    }
}

/// Converts a time to its proto message.
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Formats a duration so that [`duration`] parses it.
pub(super) fn format_duration(duration: prost_types::Duration) -> String {
    const DAY: i64 = 24 * 60 * 60;
    let prost_types::Duration { seconds, nanos } = duration;
    if nanos == 0 && seconds != 0 && seconds % DAY == 0 {
        return format!("{}d", seconds / DAY);
    }
    // A server may send any numbers, and `SignedDuration::new` panics on overflow.
    SignedDuration::from_secs(seconds)
        .checked_add(SignedDuration::from_nanos(nanos.into()))
        .map_or_else(|| duration.to_string(), |duration| format!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The start of 2027 at UTC+2.
    fn now() -> Zoned {
        "2027-01-01T00:00:00.5+02:00[+02:00]".parse().unwrap()
    }

    fn parsed_as_of(text: &str) -> Option<String> {
        Some(match as_of_at(text, &now()).ok()?.moment? {
            as_of::Moment::Revision(revision) => revision.to_string(),
            as_of::Moment::Time(time) => time.to_string(),
        })
    }

    #[test]
    fn as_of_is_a_revision_a_time_or_the_end_of_a_day() {
        for (text, moment) in [
            ("r123", "123"),
            ("R0", "0"),
            ("20260331", "20260331"),
            ("2026-03-31", "2026-03-31T21:59:59.999999Z"),
            // A day and a second that have not ended yet.
            ("2027-01-01", "2026-12-31T22:00:00.500Z"),
            ("2026-12-31T22:00:00Z", "2026-12-31T22:00:00.500Z"),
            ("2027-03-31T12:00:00Z", "2027-03-31T12:00:00.999999Z"),
            ("2026-03-31T12:00:00Z", "2026-03-31T12:00:00.999999Z"),
            ("2026-03-31T12:00:00.25+01:00", "2026-03-31T11:00:00.250Z"),
            ("2026-03-31T12:00:00", "2026-03-31T10:00:00.999999Z"),
            ("2026-03-31T12:00", "2026-03-31T10:00:00.999999Z"),
            ("2026-03-31 12:00", "2026-03-31T10:00:00.999999Z"),
            ("7d", "2026-12-24T22:00:00.500Z"),
        ] {
            assert_eq!(parsed_as_of(text).as_deref(), Some(moment), "{text}");
        }
        for text in ["", "r", "r1x", "-1", "2026-02-30", "2026-03-31T25:00", "yesterday"] {
            assert_eq!(parsed_as_of(text), None, "{text}");
        }
        assert_eq!(parsed_as_of("99999999999999999999"), None);
        assert_eq!(parsed_as_of("9999-12-31"), None);
    }

    #[test]
    fn a_day_starts_at_midnight_and_ends_at_the_next_midnight() {
        let now = Timestamp::UNIX_EPOCH
            .to_zoned(now().time_zone().clone())
            .with()
            .year(2026)
            .build()
            .unwrap();
        let bounds = |text: &str| {
            let since = bound(text, &now, |start, _| start).ok()?;
            let until = bound(text, &now, |_, next| next).ok()?;
            Some((since.to_string(), until.to_string()))
        };
        let day = ("2026-03-30T22:00:00Z".to_owned(), "2026-03-31T22:00:00Z".to_owned());
        assert_eq!(bounds("2026-03-31"), Some(day));
        let ago = |time: &str| Some((time.to_owned(), time.to_owned()));
        assert_eq!(bounds("2026-03-31T12:00:00Z"), ago("2026-03-31T12:00:00Z"));
        assert_eq!(bounds("7d"), ago("2025-12-25T00:00:00Z"));
        assert_eq!(bounds("7 days ago"), bounds("7d"));
        assert_eq!(bounds("1mo"), ago("2025-12-01T00:00:00Z"));
        for text in ["", "r1", "1", "d", "soon", "99999999y"] {
            assert_eq!(bounds(text), None, "{text}");
        }
    }

    #[test]
    fn parsing_and_formatting_durations_are_inverse() {
        for (text, formatted) in [
            ("90s", "1m 30s"),
            ("12h", "12h"),
            ("24h", "1d"),
            ("30d", "30d"),
            ("2w", "14d"),
            ("1h 30m", "1h 30m"),
            ("3600s", "1h"),
            ("PT1H", "1h"),
            ("1500ms", "1s 500ms"),
            ("0s", "0s"),
        ] {
            let parsed = duration(text).unwrap();
            let printed = format_duration(parsed);
            assert_eq!(printed, formatted, "{text}");
            assert_eq!(duration(&printed).unwrap(), parsed, "{text}");
        }
        for text in ["", "5", "-5s", "5s ago", "1mo", "1y", "forever", "9999999999999h"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in "\\PC{0,30}|[rPT0-9:.+-]{0,25}|[0-9a-z ]{0,12}") {
            let _ = as_of(&text);
            let _ = since(&text);
            let _ = until(&text);
            let _ = duration(&text);
        }

        #[test]
        fn formatting_a_duration_never_panics(seconds: i64, nanos: i32) {
            let _ = format_duration(prost_types::Duration { seconds, nanos });
        }
    }
}
