//! A large file, until it is accepted durably, and its first payment.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use fulgurite_sim::Knobs;
use serde::Serialize;

use crate::{
    report::{self, Machine, mib},
    scene::{self, Engine, Fleet, Folder, Settings, Signatures},
};

/// How large the file is.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// How many rows.
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows: u32,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    rows: u32,
    file_bytes: u64,
    /// From opening the file to the engine's answer, signatures checked.
    accepted_s: f64,
    /// The engine's processor time until then, a row.
    accepted_cpu_us: f64,
    /// The engine's largest resident memory until then.
    accepted_rss_mib: f64,
    /// From the answer to the first outcome received.
    first_outcome_s: f64,
    /// From the answer to the last outcome received.
    last_outcome_s: f64,
    /// The engine's largest resident memory until then.
    paid_rss_mib: f64,
}

/// Measures and prints.
///
/// # Errors
/// When a row is refused, a payment not paid, or a process does not do its part.
pub async fn run(args: IngestArgs) -> Result<()> {
    let machine = Machine::now();
    let folder = Folder::new()?;
    let file = folder.path.join("payouts.csv");
    eprintln!("signing {} invoices", args.rows);
    write_file(&file, args.rows).await?;
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let settings = Settings { signatures: Signatures::Door, window: None };
    let mut engine = Engine::start(&folder.path, &fleet.nodes, settings).await?;
    eprintln!("uploading and paying");
    let measured = measure(&engine, &file, (machine, args.rows)).await;
    let report = engine.explain(measured)?;
    report::print(args.json, &report, &text(&report))
}

async fn measure(engine: &Engine, file: &Path, (machine, rows): (Machine, u32)) -> Result<Report> {
    let cpu_before = engine.process.cpu()?;
    let started = Instant::now();
    let orders = read_file(file)?;
    let accepted = engine.client.upload("ingest", orders).await?;
    let cpu = engine.process.cpu()? - cpu_before;
    let accepted_rss = engine.process.rss_bytes_max()?;
    let watched = engine.client.watch(&accepted.batch_id, rows as usize).await?;
    let paid_rss = engine.process.rss_bytes_max()?;
    watched.all_succeeded()?;
    let since = |at: Instant| (at - accepted.at).as_secs_f64();
    Ok(Report {
        machine,
        rows,
        file_bytes: file.metadata()?.len(),
        accepted_s: (accepted.at - started).as_secs_f64(),
        accepted_cpu_us: per_row(cpu, rows),
        accepted_rss_mib: mib(accepted_rss),
        first_outcome_s: since(watched.first),
        last_outcome_s: since(watched.last),
        paid_rss_mib: mib(paid_rss),
    })
}

async fn write_file(path: &Path, rows: u32) -> Result<()> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(["destination"])?;
    for invoice in scene::invoices(0, rows as usize).await? {
        csv.write_record([invoice.bolt11])?;
    }
    csv.flush()?;
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<String>> {
    let mut csv = csv::Reader::from_path(path)?;
    let rows = csv.records().map(|row| Ok(row?.get(0).context("an empty row")?.to_owned()));
    rows.collect()
}

fn per_row(cpu: Duration, rows: u32) -> f64 {
    cpu.as_secs_f64() * 1e6 / f64::from(rows)
}

fn text(report: &Report) -> String {
    format!(
        "{}\n\
         {} rows, {:.1} MiB of CSV, signatures checked\n\n\
         accepted durably after         {:>9.2} s\n\
         engine CPU a row until then    {:>9.0} us\n\
         engine's peak memory then      {:>9.0} MiB\n\
         first outcome after acceptance {:>9.3} s\n\
         last outcome after acceptance  {:>9.2} s\n\
         engine's peak memory then      {:>9.0} MiB",
        report.machine.text(),
        report.rows,
        mib(report.file_bytes),
        report.accepted_s,
        report.accepted_cpu_us,
        report.accepted_rss_mib,
        report.first_outcome_s,
        report.last_outcome_s,
        report.paid_rss_mib,
    )
}
