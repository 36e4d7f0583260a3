//! Closes the seconds of the books, and writes what they say.
//!
//! Percentiles and the interval log take some milliseconds a second. They are made of what was
//! taken out of the books: whoever sends never waits for them.

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{
    books::Books,
    stages::{Closed, Look, Told, histogram},
    tally::Tally,
};
use crate::result::{Quantiles, Stage, hlog::IntervalLog};

/// Who keeps the books in order.
pub(crate) struct Clerk {
    log: Option<IntervalLog>,
    /// For the next look.
    empty: Histogram<u64>,
}

impl Clerk {
    /// One that writes `log`.
    pub fn new(log: Option<IntervalLog>) -> Clerk {
        Clerk { log, empty: histogram() }
    }

    /// Closes the seconds that are over and in which nothing is open.
    ///
    /// # Errors
    /// When the interval log cannot be written.
    pub fn tick(&mut self, books: &Mutex<Tally>, now: Instant) -> Result<()> {
        let over = open(books).close_over(now);
        self.write(books, over)
    }

    /// What there is to show.
    pub fn look(&mut self, books: &Mutex<Tally>) -> Look {
        let empty = std::mem::replace(&mut self.empty, histogram());
        open(books).look(empty)
    }

    /// Closes everything.
    ///
    /// # Errors
    /// When the interval log cannot be written.
    pub fn finish(mut self, books: &Mutex<Tally>, empty: Tally) -> Result<Books> {
        let rest = open(books).close_all();
        self.write(books, rest)?;
        if let Some(log) = &mut self.log {
            log.flush()?;
        }
        Ok(std::mem::replace(&mut *open(books), empty).finish())
    }

    fn write(&mut self, books: &Mutex<Tally>, over: Vec<Closed>) -> Result<()> {
        for Closed { number, mut stages } in over {
            let of = |stage| Quantiles::of(stages.of(stage));
            let told = Told {
                outcome: of(Stage::Outcome),
                ack: of(Stage::Ack),
                lag_p99_ms: of(Stage::Lag).p99_ms,
            };
            if let Some(log) = &mut self.log {
                for stage in Stage::ALL {
                    log.second(number, stage, stages.of(stage))?;
                }
            }
            stages.reset();
            open(books).closed(number, told, stages);
        }
        Ok(())
    }
}

fn open(books: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    books.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
