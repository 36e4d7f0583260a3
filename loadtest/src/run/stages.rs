//! The times of a second or of a run, by their stages, and what is taken out of the books of them.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::result::{Counts, Quantiles, Stage};

/// The longest time that is told apart, in microseconds.
pub(super) const MICROS_MAX: u64 = 3_600_000_000;
/// Significant digits of what is recorded.
const DIGITS: u8 = 3;

/// Of microseconds, empty.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("good bounds")
}

/// The stages of one second, or of all.
pub(crate) struct Stages([Histogram<u64>; Stage::ALL.len()]);

impl Stages {
    /// Nothing.
    pub fn new() -> Stages {
        Stages(std::array::from_fn(|_| histogram()))
    }

    /// The times of one stage.
    pub fn of(&self, stage: Stage) -> &Histogram<u64> {
        &self.0[stage as usize]
    }

    /// All of them, in the order of their numbers.
    pub fn into_all(self) -> [Histogram<u64>; Stage::ALL.len()] {
        self.0
    }

    /// Forgets what was recorded.
    pub fn reset(&mut self) {
        self.0.iter_mut().for_each(Histogram::reset);
    }

    /// Adds `count` times.
    pub fn record(&mut self, stage: Stage, time: Duration, count: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MICROS_MAX);
        self.0[stage as usize].saturating_record_n(micros.max(1), count);
    }
}

/// A second that is over and in which nothing is open.
pub(crate) struct Closed {
    pub number: usize,
    pub stages: Stages,
}

/// What the times of a second say.
pub(crate) struct Told {
    pub outcome: Quantiles,
    pub ack: Quantiles,
    pub lag_p99_ms: f64,
}

/// What a view shows, taken out of the books.
pub(crate) struct Look {
    pub counts: Counts,
    pub codes: BTreeMap<String, u64>,
    pub open: u64,
    /// The outcomes that came since the last look.
    pub recent: Histogram<u64>,
    /// All lags so far.
    pub lag: Histogram<u64>,
}
