//! Who fails, who is stuck, which stream is cut: a hash of (seed, payment_hash, n-th send), never
//! of time or order. One seed, one behaviour.

use std::time::Duration;

use crate::config::{FailMix, Knobs};
use crate::payment::FailureReason;

/// The fate of one run of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The recipient settles, if it knows the invoice.
    Settle,
    /// The payment ends FAILED.
    Fail(FailureReason),
    /// The HTLC stays in flight.
    Stuck,
    /// In flight in the books only: no HTLC, nobody works on it.
    Zombie,
    /// A kill came before its HTLC was on the channel: in flight in the books for ever, over
    /// restarts too (lnd: a half-open circuit).
    Uncommitted,
}

/// Where the stream of a send is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nowhere.
    Never,
    /// Before any message.
    Silent,
    /// After the first message.
    AfterFirst,
    /// Before the last message.
    BeforeLast,
}

/// Everything that chance decides about one run of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// How it ends.
    pub outcome: Outcome,
    /// What happens to the stream that started it.
    pub cut: Cut,
    /// How long it is in flight.
    pub latency: Duration,
}

impl Decision {
    /// Whether a first send is treated in any way differently from a second.
    pub fn is_plain(&self) -> bool {
        self.outcome == Outcome::Settle && self.cut == Cut::Never
    }

    /// The same payment sent again: only a first send fails, sticks or loses its stream.
    pub fn again(self) -> Decision {
        Decision { outcome: Outcome::Settle, cut: Cut::Never, ..self }
    }
}

/// Decides the first run of `payment_hash` under `knobs`.
pub(crate) fn decide(seed: u64, payment_hash: &[u8; 32], knobs: &Knobs) -> Decision {
    let root = mix(seed, payment_hash);
    let outcome = outcome(unit(root, 1), unit(root, 2), knobs);
    let cut = pick(
        unit(root, 3),
        [
            (knobs.cut_silent_share, Cut::Silent),
            (knobs.cut_first_share, Cut::AfterFirst),
            (knobs.cut_last_share, Cut::BeforeLast),
        ],
    );
    Decision { outcome, cut: cut.unwrap_or(Cut::Never), latency: latency(root, knobs) }
}

/// Whether the `nth` send of a payment to a node is lost on the way.
pub(crate) fn is_dropped(seed: u64, payment: &[u8; 32], nth: u32, share: f64) -> bool {
    share > 0.0 && unit(mix(seed, payment), 1_000 + u64::from(nth)) < share
}

/// Whether the knobs make anything but plain settlements at once: without, nothing is hashed.
pub(crate) fn is_needed(knobs: &Knobs) -> bool {
    knobs.latency_ms > 0.0
        || knobs.fail_share + knobs.stuck_share + knobs.zombie_share > 0.0
        || knobs.cut_silent_share + knobs.cut_first_share + knobs.cut_last_share > 0.0
}

fn outcome(which: f64, reason: f64, knobs: &Knobs) -> Outcome {
    let kinds = [
        (knobs.fail_share, Outcome::Fail(failure(reason, &knobs.fail_mix))),
        (knobs.stuck_share, Outcome::Stuck),
        (knobs.zombie_share, Outcome::Zombie),
    ];
    pick(which, kinds).unwrap_or(Outcome::Settle)
}

fn failure(which: f64, mix: &FailMix) -> FailureReason {
    let weights = [
        (mix.timeout, FailureReason::Timeout),
        (mix.no_route, FailureReason::NoRoute),
        (mix.error, FailureReason::Error),
        (mix.incorrect_payment_details, FailureReason::IncorrectPaymentDetails),
        (mix.insufficient_balance, FailureReason::InsufficientBalance),
    ];
    let total: f64 = weights.iter().map(|(weight, _)| weight).sum();
    pick(which * total, weights).unwrap_or(FailureReason::NoRoute)
}

/// The kind in whose share `which` falls, `None` beyond the last.
fn pick<T, const N: usize>(which: f64, shares: [(f64, T); N]) -> Option<T> {
    let mut end = 0.0;
    for (share, kind) in shares {
        end += share;
        if which < end {
            return Some(kind);
        }
    }
    None
}

fn latency(root: u64, knobs: &Knobs) -> Duration {
    let mut millis = knobs.latency_ms;
    if millis > 0.0 && knobs.latency_sigma > 0.0 {
        // Box-Muller; 1 - u is never 0.
        let radius = (-2.0 * (1.0 - unit(root, 4)).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * unit(root, 5)).cos();
        millis *= (knobs.latency_sigma * normal).exp();
    }
    Duration::from_secs_f64((millis / 1_000.0).clamp(0.0, 3_600.0))
}

/// One number for (seed, payment_hash).
fn mix(seed: u64, payment_hash: &[u8; 32]) -> u64 {
    payment_hash.chunks_exact(8).fold(scramble(seed), |state, chunk| {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        scramble(state ^ word)
    })
}

/// The `salt`-th number in 0..1 drawn from `root`.
fn unit(root: u64, salt: u64) -> f64 {
    (scramble(root ^ scramble(salt)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of splitmix64.
pub(crate) fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&scramble(number).to_le_bytes());
        hash
    }

    #[test]
    fn shares_are_kept_and_the_seed_repeats() {
        let knobs = Knobs { fail_share: 0.1, stuck_share: 0.02, ..Knobs::default() };
        let fates: Vec<_> = (0..20_000).map(|n| decide(7, &hash(n), &knobs).outcome).collect();
        let failed = fates.iter().filter(|fate| matches!(fate, Outcome::Fail(_))).count();
        let stuck = fates.iter().filter(|fate| **fate == Outcome::Stuck).count();
        assert!((1_800..2_200).contains(&failed), "{failed}");
        assert!((320..480).contains(&stuck), "{stuck}");
        let again: Vec<_> = (0..20_000).map(|n| decide(7, &hash(n), &knobs).outcome).collect();
        assert!(fates == again);
    }

    #[test]
    fn the_median_of_a_lognormal_latency_is_the_knob() {
        let knobs = Knobs { latency_ms: 100.0, latency_sigma: 0.5, ..Knobs::default() };
        let mut all: Vec<_> = (0..9_999).map(|n| decide(1, &hash(n), &knobs).latency).collect();
        all.sort();
        let median = all[4_999].as_secs_f64();
        assert!((0.095..0.105).contains(&median), "{median}");
        assert!(all[9_900] > Duration::from_millis(250));
    }

    #[test]
    fn nothing_is_decided_when_every_knob_is_at_zero() {
        assert!(!is_needed(&Knobs::default()));
        assert!(decide(1, &hash(1), &Knobs::default()).is_plain());
        assert!(is_needed(&Knobs { cut_last_share: 0.1, ..Knobs::default() }));
    }
}
