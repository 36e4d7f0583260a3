//! The numbers of a run, as tables.

use std::fmt::{Result, Write};

use super::escape;
use crate::result::{EngineStage, RunResult, Stage, summary::milliseconds};

/// All tables of a run.
pub(super) fn of(page: &mut String, run: &RunResult) -> Result {
    stages(page, run)?;
    times(page, run)?;
    checks(page, run)?;
    ends(page, run)
}

/// What a measured time of a payment counts.
fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Lag => "planned time until the generator begins with it: its own delay",
        Stage::Ack => "planned time to the durable acknowledgement",
        Stage::Outcome => "planned time to the final state at the client",
        Stage::Service => "start of the request to the final state",
        Stage::Refusal => "planned time to a refusal or a broken call",
    }
}

fn times(page: &mut String, run: &RunResult) -> Result {
    writeln!(page, "<div class=\"wide\"><table><thead><tr><th>at the client")?;
    writeln!(page, "<th class=\"minor\">count<th class=\"minor\">mean")?;
    writeln!(page, "<th>P50<th>P90<th>P99<th>P99.9<th>max</tr></thead><tbody>")?;
    for stage in Stage::ALL {
        let times = run.latency(stage);
        if times.count == 0 {
            continue;
        }
        write!(
            page,
            "<tr><td>{}<td class=\"minor\">{}<td class=\"minor\">{}",
            stage.name(),
            times.count,
            milliseconds(times.mean_ms)
        )?;
        for value in times.told() {
            write!(page, "<td>{value}")?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</tbody></table><dl class=\"meaning\">")?;
    for stage in Stage::ALL.into_iter().filter(|stage| run.latency(*stage).count > 0) {
        writeln!(page, "<dt>{}</dt><dd>{}</dd>", stage.name(), meaning(stage))?;
    }
    writeln!(page, "</dl></div>")
}

/// A stage of the engine: where its bar begins on a payment's way, and what it counts.
/// `fulgurite_stage_seconds` in docs/metrics.md.
const WAY: [(&str, &str); 8] = [
    ("check", "the invoice's turn at the check, to its verdict"),
    ("accept", "an upload is complete, to its durable acceptance"),
    ("wait", "placed at a node, until its window and channels are free"),
    ("dispatch", "a place is free, until the payment is sent: decided and durable in between"),
    ("journal", "the part of dispatch that waits for the disk: decided, until its event is synced"),
    ("node", "sent, until the node says how it ended"),
    ("outcome", "the node's word, until it is durable"),
    (
        "end_to_end",
        "accepted, until the outcome is durable; what no bar above covers is the wait for a turn in \
         the batch",
    ),
];

/// Where the time goes on a payment's way, as bars one behind the other.
fn stages(page: &mut String, run: &RunResult) -> Result {
    if run.engine_stages.is_empty() {
        return Ok(());
    }
    let mean = |name: &str| {
        let stage = run.engine_stages.iter().find(|stage| stage.name == name);
        stage.map_or(0.0, |stage| stage.mean_ms)
    };
    let before = mean("check") + mean("accept");
    let steps: f64 = ["wait", "dispatch", "node", "outcome"].map(mean).iter().sum();
    let all = (before + steps.max(mean("end_to_end"))).max(f64::MIN_POSITIVE);
    writeln!(page, "<div class=\"wide\"><table><thead><tr><th>in the engine")?;
    writeln!(page, "<th class=\"minor\">count<th>mean<th>P50<th>P99<th class=\"bar\"></tr>")?;
    writeln!(page, "</thead><tbody>")?;
    let mut at = 0.0;
    for (name, _) in WAY {
        let Some(stage) = run.engine_stages.iter().find(|stage| stage.name == name) else {
            continue;
        };
        let from = match name {
            // It ends where the payment is sent, which is where the bar above it ended.
            "journal" => (at - stage.mean_ms).max(0.0),
            "end_to_end" => before,
            _ => at,
        };
        if !["journal", "end_to_end"].contains(&name) {
            at += stage.mean_ms;
        }
        let width = stage.mean_ms / all * 100.0;
        row(page, stage, (from / all * 100.0, width.min(100.0 - from / all * 100.0)))?;
    }
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">By the engine's own histograms, whose percentiles lie"
    )?;
    writeln!(
        page,
        "somewhere between two edges and may be above what the client saw. The bars are"
    )?;
    writeln!(page, "means, one behind the other as on a payment's way.</p><dl class=\"meaning\">")?;
    for (name, what) in WAY {
        writeln!(page, "<dt>{name}</dt><dd>{what}</dd>")?;
    }
    writeln!(page, "</dl></div>")
}

fn row(page: &mut String, stage: &EngineStage, (from, width): (f64, f64)) -> Result {
    writeln!(
        page,
        "<tr><td>{}<td class=\"minor\">{}<td>{}<td>{}<td>{}<td class=\"bar\">\
         <i style=\"margin-left:{from:.1}%;width:{width:.1}%\"></i></tr>",
        escape(&stage.name),
        stage.count,
        milliseconds(stage.mean_ms),
        milliseconds(stage.p50_ms),
        milliseconds(stage.p99_ms),
    )
}

fn checks(page: &mut String, run: &RunResult) -> Result {
    if let Some(ended) = &run.engine_ended {
        writeln!(page, "<p><span class=\"fail\">fail</span> {}</p>", escape(ended))?;
    }
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
            "<tr><td>{}<td>{sense} {}<td>{}<td><span class=\"{word}\">{word}</span></tr>",
            escape(&check.name),
            check.limit,
            check.measured.map_or("never".to_owned(), figures)
        )?;
    }
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">The limits of the scenario; the exit code is"
    )?;
    writeln!(page, "0 when all of them were kept.</p></div>")
}

/// Four decimals of a share, fewer of what is large.
fn figures(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.4}"),
        middle if middle < 1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn ends(page: &mut String, run: &RunResult) -> Result {
    let counts = &run.counts;
    writeln!(
        page,
        "<div class=\"wide\"><table><thead><tr><th>how it ended<th>payments</tr></thead><tbody>"
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
    writeln!(
        page,
        "</tbody></table><p class=\"dim\">Each payment that was due is in one of these"
    )?;
    writeln!(page, "rows. Grey: the engine's own codes. Nothing was sent twice.</p></div>")
}
