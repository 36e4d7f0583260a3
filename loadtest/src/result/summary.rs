//! A run in words and columns, for a terminal.

use std::{collections::BTreeMap, fmt::Write};

use super::{Commits, Report, RunResult, Stage, beside};

/// The whole report.
pub(crate) fn text(report: &Report) -> String {
    let mut text = report.machine.text();
    if let Some(commit) = &report.commit {
        text += &format!(", commit {commit}");
    }
    text += &format!("\nscenario {}: {}\n", report.scenario.name, report.scenario.description);
    for run in &report.runs {
        text += &one(run);
    }
    text + &beside::text(&report.beside)
}

/// One run.
fn one(run: &RunResult) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = lines(&mut text, run);
    text
}

fn lines(text: &mut String, run: &RunResult) -> std::fmt::Result {
    let counts = &run.counts;
    writeln!(text, "\n{}, {:.0} s from {}", run.title(), run.seconds, run.started)?;
    if counts.offered == 0 {
        writeln!(text, "  INVALID: no payment was due")?;
    } else if !run.valid {
        let lag = run.latency(Stage::Lag).p99_ms;
        let limit = run.lag_limit_ms;
        writeln!(
            text,
            "  INVALID: the generator itself lagged {lag:.2} ms at P99, allowed {limit} ms"
        )?;
    }
    if run.interrupted {
        writeln!(text, "  interrupted: what follows is what was run")?;
    }
    writeln!(text, "  offered    {:>9.1}/s  {:>9} payments", run.offered_per_s, counts.offered)?;
    writeln!(
        text,
        "  achieved   {:>9.1}/s  {:>9} final",
        run.achieved_per_s,
        counts.final_states()
    )?;
    let ends = [
        ("paid", counts.succeeded),
        ("failed", counts.failed),
        ("unresolved", counts.unresolved),
        ("refused", counts.refused),
        ("errors", counts.errors),
        ("timed out", counts.timed_out),
        ("unsent", counts.unsent),
        ("abandoned", counts.abandoned),
    ];
    let ends = ends.iter().filter(|(name, count)| *count > 0 || *name == "paid");
    let ends: Vec<String> = ends.map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(text, "  ends       {}", ends.join(", "))?;
    for line in codes(&run.codes) {
        writeln!(text, "             {line}")?;
    }
    if counts.watches_reopened > 0 {
        writeln!(text, "             {} watches opened again", counts.watches_reopened)?;
    }
    writeln!(
        text,
        "\n  latency{:>14}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "mean", "P50", "P90", "P99", "P99.9", "max"
    )?;
    for stage in Stage::ALL {
        let times = run.latency(stage);
        if times.count == 0 {
            continue;
        }
        write!(text, "  {:<11}{:>10}", stage.name(), milliseconds(times.mean_ms))?;
        for value in times.told() {
            write!(text, "{value:>9}")?;
        }
        writeln!(text)?;
    }
    engine(text, run)?;
    if let Some(ended) = &run.engine_ended {
        writeln!(text, "  FAIL  {ended}")?;
    }
    for check in &run.checks {
        let word = if check.passed { "pass" } else { "FAIL" };
        let (name, sense) = (&check.name, &check.sense);
        let measured = check.measured.map_or("never".to_owned(), |value| format!("{value:.4}"));
        writeln!(text, "  {word}  {name} {sense} {}: {measured}", check.limit)?;
    }
    Ok(())
}

fn engine(text: &mut String, run: &RunResult) -> std::fmt::Result {
    if !run.engine_stages.is_empty() {
        writeln!(
            text,
            "\n  in the engine{:>8}{:>9}{:>9}   between the edges of its histograms",
            "mean", "P50", "P99"
        )?;
        for stage in &run.engine_stages {
            let [mean, p50, p99] = [stage.mean_ms, stage.p50_ms, stage.p99_ms].map(milliseconds);
            writeln!(text, "  {:<11}{mean:>10}{p50:>9}{p99:>9}", stage.name)?;
        }
    }
    if let Some(Commits { count, events_each, bytes_each }) = run.commits {
        writeln!(
            text,
            "\n  journal: {count} commits of {events_each:.1} events and {bytes_each:.0} bytes"
        )?;
    }
    let usage = &run.usage;
    let us = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0} us"));
    writeln!(
        text,
        "\n  CPU a payment: engine {}, nodes {}, generator {}",
        us(usage.engine_us),
        us(usage.nodes_us),
        us(usage.generator_us)
    )?;
    if let (Some(before), Some(after)) = (usage.engine_rss_before_mib, usage.engine_rss_mib) {
        writeln!(text, "  engine's peak memory: {after:.0} MiB, {before:.0} MiB before the clock")?;
    }
    Ok(())
}

/// Refusals, failures and errors by code, the most frequent first.
pub(crate) fn codes(codes: &BTreeMap<String, u64>) -> Vec<String> {
    let mut sorted: Vec<_> = codes.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    sorted.into_iter().map(|(code, count)| format!("{count} x {code}")).collect()
}

/// A time that fits a column: three figures and its unit.
pub(crate) fn milliseconds(value: f64) -> String {
    match value {
        short if short < 1.0 => format!("{:.0} us", short * 1e3),
        short if short < 10.0 => format!("{short:.2} ms"),
        short if short < 100.0 => format!("{short:.1} ms"),
        long if long < 1_000.0 => format!("{long:.0} ms"),
        long => format!("{:.2} s", long / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_figures_and_a_unit() {
        let all = [0.0004, 0.25, 1.5, 25.04, 999.4, 2_345.0].map(milliseconds);
        assert_eq!(all, ["0 us", "250 us", "1.50 ms", "25.0 ms", "999 ms", "2.35 s"]);
    }
}
