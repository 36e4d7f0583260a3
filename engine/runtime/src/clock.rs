//! The one place where the actors read the clock.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fulgurite_core::UnixMs;

/// The time now; 0 when the clock is before 1970.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The same when it is first asked for, and from then on a clock that nobody sets: what is waited
/// for by it takes as long as it should. Says nothing about what time it is.
pub fn steady() -> UnixMs {
    static START: OnceLock<(Instant, UnixMs)> = OnceLock::new();
    let (start, began) = START.get_or_init(|| (Instant::now(), now()));
    began.plus_ms(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_begins_with_the_other_and_goes_on() {
        let before = now();
        let first = steady();
        // Both count whole milliseconds, each from a beginning of its own.
        assert!(first.since(before).abs() < 60_000, "{first} {before}");
        assert!(steady() >= first);
    }
}
