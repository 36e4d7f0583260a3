//! Times: `UnixMs` inside, `google.protobuf.Timestamp` in gRPC, RFC 3339 in JSON.

use fulgurite_core::UnixMs;
use prost_types::Timestamp;

/// The last second that can be written in every time zone: nearly the end of the year 9999.
const SECONDS_MAX: i64 = 253_402_207_200;
const SECONDS_A_DAY: u64 = 24 * 3_600;

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
    let mut text = String::with_capacity(27);
    write(stamp, &mut text);
    text
}

/// Appends RFC 3339 in UTC, with microseconds. Each answer has three or four times, so this does
/// without the general formatter.
pub fn write(stamp: &Timestamp, text: &mut String) {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(stamp.seconds), u32::try_from(stamp.nanos))
    else {
        return write_any(stamp, text);
    };
    if stamp.seconds > SECONDS_MAX || nanos >= 1_000_000_000 {
        return write_any(stamp, text);
    }
    let (year, month, day) = date(seconds / SECONDS_A_DAY);
    let second = seconds % SECONDS_A_DAY;
    let numbers = [
        (year, 4, '-'),
        (month, 2, '-'),
        (day, 2, 'T'),
        (second / 3_600, 2, ':'),
        (second / 60 % 60, 2, ':'),
        (second % 60, 2, '.'),
        (u64::from(nanos / 1_000), 6, 'Z'),
    ];
    for (number, digits, separator) in numbers {
        for at in (0..digits).rev() {
            let digit = number / 10_u64.pow(at) % 10;
            text.push(char::from(b"0123456789"[digit as usize]));
        }
        text.push(separator);
    }
}

/// The same for what is no time, or before 1970.
fn write_any(stamp: &Timestamp, text: &mut String) {
    if let Ok(time) = jiff::Timestamp::new(stamp.seconds, stamp.nanos) {
        text.push_str(&format!("{time:.6}"));
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, a leap day is the last day of its year, of its 4 years, of its
    // century and of its 400 years: each division below leaves it where it is.
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let day = days + DAYS_BEFORE_1970;
    let (era, day) = (day / DAYS_IN_400_YEARS, day % DAYS_IN_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days, always.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + is_next, month, day)
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
    fn every_time_is_written_as_the_general_formatter_writes_it() {
        // A step of 25.3 days and some seconds meets every day of the year and each century.
        let steps = (0..SECONDS_MAX).step_by(2_185_939);
        let edges = [951_782_399, 951_868_799, 951_868_800, 4_107_542_400, SECONDS_MAX];
        for seconds in steps.chain(edges) {
            for nanos in [0, 1_999, 123_456_789, 999_999_999] {
                let stamp = Timestamp { seconds, nanos };
                let time = jiff::Timestamp::new(seconds, nanos).expect("a time");
                assert_eq!(proto_text(&stamp), format!("{time:.6}"));
            }
        }
    }

    #[test]
    fn a_time_that_clients_cannot_send_is_written_all_the_same() {
        let text = |seconds, nanos| proto_text(&Timestamp { seconds, nanos });
        assert_eq!(text(-1, 0), "1969-12-31T23:59:59.000000Z");
        assert_eq!(text(i64::MAX, 0), "");
        assert_eq!(text(0, i32::MAX), "");
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
