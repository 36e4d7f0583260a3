//! The circuit breaker of one node.
//!
//! ```text
//!  Closed ──failures in a row──► Open ──time──► HalfOpen ──success──► Closed
//!                                  ▲               │ failure
//!                                  └───────────────┘
//! ```

use crate::time::UnixMs;

/// When it opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// It opens after this many faults of the node in a row; at least 1.
    pub faults: u32,
    /// It stays open this long, in milliseconds.
    pub open_ms: i64,
    /// Attempts that may be in flight while it is half open; at least 1.
    pub probes: u32,
}

/// The breaker of one node. It counts faults of the node (lost streams, refusals of the request),
/// never the outcome of a payment.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    state: State,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Attempts start.
    Closed {
        /// Faults in a row.
        faults: u32,
    },
    /// No attempt starts.
    Open {
        /// Until then.
        until: UnixMs,
    },
    /// A few attempts start: their outcome decides.
    HalfOpen,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(limits: Limits) -> Breaker {
        Breaker { limits, state: State::Closed { faults: 0 } }
    }

    /// How many more attempts may start with `in_flight` in flight; moves to half open in time.
    pub fn room(&mut self, in_flight: u32, now: UnixMs) -> u32 {
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::HalfOpen;
        }
        match self.state {
            State::Closed { .. } => u32::MAX,
            State::Open { .. } => 0,
            State::HalfOpen => self.limits.probes.max(1).saturating_sub(in_flight),
        }
    }

    /// The node answered about a payment, whatever the answer.
    pub fn answered(&mut self) {
        self.state = State::Closed { faults: 0 };
    }

    /// The node did not answer, or refused the request itself.
    pub fn fault(&mut self, now: UnixMs) {
        let open = State::Open { until: now.plus_ms(self.limits.open_ms) };
        self.state = match self.state {
            State::Closed { faults } if faults + 1 < self.limits.faults.max(1) => {
                State::Closed { faults: faults + 1 }
            }
            State::Closed { .. } | State::HalfOpen => open,
            State::Open { until } => State::Open { until },
        };
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its state's name: `closed`, `open` or `half_open`.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half_open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { faults: 2, open_ms: 1_000, probes: 1 };

    #[test]
    fn it_opens_after_faults_in_a_row_and_probes_later() {
        let mut breaker = Breaker::new(LIMITS);
        breaker.fault(UnixMs(0));
        breaker.answered();
        breaker.fault(UnixMs(0));
        assert_eq!(breaker.room(5, UnixMs(0)), u32::MAX);
        breaker.fault(UnixMs(0));
        assert_eq!(breaker.room(0, UnixMs(999)), 0);
        assert_eq!(breaker.room(0, UnixMs(1_000)), 1);
        assert_eq!(breaker.room(1, UnixMs(1_000)), 0);
        breaker.fault(UnixMs(1_000));
        assert_eq!(breaker.name(), "open");
        assert_eq!(breaker.room(0, UnixMs(2_000)), 1);
        breaker.answered();
        assert_eq!(breaker.room(9, UnixMs(2_000)), u32::MAX);
    }
}
