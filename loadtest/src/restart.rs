//! An engine is killed with many payments open, and comes back.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fulgurite_sim::{Knobs, Status};
use serde::Serialize;

use crate::{
    client::{self, Outcome},
    history::make,
    report::{self, Machine, mib},
    scene::{self, Engine, Fleet, Folder, NODES, Settings, Signatures},
    told::{Told, told},
};

/// How long the nodes take for a payment that is open at the kill: the median, in milliseconds.
const LATENCY_MS: f64 = 12_000.0;
/// How far around the median they lie.
const LATENCY_SIGMA: f64 = 0.35;
/// How long the engine is down. One in fifty payments ends meanwhile: its answer waits for the
/// engine, and so the first resumed outcome shows the engine's time and not the nodes'.
const DOWN: Duration = Duration::from_secs(4);
/// The engine counts a payment as in flight before its send: the nodes have got so long to have
/// all of them.
const ARRIVING: Duration = Duration::from_millis(1_500);
/// How long the engine may take to bring the payments in flight.
const SENDING_MAX: Duration = Duration::from_secs(12);
/// How many of the finished batches are told before the kill and after.
const TOLD_MAX: usize = 10;

/// What is open, and what is behind it.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// How many payments are in flight at the kill.
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=16_000))]
    open: u32,
    /// How many payments were finished before, in a journal that is made for it.
    #[arg(long, default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    history: u32,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl RestartArgs {
    /// A fifth more is ordered than the windows let through: it waits at the kill.
    fn orders(&self) -> u32 {
        self.open + self.open / 5
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    /// Finished before.
    history: u32,
    /// In flight when it was killed, as the engine told.
    in_flight: usize,
    /// In flight at the nodes then, by their own books.
    at_nodes: usize,
    /// Waiting for a window when it was killed, as the engine told.
    queued: usize,
    /// From starting the process to `/readyz` 200.
    ready_s: f64,
    /// From starting the process to the first outcome of a payment that was in flight; by the
    /// engine's clock.
    first_resumed_s: f64,
    /// From starting the process to the first attempt that it began; by the engine's clock.
    first_dispatch_s: Option<f64>,
    /// From starting the process to the last outcome received; the nodes' latency decides it.
    last_outcome_s: f64,
    /// The engine's processor time from its start to the last outcome.
    cpu_s: f64,
    /// The engine's largest resident memory from its start to the last outcome.
    rss_mib: f64,
    /// The engine's largest resident memory up to the kill.
    rss_before_mib: f64,
    /// How many finished batches are told as before: got, listed and watched, every payment.
    old_batches_same: usize,
}

/// A batch that was finished before the kill.
struct Old {
    batch_id: String,
    count: u32,
    told: Told,
}

/// Measures and prints.
///
/// # Errors
/// When a payment is not paid or is paid twice, or a process does not do its part.
pub async fn run(args: RestartArgs) -> Result<()> {
    let machine = Machine::now();
    let folder = Folder::new()?;
    let mut finished = Vec::new();
    if args.history > 0 {
        eprintln!("making a journal of {} finished payments", args.history);
        finished = make::make(&folder.path.join("journal"), args.history).await?.batches;
    }
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let window = args.open.div_ceil(u32::try_from(NODES)?);
    let settings = Settings { signatures: Signatures::Node, window: Some(window) };
    let mut engine = Engine::start(&folder.path, &fleet.nodes, settings).await?;
    let measured = measure(&mut engine, &fleet, (machine, &args), finished).await;
    let report = engine.explain(measured)?;
    paid_once(fleet.dir(), args.orders())?;
    report::print(args.json, &report, &text(&report))
}

async fn measure(
    engine: &mut Engine,
    fleet: &Fleet,
    (machine, args): (Machine, &RestartArgs),
    finished: Vec<(String, u32)>,
) -> Result<Report> {
    let old = tell_some(engine, finished).await?;
    let slow = Knobs { latency_ms: LATENCY_MS, latency_sigma: LATENCY_SIGMA, ..Knobs::default() };
    fleet.turn(&slow).await?;
    let invoices = scene::invoices(0, args.orders() as usize).await?;
    eprintln!("bringing {} payments in flight", args.open);
    let accepted = engine.client.upload("open", client::destinations(&invoices)).await?;
    let (in_flight, done) = fill(engine, &accepted.batch_id, args.open as usize).await?;
    tokio::time::sleep(ARRIVING).await;
    let rss_before = engine.process.rss_bytes_max()?;
    engine.process.kill();
    let (killed, down) = (SystemTime::now(), Instant::now());
    let at_nodes = in_flight_at_nodes(fleet.dir())?;
    eprintln!("killed the engine with {at_nodes} payments in flight at the nodes");
    // What begins after the restart does not keep the run waiting.
    fleet.turn(&Knobs::default()).await?;
    tokio::time::sleep(DOWN.saturating_sub(down.elapsed())).await;
    let (started, started_at) = (Instant::now(), SystemTime::now());
    engine.process.spawn()?;
    engine.ready().await?;
    let ready = started.elapsed();
    eprintln!("ready; waiting for all outcomes");
    let watched = engine.client.watch(&accepted.batch_id, invoices.len()).await?;
    watched.all_succeeded()?;
    let (cpu, rss) = (engine.process.cpu()?, engine.process.rss_bytes_max()?);
    for old in &old {
        let now = told(&engine.client, &old.batch_id, old.count).await?;
        ensure!(now == old.told, "{} is told differently after the restart", old.batch_id);
    }
    let (resumed, begun) = first_signs(&watched.outcomes, killed, started_at);
    let resumed = resumed.context("no payment that was in flight ended after the restart")?;
    Ok(Report {
        machine,
        history: args.history,
        in_flight,
        at_nodes,
        queued: invoices.len().saturating_sub(in_flight + done),
        ready_s: ready.as_secs_f64(),
        first_resumed_s: resumed.as_secs_f64(),
        first_dispatch_s: begun.map(|begun| begun.as_secs_f64()),
        last_outcome_s: (watched.last - started).as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        rss_mib: mib(rss),
        rss_before_mib: mib(rss_before),
        old_batches_same: old.len(),
    })
}

/// What is told of some of the finished batches, the first and the last among them.
async fn tell_some(engine: &Engine, finished: Vec<(String, u32)>) -> Result<Vec<Old>> {
    let (step, last) = (finished.len().div_ceil(TOLD_MAX).max(1), finished.len().saturating_sub(1));
    let mut old = Vec::new();
    for (at, (batch_id, count)) in finished.into_iter().enumerate() {
        if at % step == 0 || at == last {
            let told = told(&engine.client, &batch_id, count).await?;
            old.push(Old { batch_id, count, told });
        }
    }
    Ok(old)
}

/// How long after its start the engine had the first outcome of a payment that was in flight
/// when it was killed, and began its first attempt; by its own clock.
fn first_signs(
    outcomes: &[Outcome],
    killed: SystemTime,
    started: SystemTime,
) -> (Option<Duration>, Option<Duration>) {
    // An error is a time before the start.
    let since = |time: Option<SystemTime>| time?.duration_since(started).ok();
    let old = |outcome: &&Outcome| outcome.first_attempt.is_some_and(|first| first < killed);
    let resumed = outcomes.iter().filter(old).filter_map(|outcome| since(outcome.finished));
    let begun = outcomes.iter().filter_map(|outcome| since(outcome.first_attempt));
    (resumed.min(), begun.min())
}

/// Waits until nearly `open` payments are in flight; how many are, and how many are final.
async fn fill(engine: &Engine, batch_id: &str, open: usize) -> Result<(usize, usize)> {
    let started = Instant::now();
    loop {
        let (in_flight, done) = engine.client.in_flight(batch_id).await?;
        if in_flight >= open / 100 * 99 || started.elapsed() > SENDING_MAX {
            return Ok((in_flight, done));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many payments are in flight by the nodes' own books.
fn in_flight_at_nodes(dir: &Path) -> Result<usize> {
    let books = fulgurite_sim::read_books(dir)?;
    Ok(books.iter().filter(|entry| entry.status == Status::InFlight).count())
}

/// Fails unless the nodes' own books have paid `count` payments, each once.
pub(crate) fn paid_once(dir: &Path, count: u32) -> Result<()> {
    let Books { paid, twice } = books(dir)?;
    ensure!(twice == 0, "{twice} payments were paid twice");
    ensure!(paid == u64::from(count), "{paid} of {count} payments were paid");
    Ok(())
}

/// What the simulated nodes' own books say, by payment hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Books {
    /// Paid at least once.
    pub paid: u64,
    /// Paid more than once.
    pub twice: u64,
}

/// Reads them.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn books(dir: &Path) -> Result<Books> {
    let mut paid: HashMap<[u8; 32], u32> = HashMap::new();
    for entry in fulgurite_sim::read_books(dir)? {
        if entry.status == Status::Succeeded {
            *paid.entry(entry.payment_hash).or_default() += 1;
        }
    }
    let twice = paid.values().filter(|times| **times > 1).count();
    Ok(Books { paid: paid.len() as u64, twice: twice as u64 })
}

fn text(report: &Report) -> String {
    let dispatch = report.first_dispatch_s;
    let dispatch = dispatch.map_or("none was left".into(), |seconds| format!("{seconds:.3} s"));
    format!(
        "{}\n\
         killed with {} payments in flight ({} at the nodes) and {} waiting, {} finished\n\n\
         ready again after             {:>13}\n\
         first resumed outcome after   {:>13}\n\
         first new attempt after       {dispatch:>13}\n\
         last outcome after            {:>13}  (the nodes' latency)\n\
         engine CPU since its restart  {:>13}\n\
         engine's peak memory          {:>13}\n\
         its peak memory until killed  {:>13}\n\
         old batches told as before    {:>13}",
        report.machine.text(),
        report.in_flight,
        report.at_nodes,
        report.queued,
        report.history,
        format!("{:.3} s", report.ready_s),
        format!("{:.3} s", report.first_resumed_s),
        format!("{:.1} s", report.last_outcome_s),
        format!("{:.2} s", report.cpu_s),
        format!("{:.0} MiB", report.rss_mib),
        format!("{:.0} MiB", report.rss_before_mib),
        report.old_batches_same,
    )
}
