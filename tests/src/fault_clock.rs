//! The moments of faults: planned before, from a seed, and kept by this clock whatever happens
//! meanwhile. Nothing is waited for here; what is under way at a moment is what the fault hits.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A schedule that has begun.
#[derive(Clone, Copy, Debug)]
pub struct FaultClock {
    began: Instant,
}

impl FaultClock {
    /// The schedule begins now.
    pub fn start() -> FaultClock {
        FaultClock { began: Instant::now() }
    }

    /// Returns at a moment of the schedule; at once when that has passed.
    pub async fn at(self, moment: Duration) {
        sleep_until(self.began + moment).await;
    }
}
