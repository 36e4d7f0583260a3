//! The runs behind the goals.

use anyhow::{Context, Result, bail, ensure};
use fulgurite_tests::regtest::Binaries;

use super::{
    facts::{memory_within, p95_ms},
    goals::Measured,
    keep::{Keeper, Kept},
    large,
};
use crate::{
    history, lnd, plan,
    result::{Quantiles, RunResult, Stage, limits},
    run::{
        self, Live,
        running::Running,
        scenario::{Scenario, Target},
        schedule::{self, Spacing},
    },
    smoke,
};

/// How long a run is, in seconds.
const QUICK_S: f64 = 20.0;
const FULL_S: f64 = 60.0;
/// What is paid beside the bare client.
const PAIRED: smoke::Shape = smoke::Shape { payments: 100_000, batch_size: 10_000 };
/// Payments in flight of the bare client; the best counts.
const BARE: [usize; 3] = [64, 256, 512];
/// How often the real nodes are paid over; their median counts. Even: each client is first as often
/// as last.
const LND_ROUNDS: u32 = 6;
/// What the nodes of the scenario `overload` can start, payments a second.
const OVERLOAD_PEAK: f64 = 1_000.0;

/// Why a latency is not known.
const NO_OUTCOME: &str = "no payment had an outcome";

/// What is measured, and what was.
pub(super) struct Bench {
    pub measured: Measured,
    /// Every open-loop run, in its order.
    pub runs: Vec<RunResult>,
    full: bool,
    only: Option<String>,
    live: Live,
    keeper: Keeper,
}

impl Bench {
    pub fn new(full: bool, only: Option<String>, keeper: Keeper) -> Bench {
        let (measured, runs) = (Measured::default(), Vec::new());
        Bench { measured, runs, full, only, live: Live::new(false), keeper }
    }

    /// Says now, and not after hours, what is missing.
    ///
    /// # Errors
    /// What the goals that are measured `once` need and this machine lacks.
    pub fn available(&self, once: bool) -> Result<()> {
        if once && self.wants("P4") {
            Binaries::find().context("P4 needs real lnd")?;
        }
        if once && self.wants("P7") {
            let connections = Scenario::load("connections-10k")?.load.idle_connections;
            run::open_files(connections).context("P7 opens 9,990 connections")?;
        }
        Ok(())
    }

    /// The goals that are measured several times, and those that are measured `once`. One that
    /// fails, because a payment is not paid or a process does not do its part, says so; the others
    /// are measured all the same.
    ///
    /// # Errors
    /// When what was measured cannot be kept.
    pub async fn all(&mut self, rounds: u32, once: bool) -> Result<()> {
        for round in 1..=rounds {
            self.round(round).await?;
        }
        if once {
            self.once().await?;
        }
        Ok(())
    }

    /// What is known so far is kept: hours of work end with whatever goes wrong after it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&mut self) -> Result<Kept> {
        self.keeper.keep(&self.measured, &self.runs)
    }

    async fn round(&mut self, round: u32) -> Result<()> {
        if self.wants("P1") {
            let done = self.held(round).await;
            self.ends(&["P1a"], round, done)?;
        }
        if self.wants("P1") || self.wants("P3") {
            let done = self.paired().await;
            self.ends(&["P1b", "P3a"], round, done)?;
        }
        if self.wants("P2") {
            let done = self.steady(round).await;
            self.ends(&["P2a", "P2b", "P2c"], round, done)?;
        }
        if self.wants("P3") {
            let done = self.over_http(round).await;
            self.ends(&["P3b"], round, done)?;
        }
        if self.wants("P6") {
            let done = self.overload(round).await;
            self.ends(&["P6a", "P6b", "P6c", "P6d"], round, done)?;
        }
        Ok(())
    }

    async fn once(&mut self) -> Result<()> {
        if self.wants("P4") {
            let done = self.real_lnd().await;
            self.ends(&["P4a", "P4b", "P4c", "P4d"], 1, done)?;
        }
        if self.wants("P5") {
            let done = self.fleets().await;
            self.ends(&["P5"], 1, done)?;
        }
        if self.wants("P7") {
            let done = self.connections().await;
            self.ends(&["P7a", "P7b"], 1, done)?;
        }
        if self.wants("P8") {
            let done = self.history().await;
            self.ends(&["P8a", "P8b", "P8c"], 1, done)?;
        }
        if self.wants("P10") {
            let done = large::pay(&mut self.measured).await;
            self.ends(&["P10a", "P10b"], 1, done)?;
        }
        Ok(())
    }

    fn wants(&self, goal: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == goal)
    }

    /// One run; it is kept.
    async fn run(
        &mut self,
        goal: &str,
        (name, target, round): (&str, Target, u32),
        change: impl FnOnce(&mut Scenario),
    ) -> Result<RunResult> {
        let mut scenario = Scenario::load(name)?;
        change(&mut scenario);
        scenario.load.target = target;
        scenario.check()?;
        run::open_files(scenario.load.idle_connections)?;
        let running = Running::default();
        let done = run::one(&scenario, (target, round), &running, None, &mut self.live).await?;
        let mut done = done.filter(|done| !done.interrupted).context("interrupted")?;
        (done.goal, done.scenario) = (Some(goal.to_owned()), Some(scenario));
        self.runs.push(done.clone());
        if let Some(ended) = &done.engine_ended {
            bail!("{name}: {ended}");
        }
        let counts = &done.counts;
        let wrong = counts.unresolved + counts.errors;
        ensure!(wrong == 0, "{name}: {wrong} payments without a certain outcome: {counts:?}");
        Ok(done)
    }

    fn seconds(&self) -> f64 {
        if self.full { FULL_S } else { QUICK_S }
    }

    async fn held(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run("P1", ("steady", Target::Batches, round), |scenario| {
            // A little more than the goal: what is due at the end becomes final after it.
            one_stage(scenario, 12_200.0, seconds);
            scenario.load.spacing = Spacing::Constant;
            (scenario.load.batch_size, scenario.load.timeout_s) = (100, 60.0);
            scenario.load.saturation = true;
        });
        let done = done.await?;
        self.measured.add("P1a", done.paid_per_s);
        self.judge_all_paid(&["P1a"], &done);
        Ok(())
    }

    async fn paired(&mut self) -> Result<()> {
        let pair = smoke::measure(PAIRED, 1, &BARE).await?;
        self.measured.add("P1b", pair.ratio_node.median);
        self.measured.add("P3a", pair.engine_us_node());
        let [rate, beside_engine, beside_bare] = pair.yardstick();
        self.measured.add("P1c", rate);
        self.measured.add("P1d", beside_engine);
        self.measured.add("P1e", beside_bare);
        Ok(())
    }

    async fn steady(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run("P2", ("steady", Target::Batches, round), |scenario| {
            one_stage(scenario, 1_000.0, seconds);
        });
        let done = done.await?;
        // What a node takes by itself, over the same wire and with the same clock.
        let bare = self.run("P2 of the nodes alone", ("steady", Target::Bare, round), |scenario| {
            one_stage(scenario, 1_000.0, seconds);
        });
        let bare = bare.await?;
        let (outcome, ack) = (done.latency(Stage::Outcome), done.latency(Stage::Ack));
        let of = |times: &Quantiles, value: f64| (times.count > 0).then_some(value);
        let (whole, node) = (of(&outcome, outcome.p50_ms), bare.latency(Stage::Outcome));
        let node = of(&node, node.p50_ms);
        let overhead = whole.zip(node).map(|(whole, node)| whole - node);
        self.measured.add_or("P2a", overhead, NO_OUTCOME);
        self.measured.add_or("P2e", whole, NO_OUTCOME);
        self.measured.add_or("P2f", node, NO_OUTCOME);
        self.measured.add_or("P2b", of(&outcome, outcome.p99_ms), NO_OUTCOME);
        self.measured.add_or("P2c", of(&ack, ack.p99_ms), "nothing was acknowledged");
        self.measured.add("P2d", done.latency(Stage::Lag).p99_ms);
        self.judge_all_paid(&["P2a", "P2b", "P2c"], &done);
        self.judge_all_paid(&["P2a"], &bare);
        Ok(())
    }

    /// More is due than gets through: the mode's peak, and what a payment costs there.
    async fn over_http(&mut self, round: u32) -> Result<()> {
        let seconds = self.seconds();
        let done = self.run("P3", ("steady", Target::Http, round), |scenario| {
            one_stage(scenario, 12_000.0, seconds);
            scenario.engine.verify_signatures = "node".into();
            // Nothing is given up: what the engine did for it would count for nobody.
            (scenario.load.in_flight_max, scenario.load.timeout_s) = (256, 600.0);
            scenario.load.saturation = true;
        });
        let done = done.await?;
        self.measured.add_or("P3b", done.usage.engine_us, NO_OUTCOME);
        self.measured.add("P3c", done.paid_per_s);
        self.judge_all_paid(&["P3b"], &done);
        Ok(())
    }

    async fn overload(&mut self, round: u32) -> Result<()> {
        let (before_s, during_s, after_s) = if self.full { (10, 30, 15) } else { (5, 12, 8) };
        let stages = |scenario: &mut Scenario| {
            let stages = scenario.load.stages.iter_mut();
            for (stage, seconds) in stages.zip([before_s, during_s, after_s]) {
                stage.seconds = f64::from(seconds);
            }
        };
        let done = self.run("P6", ("overload", Target::Grpc, round), stages).await?;
        // The first two seconds fill what may be open.
        let during = done.timeline.iter().skip(before_s as usize + 2);
        let during: Vec<_> = during.take(during_s as usize - 2).collect();
        let goodput = during.iter().map(|second| second.paid).sum::<u64>() as f64;
        let seconds = during.len() as f64;
        let goodput = (seconds > 0.0).then(|| goodput / seconds / OVERLOAD_PEAK);
        self.measured.add_or("P6a", goodput, "the run ended before the overload");
        let refusal = done.latency(Stage::Refusal);
        let refusal_ms = (refusal.count > 0).then_some(refusal.p99_ms);
        self.measured.add_or("P6b", refusal_ms, "nothing was refused");
        let third = f64::from(during_s) / 3.0;
        let from = f64::from(before_s);
        let (first, last) = (from..from + third, from + 2.0 * third..from + 3.0 * third);
        let memory = memory_within(&done, first).zip(memory_within(&done, last));
        let grown = memory.map(|(first, last)| last / first);
        self.measured.add_or("P6c", grown, "the engine's memory was not seen");
        let mut scenario = Scenario::load("overload")?;
        stages(&mut scenario);
        let (seconds, recovered) = limits::recovery_s(&scenario, &done);
        self.measured.add("P6d", seconds);
        if !recovered {
            let why = format!("round {round}: not normal in the {seconds:.0} s that were watched");
            self.measured.spoil("P6d", why);
        }
        // How much gets through, and how long it takes, are not equally sensitive to a late
        // generator.
        self.judge(&["P6b", "P6d"], &done);
        self.judge_saturated(&["P6a", "P6c"], &done);
        Ok(())
    }

    async fn fleets(&mut self) -> Result<()> {
        let mut least = f64::INFINITY;
        for nodes in [1, 2, 4, 8, 16, 32] {
            let share = plan::check::share_of_fleet(nodes, 50.0).await?;
            eprintln!("P5: {nodes} nodes of 50/s: {share:.3} of their sum");
            least = least.min(share);
        }
        self.measured.add("P5", least);
        Ok(())
    }

    async fn real_lnd(&mut self) -> Result<()> {
        let cases = lnd::measure(2_000, LND_ROUNDS).await?;
        let [direct, hops, channel] = &cases[..] else { bail!("three ways to pay were asked for") };
        self.measured.add("P4a", direct.ratio.median);
        self.measured.add("P4b", hops.ratio.median);
        self.measured.add("P4c", channel.paid_share.min);
        self.measured.add("P4d", channel.ratio.median);
        let ways = [(&["P4a"][..], direct), (&["P4b"], hops), (&["P4c", "P4d"], channel)];
        for (ids, wrong) in ways.map(|(ids, way)| (ids, way.wrong())) {
            if let Some(wrong) = wrong {
                ids.iter().for_each(|id| self.measured.spoil(id, wrong.clone()));
            }
        }
        Ok(())
    }

    /// The same load with and without 9,990 connections that say nothing.
    async fn connections(&mut self) -> Result<()> {
        let alone = ("connections-10k", Target::Batches, 1);
        let without = self.run("P7 without connections", alone, |scenario| {
            scenario.load.idle_connections = 0;
        });
        let without = without.await?;
        let with = self.run("P7", ("connections-10k", Target::Batches, 1), |_| {}).await?;
        let memory = with.usage.engine_rss_mib;
        self.measured.add_or("P7a", memory, "the engine's memory was not seen");
        let ratio = p95_ms(&with).zip(p95_ms(&without)).map(|(with, without)| with / without);
        self.measured.add_or("P7b", ratio, NO_OUTCOME);
        self.judge_all_paid(&["P7a", "P7b"], &with);
        self.judge_all_paid(&["P7b"], &without);
        if with.idle_closed > 0 {
            let why = format!("{} of the connections were closed", with.idle_closed);
            self.measured.spoil("P7a", why.clone());
            self.measured.spoil("P7b", why);
        }
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
