//! Times: `UnixMs` inside, `google.protobuf.Timestamp` in gRPC, RFC 3339 in JSON.

use fulgurite_core::UnixMs;
use prost_types::Timestamp;

/// The last second that can be written in every time zone: nearly the end of the year 9999.
const SECONDS_MAX: i64 = 253_402_207_200;

/// The time as a proto message.
pub fn to_proto(time: UnixMs) -> Timestamp {
    let seconds = time.0.div_euclid(1_000).min(SECONDS_MAX);
    let nanos = i32::try_from(time.0.rem_euclid(1_000) * 1_000_000).unwrap_or(0);
    Timestamp { seconds, nanos }
}

/// The time of a proto message, rounded down to milliseconds; `None` when it is none.
pub fn from_proto(stamp: &Timestamp) -> Option<UnixMs> {
    let valid =
        (0..=SECONDS_MAX).contains(&stamp.seconds) && (0..1_000_000_000).contains(&stamp.nanos);
    let ms = stamp.seconds.checked_mul(1_000)?.checked_add(i64::from(stamp.nanos) / 1_000_000)?;
    valid.then_some(UnixMs(ms))
}

/// The time for a person, in UTC.
pub fn text(time: UnixMs) -> String {
    proto_text(&to_proto(time))
}

/// RFC 3339 in UTC, with microseconds.
pub fn proto_text(stamp: &Timestamp) -> String {
    match jiff::Timestamp::new(stamp.seconds, stamp.nanos) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => String::new(),
    }
}

/// Reads RFC 3339, with any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let stamp = Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
    from_proto(&stamp).map(|_| stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_microseconds() {
        assert_eq!(text(UnixMs(1_700_000_000_123)), "2023-11-14T22:13:20.123000Z");
        let stamp = parse("2023-11-14T23:13:20.123+01:00").expect("a time");
        assert_eq!(from_proto(&stamp), Some(UnixMs(1_700_000_000_123)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(from_proto(&Timestamp { seconds, nanos }), None);
        }
        assert_eq!(parse("2023-11-14"), None);
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn an_endless_expiry_can_be_written() {
        assert_eq!(text(UnixMs(i64::MAX)), "9999-12-30T22:00:00.807000Z");
    }
}
