//! How many payments may be in flight at a node.
//!
//! ```text
//!            more payments a second            every RECHECK rounds
//!          ┌──────────┐                     ┌──────────────────────┐
//!          ▼          │   no more of them   │                      ▼
//!       Doubling ─────┴──────────────────► Holding             (Doubling)
//!          │                                │
//!          └──────────── overload ──────────┴──► Growing: a quarter less, then one more a round
//! ```
//!
//! A node has a depth at which it pays most a second: a direct peer at a hundred or two, a path of
//! two hops at a thousand and more. Beyond it payments only wait inside the node, and lnd itself
//! gets slower. So the window doubles only as long as that brings something.

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
/// A round is measured over at least so long, in milliseconds.
const ROUND_MS_MIN: i64 = 100;
/// A doubled window stays when it brings at least so many percent more payments a second.
const GAIN_PERCENT: u64 = 10;
/// A window that holds tries to double again after so many rounds.
const RECHECK: u32 = 50;

/// The window of one node.
#[derive(Clone, Debug)]
pub struct Window {
    limits: Limits,
    size: u32,
    mode: Mode,
    round: Round,
    held_until: UnixMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The size was doubled from one that made `before` payments in a thousand seconds; 0 for the
    /// first.
    Doubling { before: u64 },
    /// Doubling brought nothing.
    Holding { rounds: u32 },
    /// The node showed overload: one more a round.
    Growing,
}

/// As many payments as the window is large.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Payments in flight when it began, which say nothing of the new size.
    skip: u32,
    done: u32,
    started: Option<UnixMs>,
}

impl Round {
    fn new(skip: u32) -> Round {
        Round { skip, done: 0, started: None }
    }
}

impl Window {
    /// A window at its start.
    pub fn new(limits: Limits) -> Window {
        let size = limits.start.clamp(limits.min.max(1), limits.max.max(1));
        let mode = Mode::Doubling { before: 0 };
        Window { limits, size, mode, round: Round::new(0), held_until: UnixMs(i64::MIN) }
    }

    /// How many may be in flight.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// A payment came through while `in_flight` were in flight. Only a window that is in use grows.
    pub fn succeeded(&mut self, in_flight: u32, now: UnixMs) {
        if in_flight.saturating_mul(2) < self.size {
            self.round = Round::new(0);
            return;
        }
        if self.round.skip > 0 {
            self.round.skip -= 1;
            return;
        }
        let Some(started) = self.round.started else {
            self.round.started = Some(now);
            return;
        };
        self.round.done += 1;
        let elapsed_ms = now.since(started);
        if self.round.done >= self.size && elapsed_ms >= ROUND_MS_MIN {
            let rate = u64::from(self.round.done) * 1_000_000 / elapsed_ms.unsigned_abs().max(1);
            self.end_round(rate);
        }
    }

    fn end_round(&mut self, rate: u64) {
        let max = self.limits.max.max(1);
        let before = self.size;
        match self.mode {
            Mode::Doubling { before } if rate * 100 >= before * (100 + GAIN_PERCENT) => {
                self.mode = Mode::Doubling { before: rate };
                self.size = self.size.saturating_mul(2).min(max);
            }
            Mode::Doubling { .. } => {
                self.mode = Mode::Holding { rounds: 0 };
                self.size = (self.size / 2).max(self.limits.min.max(1));
            }
            Mode::Holding { rounds } if rounds >= RECHECK => {
                self.mode = Mode::Doubling { before: rate };
                self.size = self.size.saturating_mul(2).min(max);
            }
            Mode::Holding { rounds } => self.mode = Mode::Holding { rounds: rounds + 1 },
            Mode::Growing => self.size = (self.size + 1).min(max),
        }
        // What was in flight at the old size comes first.
        let skip = if self.size == before { 0 } else { before };
        self.round = Round::new(skip);
    }

    /// The node showed overload: three quarters of it, once per overload.
    pub fn overloaded(&mut self, now: UnixMs) {
        self.mode = Mode::Growing;
        if now < self.held_until {
            return;
        }
        self.held_until = now.plus_ms(HOLD_MS);
        self.size = (self.size - self.size / 4).max(self.limits.min.max(1));
        self.round = Round::new(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { start: 10, min: 2, max: 1_000 };

    /// Pays through a window at a node that pays `knee` at once, each within 100 ms, and more only
    /// after those; returns the sizes that it had.
    fn pay(window: &mut Window, knee: u32, seconds: i64) -> Vec<u32> {
        let mut sizes = vec![window.size()];
        for round in 0..seconds * 10 {
            let now = UnixMs(round * 100);
            for _ in 0..window.size().min(knee) {
                let in_flight = window.size();
                window.succeeded(in_flight, now);
            }
            if sizes.last() != Some(&window.size()) {
                sizes.push(window.size());
            }
        }
        sizes
    }

    #[test]
    fn it_doubles_while_that_brings_more_payments_a_second() {
        let mut window = Window::new(LIMITS);
        let sizes = pay(&mut window, 100, 20);
        assert_eq!(sizes[..7], [10, 20, 40, 80, 160, 320, 160], "{sizes:?}");
        let deep = pay(&mut Window::new(LIMITS), 5_000, 60);
        assert!(deep.contains(&1_000), "a node that takes all gets all: {deep:?}");
    }

    #[test]
    fn a_window_that_holds_looks_again_now_and_then() {
        let mut window = Window::new(LIMITS);
        let held = *pay(&mut window, 100, 20).last().expect("a size");
        let sizes = pay(&mut window, 1_000, 60);
        assert!(sizes.iter().any(|size| *size > 4 * held), "the node got better: {sizes:?}");
    }

    #[test]
    fn overload_takes_a_quarter_once_and_then_it_grows_by_one() {
        let mut window = Window::new(Limits { start: 20, ..LIMITS });
        window.overloaded(UnixMs(0));
        window.overloaded(UnixMs(HOLD_MS - 1));
        assert_eq!(window.size(), 15);
        let sizes = pay(&mut window, 1_000, 3);
        assert_eq!(sizes[..3], [15, 16, 17], "{sizes:?}");
        (0..40).for_each(|at| window.overloaded(UnixMs(at * HOLD_MS)));
        assert_eq!(window.size(), 3, "a quarter of three is nothing");
        let mut least = Window::new(Limits { start: 4, min: 4, max: 100 });
        least.overloaded(UnixMs(0));
        assert_eq!(least.size(), 4);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(LIMITS);
        (0..1_000).for_each(|at| window.succeeded(4, UnixMs(at * 10)));
        assert_eq!(window.size(), 10);
    }
}
