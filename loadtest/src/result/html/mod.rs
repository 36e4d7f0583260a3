//! The report as one page that needs nothing else: no script, no network.

mod charts;
mod svg;
mod tables;
mod words;

use std::fmt::{Result, Write};

use super::{Report, RunResult, Stage, beside, summary::milliseconds};

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

fn head(page: &mut String, report: &Report) -> Result {
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
    runs(page, report)?;
    beside_bare(page, &report.beside)
}

fn runs(page: &mut String, report: &Report) -> Result {
    writeln!(page, "<h2>All runs</h2><div class=\"wide\"><table><thead><tr><th>run")?;
    writeln!(page, "<th class=\"minor\">offered/s<th>achieved/s<th>P50<th>P99")?;
    writeln!(page, "<th class=\"minor\">max<th></tr></thead><tbody>")?;
    for run in &report.runs {
        let [p50, _, p99, _, max] = run.latency(Stage::Outcome).told();
        writeln!(
            page,
            "<tr><td>{}<td class=\"minor\">{:.0}<td>{:.0}<td>{p50}<td>{p99}\
             <td class=\"minor\">{max}<td>{}</tr>",
            escape(&run.title()),
            run.offered_per_s,
            run.achieved_per_s,
            state(run),
        )?;
    }
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">P50, P99 and max: from the planned time to the"
    )?;
    writeln!(page, "outcome at the client.</p></div>")
}

/// The engine beside the yardstick.
fn beside_bare(page: &mut String, all: &[beside::Beside]) -> Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(page, "<h2>Beside the bare client</h2><div class=\"wide\"><table><thead><tr>")?;
    for column in beside::COLUMNS {
        write!(page, "<th>{column}")?;
    }
    writeln!(page, "</tr></thead><tbody>")?;
    for row in beside::rows(all) {
        write!(page, "<tr>")?;
        for cell in row {
            write!(page, "<td>{}", escape(&cell))?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">Engine, nodes, generator: CPU in us a payment."
    )?;
    writeln!(
        page,
        "The bare client is its generator; a fleet that costs much flatters the ratio.</p>"
    )?;
    for remark in beside::remarks(all) {
        writeln!(page, "<p>{}</p>", escape(&remark))?;
    }
    writeln!(page, "</div>")
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

fn one(page: &mut String, run: &RunResult) -> Result {
    writeln!(page, "<section><h2>{} {}</h2>", escape(&run.title()), state(run))?;
    if !run.valid {
        let lag = milliseconds(run.latency(Stage::Lag).p99_ms);
        let limit = milliseconds(run.lag_limit_ms);
        writeln!(page, "<p class=\"fail\">The generator itself lagged {lag} at P99 ({limit} is")?;
        writeln!(page, "allowed): this says more of the machine than of what was measured.</p>")?;
    }
    writeln!(page, "<p class=\"dim\">{:.0} s from {}</p>", run.seconds, escape(&run.started))?;
    cards(page, run)?;
    writeln!(page, "<div class=\"charts\">{}</div><div class=\"charts\">", charts::of(run))?;
    tables::of(page, run)?;
    writeln!(page, "</div></section>")
}

fn cards(page: &mut String, run: &RunResult) -> Result {
    let [p50, _, p99, ..] = run.latency(Stage::Outcome).told();
    let [_, _, ack_p99, ..] = run.latency(Stage::Ack).told();
    let [_, _, lag_p99, ..] = run.latency(Stage::Lag).told();
    let us = |value: Option<f64>| value.map(|value| format!("{value:.0} us"));
    let usage = &run.usage;
    let commits = run.commits.as_ref();
    let cards = [
        ("offered", Some(format!("{:.0}/s", run.offered_per_s))),
        ("achieved", Some(format!("{:.0}/s", run.achieved_per_s))),
        ("paid", Some(format!("{} of {}", run.counts.succeeded, run.counts.offered))),
        ("outcome P50", Some(p50)),
        ("outcome P99", Some(p99)),
        ("ack P99", (run.latency(Stage::Ack).count > 0).then_some(ack_p99)),
        ("generator's lag P99", Some(lag_p99)),
        ("CPU a payment: engine", us(usage.engine_us)),
        ("CPU a payment: nodes", us(usage.nodes_us)),
        ("CPU a payment: generator", us(usage.generator_us)),
        ("engine's peak memory", usage.engine_rss_mib.map(|rss| format!("{rss:.0} MiB"))),
        ("commits to disk", commits.map(|of| of.count.to_string())),
        ("events a commit", commits.map(|of| format!("{:.1}", of.events_each))),
        ("bytes a commit", commits.map(|of| format!("{:.0}", of.bytes_each))),
    ];
    writeln!(page, "<dl class=\"cards\">")?;
    for (name, value) in cards {
        // What a target does not have, such as a bare client's engine, has no card.
        if let Some(value) = value {
            writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
        }
    }
    writeln!(page, "</dl>")
}

fn tail(page: &mut String, report: &Report) -> Result {
    let text = toml::to_string_pretty(&report.scenario);
    let text = text.unwrap_or_else(|error| format!("not to be written as TOML: {error}"));
    writeln!(page, "<h2>To read it by</h2>")?;
    words::list(page)?;
    writeln!(
        page,
        "<details><summary>The configuration: the scenario as it was run</summary><pre>{}</pre>\
         </details>",
        escape(&text)
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
