//! When the writer waits for a larger group: how fast events come, and how long payments take.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// More events than this in a millisecond are a heavy load: about 6,000 payments a second.
const HEAVY_EVENTS_PER_MS: u32 = 25;
/// What is heavy is judged after so long.
const PACE_WINDOW: Duration = Duration::from_millis(20);
/// How long payments take is judged after so long.
const PATIENCE_WINDOW: Duration = Duration::from_millis(250);
/// A group may be waited for as long as this part of what the quickest payment took.
const PATIENCE_PART: u32 = 64;
/// But no longer.
const PATIENCE_MAX: Duration = Duration::from_millis(20);
/// It is not waited for when fewer events than this are expected meanwhile.
const WORTH_IT: u128 = 2;

/// How fast events come.
#[derive(Default)]
pub(crate) struct Pace {
    /// Since when they are counted, and how many came.
    since: Option<Instant>,
    events: u32,
    /// They came fast in the last window. Not by the size of a group: one that was waited for is
    /// large at half the load, too, and so is one of several clients that come at once.
    was_heavy: bool,
}

impl Pace {
    /// They come fast, and did not stop since.
    pub(crate) fn is_heavy(&self, now: Instant) -> bool {
        let window = self.since.map(|since| now.duration_since(since));
        self.was_heavy && window.is_some_and(|window| window < 2 * PACE_WINDOW)
    }

    /// A group of so many events was taken.
    pub(crate) fn took(&mut self, events: usize, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let took = now.duration_since(since);
        self.events = self.events.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
        if took >= PACE_WINDOW {
            self.was_heavy = Duration::from_millis(1) * (self.events / HEAVY_EVENTS_PER_MS) > took;
            *self = Pace { since: Some(now), events: 0, ..*self };
        }
    }
}

/// How long a group may be waited for because payments take much longer at their nodes.
///
/// The quickest attempt counts and not the mean: what is quick must stay quick beside payments that
/// a hold invoice keeps for hours.
#[derive(Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
    events: u32,
    wait: Duration,
}

impl Patience {
    /// How long to wait now; zero when nothing is known of the last moments.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let window = self.since.map(|since| now.duration_since(since));
        let is_fresh = window.is_some_and(|window| window < 2 * PATIENCE_WINDOW);
        if is_fresh { self.wait } else { Duration::ZERO }
    }

    /// A group of so many events was taken. `quickest` says what the quickest attempt took since it
    /// was asked last.
    pub(crate) fn took(
        &mut self,
        events: usize,
        now: Instant,
        quickest: impl FnOnce() -> Option<Duration>,
    ) {
        let since = *self.since.get_or_insert(now);
        let window = now.duration_since(since);
        self.events = self.events.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
        if window < PATIENCE_WINDOW {
            return;
        }
        let quickest = quickest().unwrap_or(Duration::ZERO);
        let wait = (quickest / PATIENCE_PART).min(PATIENCE_MAX);
        let expected = u128::from(self.events) * wait.as_nanos() / window.as_nanos();
        let wait = if expected >= WORTH_IT { wait } else { Duration::ZERO };
        *self = Patience { since: Some(now), events: 0, wait };
    }
}

/// What the quickest attempt took lately, in milliseconds.
#[derive(Debug)]
pub(crate) struct Quickest(AtomicU32);

impl Default for Quickest {
    fn default() -> Self {
        Quickest(AtomicU32::new(u32::MAX))
    }
}

impl Quickest {
    /// An attempt took so long at its node.
    pub(crate) fn took(&self, ms: i64) {
        let ms = u32::try_from(ms.max(0)).unwrap_or(u32::MAX - 1);
        // Most are not the quickest, and a look costs less than a change.
        if ms < self.0.load(Ordering::Relaxed) {
            self.0.fetch_min(ms, Ordering::Relaxed);
        }
    }

    /// The quickest since the last call; `None` when there was none.
    pub(crate) fn take(&self) -> Option<Duration> {
        match self.0.swap(u32::MAX, Ordering::Relaxed) {
            u32::MAX => None,
            ms => Some(Duration::from_millis(u64::from(ms))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_waited_for_while_events_come_fast_and_not_after() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        pace.took(1_000, now);
        assert!(!pace.is_heavy(now), "nothing is known yet");
        // (events, milliseconds since the group before, heavy)
        let groups = [
            (100, 1, false),
            (200, 19, true),
            (100, 20, false),
            (300, 1, false),
            (100, 19, false),
            (400, 10, false),
            (150, 10, true),
            (1, 10, true),
            (1, 10, false),
        ];
        for (events, ms, is_heavy) in groups {
            now += Duration::from_millis(ms);
            pace.took(events, now);
            assert_eq!(pace.is_heavy(now), is_heavy, "{events} events in {ms} ms");
        }
        pace.took(10_000, now + PACE_WINDOW);
        assert!(pace.is_heavy(now + PACE_WINDOW));
        assert!(!pace.is_heavy(now + 3 * PACE_WINDOW), "the load ended");
    }

    #[test]
    fn a_group_is_waited_for_where_payments_take_much_longer_anyway() {
        let started = Instant::now();
        // (events in a window, quickest attempt in milliseconds, wait in microseconds)
        let windows = [
            (125, Some(640), 10_000),
            (125, Some(64_000), 20_000),
            (125, Some(8), 0),
            (2_500, Some(8), 0),
            (8_000, Some(8), 125),
            (10, Some(640), 0),
            (125, None, 0),
        ];
        let (mut patience, mut now) = (Patience::default(), started);
        patience.took(0, now, || None);
        assert_eq!(patience.wait(now), Duration::ZERO, "nothing is known yet");
        for (events, quickest_ms, wait_us) in windows {
            now += PATIENCE_WINDOW;
            patience.took(events, now, || quickest_ms.map(Duration::from_millis));
            assert_eq!(
                patience.wait(now),
                Duration::from_micros(wait_us),
                "{events} events, {quickest_ms:?} ms"
            );
        }
        patience.took(125, now + PATIENCE_WINDOW, || Some(Duration::from_secs(1)));
        assert!(patience.wait(now + PATIENCE_WINDOW) > Duration::ZERO);
        assert_eq!(patience.wait(now + 3 * PATIENCE_WINDOW), Duration::ZERO, "long ago");
    }

    #[test]
    fn the_quickest_of_all_counts_until_it_is_asked_for() {
        let quickest = Quickest::default();
        assert_eq!(quickest.take(), None);
        [30, 10, -5, 20].into_iter().for_each(|ms| quickest.took(ms));
        assert_eq!(quickest.take(), Some(Duration::ZERO), "a clock that was set back");
        quickest.took(i64::MAX);
        quickest.took(700);
        assert_eq!(quickest.take(), Some(Duration::from_millis(700)));
        assert_eq!(quickest.take(), None);
    }
}
