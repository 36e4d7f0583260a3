//! What time it is where records get old: a clock that goes wrong must not make them so.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use fulgurite_core::UnixMs;

use crate::retention::NotRemoved;

/// So much may clocks differ, in milliseconds: an hour.
const TOLERATED_MS: i64 = 3_600_000;

/// Tells the time from several clocks.
pub(crate) struct Clock {
    /// The operating system's.
    wall: fn() -> UnixMs,
    /// The time of the last event before this start.
    base: UnixMs,
    /// When that was, by a clock that nobody sets.
    started: Instant,
    /// A jump was told.
    told: AtomicBool,
}

impl Clock {
    /// A clock of an engine that starts now; the last event before was at `base`.
    pub(crate) fn new(wall: fn() -> UnixMs, base: UnixMs) -> Clock {
        Clock { wall, base, started: Instant::now(), told: AtomicBool::new(false) }
    }

    /// The earliest of three times: the operating system's, that of the journal's `newest` event,
    /// and an hour after the last event before this start and as long as this engine runs. A
    /// clock that was set ahead makes nothing old; an engine that stood still for a month finds
    /// that out at its next start. An error when the journal is ahead of the clock.
    pub(crate) fn now(&self, newest: UnixMs) -> Result<UnixMs, NotRemoved> {
        let wall = (self.wall)();
        if newest.since(wall) > TOLERATED_MS {
            return Err(NotRemoved::Future { newest: newest.0, wall: wall.0 });
        }
        let ran_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let latest = self.base.plus_ms(ran_ms.saturating_add(TOLERATED_MS));
        let said = wall.min(newest);
        if said > latest && !self.told.swap(true, Ordering::Relaxed) {
            let ahead_ms = said.since(latest);
            tracing::warn!(ahead_ms, "the clock is ahead of the journal: old records wait");
        }
        Ok(said.min(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const DAY_MS: i64 = 86_400_000;

    fn clock(base_ms: i64) -> Clock {
        Clock::new(|| NOW, NOW.plus_ms(base_ms))
    }

    #[test]
    fn the_time_is_the_earliest_that_anything_says() {
        let now = |base_ms, newest_ms| clock(base_ms).now(NOW.plus_ms(newest_ms)).unwrap();
        assert_eq!(now(-1_000, -7), NOW.plus_ms(-7), "the journal's");
        assert_eq!(now(0, TOLERATED_MS), NOW, "the clock's");
        // The machine was off for a month, or its clock was set ahead by one.
        let late = now(-30 * DAY_MS, 0);
        let least = NOW.plus_ms(TOLERATED_MS - 30 * DAY_MS);
        assert!(late >= least && late < least.plus_ms(DAY_MS), "{late:?}");
    }

    #[test]
    fn an_event_of_the_future_is_told() {
        let newest = NOW.plus_ms(TOLERATED_MS + 1);
        let refused = clock(0).now(newest).unwrap_err();
        let expected = (newest.0, NOW.0);
        assert!(
            matches!(refused, NotRemoved::Future { newest, wall } if (newest, wall) == expected)
        );
    }
}
