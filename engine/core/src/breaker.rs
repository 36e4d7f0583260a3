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
    HalfOpen {
        /// How many more may start.
        probes: u32,
    },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(limits: Limits) -> Breaker {
        Breaker { limits, state: State::Closed { faults: 0 } }
    }

    /// How many more attempts may start; moves to half open in time. What was in flight before says
    /// nothing about the node now and does not count.
    pub fn room(&mut self, now: UnixMs) -> u32 {
        if let State::Open { until } = self.state
            && until.has_come(now, self.limits.open_ms)
        {
            self.state = State::HalfOpen { probes: self.limits.probes.max(1) };
        }
        match self.state {
            State::Closed { .. } => u32::MAX,
            State::Open { .. } => 0,
            State::HalfOpen { probes } => probes,
        }
    }

    /// An attempt starts.
    pub fn started(&mut self) {
        if let State::HalfOpen { probes } = &mut self.state {
            *probes = probes.saturating_sub(1);
        }
    }

    /// An attempt is over or was given back without a word about the node: another may try.
    pub fn withdrawn(&mut self) {
        if let State::HalfOpen { probes } = &mut self.state {
            *probes = (*probes + 1).min(self.limits.probes.max(1));
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
            State::Closed { .. } | State::HalfOpen { .. } => open,
            State::Open { until } => State::Open { until },
        };
    }

    /// No attempt may start for a while.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
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
            State::HalfOpen { .. } => "half_open",
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
        assert_eq!(breaker.room(UnixMs(0)), u32::MAX);
        breaker.fault(UnixMs(0));
        assert_eq!(breaker.room(UnixMs(999)), 0);
        assert_eq!(breaker.room(UnixMs(1_000)), 1);
        breaker.started();
        assert_eq!(breaker.room(UnixMs(1_000)), 0);
        breaker.withdrawn();
        assert_eq!(breaker.room(UnixMs(1_000)), 1);
        breaker.fault(UnixMs(1_000));
        assert_eq!(breaker.name(), "open");
        assert_eq!(breaker.room(UnixMs(2_000)), 1);
        breaker.answered();
        assert_eq!(breaker.room(UnixMs(2_000)), u32::MAX);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_it_open_for_no_longer() {
        for (now, room) in [(10_999, 0), (11_000, 1), (10_000, 0), (9_999, 1), (0, 1)] {
            let mut breaker = Breaker::new(LIMITS);
            breaker.fault(UnixMs(10_000));
            breaker.fault(UnixMs(10_000));
            assert_eq!(breaker.room(UnixMs(now)), room, "at {now}");
        }
    }
}
