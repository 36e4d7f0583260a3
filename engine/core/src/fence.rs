//! The fence of one node (rule E13): proof that no send up to a time can start any more.
//!
//! First lnd itself must say that a macaroon with that time has expired; then requests that passed
//! that check earlier must have run into their deadline; only then is the fence up, and only Track
//! calls made after that count.

use crate::{port::ProbeAnswer, time::UnixMs};

/// How long to wait before the node is asked again, in milliseconds.
const PROBE_AGAIN_MS: i64 = 500;

/// The fence of one node. All expiry times are the node's, all others the engine's.
#[derive(Clone, Debug)]
pub struct Fence {
    wait_ms: i64,
    up_to: UnixMs,
    wanted: UnixMs,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Ask the node at this time: not before `again`, nor before the expiry as far as it is known.
    Probe {
        expiry: UnixMs,
        again: UnixMs,
        at: UnixMs,
    },
    /// The node was asked.
    Probing {
        expiry: UnixMs,
        again: UnixMs,
    },
    /// Requests that had passed the check may still wait until then.
    Waiting {
        expiry: UnixMs,
        until: UnixMs,
    },
}

impl Fence {
    /// A fence that is down. `wait_ms` is the deadline of a send plus a margin for requests that
    /// wait inside the node; at least 0.
    pub fn new(wait_ms: i64) -> Fence {
        Fence { wait_ms, up_to: UnixMs(i64::MIN), wanted: UnixMs(i64::MIN), phase: Phase::Idle }
    }

    /// Every send that expires at or before this is fenced.
    pub fn up_to(&self) -> UnixMs {
        self.up_to
    }

    /// True while somebody waits for it.
    pub fn is_rising(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Asks for the fence up to `expiry`. One rise serves everybody who asked before its probe.
    pub fn want(&mut self, expiry: UnixMs, now: UnixMs, clock_offset_ms: i64) {
        self.wanted = self.wanted.max(expiry);
        if self.phase == Phase::Idle {
            self.rise(now, clock_offset_ms);
        }
    }

    fn rise(&mut self, now: UnixMs, clock_offset_ms: i64) {
        if self.wanted <= self.up_to {
            self.phase = Phase::Idle;
            return;
        }
        let expires = self.wanted.plus_ms(-clock_offset_ms);
        self.phase = Phase::Probe { expiry: self.wanted, again: now, at: now.max(expires) };
    }

    /// Moves with time: the expiry to probe now, if any. Rises when the wait is over.
    pub fn poll(&mut self, now: UnixMs, clock_offset_ms: i64) -> Option<UnixMs> {
        // The node's clock may have become known, or have been set, since the fence was wanted.
        if let Phase::Probe { expiry, again, at } = &mut self.phase {
            *at = expiry.plus_ms(-clock_offset_ms).max(*again);
        }
        match self.phase {
            Phase::Probe { expiry, at, .. } if at <= now => {
                self.phase = Phase::Probing { expiry, again: now.plus_ms(10 * PROBE_AGAIN_MS) };
                Some(expiry)
            }
            // An answer that was lost with its connection.
            Phase::Probing { expiry, again } if again <= now => {
                self.phase = Phase::Probing { expiry, again: now.plus_ms(10 * PROBE_AGAIN_MS) };
                Some(expiry)
            }
            Phase::Waiting { expiry, until } if until <= now => {
                self.up_to = self.up_to.max(expiry);
                self.rise(now, clock_offset_ms);
                None
            }
            Phase::Idle | Phase::Probe { .. } | Phase::Probing { .. } | Phase::Waiting { .. } => {
                None
            }
        }
    }

    /// Takes the node's answer to a probe.
    pub fn answered(&mut self, expiry: UnixMs, answer: ProbeAnswer, now: UnixMs) {
        let Phase::Probing { expiry: asked, .. } = self.phase else {
            return;
        };
        if asked != expiry {
            return;
        }
        self.phase = match answer {
            ProbeAnswer::Expired => Phase::Waiting { expiry, until: now.plus_ms(self.wait_ms) },
            ProbeAnswer::NotYet | ProbeAnswer::Unreachable => {
                let again = now.plus_ms(PROBE_AGAIN_MS);
                Phase::Probe { expiry, again, at: again }
            }
        };
    }

    /// When [`Fence::poll`] has something to do; `None` when nobody waits.
    pub fn wake_at(&self) -> Option<UnixMs> {
        match self.phase {
            Phase::Idle => None,
            Phase::Probe { at, .. } => Some(at),
            Phase::Probing { again, .. } => Some(again),
            Phase::Waiting { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMs = UnixMs(1_000_000);

    #[test]
    fn the_fence_is_up_only_after_the_nodes_word_and_the_wait() {
        let mut fence = Fence::new(20_000);
        fence.want(T.plus_ms(12_000), T, 0);
        assert_eq!(fence.poll(T.plus_ms(11_999), 0), None);
        assert_eq!(fence.poll(T.plus_ms(12_000), 0), Some(T.plus_ms(12_000)));
        fence.answered(T.plus_ms(12_000), ProbeAnswer::NotYet, T.plus_ms(12_001));
        assert_eq!(fence.poll(T.plus_ms(12_501), 0), Some(T.plus_ms(12_000)));
        fence.answered(T.plus_ms(12_000), ProbeAnswer::Expired, T.plus_ms(12_502));
        assert_eq!(fence.poll(T.plus_ms(32_501), 0), None);
        assert!(fence.up_to() < T);
        assert_eq!(fence.poll(T.plus_ms(32_502), 0), None);
        assert_eq!(fence.up_to(), T.plus_ms(12_000));
        assert!(!fence.is_rising());
    }

    #[test]
    fn who_asks_during_the_wait_gets_a_rise_of_its_own() {
        let mut fence = Fence::new(1_000);
        fence.want(T, T, 0);
        assert_eq!(fence.poll(T, 0), Some(T));
        fence.answered(T, ProbeAnswer::Expired, T);
        fence.want(T.plus_ms(500), T.plus_ms(600), 0);
        assert_eq!(fence.poll(T.plus_ms(1_000), 0), None);
        assert_eq!(fence.up_to(), T);
        assert_eq!(fence.poll(T.plus_ms(1_000), 0), Some(T.plus_ms(500)));
    }

    #[test]
    fn an_answer_about_another_time_changes_nothing() {
        let mut fence = Fence::new(0);
        fence.want(T, T, 0);
        assert_eq!(fence.poll(T, 0), Some(T));
        fence.answered(T.plus_ms(-1), ProbeAnswer::Expired, T);
        assert_eq!(fence.poll(T.plus_ms(1), 0), None);
        assert!(fence.up_to() < T);
    }

    #[test]
    fn a_clock_that_becomes_known_later_moves_the_probe() {
        let hour = 3_600_000;
        let mut fence = Fence::new(0);
        fence.want(T.plus_ms(hour + 10), T, 0);
        assert_eq!(fence.poll(T.plus_ms(9), hour), None);
        assert_eq!(fence.wake_at(), Some(T.plus_ms(10)));
        assert_eq!(fence.poll(T.plus_ms(10), hour), Some(T.plus_ms(hour + 10)));
        fence.answered(T.plus_ms(hour + 10), ProbeAnswer::NotYet, T.plus_ms(11));
        // Asked again after a while, not at once.
        assert_eq!(fence.poll(T.plus_ms(11), hour), None);
        assert_eq!(fence.poll(T.plus_ms(511), hour), Some(T.plus_ms(hour + 10)));
    }
}
