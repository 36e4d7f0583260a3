//! What of a scenario the types cannot say: numbers in their range, faults that can happen.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};

use crate::result::limits;

use super::{
    scenario::{Fault, FaultKind, Limits, Load, Scenario, Slo, Target},
    schedule::Schedule,
};

/// A week, in seconds.
const WEEK_S: f64 = 604_800.0;
/// An hour, in milliseconds: no limit of a latency is longer.
const HOUR_MS: f64 = 3_600_000.0;

impl Scenario {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Which key, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let Scenario { load, engine, fleet, slo, .. } = self;
        let schedule = Schedule::new(&load.stages, load.spacing, load.seed, self.each())?;
        load.check()?;
        within("engine.history", engine.history.into(), 0.0..=10_000_000.0)?;
        within("fleet.nodes", fleet.nodes.into(), 1.0..=1_000.0)?;
        let signatures = ["door", "node"].contains(&engine.verify_signatures.as_str());
        ensure!(signatures, "engine.verify_signatures: door or node");
        fleet.knobs.check().context("fleet.knobs")?;
        slo.check()?;
        let lasts_s = schedule.lasts().as_secs_f64();
        let (_, over) = limits::trouble(self);
        ensure!(
            slo.recovers_within_s.is_none() || over < lasts_s,
            "slo.recovers_within_s: nothing is due after the highest rate or the last fault, so there \
             is nothing to see of it; another stage, or leave it out"
        );
        for (number, fault) in (1..).zip(&self.faults) {
            fault.check(self, lasts_s).with_context(|| format!("fault {number}"))?;
            for (other, before) in (1..number).zip(&self.faults) {
                ensure!(
                    !fault.meets(before),
                    "fault {number}: it is at the same time and at the same node as fault {other}, \
                     and the end of one would end the other"
                );
            }
        }
        Ok(())
    }
}

impl Load {
    fn check(&self) -> Result<()> {
        within("load.timeout_s", self.timeout_s, 0.1..=3_600.0)?;
        within("load.batch_size", self.batch_size.into(), 1.0..=100_000.0)?;
        within("load.connections", self.connections.into(), 1.0..=1_000.0)?;
        within("load.threads", self.threads.into(), 1.0..=64.0)?;
        ensure!(
            self.threads() <= self.connections || self.target == Target::Http,
            "load.threads: {}, and load.connections is {}: each thread needs one of its own",
            self.threads,
            self.connections
        );
        within("load.nice", self.nice.into(), 0.0..=19.0)?;
        within("load.idle_connections", self.idle_connections.into(), 0.0..=60_000.0)?;
        if let Some(weights) = self.priorities {
            let good = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
            ensure!(
                good && weights.iter().sum::<f64>() > 0.0,
                "load.priorities: three weights of 0 or more, not all 0"
            );
        }
        Ok(())
    }
}

impl Slo {
    fn check(&self) -> Result<()> {
        self.outcome_ms.check("outcome_ms")?;
        self.ack_ms.check("ack_ms")?;
        self.refusal_ms.check("refusal_ms")?;
        for (name, limit, range) in [
            ("achieved_share_min", self.achieved_share_min, 0.0..=1.0),
            ("succeeded_share_min", self.succeeded_share_min, 0.0..=1.0),
            ("refused_share_max", self.refused_share_max, 0.0..=1.0),
            ("lost_share_max", self.lost_share_max, 0.0..=1.0),
            ("recovers_within_s", self.recovers_within_s, 0.0..=WEEK_S),
            ("engine_rss_mib_max", self.engine_rss_mib_max, 1.0..=1e9),
        ] {
            limit.map_or(Ok(()), |limit| within(&format!("slo.{name}"), limit, range))?;
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self, stage: &str) -> Result<()> {
        let all = [("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("p999", self.p999)];
        for (quantile, limit) in all {
            let name = || format!("slo.{stage}.{quantile}");
            limit.map_or(Ok(()), |limit| within(&name(), limit, 0.001..=HOUR_MS))?;
        }
        Ok(())
    }
}

impl Fault {
    fn check(&self, scenario: &Scenario, lasts_s: f64) -> Result<()> {
        let fleet = &scenario.fleet;
        within("at_s", self.at_s, 0.0..=WEEK_S)?;
        within("for_s", self.for_s, 0.0..=WEEK_S)?;
        ensure!(
            self.at_s < lasts_s,
            "at_s is {} and the load lasts {lasts_s} s: it would never happen; a longer --duration, \
             or stages that last longer",
            self.at_s
        );
        let known = self.node.is_none_or(|node| node < fleet.nodes);
        ensure!(known, "node is below fleet.nodes ({})", fleet.nodes);
        let (is_knobs, turns) = (self.kind == FaultKind::Knobs, !self.knobs.is_empty());
        ensure!(
            turns || !is_knobs,
            "knobs says which are turned, as knobs = {{ latency_ms = 2000 }}"
        );
        ensure!(is_knobs || !turns, "knobs is for kind = \"knobs\"");
        let is_freeze = self.kind == FaultKind::Freeze;
        ensure!(!is_freeze || self.node.is_none(), "a freeze is of all nodes: leave node out");
        self.turned(&fleet.knobs)?.check().context("knobs")
    }

    /// Whether both happen to one node at one time.
    fn meets(&self, other: &Fault) -> bool {
        let together = self.node.is_none() || other.node.is_none() || self.node == other.node;
        let before = |a: &Fault, b: &Fault| a.at_s + a.for_s <= b.at_s;
        together && !before(self, other) && !before(other, self)
    }
}

fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    let (low, high) = (range.start(), range.end());
    ensure!(range.contains(&value), "{name} is {value}: {low} to {high}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        let fault = "kind = \"knobs\"\nknobs = { latency_ms = 2000 }";
        for (text, named) in [
            ("[load]\nbatch_size = 0", "load.batch_size: at least 1"),
            ("[load]\nstages = [{ rate = 0, seconds = 1 }]", "stage 1"),
            ("[load]\npriorities = [1.0, inf, 1.0]", "load.priorities"),
            ("[engine]\nverify_signatures = \"maybe\"", "verify_signatures"),
            (
                "[fleet.knobs]\nlatency_ms = -3",
                "fleet.knobs: configuration: latency_ms is -3: 0 to",
            ),
            ("[fleet.knobs]\nfail_share = 7", "fail_share is 7: 0 to 1"),
            ("[slo]\noutcome_ms = { p99 = -1 }", "slo.outcome_ms.p99 is -1"),
            ("[slo]\nachieved_share_min = 99", "slo.achieved_share_min is 99: 0 to 1"),
            ("[slo]\nlost_share_max = nan", "slo.lost_share_max is NaN"),
            ("[[fault]]\nat_s = 1\nfor_s = 1\nkind = \"kill\"\nnode = 4", "below fleet.nodes (4)"),
            ("[[fault]]\nat_s = 1\nfor_s = 1\nkind = \"knobs\"", "fault 1: knobs says which"),
            ("[[fault]]\nat_s = 1\nfor_s = 1\nkind = \"knobs\"\nknobs = { a = 1 }", "fault 1"),
            (
                "[[fault]]\nat_s = 1\nfor_s = 1\nkind = \"knobs\"\nknobs = { drop_share = 2 }",
                "fault 1: knobs: configuration: drop_share is 2: 0 to 1",
            ),
            ("[[fault]]\nat_s = 1\nfor_s = 1\nkind = \"freeze\"\nnode = 1", "leave node out"),
            (&format!("[[fault]]\nat_s = 20\nfor_s = 1\n{fault}"), "it would never happen"),
            ("[slo]\nrecovers_within_s = 5", "nothing is due after the highest rate"),
            (
                &format!(
                    "[[fault]]\nat_s = 1\nfor_s = 2\n{fault}\n[[fault]]\nat_s = 2\nfor_s = 1\n\
                     kind = \"kill\"\nnode = 2"
                ),
                "fault 2: it is at the same time and at the same node as fault 1",
            ),
            ("", "it is empty"),
            ("# nothing yet", "it is empty"),
        ] {
            let error = format!("{:#}", Scenario::parse(text).expect_err(text));
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn faults_one_after_the_other_or_at_two_nodes_are_fine() {
        let fault = |at: u32, node: u32| {
            format!("[[fault]]\nat_s = {at}\nfor_s = 2\nkind = \"kill\"\nnode = {node}\n")
        };
        for (first, second) in [((1, 0), (3, 0)), ((3, 0), (1, 0)), ((1, 0), (1, 1))] {
            let text = fault(first.0, first.1) + &fault(second.0, second.1);
            assert!(Scenario::parse(&text).is_ok(), "{text}");
        }
    }
}
