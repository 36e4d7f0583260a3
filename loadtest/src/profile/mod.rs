//! `fulgurite-loadtest profile`: where the engine spends its processor time under a load.

mod component;
mod flame;
mod perf;
mod stacks;

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    interrupt,
    report::{self, Machine},
    result::{Report, RunResult, files, summary},
    run::{
        self, Live, drive,
        rig::Rig,
        scenario::{Scenario, Target},
    },
    scene::Folder,
};
use component::Component;
use stacks::Stacks;

/// A thread or a part with less of all samples than this has no row or column of its own.
const SHARE_MIN: f64 = 0.002;

/// What is run and how it is looked at.
#[derive(Debug, Args)]
#[command(after_help = Scenario::help())]
pub struct ProfileArgs {
    /// A scenario that comes with the program, or a TOML file.
    #[arg(default_value = "steady")]
    scenario: String,
    #[command(flatten)]
    differences: run::Differences,
    /// How often a second of processor time the engine is asked where it is.
    #[arg(long, default_value_t = 199, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frequency: u32,
    /// The file of the flame graph, an SVG; written over.
    #[arg(long, default_value = "flamegraph.svg", value_name = "FILE")]
    out: PathBuf,
    /// Shows nothing while the clock runs.
    #[arg(long)]
    quiet: bool,
}

/// Runs the load once with `perf` at the engine, writes the flame graph and prints the table.
///
/// # Errors
/// When it cannot be run, or `perf` is missing or not allowed.
pub async fn run(args: ProfileArgs) -> Result<ExitCode> {
    let (scenario, targets) = args.differences.of(Scenario::load(&args.scenario)?)?;
    let [target] = targets[..] else { anyhow::bail!("--target: one target is profiled at a time") };
    ensure!(target != Target::Bare, "--target bare has no engine to profile");
    let unseen =
        args.differences.running.engine.is_some() && args.differences.running.engine_pid.is_none();
    ensure!(!unseen, "--engine needs --engine-pid here: whose processor time is looked at");
    let above = args.out.parent().filter(|above| !above.as_os_str().is_empty());
    files::can_write(above.unwrap_or(Path::new(".")))
        .with_context(|| format!("--out {}: its folder cannot be written", args.out.display()))?;
    ensure!(
        !args.out.is_dir(),
        "--out {}: a folder; the flame graph is a file",
        args.out.display()
    );
    run::open_files(scenario.load.idle_connections)?;
    let folder = Folder::new()?;
    let start = Rig::start(&scenario, target, &args.differences.running);
    let Some(mut rig) = interrupt::or_none(start).await? else {
        eprintln!("interrupted before the clock started: there is no profile");
        return Ok(ExitCode::from(run::INTERRUPTED));
    };
    let pid = rig.engine_pid()?.context("no engine")?;
    let recording = perf::record(pid, args.frequency, &folder.path)?;
    let mut live = Live::new(args.quiet);
    let done = drive::drive((&scenario, 1), &rig, None, &mut live).await;
    let Some(done) = rig.explain(done)? else {
        eprintln!("interrupted before the clock started: there is no profile");
        return Ok(ExitCode::from(run::INTERRUPTED));
    };
    let stacks = recording.read()?;
    let us = done.usage.engine_us.map(|us| us / stacks.all.count as f64);
    let report = Report::new(Machine::now(), report::commit(), scenario, vec![done]);
    let run = &report.runs[0];
    let commit = report.commit.as_deref().unwrap_or("unknown");
    let title = format!(
        "fulgurite {commit}: CPU of the engine at {:.0} payments/s, {} samples",
        run.achieved_per_s, stacks.all.count
    );
    std::fs::write(&args.out, flame::draw(&stacks.all, &title, us))
        .with_context(|| args.out.display().to_string())?;
    eprintln!("the flame graph is {}", args.out.display());
    let text = format!("{}\n{}", summary::text(&report), table(&stacks, run));
    report::print(false, &report, &text)?;
    Ok(run::verdict(&report))
}

/// The processor time of each thread by the part that it worked for, as a table in Markdown.
fn table(stacks: &Stacks, run: &RunResult) -> String {
    let all = stacks.all.count.max(1) as f64;
    // Without the engine's own processor time: shares.
    let (each, unit) = match run.usage.engine_us {
        Some(us) => (us / all, "us a payment"),
        None => (100.0 / all, "% of all"),
    };
    let of = |component: Component| -> u64 {
        stacks.table.values().filter_map(|parts| parts.get(&component)).sum()
    };
    let parts: Vec<Component> = Component::ALL.into_iter().filter(|part| of(*part) > 0).collect();
    let sum = |thread: &String| -> u64 { stacks.table[thread].values().sum() };
    let mut threads: Vec<&String> = stacks.table.keys().collect();
    threads.sort_by_key(|thread| std::cmp::Reverse(sum(thread)));
    let mut text = format!("CPU of the engine, {unit}, by thread and part\n\n| thread |");
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{} all |\n|---|{}---:|",
        parts.iter().map(|part| format!(" {} |", part.name())).collect::<String>(),
        "---:|".repeat(parts.len())
    );
    let (seen, small): (Vec<&String>, Vec<&String>) =
        threads.into_iter().partition(|thread| sum(thread) as f64 >= SHARE_MIN * all);
    let mut row = |name: &str, values: &[u64]| {
        let cells = values.iter().map(|count| format!(" {:.1} |", *count as f64 * each));
        let _ = writeln!(text, "| {name} |{}", cells.collect::<String>());
    };
    let values = |threads: &[&String]| -> Vec<u64> {
        let part = |part: &Component| -> u64 {
            threads.iter().filter_map(|thread| stacks.table[*thread].get(part)).sum()
        };
        let all = threads.iter().map(|thread| sum(thread)).sum();
        parts.iter().map(part).chain([all]).collect()
    };
    for thread in &seen {
        row(thread, &values(&[*thread]));
    }
    if !small.is_empty() {
        row("others", &values(&small));
    }
    let everybody: Vec<&String> = seen.into_iter().chain(small).collect();
    row("**all**", &values(&everybody));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Usage;

    #[test]
    fn the_table_shares_out_what_a_payment_cost() {
        let mut script = String::new();
        for _ in 0..30 {
            script += "arbiter-0  7 \n\t 1f fulgurite_runtime::f\n\n";
        }
        for _ in 0..10 {
            script += "journal  8 \n\tffffffff815f60a6 fsync\n\n";
        }
        let stacks = Stacks::read(script.as_bytes()).unwrap();
        let usage = Usage { engine_us: Some(80.0), ..Usage::default() };
        let text = table(&stacks, &RunResult { usage, ..RunResult::default() });
        assert!(text.contains("| thread | ours | kernel | all |"), "{text}");
        assert!(text.contains("| arbiter-0 | 60.0 | 0.0 | 60.0 |"), "{text}");
        assert!(text.contains("| **all** | 60.0 | 20.0 | 80.0 |"), "{text}");
        let text = table(&stacks, &RunResult::default());
        assert!(text.contains("| journal | 0.0 | 25.0 | 25.0 |"), "{text}");
    }
}
