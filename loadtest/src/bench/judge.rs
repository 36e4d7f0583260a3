//! Which runs count for which goals, and what becomes of a goal whose part of a round failed.

use anyhow::Result;

use super::{facts::not_paid, steps::Bench};
use crate::{
    result::{RunResult, Stage},
    run::drive::LAG_SATURATED_MAX_MS,
};

impl Bench {
    /// A goal's part of a round has ended; what is known is kept.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn ends(&mut self, ids: &[&'static str], round: u32, done: Result<()>) -> Result<()> {
        if let Err(error) = done {
            let why = format!("failed in round {round}: {error:#}");
            eprintln!("{}: {why}", ids.join(", "));
            ids.iter().for_each(|id| self.measured.fail(id, why.clone()));
        }
        self.keep().map(drop)
    }

    /// A run counts for these goals only when its generator kept up.
    pub fn judge(&mut self, ids: &[&'static str], run: &RunResult) {
        if !run.valid {
            self.lagged(ids, run, run.lag_limit_ms);
        }
    }

    /// The same for goals that say how much gets through: at saturation the generator may lag more.
    pub fn judge_saturated(&mut self, ids: &[&'static str], run: &RunResult) {
        let lag = run.latency(Stage::Lag).p99_ms;
        if lag > LAG_SATURATED_MAX_MS || run.counts.offered == 0 {
            self.lagged(ids, run, LAG_SATURATED_MAX_MS);
        }
    }

    fn lagged(&mut self, ids: &[&'static str], run: &RunResult, limit: f64) {
        let lag = run.latency(Stage::Lag).p99_ms;
        let why = format!(
            "round {}, {}: the generator itself lagged {lag:.1} ms at P99, allowed {limit} ms",
            run.round, run.target
        );
        ids.iter().for_each(|id| self.measured.invalid(id, why.clone()));
    }

    /// As [`Bench::judge`]; and whoever refuses or loses payments has met nothing.
    pub fn judge_all_paid(&mut self, ids: &[&'static str], run: &RunResult) {
        self.judge(ids, run);
        if let Some(ends) = not_paid(&run.counts) {
            let why = format!("round {}, {}: {ends}", run.round, run.target);
            ids.iter().for_each(|id| self.measured.spoil(id, why.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{goals::Verdict, keep::Keeper},
        *,
    };
    use crate::result::{Counts, Quantiles};

    #[test]
    fn only_a_run_in_which_everything_was_paid_meets_a_goal() {
        let mut bench = Bench::new(false, None, Keeper::new(None));
        let counts = Counts { offered: 10, succeeded: 10, ..Counts::default() };
        let mut run = RunResult { valid: true, counts, ..RunResult::default() };
        bench.measured.add("P1a", 20_000.0);
        bench.judge_all_paid(&["P1a"], &run);
        assert_eq!(bench.measured.lines()[0].verdict, Verdict::Met);
        (run.counts.succeeded, run.counts.refused, run.counts.unsent) = (7, 2, 1);
        bench.judge_all_paid(&["P1a"], &run);
        let line = &bench.measured.lines()[0];
        assert_eq!(line.verdict, Verdict::Missed);
        assert!(line.why[0].contains("2 refused, 1 unsent of 10"), "{:?}", line.why);
        run.valid = false;
        bench.judge(&["P1a"], &run);
        assert_eq!(bench.measured.lines()[0].verdict, Verdict::Invalid);
    }

    #[test]
    fn a_round_that_fails_takes_what_earlier_ones_met() {
        let mut bench = Bench::new(false, None, Keeper::new(None));
        bench.measured.add("P1a", 20_000.0);
        bench.ends(&["P1a"], 1, Ok(())).unwrap();
        assert_eq!(bench.measured.lines()[0].verdict, Verdict::Met);
        bench.ends(&["P1a"], 2, Err(anyhow::anyhow!("a node is gone"))).unwrap();
        let line = &bench.measured.lines()[0];
        assert_eq!((line.verdict, line.rounds), (Verdict::Failed, 1));
        assert_eq!(line.why, ["failed in round 2: a node is gone"]);
        assert!(bench.measured.any_failed());
    }

    #[test]
    fn a_late_generator_spoils_latency_before_throughput() {
        let mut bench = Bench::new(false, None, Keeper::new(None));
        let mut run = RunResult { lag_limit_ms: 1.0, ..RunResult::default() };
        (run.counts.offered, run.valid) = (10, false);
        let lag = Quantiles { p99_ms: 5.0, ..Quantiles::default() };
        run.latency.insert(Stage::Lag.name().into(), lag);
        ["P6a", "P6b"].iter().for_each(|id| bench.measured.add(id, 1.0));
        bench.judge(&["P6b"], &run);
        bench.judge_saturated(&["P6a"], &run);
        let verdicts: Vec<_> = bench.measured.lines().iter().map(|line| line.verdict).collect();
        assert_eq!(verdicts, [Verdict::Met, Verdict::Invalid]);
    }
}
