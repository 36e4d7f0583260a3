//! What is drawn of a run over its time, and its latency by percentile.

use super::{
    escape,
    svg::{self, Chart, Line, Scale},
};
use crate::result::{RunResult, Second};

/// All charts of a run, each a figure.
pub(super) fn of(run: &RunResult) -> String {
    [rate(run), latency(run), percentiles(run), open(run)].concat()
}

/// What was done to the nodes, and when nothing more was due.
fn marks(run: &RunResult) -> Vec<(f64, String)> {
    let faults = run.faults.iter().map(|(at, what)| (*at, escape(what)));
    // A run of 20 s often ends in its 21st second: what is final then was due before.
    let over = run.timeline.len() as f64 > run.seconds;
    let end = over.then(|| (run.seconds, "nothing more is due".to_owned()));
    faults.chain(end).collect()
}

/// Seconds on the level axis, about six of them with a number.
fn seconds(run: &RunResult) -> ((f64, f64), Vec<(f64, String)>) {
    let last = run.timeline.len().max(1) as f64;
    let step = svg::step(last / 6.0).max(1.0);
    let count = (last / step) as usize;
    let ticks = (0..=count).map(|at| at as f64 * step);
    ((0.0, last), ticks.map(|at| (at, format!("{at} s"))).collect())
}

fn over_time<'a>(
    run: &RunResult,
    (name, class): (&'a str, &'a str),
    value: impl Fn(&Second) -> Option<f64>,
) -> Line<'a> {
    let points = run.timeline.iter().enumerate();
    let points = points.map(|(at, second)| (at as f64 + 0.5, value(second)));
    Line { name, class, points: points.collect() }
}

fn rate(run: &RunResult) -> String {
    let (across, ticks) = seconds(run);
    let mut offered = over_time(run, ("due", "d"), |second| Some(second.offered as f64));
    offered.points.truncate(run.seconds.ceil() as usize);
    let done = over_time(run, ("final", "a"), |second| Some(second.done as f64));
    let refused = over_time(run, ("refused or broken", "c"), |second| Some(second.refused as f64));
    let mut lines = vec![offered, done];
    if run.counts.refused + run.counts.errors > 0 {
        lines.push(refused);
    }
    let title = "Payments a second";
    Chart { title, lines, scale: Scale::Linear, across, ticks, marks: marks(run) }.draw()
}

fn latency(run: &RunResult) -> String {
    let (across, ticks) = seconds(run);
    let some = |second: &Second, value: f64| (second.outcome.count > 0).then_some(value);
    let lines = vec![
        over_time(run, ("max", "d"), |second| some(second, second.outcome.max_ms)),
        over_time(run, ("P99", "c"), |second| some(second, second.outcome.p99_ms)),
        over_time(run, ("P90", "b"), |second| some(second, second.outcome.p90_ms)),
        over_time(run, ("P50", "a"), |second| some(second, second.outcome.p50_ms)),
    ];
    let title = "Latency to the outcome, by the second in which a payment was due";
    Chart { title, lines, scale: Scale::LogMs, across, ticks, marks: marks(run) }.draw()
}

/// Each step to the right is one nine more.
fn percentiles(run: &RunResult) -> String {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-7).log10();
    let points = |curve: &[(f64, f64)]| -> Vec<(f64, Option<f64>)> {
        let inner = curve.iter().filter(|(quantile, _)| *quantile < 1.0);
        inner.map(|(quantile, ms)| (nines(*quantile), Some(*ms))).collect()
    };
    let outcome = points(&run.curve);
    let last = outcome.last().map_or(3.0, |(at, _)| at.ceil().clamp(3.0, 7.0));
    let ticks = ["0", "90%", "99%", "99.9%", "99.99%", "99.999%", "99.9999%", "99.99999%"];
    let ticks = ticks.iter().enumerate().map(|(at, text)| (at as f64, (*text).to_owned()));
    let ticks = ticks.filter(|(at, _)| *at <= last).collect();
    let service = points(&run.service_curve);
    let mut lines = vec![Line { name: "from the planned time", class: "a", points: outcome }];
    if !service.is_empty() {
        let name = "from the request: what a closed loop would call latency";
        lines.insert(0, Line { name, class: "d", points: service });
    }
    let title = "Latency to the outcome, by percentile";
    let (scale, across) = (Scale::LogMs, (0.0, last));
    Chart { title, lines, scale, across, ticks, marks: Vec::new() }.draw()
}

fn open(run: &RunResult) -> String {
    let (across, ticks) = seconds(run);
    let lines =
        vec![over_time(run, ("due and not ended, at the end of each second", "b"), |second| {
            Some(second.open as f64)
        })];
    let title = "Payments in flight";
    Chart { title, lines, scale: Scale::Linear, across, ticks, marks: marks(run) }.draw()
}
