//! How many payments may be in flight at a node: additive increase, multiplicative decrease.

use crate::time::UnixMs;

/// The limits of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where it starts, and where it starts again after a restart.
    pub start: u32,
    /// It never shrinks below; at least 1.
    pub min: u32,
    /// It never grows above.
    pub max: u32,
}

/// How long after a decrease further signs of overload are of the same overload, in milliseconds.
const HOLD_MS: i64 = 500;

/// The window of one node.
#[derive(Clone, Debug)]
pub struct Window {
    limits: Limits,
    size: u32,
    /// Successes since the last growth.
    credit: u32,
    /// Doubling until the first overload.
    slow_start: bool,
    held_until: UnixMs,
}

impl Window {
    /// A window at its start.
    pub fn new(limits: Limits) -> Window {
        let size = limits.start.clamp(limits.min.max(1), limits.max.max(1));
        Window { limits, size, credit: 0, slow_start: true, held_until: UnixMs(i64::MIN) }
    }

    /// How many may be in flight.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// A payment came through while `in_flight` were in flight. Only a window that is in use grows.
    pub fn succeeded(&mut self, in_flight: u32) {
        if in_flight.saturating_mul(2) < self.size {
            return;
        }
        self.credit += 1;
        // Slow start: one more per success doubles it each round trip; then one per round trip.
        let needed = if self.slow_start { 1 } else { self.size };
        if self.credit >= needed {
            self.credit = 0;
            self.size = (self.size + 1).min(self.limits.max.max(1));
        }
    }

    /// The node showed overload: three quarters of it, once per overload.
    pub fn overloaded(&mut self, now: UnixMs) {
        self.slow_start = false;
        if now < self.held_until {
            return;
        }
        self.held_until = now.plus_ms(HOLD_MS);
        self.credit = 0;
        self.size = (self.size - self.size / 4).max(self.limits.min.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_per_round_trip_until_the_first_overload_and_then_grows_by_one() {
        let mut window = Window::new(Limits { start: 10, min: 2, max: 100 });
        (0..10).for_each(|_| window.succeeded(10));
        assert_eq!(window.size(), 20);
        window.overloaded(UnixMs(0));
        assert_eq!(window.size(), 15);
        (0..15).for_each(|_| window.succeeded(15));
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn one_overload_shrinks_it_once_and_never_below_its_minimum() {
        let mut window = Window::new(Limits { start: 4, min: 3, max: 100 });
        window.overloaded(UnixMs(0));
        window.overloaded(UnixMs(HOLD_MS - 1));
        assert_eq!(window.size(), 3);
        window.overloaded(UnixMs(HOLD_MS));
        assert_eq!(window.size(), 3);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(Limits { start: 10, min: 1, max: 100 });
        (0..100).for_each(|_| window.succeeded(4));
        assert_eq!(window.size(), 10);
    }
}
