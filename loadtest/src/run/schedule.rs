//! When each arrival is due: an absolute schedule that nothing shifts.
//!
//! The arrivals of a load that changes are those of a steady one, moved in time: arrival number
//! `i` is due when the load has offered `i` in all. With constant spacing `i` counts up by one,
//! with Poisson spacing by exponentially distributed steps of mean one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// More invoices than this would not find room beside what is measured.
const PAYMENTS_MAX: f64 = 20_000_000.0;

/// How arrivals are spaced at one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Evenly.
    Constant,
    /// Independently of each other, as the requests of many clients are.
    #[default]
    Poisson,
}

/// A stretch of the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// Payments a second when it begins, above 0.
    pub rate: f64,
    /// Payments a second when it ends; the rate changes evenly. Unset: as it began.
    pub to: Option<f64>,
    /// How long it lasts.
    pub seconds: f64,
}

impl Stage {
    fn ends_at(&self) -> f64 {
        self.to.unwrap_or(self.rate)
    }

    /// How many payments it offers.
    pub fn payments(&self) -> f64 {
        (self.rate + self.ends_at()) / 2.0 * self.seconds
    }

    /// After how many seconds it has offered `count`: the root of
    /// `rate * t + (to - rate) / (2 * seconds) * t^2 = count`, in a form that is good for `a = 0`.
    fn when(&self, count: f64) -> f64 {
        let a = (self.ends_at() - self.rate) / (2.0 * self.seconds);
        let root = (self.rate * self.rate + 4.0 * a * count).max(0.0).sqrt();
        2.0 * count / (self.rate + root)
    }
}

/// The whole plan. The same plan has the same arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    stages: Vec<Stage>,
    spacing: Spacing,
    seed: u64,
    /// Payments of one arrival.
    each: f64,
}

impl Schedule {
    /// Arrivals of `each` payments.
    ///
    /// # Errors
    /// For a rate or a time that cannot be, more payments than can be signed, and none at all.
    pub fn new(stages: &[Stage], spacing: Spacing, seed: u64, each: u32) -> Result<Schedule> {
        ensure!(!stages.is_empty(), "load.stages: at least one stage is needed");
        ensure!(each > 0, "load.batch_size: at least 1");
        for (number, stage) in (1..).zip(stages) {
            let rates = [stage.rate, stage.ends_at()];
            let good = rates.iter().all(|rate| (0.001..=1e6).contains(rate));
            ensure!(good, "stage {number}: a rate is 0.001 to 1,000,000 payments a second");
            let good = (0.001..=604_800.0).contains(&stage.seconds);
            ensure!(good, "stage {number}: seconds is 0.001 to 604,800");
        }
        let payments = stages.iter().map(Stage::payments).sum::<f64>();
        ensure!(
            payments <= PAYMENTS_MAX,
            "load.stages: {payments:.0} payments are too many: their invoices are signed before the \
             clock starts, {PAYMENTS_MAX:.0} at most"
        );
        let schedule = Schedule { stages: stages.to_vec(), spacing, seed, each: f64::from(each) };
        ensure!(
            schedule.arrivals().next().is_some(),
            "load.stages: no payment is due: {payments} payments in all, {each} an arrival; more \
             seconds or a higher rate"
        );
        Ok(schedule)
    }

    /// How long arrivals are due.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.stages.iter().map(|stage| stage.seconds).sum())
    }

    /// How many arrivals are due a second, on average.
    pub fn arrivals_per_s(&self) -> f64 {
        let payments: f64 = self.stages.iter().map(Stage::payments).sum();
        payments / self.each / self.lasts().as_secs_f64()
    }

    /// The time of each arrival, from the run's beginning, in order.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals {
            schedule: self.clone(),
            stage: 0,
            before: (0.0, 0.0),
            offered: 0.0,
            first: true,
            random: Random(self.seed),
        }
    }
}

/// An iterator over the arrivals.
#[derive(Debug)]
pub(crate) struct Arrivals {
    schedule: Schedule,
    stage: usize,
    /// Arrivals and seconds of the stages before.
    before: (f64, f64),
    /// How many arrivals have been offered when the next is due; a fraction with Poisson spacing.
    offered: f64,
    first: bool,
    random: Random,
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        match self.schedule.spacing {
            Spacing::Constant if self.first => {}
            Spacing::Constant => self.offered += 1.0,
            Spacing::Poisson => self.offered += self.random.exponential(),
        }
        self.first = false;
        loop {
            let stage = self.schedule.stages.get(self.stage)?;
            let here = stage.payments() / self.schedule.each;
            let within = self.offered - self.before.0;
            // Rounding must not add an arrival at the very end.
            if within < here - 1e-9 {
                let after = stage.when(within * self.schedule.each);
                return Some(Duration::from_secs_f64(self.before.1 + after));
            }
            self.before = (self.before.0 + here, self.before.1 + stage.seconds);
            self.stage += 1;
        }
    }
}

/// splitmix64: numbers that look random, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly distributed, 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(rate: f64, to: Option<f64>, seconds: f64) -> Stage {
        Stage { rate, to, seconds }
    }

    fn times(stages: &[Stage], spacing: Spacing, each: u32) -> Vec<f64> {
        let schedule = Schedule::new(stages, spacing, 7, each).unwrap();
        schedule.arrivals().map(|time| time.as_secs_f64()).collect()
    }

    #[test]
    fn constant_arrivals_are_due_at_i_over_rate_and_batches_at_their_share_of_it() {
        let all = times(&[stage(1_000.0, None, 3.0)], Spacing::Constant, 1);
        assert_eq!(all.len(), 3_000);
        for (number, time) in all.iter().enumerate() {
            assert!((time - number as f64 / 1_000.0).abs() < 1e-8, "{number}: {time}");
        }
        let schedule = Schedule::new(&[stage(1_000.0, None, 3.0)], Spacing::Constant, 1, 100);
        assert!((schedule.unwrap().arrivals_per_s() - 10.0).abs() < 1e-9);
        let batches = times(&[stage(1_000.0, None, 3.0)], Spacing::Constant, 100);
        assert_eq!(batches.len(), 30);
        assert!((batches[29] - 2.9).abs() < 1e-8);
    }

    #[test]
    fn a_ramp_offers_what_lies_under_it_and_stages_follow_without_a_gap() {
        let all =
            times(&[stage(100.0, Some(300.0), 2.0), stage(50.0, None, 2.0)], Spacing::Constant, 1);
        assert_eq!(all.len(), 500);
        let until = |end: f64| all.iter().filter(|time| **time < end).count();
        // 100 t + 50 t^2 after one second.
        assert_eq!(until(0.999_999), 150);
        assert_eq!(until(2.0), 400);
        assert!(all.is_sorted());
        assert!((all[401] - all[400] - 0.02).abs() < 1e-8);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
        let all = times(&[stage(1_000.0, None, 50.0)], Spacing::Poisson, 1);
        // 50,000 expected, standard deviation 224: five of them.
        assert!(all.len().abs_diff(50_000) < 1_118, "{}", all.len());
        let mut a_second = vec![0.0_f64; 50];
        for time in &all {
            a_second[*time as usize] += 1.0;
        }
        let mean = a_second.iter().sum::<f64>() / 50.0;
        let variance = a_second.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 49.0;
        // One for a Poisson process, 0 for even spacing.
        assert!((0.4..2.0).contains(&(variance / mean)), "{}", variance / mean);
    }

    #[test]
    fn the_same_seed_is_the_same_schedule_and_another_is_another() {
        let with = |seed| {
            let stages = [stage(100.0, None, 5.0)];
            let schedule = Schedule::new(&stages, Spacing::Poisson, seed, 1).unwrap();
            schedule.arrivals().collect::<Vec<_>>()
        };
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }

    #[test]
    fn a_rate_or_a_time_that_cannot_be_is_refused() {
        for bad in [stage(0.0, None, 1.0), stage(1.0, Some(-1.0), 1.0), stage(1.0, None, 0.0)] {
            assert!(Schedule::new(&[bad], Spacing::Constant, 1, 1).is_err(), "{bad:?}");
        }
        assert!(Schedule::new(&[], Spacing::Constant, 1, 1).is_err());
        let many = Schedule::new(&[stage(1e6, None, 20.1)], Spacing::Constant, 1, 1);
        assert!(many.is_err_and(|error| error.to_string().contains("20100000 payments")));
        let none = Schedule::new(&[stage(0.001, None, 2.0)], Spacing::Poisson, 1, 1);
        assert!(none.is_err_and(|error| error.to_string().contains("no payment is due")));
        assert!(Schedule::new(&[stage(f64::NAN, None, 1.0)], Spacing::Constant, 1, 1).is_err());
    }
}
