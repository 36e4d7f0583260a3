//! `fulgurite-loadtest history`: what many finished payments behind an engine cost it.
//!
//! The journal is made, not earned: a real one of ten million payments takes a quarter of an hour
//! of both processors. Then an engine is started on it, pays, is killed while it pays, and comes
//! back.

pub(crate) mod make;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use fulgurite_sim::{Invoice, Knobs};
use serde::Serialize;

use crate::{
    client,
    measure::Spread,
    report::{self, Machine, mib},
    restart,
    scene::{self, Engine, Fleet, Folder, Settings, Signatures},
};

/// How many payments are behind the engine, and what is measured in front of them.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many finished payments; several are measured one after the other, each with a journal
    /// of its own, and compared with the first.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000", value_name = "N,N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    payments: Vec<u32>,
    /// Only makes the journal, in this folder, for an engine of your own; the folder is new or
    /// empty.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["batch", "rounds"])]
    dir: Option<PathBuf>,
    /// Payments of each batch that is paid and measured.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=100_000))]
    batch: u32,
    /// How many such batches.
    #[arg(long, default_value_t = 5, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// A journal of so many payments, and an engine on it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Finished payments.
    pub payments: u32,
    /// How long making the journal took.
    pub made_s: f64,
    /// Its size on disk, in bytes for each payment.
    pub disk_bytes_each: f64,
    /// From the engine's start to `/readyz` 200, the first time.
    pub ready_s: f64,
    /// The same after it was killed in the middle of a batch.
    pub ready_after_kill_s: f64,
    /// Payments a second of each batch, upload included.
    pub per_second: Spread,
    /// The engine's processor time for each payment, in microseconds.
    pub engine_us: Spread,
    /// The engine's peak memory until it was killed, in MiB.
    pub rss_mib: f64,
    /// The same after it was started again.
    pub rss_after_kill_mib: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    commit: Option<String>,
    batch: u32,
    /// In the order of the arguments.
    pub rows: Vec<Row>,
}

/// Makes, measures and prints.
///
/// # Errors
/// When a payment is not paid or is paid twice, or a process does not do its part.
pub async fn run(args: HistoryArgs) -> Result<()> {
    let Some(dir) = &args.dir else {
        let report = measure(&args.payments, (args.batch, args.rounds)).await?;
        return report::print(args.json, &report, &text(&report));
    };
    let [payments] = args.payments[..] else {
        anyhow::bail!("--dir: one number of --payments, a folder holds one journal");
    };
    let made = make::make(dir, payments).await?;
    let (seconds, bytes) = (made.took.as_secs_f64(), made.bytes);
    let value = serde_json::json!({ "payments": payments, "made_s": seconds, "bytes": bytes });
    let text = format!(
        "{}: {payments} finished payments in {seconds:.1} s, {:.0} MiB, {:.0} bytes a payment",
        dir.display(),
        mib(bytes),
        bytes as f64 / f64::from(payments)
    );
    report::print(args.json, &value, &text)
}

/// Every history in turn.
///
/// # Errors
/// As [`run`].
pub(crate) async fn measure(payments: &[u32], load: (u32, u32)) -> Result<Report> {
    let (machine, commit) = (Machine::now(), report::commit());
    let mut rows = Vec::new();
    for payments in payments {
        rows.push(one(*payments, load).await?);
    }
    Ok(Report { machine, commit, batch: load.0, rows })
}

async fn one(payments: u32, (batch, rounds): (u32, u32)) -> Result<Row> {
    let folder = Folder::new()?;
    eprintln!("making a journal of {payments} finished payments");
    let made = make::make(&folder.path.join("journal"), payments).await?;
    let invoices = scene::invoices(0, (batch * (rounds + 1)) as usize).await?;
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let settings = Settings { signatures: Signatures::Door, window: None };
    let started = Instant::now();
    let mut engine = Engine::start(&folder.path, &fleet.nodes, settings).await?;
    let ready = started.elapsed();
    eprintln!("paying {rounds} batches of {batch}, and one more that is cut in two by a kill");
    let measured = pay_and_kill(&mut engine, &invoices, batch as usize).await;
    let paid = engine.explain(measured)?;
    restart::paid_once(fleet.dir(), batch * (rounds + 1))?;
    Ok(Row {
        payments,
        made_s: made.took.as_secs_f64(),
        disk_bytes_each: made.bytes as f64 / f64::from(payments),
        ready_s: ready.as_secs_f64(),
        ready_after_kill_s: paid.ready.as_secs_f64(),
        per_second: Spread::of(paid.took.iter().map(|took| f64::from(batch) / took.as_secs_f64())),
        engine_us: Spread::of(
            paid.cpu.iter().map(|cpu| cpu.as_secs_f64() * 1e6 / f64::from(batch)),
        ),
        rss_mib: mib(paid.rss),
        rss_after_kill_mib: mib(engine.process.rss_bytes_max()?),
    })
}

/// What came of the batches and the kill.
struct Paid {
    took: Vec<Duration>,
    cpu: Vec<Duration>,
    rss: u64,
    ready: Duration,
}

/// All batches but the last are measured; the last is in flight when the engine is killed.
async fn pay_and_kill(engine: &mut Engine, invoices: &[Invoice], batch: usize) -> Result<Paid> {
    let (measured, last) = invoices.split_at(invoices.len() - batch);
    let (mut took, mut cpu) = (Vec::new(), Vec::new());
    for (number, invoices) in measured.chunks(batch).enumerate() {
        let (started, before) = (Instant::now(), engine.process.cpu()?);
        let orders = client::destinations(invoices);
        let accepted = engine.client.upload(&format!("measured-{number}"), orders).await?;
        engine.client.watch(&accepted.batch_id, batch).await?.all_succeeded()?;
        took.push(started.elapsed());
        cpu.push(engine.process.cpu()?.saturating_sub(before));
    }
    let accepted = engine.client.upload("killed", client::destinations(last)).await?;
    let rss = engine.process.rss_bytes_max()?;
    engine.process.kill();
    let started = Instant::now();
    engine.process.spawn()?;
    engine.ready().await?;
    let ready = started.elapsed();
    let watched = engine.client.watch(&accepted.batch_id, batch).await?;
    watched.all_succeeded()?;
    ensure!(watched.outcomes.len() == batch, "outcomes are missing");
    Ok(Paid { took, cpu, rss, ready })
}

fn text(report: &Report) -> String {
    let mut text = report.machine.text();
    text += &format!(
        "\nbatches of {} payments, signatures checked; medians [min-max]\n\n\
         {:>12}{:>10}{:>14}{:>10}{:>14}{:>24}{:>22}{:>10}{:>12}",
        report.batch,
        "finished",
        "made, s",
        "bytes each",
        "ready, s",
        "after a kill",
        "payments/s",
        "engine us each",
        "MiB",
        "after kill"
    );
    for row in &report.rows {
        text += &format!(
            "\n{:>12}{:>10.1}{:>14.0}{:>10.2}{:>14.2}{:>24}{:>22}{:>10.0}{:>12.0}",
            row.payments,
            row.made_s,
            row.disk_bytes_each,
            row.ready_s,
            row.ready_after_kill_s,
            row.per_second.text(0),
            row.engine_us.text(1),
            row.rss_mib,
            row.rss_after_kill_mib
        );
    }
    for (payments, ratio) in cpu_ratios(&report.rows) {
        let first = report.rows[0].payments;
        text += &format!("\nengine CPU a payment at {payments}: {ratio:.2} of that at {first}");
    }
    text
}

/// The processor time of each row after the first, of the first's.
pub(crate) fn cpu_ratios(rows: &[Row]) -> Vec<(u32, f64)> {
    let Some((first, others)) = rows.split_first() else { return Vec::new() };
    let base = first.engine_us.median.max(f64::MIN_POSITIVE);
    others.iter().map(|row| (row.payments, row.engine_us.median / base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_compared_with_the_first() {
        let row = |payments, us: f64| Row {
            payments,
            made_s: 1.0,
            disk_bytes_each: 900.0,
            ready_s: 0.2,
            ready_after_kill_s: 0.3,
            per_second: Spread::of([10_000.0]),
            engine_us: Spread::of([us, us / 2.0, us * 2.0]),
            rss_mib: 100.0,
            rss_after_kill_mib: 50.0,
        };
        let rows = vec![row(10_000, 80.0), row(10_000_000, 88.0)];
        let report = Report { machine: Machine::now(), commit: None, batch: 20_000, rows };
        let text = text(&report);
        assert!(text.contains("at 10000000: 1.10 of that at 10000"), "{text}");
    }
}
