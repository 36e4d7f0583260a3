//! How many payments may be in flight at a node.
//!
//! ```text
//!     payments do not take longer,
//!     or more of them a second                 after a while
//!          ┌──────────┐                  ┌──────────────────────┐
//!          ▼          │     neither      │                      ▼
//!       Doubling ─────┴───────────────► Holding             (Doubling)
//!          │                             │
//!          └───────── overload ──────────┴──► Growing: a quarter less, then a twentieth a round
//! ```
//!
//! By Little's law a window must hold what the node pays a second times the seconds that each one
//! takes: a node whose payments take 2 s needs 100 places for 50 a second. So as long as payments
//! do not take longer, the window grows by one place with each payment. Once they do, it doubles
//! as long as that brings more payments a second: a node has a depth at which it pays most, a
//! direct peer at a hundred or two, a path of two hops at a thousand and more, and beyond it
//! payments only wait inside the node, and lnd itself gets slower.
//!
//! A round is as many payments as the window has places, after those that were in flight when it
//! got its size. Only payments count that others waited behind: what a node does with less than it
//! could have says nothing about its window.

#[cfg(test)]
mod tests;

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
/// So long after the last overload the window may double again, in milliseconds.
const CALM_MS: i64 = 30_000;
/// A round is measured over at least so long, in milliseconds.
const ROUND_MS_MIN: i64 = 100;
/// A larger window stays when it brings at least so many percent more payments a second.
const GAIN_PERCENT: u64 = 10;
/// A window that holds tries to double again after so long, in milliseconds; after twice as long
/// each time that it was in vain, up to the second number.
const RECHECK_MS: (i64, i64) = (5_000, 60_000);
/// A window counts as full with so many eighths of its places taken.
const FULL_EIGHTHS: u64 = 7;

/// The window of one node.
#[derive(Clone, Debug)]
pub struct Window {
    limits: Limits,
    size: u32,
    mode: Mode,
    round: Round,
    latency: Latency,
    /// Nearly all places are taken.
    is_full: bool,
    /// Payments since it was full last.
    idle: u32,
    recheck_ms: i64,
    held_until: UnixMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It grows from the best size so far.
    Doubling { best: Best },
    /// More places brought nothing.
    Holding { since: UnixMs },
    /// The node showed overload: it grows slowly.
    Growing,
}

/// The most payments in a thousand seconds, and with how many places; 0 before anything was
/// measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Best {
    rate: u64,
    size: u32,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    /// Payments that say nothing of the size: they were in flight before.
    skip: u32,
    done: u32,
    started: Option<UnixMs>,
}

impl Round {
    fn after(skip: u32) -> Round {
        Round { skip, done: 0, started: None }
    }
}

impl Window {
    /// A window at its start.
    pub fn new(limits: Limits) -> Window {
        let size = limits.start.clamp(limits.min.max(1), limits.max.max(1));
        Window {
            limits,
            size,
            mode: Mode::Doubling { best: Best::default() },
            round: Round::after(size),
            latency: Latency::default(),
            is_full: true,
            idle: 0,
            recheck_ms: RECHECK_MS.0,
            held_until: UnixMs(i64::MIN),
        }
    }

    /// How many may be in flight.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// All that could start has started. A window that is never told counts as full while half of
    /// it is taken.
    pub fn filled(&mut self, in_flight: u32) {
        self.is_full = u64::from(in_flight) * 8 >= u64::from(self.size) * FULL_EIGHTHS;
    }

    /// A payment that came through took so long. Without this a window grows by rounds alone.
    pub fn took(&mut self, latency_ms: i64) {
        self.latency.add(latency_ms);
    }

    /// A payment came through while `in_flight` were in flight, itself included.
    pub fn succeeded(&mut self, in_flight: u32, now: UnixMs) {
        if !self.is_full || in_flight.saturating_mul(2) < self.size {
            return self.not_full();
        }
        self.idle = 0;
        let may_grow = self.size < self.limits.max && self.latency.is_low();
        if matches!(self.mode, Mode::Doubling { .. }) && may_grow {
            self.size += 1;
            self.round = Round::after(self.size);
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
            self.end_round(rate, now);
        }
    }

    /// Fewer payments come than the window holds. After a whole window of them what was measured
    /// before is old.
    fn not_full(&mut self) {
        self.idle += 1;
        if self.idle < self.size {
            return;
        }
        self.idle = 0;
        self.latency.is_idle();
        self.round = Round::after(self.size);
        if let Mode::Doubling { best } = &mut self.mode {
            *best = Best::default();
        }
    }

    fn end_round(&mut self, rate: u64, now: UnixMs) {
        let (before, max) = (self.size, self.limits.max.max(1));
        match self.mode {
            Mode::Doubling { best } => self.judge(best, rate, now),
            Mode::Holding { since } if now.since(since) >= self.recheck_ms => {
                self.recheck_ms = self.recheck_ms.saturating_mul(2).min(RECHECK_MS.1);
                self.double(rate);
            }
            Mode::Holding { .. } => {}
            Mode::Growing if now.since(self.held_until) >= CALM_MS => self.double(rate),
            Mode::Growing => self.size = (self.size + (self.size / 20).max(1)).min(max),
        }
        // What was in flight at the old size comes first.
        self.round = Round::after(if self.size == before { 0 } else { before });
    }

    /// Whether what it grew to is better than the best before.
    fn judge(&mut self, best: Best, rate: u64, now: UnixMs) {
        if rate * 100 >= best.rate * (100 + GAIN_PERCENT) {
            if best.rate > 0 {
                self.recheck_ms = RECHECK_MS.0;
            }
            self.double(rate);
        } else if self.size > best.size {
            self.mode = Mode::Holding { since: now };
            self.size = best.size;
        } else {
            // It became smaller since, or slower.
            self.double(rate);
        }
    }

    /// Twice as many, if that brings more payments a second than these.
    fn double(&mut self, rate: u64) {
        self.mode = Mode::Doubling { best: Best { rate, size: self.size } };
        self.size = self.size.saturating_mul(2).min(self.limits.max.max(1));
    }

    /// The node showed overload: three quarters of it, once per overload.
    pub fn overloaded(&mut self, now: UnixMs) {
        self.mode = Mode::Growing;
        if now < self.held_until {
            return;
        }
        self.held_until = now.plus_ms(HOLD_MS);
        self.size = (self.size - self.size / 4).max(self.limits.min.max(1));
        self.round = Round::after(0);
    }
}

/// How long payments take, and how long they took when the node had least to do.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    /// The mean of the last ones, in sixteenths of a millisecond.
    mean: i64,
    samples: u32,
    /// The lowest mean.
    low: i64,
}

/// So many payments make a mean.
const SAMPLES: u32 = 16;

impl Latency {
    fn add(&mut self, latency_ms: i64) {
        let sixteenths = latency_ms.clamp(0, 86_400_000) * 16;
        self.samples = (self.samples + 1).min(SAMPLES);
        self.mean += (sixteenths - self.mean) / i64::from(self.samples);
        let is_mean = self.samples == SAMPLES;
        self.low = if is_mean { self.low.min(self.mean) } else { self.mean };
    }

    /// The node has less to do than it could: this is how long payments take.
    fn is_idle(&mut self) {
        self.low = self.mean;
    }

    /// Payments take at most half as long again as when they took least, and 5 ms.
    fn is_low(&self) -> bool {
        self.samples == SAMPLES && self.mean <= self.low + self.low / 2 + 5 * 16
    }
}
