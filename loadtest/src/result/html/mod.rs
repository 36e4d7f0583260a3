//! The report as one page that needs nothing else: no script, no network.

mod svg;

use std::fmt::Write;

use super::{Report, RunResult, Second, Stage, summary, summary::milliseconds};
use svg::{Chart, Line, Scale};

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let name = escape(&report.scenario.name);
    let mut body = String::new();
    // Writing to a String does not fail.
    let _ = head(&mut body, report);
    for run in &report.runs {
        let _ = one(&mut body, run);
    }
    let _ = tail(&mut body, report);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name} - fulgurite-loadtest</title>\n<style>\n{STYLE}</style></head>\n\
         <body><main>\n{body}</main></body></html>\n"
    )
}

fn head(page: &mut String, report: &Report) -> std::fmt::Result {
    let scenario = &report.scenario;
    let (word, class) = match report.runs.iter().all(|run| run.valid) {
        true if report.passed() => ("pass", "pass"),
        true => ("fail", "fail"),
        false => ("invalid", "fail"),
    };
    writeln!(
        page,
        "<h1>{} <span class=\"{class}\">{word}</span></h1>\n<p>{}</p>",
        escape(&scenario.name),
        escape(&scenario.description)
    )?;
    let commit = report.commit.as_deref().unwrap_or("unknown");
    writeln!(
        page,
        "<p class=\"dim\">{}; commit {}</p>",
        escape(&report.machine.text()),
        escape(commit)
    )?;
    if report.runs.len() < 2 {
        return Ok(());
    }
    writeln!(page, "<h2>All runs</h2><div class=\"wide\"><table><thead><tr><th>run<th>offered/s")?;
    writeln!(page, "<th>achieved/s<th>P50<th>P99<th>max<th>CPU us: engine<th>nodes<th>generator")?;
    writeln!(page, "<th></tr></thead><tbody>")?;
    for run in &report.runs {
        let times = run.latency(Stage::Outcome);
        let usage = &run.usage;
        let us = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0}"));
        writeln!(
            page,
            "<tr><td>{}<td>{:.0}<td>{:.0}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&run.title()),
            run.offered_per_s,
            run.achieved_per_s,
            milliseconds(times.p50_ms),
            milliseconds(times.p99_ms),
            milliseconds(times.max_ms),
            us(usage.engine_us),
            us(usage.nodes_us),
            us(usage.generator_us),
            state(run),
        )?;
    }
    writeln!(page, "</tbody></table></div>")?;
    let ratios = summary::ratios(report);
    if !ratios.is_empty() {
        writeln!(page, "<pre>{}</pre>", escape(ratios.trim()))?;
    }
    Ok(())
}

/// In a word how a run is to be taken.
fn state(run: &RunResult) -> &'static str {
    match (run.valid, run.interrupted, run.passed()) {
        (false, _, _) => "<span class=\"fail\">invalid</span>",
        (_, true, _) => "<span class=\"fail\">interrupted</span>",
        (_, _, true) => "<span class=\"pass\">pass</span>",
        (_, _, false) => "<span class=\"fail\">fail</span>",
    }
}

fn one(page: &mut String, run: &RunResult) -> std::fmt::Result {
    writeln!(page, "<section><h2>{} {}</h2>", escape(&run.title()), state(run))?;
    if !run.valid {
        let lag = milliseconds(run.latency(Stage::Lag).p99_ms);
        let limit = milliseconds(run.lag_limit_ms);
        writeln!(page, "<p class=\"fail\">The generator itself lagged {lag} at P99 ({limit} is")?;
        writeln!(page, "allowed): this says more of the machine than of what was measured.</p>")?;
    }
    cards(page, run)?;
    writeln!(
        page,
        "<div class=\"charts\">{}{}{}{}</div>",
        rate(run),
        latency(run),
        curve(run),
        ends(run)
    )?;
    writeln!(page, "<div class=\"charts\">")?;
    times(page, run)?;
    stages(page, run)?;
    checks(page, run)?;
    codes(page, run)?;
    writeln!(page, "</div></section>")
}

fn cards(page: &mut String, run: &RunResult) -> std::fmt::Result {
    let times = run.latency(Stage::Outcome);
    let us = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0} us"));
    let usage = &run.usage;
    let ack = run.latency(Stage::Ack);
    let ack = if ack.count > 0 { milliseconds(ack.p99_ms) } else { "-".into() };
    let rss = usage.engine_rss_mib.map_or("-".into(), |rss| format!("{rss:.0} MiB"));
    let cards = [
        ("offered", format!("{:.0}/s", run.offered_per_s)),
        ("achieved", format!("{:.0}/s", run.achieved_per_s)),
        ("paid", format!("{} of {}", run.counts.succeeded, run.counts.offered)),
        ("outcome P50", milliseconds(times.p50_ms)),
        ("outcome P99", milliseconds(times.p99_ms)),
        ("ack P99", ack),
        ("generator's lag P99", milliseconds(run.latency(Stage::Lag).p99_ms)),
        ("engine CPU a payment", us(usage.engine_us)),
        ("nodes CPU a payment", us(usage.nodes_us)),
        ("generator CPU a payment", us(usage.generator_us)),
        ("engine's peak memory", rss),
        ("events a commit", run.commits.map_or("-".into(), |of| format!("{:.1}", of.events_each))),
    ];
    writeln!(page, "<dl class=\"cards\">")?;
    for (name, value) in cards {
        writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    writeln!(page, "</dl>")
}

fn marks(run: &RunResult) -> Vec<(f64, String)> {
    run.faults.iter().map(|(at, what)| (*at, escape(what))).collect()
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
    let offered = over_time(run, ("due", "d"), |second| Some(second.offered as f64));
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
        over_time(run, ("P50", "a"), |second| some(second, second.outcome.p50_ms)),
        over_time(run, ("P90", "b"), |second| some(second, second.outcome.p90_ms)),
        over_time(run, ("P99", "c"), |second| some(second, second.outcome.p99_ms)),
        over_time(run, ("max", "d"), |second| some(second, second.outcome.max_ms)),
    ];
    let title = "Latency to the outcome, by the second in which a payment was due";
    Chart { title, lines, scale: Scale::LogMs, across, ticks, marks: marks(run) }.draw()
}

/// Each step to the right is one nine more.
fn curve(run: &RunResult) -> String {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-7).log10();
    let inner = run.curve.iter().filter(|(quantile, _)| *quantile < 1.0);
    let points: Vec<_> = inner.map(|(quantile, ms)| (nines(*quantile), Some(*ms))).collect();
    let last = points.last().map_or(3.0, |(at, _)| at.ceil().clamp(3.0, 7.0));
    let ticks = ["0", "90%", "99%", "99.9%", "99.99%", "99.999%", "99.9999%", "99.99999%"];
    let ticks = ticks.iter().enumerate().map(|(at, text)| (at as f64, (*text).to_owned()));
    let ticks = ticks.filter(|(at, _)| *at <= last).collect();
    let lines = vec![Line { name: "outcome, from the planned time", class: "a", points }];
    let title = "Latency by percentile";
    let (scale, across) = (Scale::LogMs, (0.0, last));
    Chart { title, lines, scale, across, ticks, marks: Vec::new() }.draw()
}

fn ends(run: &RunResult) -> String {
    let (across, ticks) = seconds(run);
    let lines = vec![over_time(run, ("open at the end of the second", "b"), |second| {
        Some(second.open as f64)
    })];
    let title = "Payments in flight";
    Chart { title, lines, scale: Scale::Linear, across, ticks, marks: marks(run) }.draw()
}

fn times(page: &mut String, run: &RunResult) -> std::fmt::Result {
    writeln!(page, "<div class=\"wide\"><table><thead><tr><th>latency<th>count<th>mean")?;
    writeln!(page, "<th>P50<th>P90<th>P99<th>P99.9<th>max</tr></thead><tbody>")?;
    for stage in Stage::ALL {
        let times = run.latency(stage);
        if times.count == 0 {
            continue;
        }
        write!(page, "<tr><td>{}<td>{}", stage.name(), times.count)?;
        let columns =
            [times.mean_ms, times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms, times.max_ms];
        for value in columns {
            write!(page, "<td>{}", milliseconds(value))?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</tbody></table><p class=\"dim\">All from the planned time, but service:")?;
    writeln!(page, "that is from the request on.</p></div>")
}

fn stages(page: &mut String, run: &RunResult) -> std::fmt::Result {
    if run.engine_stages.is_empty() {
        return Ok(());
    }
    writeln!(page, "<div class=\"wide\"><table><thead><tr><th>in the engine<th>count<th>mean")?;
    writeln!(page, "<th>P50<th>P99<th></tr></thead><tbody>")?;
    let longest =
        run.engine_stages.iter().map(|stage| stage.mean_ms).fold(f64::MIN_POSITIVE, f64::max);
    for stage in &run.engine_stages {
        let share = stage.mean_ms / longest * 100.0;
        writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"bar\"><i style=\"width:{share:.1}%\"></i></tr>",
            escape(&stage.name),
            stage.count,
            milliseconds(stage.mean_ms),
            milliseconds(stage.p50_ms),
            milliseconds(stage.p99_ms),
        )?;
    }
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">By the engine's own histograms; bars are means."
    )?;
    writeln!(page, "</p></div>")
}

fn checks(page: &mut String, run: &RunResult) -> std::fmt::Result {
    if run.checks.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "<div class=\"wide\"><table><thead><tr><th>limit<th>asked<th>measured<th></tr>"
    )?;
    writeln!(page, "</thead><tbody>")?;
    for check in &run.checks {
        let word = if check.passed { "pass" } else { "fail" };
        let sense = if check.sense == "<=" { "at most" } else { "at least" };
        writeln!(
            page,
            "<tr><td>{}<td>{sense} {}<td>{:.4}<td><span class=\"{word}\">{word}</span></tr>",
            escape(&check.name),
            check.limit,
            check.measured
        )?;
    }
    writeln!(page, "</tbody></table></div>")
}

fn codes(page: &mut String, run: &RunResult) -> std::fmt::Result {
    let counts = &run.counts;
    writeln!(
        page,
        "<div class=\"wide\"><table><thead><tr><th>end<th>payments</tr></thead><tbody>"
    )?;
    let ends = [
        ("paid", counts.succeeded),
        ("final, not paid", counts.failed),
        ("unresolved", counts.unresolved),
        ("refused", counts.refused),
        ("call broke", counts.errors),
        ("timed out", counts.timed_out),
        ("not sent before the deadline", counts.unsent),
        ("open when interrupted", counts.abandoned),
    ];
    for (name, count) in ends.iter().filter(|(_, count)| *count > 0) {
        writeln!(page, "<tr><td>{name}<td>{count}</tr>")?;
    }
    for (code, count) in &run.codes {
        writeln!(page, "<tr class=\"dim\"><td>{}<td>{count}</tr>", escape(code))?;
    }
    writeln!(page, "</tbody></table></div>")
}

fn tail(page: &mut String, report: &Report) -> std::fmt::Result {
    let text = toml::to_string_pretty(&report.scenario);
    let text = text.unwrap_or_else(|error| format!("not to be written as TOML: {error}"));
    writeln!(
        page,
        "<details><summary>The scenario as it was run</summary><pre>{}</pre></details>",
        escape(&text)
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
