//! How sure a comparison can be: the bootstrap, with a seed of its own, so that the same samples
//! give the same answer.

use serde::Serialize;

use crate::run::schedule::Random;

/// How often the samples are drawn again.
const DRAWS: usize = 10_000;
/// The interval holds this share of the draws.
const CONFIDENCE: f64 = 0.95;
/// Fewer pairs than this decide nothing: of three the bootstrap only has ten different draws.
pub(crate) const PAIRS_MIN: usize = 4;

/// The typical ratio of the second sample to the first, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The geometric mean of the pairs' ratios.
    pub middle: f64,
    /// The interval that holds 95 % of the draws.
    pub low: f64,
    pub high: f64,
    /// How many pairs there are of which none depends on another: a block counts as one.
    pub pairs: usize,
}

impl Ratio {
    /// Whether 1 lies outside of the interval, and there are pairs enough to say so.
    pub fn differs(&self) -> bool {
        self.pairs >= PAIRS_MIN && (self.low > 1.0 || self.high < 1.0)
    }
}

/// Compares pairs of positive values; `None` when there are none. Neighbours within `block` pairs
/// are drawn together: seconds of one run depend on those before them.
pub(crate) fn paired(pairs: &[(f64, f64)], block: usize) -> Option<Ratio> {
    let good = pairs.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0);
    let logs: Vec<f64> = good.map(|(a, b)| (b / a).ln()).collect();
    if logs.is_empty() {
        return None;
    }
    let independent = logs.len() / block.max(1);
    let block = block.clamp(1, logs.len());
    let blocks = logs.len().div_ceil(block);
    let mut random = Random(1);
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..blocks).flat_map(|_| {
                let start = random.below(logs.len());
                (0..block).map(move |offset| start + offset)
            });
            // Around the end, so that every pair is drawn as often as any other.
            let drawn = drawn.take(logs.len()).map(|at| logs[at % logs.len()]);
            drawn.sum::<f64>() / logs.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((share * DRAWS as f64) as usize).min(DRAWS - 1)].exp();
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Ratio {
        middle: (logs.iter().sum::<f64>() / logs.len() as f64).exp(),
        low: at(tail),
        high: at(1.0 - tail),
        pairs: independent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs around a ratio, with noise that both of a pair share and noise of their own.
    fn made_up(ratio: f64, count: usize, seed: u64) -> Vec<(f64, f64)> {
        let mut random = Random(seed);
        let mut around = |spread: f64| 1.0 + spread * (random.unit() - 0.5);
        (0..count)
            .map(|_| {
                let machine = around(0.8);
                (100.0 * machine * around(0.04), 100.0 * ratio * machine * around(0.04))
            })
            .collect()
    }

    #[test]
    fn a_difference_is_found_although_the_machine_differs_more_from_run_to_run() {
        let ratio = paired(&made_up(1.10, 10, 3), 1).unwrap();
        assert!(ratio.differs(), "{ratio:?}");
        assert!(ratio.low < 1.10 && 1.10 < ratio.high, "{ratio:?}");
        let ratio = paired(&made_up(0.90, 10, 4), 1).unwrap();
        assert!(ratio.differs() && ratio.high < 1.0, "{ratio:?}");
    }

    #[test]
    fn no_difference_is_found_where_there_is_none_in_about_19_of_20_cases() {
        let wrong = (0..200).filter(|seed| {
            paired(&made_up(1.0, 10, 1_000 + seed), 1).is_some_and(|ratio| ratio.differs())
        });
        // The percentile bootstrap of ten pairs errs more often than its 5 %, but not much more.
        let wrong = wrong.count();
        assert!((1..=30).contains(&wrong), "{wrong} of 200");
    }

    #[test]
    fn a_few_pairs_decide_nothing_and_none_says_nothing() {
        let ratio = paired(&[(1.0, 2.0), (1.0, 2.1), (1.0, 1.9)], 1).unwrap();
        assert!(!ratio.differs(), "{ratio:?}");
        // Nineteen seconds are three blocks of five, however many pairs they are.
        let ratio = paired(&[(1.0, 2.0); 19], 5).unwrap();
        assert!(ratio.low > 1.9 && !ratio.differs(), "{ratio:?}");
        assert!(paired(&[(1.0, 2.0); 20], 5).is_some_and(|ratio| ratio.differs()));
        assert_eq!(paired(&[], 1), None);
        assert_eq!(paired(&[(0.0, 1.0)], 1), None);
    }

    #[test]
    fn seconds_that_depend_on_each_other_make_less_sure() {
        // Ten slow seconds and ten fast ones: each alone looks like many samples.
        let pairs: Vec<_> =
            (0..40).map(|at| (1.0, if at / 10 % 2 == 0 { 0.9 } else { 1.15 })).collect();
        let (alone, blocks) = (paired(&pairs, 1).unwrap(), paired(&pairs, 10).unwrap());
        assert!(blocks.high - blocks.low > 1.5 * (alone.high - alone.low), "{alone:?} {blocks:?}");
    }
}
