//! The runs behind the goals.

use anyhow::{Context, Result, bail, ensure};
use fulgurite_tests::regtest::Binaries;

use super::{goals::Measured, large};
use crate::{
    history, lnd, plan,
    result::{RunResult, Stage},
    run::{
        self, Live,
        rig::Running,
        scenario::{Scenario, Target},
        schedule::{self, Spacing},
    },
    smoke,
};

/// How long a run is, in seconds.
const QUICK_S: f64 = 20.0;
const FULL_S: f64 = 60.0;
/// Payments of the batch that is paid beside the bare client.
const PAIRED: u32 = 100_000;
/// Payments in flight of the bare client; the best counts.
const BARE: [usize; 3] = [64, 256, 512];
/// How often the real nodes are paid over; their median counts.
const LND_ROUNDS: u32 = 5;
/// What the nodes of the scenario `overload` can start, payments a second.
const OVERLOAD_PEAK: f64 = 1_000.0;

/// What is measured, and what was.
pub(super) struct Bench {
    pub measured: Measured,
    /// Every open-loop run, in its order.
    pub runs: Vec<RunResult>,
    full: bool,
    only: Option<String>,
    live: Live,
}

impl Bench {
    pub fn new(full: bool, only: Option<String>) -> Bench {
        let (measured, runs) = (Measured::default(), Vec::new());
        Bench { measured, runs, full, only, live: Live::new(false) }
    }

    /// The goals that are measured several times, and those that are measured `once`.
    ///
    /// # Errors
    /// When a payment is not paid or a process does not do its part; what was measured before
    /// stays.
    pub async fn all(&mut self, rounds: u32, once: bool) -> Result<()> {
        // What is missing is said now, and not after hours.
        if once && self.wants("P4") {
            Binaries::find()?;
        }
        if once && self.wants("P7") {
            run::prepare(None, Scenario::load("connections-10k")?.load.idle_connections)?;
        }
        for round in 1..=rounds {
            self.round(round).await?;
        }
        if once {
            self.once().await?;
        }
        Ok(())
    }

    async fn round(&mut self, round: u32) -> Result<()> {
        if self.wants("P1") {
            self.held(round).await?;
        }
        if self.wants("P1") || self.wants("P3") {
            self.paired().await?;
        }
        if self.wants("P2") {
            self.steady(round).await?;
        }
        if self.wants("P3") {
            self.over_http(round).await?;
        }
        if self.wants("P6") {
            self.overload(round).await?;
        }
        Ok(())
    }

    async fn once(&mut self) -> Result<()> {
        if self.wants("P4") {
            self.real_lnd().await?;
        }
        if self.wants("P5") {
            let mut least = f64::INFINITY;
            for nodes in [1, 2, 4, 8, 16, 32] {
                let share = plan::check::share_of_fleet(nodes, 50.0).await?;
                eprintln!("P5: {nodes} nodes of 50/s: {share:.3} of their sum");
                least = least.min(share);
            }
            self.measured.add("P5", least);
        }
        if self.wants("P7") {
            self.connections().await?;
        }
        if self.wants("P8") {
            self.history().await?;
        }
        if self.wants("P10") {
            large::pay(&mut self.measured).await?;
        }
        Ok(())
    }

    fn wants(&self, goal: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == goal)
    }

    /// One run; it is kept.
    async fn run(
        &mut self,
        (name, target, round): (&str, Target, u32),
        change: impl FnOnce(&mut Scenario),
    ) -> Result<RunResult> {
        let mut scenario = Scenario::load(name)?;
        change(&mut scenario);
        scenario.load.target = target;
        scenario.check()?;
        run::prepare(None, scenario.load.idle_connections)?;
        let running = Running::default();
        let done = run::one(&scenario, (target, round), &running, None, &mut self.live).await?;
        let done = done.filter(|done| !done.interrupted).context("interrupted")?;
        let counts = &done.counts;
        let wrong = counts.unresolved + counts.errors;
        ensure!(wrong == 0, "{name}: {wrong} payments without a certain outcome: {counts:?}");
        self.runs.push(done.clone());
        Ok(done)
    }

    fn seconds(&self) -> f64 {
        if self.full { FULL_S } else { QUICK_S }
    }

    async fn held(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run(("steady", Target::Batches, round), |scenario| {
            // A little more than the goal: what is due at the end becomes final after it.
            one_stage(scenario, 12_200.0, seconds);
            scenario.load.spacing = Spacing::Constant;
            (scenario.load.batch_size, scenario.load.timeout_s) = (100, 60.0);
            scenario.load.saturation = true;
        });
        let done = done.await?;
        self.measured.add("P1a", done.achieved_per_s);
        Ok(())
    }

    async fn paired(&mut self) -> Result<()> {
        let pair = smoke::measure(PAIRED, 1, &BARE).await?;
        self.measured.add("P1b", pair.ratio_node.median);
        self.measured.add("P3a", pair.engine_us_node());
        Ok(())
    }

    async fn steady(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run(("steady", Target::Batches, round), |scenario| {
            one_stage(scenario, 1_000.0, seconds);
        });
        let done = done.await?;
        let (outcome, ack) = (done.latency(Stage::Outcome), done.latency(Stage::Ack));
        self.measured.add("P2a", outcome.p50_ms);
        self.measured.add("P2b", outcome.p99_ms);
        self.measured.add("P2c", ack.p99_ms);
        self.measured.add("P2d", done.latency(Stage::Lag).p99_ms);
        Ok(())
    }

    /// More is due than gets through: the mode's peak, and what a payment costs there.
    async fn over_http(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run(("steady", Target::Http, round), |scenario| {
            one_stage(scenario, 4_000.0, seconds);
            scenario.engine.verify_signatures = "node".into();
            (scenario.load.connections, scenario.load.in_flight_max) = (64, 256);
            scenario.load.saturation = true;
        });
        let done = done.await?;
        self.measured.add("P3b", done.usage.engine_us.context("no engine of its own")?);
        Ok(())
    }

    async fn overload(&mut self, round: u32) -> Result<()> {
        let (before_s, during_s, after_s) = if self.full { (10, 30, 15) } else { (5, 12, 8) };
        let done = self.run(("overload", Target::Grpc, round), |scenario| {
            let stages = scenario.load.stages.iter_mut();
            for (stage, seconds) in stages.zip([before_s, during_s, after_s]) {
                stage.seconds = f64::from(seconds);
            }
        });
        let done = done.await?;
        // The first two seconds fill what may be open.
        let during = done.timeline.iter().skip(before_s as usize + 2);
        let during: Vec<_> = during.take(during_s as usize - 2).collect();
        let goodput = during.iter().map(|second| second.done).sum::<u64>() as f64;
        self.measured.add("P6a", goodput / during.len().max(1) as f64 / OVERLOAD_PEAK);
        self.measured.add("P6b", done.latency(Stage::Refusal).p99_ms);
        let third = f64::from(during_s) / 3.0;
        let from = f64::from(before_s);
        let (first, last) = (from..from + third, from + 2.0 * third..from + 3.0 * third);
        let (first, last) = (memory_within(&done, first), memory_within(&done, last));
        self.measured.add("P6c", last / first.max(f64::MIN_POSITIVE));
        let recovers = done.checks.iter().find(|check| check.name == "recovers, s");
        self.measured.add("P6d", recovers.context("overload has no such limit")?.measured);
        Ok(())
    }

    async fn real_lnd(&mut self) -> Result<()> {
        let cases = lnd::measure(2_000, LND_ROUNDS).await?;
        let [direct, hops, channel] = &cases[..] else { bail!("three ways to pay were asked for") };
        self.measured.add("P4a", direct.ratio.median);
        self.measured.add("P4b", hops.ratio.median);
        self.measured.add("P4c", channel.paid_share.min);
        self.measured.add("P4d", channel.ratio.median);
        Ok(())
    }

    /// The same load with and without 9,990 connections that say nothing.
    async fn connections(&mut self) -> Result<()> {
        let without = self.run(("connections-10k", Target::Batches, 1), |scenario| {
            scenario.load.idle_connections = 0;
        });
        let without = without.await?;
        let with = self.run(("connections-10k", Target::Batches, 1), |_| {}).await?;
        let rss = with.usage.engine_rss_mib.context("no engine of its own")?;
        self.measured.add("P7a", rss);
        self.measured.add("P7b", p95_ms(&with) / p95_ms(&without));
        Ok(())
    }

    async fn history(&mut self) -> Result<()> {
        let report = history::measure(&[10_000, 1_000_000, 10_000_000], (20_000, 5)).await?;
        let [_, million, ten] = &report.rows[..] else { bail!("three histories were asked for") };
        self.measured.add("P8a", million.ready_after_kill_s);
        self.measured.add("P8b", ten.ready_after_kill_s);
        self.measured.add("P8d", ten.disk_bytes_each);
        for (payments, ratio) in history::cpu_ratios(&report.rows) {
            if payments == ten.payments {
                self.measured.add("P8c", ratio);
            }
        }
        Ok(())
    }
}

fn one_stage(scenario: &mut Scenario, rate: f64, seconds: f64) {
    scenario.load.stages = vec![schedule::Stage { rate, to: None, seconds }];
}

/// The engine's most resident memory in that time, in MiB.
fn memory_within(run: &RunResult, seconds: std::ops::Range<f64>) -> f64 {
    let within = run.memory_mib.iter().filter(|(second, _)| seconds.contains(second));
    within.map(|(_, rss)| *rss).fold(0.0, f64::max)
}

/// Of the outcomes.
fn p95_ms(run: &RunResult) -> f64 {
    let reached = run.curve.iter().find(|(quantile, _)| *quantile >= 0.95);
    reached.map_or(0.0, |(_, value)| *value)
}
