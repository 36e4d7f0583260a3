//! `crash`: real processes, real kills.
//!
//! An engine and simulated nodes, each a process of its own, work under load: mixed batches over
//! gRPC, single payments over HTTP and gRPC, repeats with the same keys. In each cycle the engine,
//! a node or both are killed with SIGKILL, at a random time or at a named point. The engine is the
//! one that is shipped: points are calls of the operating system, which a preload library sees.
//! With `--lnd` the nodes are real lnd on a private chain.

pub mod books;
pub mod cycle;
pub mod fleet;
pub mod htlcs;
pub mod kills;
pub mod ledger;
pub mod nodes;
pub mod open;
pub mod plan;
pub mod proves;
pub mod regtest;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1::payment::State;

use self::{books::Sums, cycle::Proof, regtest::Compared};
use crate::report::{Counts, Page};

/// How much is tried.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many cycles of load, kill, restart and comparison.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub cycles: u32,
    /// Decides orders, faults of the nodes and kills; not what the threads make of it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pays over real lnd nodes on a private chain and kills them too; run it in the clone, which
    /// builds lnd once, or name the folder of its programs in `FULGURITE_LND_BIN`.
    #[arg(long)]
    pub lnd: bool,
}

/// Payments that wait behind a fence need some seconds after the last cycle.
const PATIENCE: Duration = Duration::from_secs(60);
/// Those that a killed lnd shows in flight for ever are looked for in its channels, twice.
const PATIENCE_LND: Duration = Duration::from_secs(90);
/// Stops when so much is wrong: the rest would say the same.
const WRONG_MAX: usize = 50;
/// So many hashes of each kind are shown.
const SHOWN: usize = 5;

/// Runs the proof on the engine that lies beside this program.
///
/// # Errors
/// When it cannot be run to its end.
pub fn run(args: &Args) -> Result<Page> {
    tokio::runtime::Runtime::new()?.block_on(run_all(args))
}

async fn run_all(args: &Args) -> Result<Page> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    // Ctrl-C ends the run after this cycle, with the page of what was done (exit code 74).
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            told.store(true, Ordering::Relaxed);
        }
    });
    let mut proof = Proof::start(args.seed, args.lnd).await?;
    let started = Instant::now();
    let mut cycles = 0;
    while cycles < args.cycles
        && proof.found.wrong.len() < WRONG_MAX
        && !interrupted.load(Ordering::Relaxed)
    {
        if let Err(error) = proof.cycle(cycles).await {
            eprintln!("kept: {}", proof.keep().display());
            return Err(error);
        }
        cycles += 1;
        if cycles.is_multiple_of(10) {
            let (seconds, wrong) = (started.elapsed().as_secs(), proof.found.wrong.len());
            eprintln!("{cycles} cycles, {seconds} s, {wrong} wrong");
        }
    }
    let in_cycles = started.elapsed();
    proof.finish(if args.lnd { PATIENCE_LND } else { PATIENCE }).await?;
    let books = proof.sums().await?;
    let mut page = page(args, &mut proof, (cycles, in_cycles), books)?;
    if cycles < args.cycles {
        page.unfinished(format!("stopped after {cycles} of {} cycles", args.cycles));
    }
    if !page.is_clean() {
        eprintln!("kept: {}", proof.keep().display());
    }
    Ok(page)
}

fn page(
    args: &Args,
    proof: &mut Proof,
    (cycles, took): (u32, Duration),
    books: Sums,
) -> Result<Page> {
    let nodes = if args.lnd { "real lnd" } else { "simulated nodes" };
    let mut page = Page::new(format!("crash, seed {}: {cycles} cycles over {nodes}", args.seed));
    let mut states = Counts::default();
    let mut ours = Sums::default();
    for payment in proof.ledger.finals() {
        states.add(payment.state().as_str_name().trim_start_matches("STATE_").to_lowercase());
        if payment.state() == State::Succeeded {
            ours.payments += 1;
            ours.amount_msat += payment.amount_msat as u64;
            ours.fee_msat += payment.fee_msat as u64;
        }
    }
    for _ in proof.ledger.unresolved() {
        states.add("unresolved");
    }
    let found = std::mem::take(&mut proof.found);
    proves::missing(cycles, &found, &proof.ledger).into_iter().for_each(|line| page.wrong(line));
    if ours != books {
        page.wrong(format!("the sums differ: ours {ours:?}, the nodes' {books:?}"));
    }
    let of = |what: &str| found.wrong.iter().filter(|line| line.starts_with(what)).count();
    let per_minute = f64::from(cycles) * 60.0 / took.as_secs_f64();
    let slowest = found.ready.iter().max().map_or(0, Duration::as_millis);
    let mut ready = found.ready.clone();
    ready.sort_unstable();
    let median = ready.get(ready.len() / 2).map_or(0, Duration::as_millis);
    let Compared { settled_alone, given_back, paid_between, .. } = &found.compared;
    page.table(
        "result",
        [
            ("cycles", u64::from(cycles)),
            ("cycles a minute", per_minute as u64),
            ("lost", of("LOST") as u64),
            ("paid twice", of("PAID TWICE") as u64),
            ("otherwise wrong", (found.wrong.len() - of("LOST") - of("PAID TWICE")) as u64),
            ("payments in flight at kills", found.in_flight),
            ("the most at one kill", found.in_flight_max),
            ("requests repeated", found.repeats),
            ("of these, acknowledged before", found.acknowledged),
            ("recovery, median, ms", median as u64),
            ("recovery, slowest, ms", slowest as u64),
            ("kills of nodes", found.node_kills),
            ("lnd: in flight on a channel for ever", found.compared.on_channels),
            ("lnd: failed, settled by receiver's book alone", settled_alone.len() as u64),
            ("lnd: succeeded, given back by receiver", given_back.len() as u64),
            ("lnd: failed, receiver paid by the node between", paid_between.len() as u64),
        ],
    );
    page.table("kills of the engine", found.kills);
    page.table("points not reached", found.missed);
    page.table("points passed, over all lives", proof.passed()?);
    page.table("payments", states);
    page.table("unresolved, by reason", found.compared.unresolved.clone());
    page.table("sums", [("paid, msat", books.amount_msat), ("fees, msat", books.fee_msat)]);
    name_hashes(&mut page, &found.compared);
    page.note(claim(args, cycles));
    page.note(format!(
        "The engine is {}; nothing was built into it for this.",
        fulgurite_tests::engine::program()?.display()
    ));
    found.wrong.into_iter().for_each(|line| page.wrong(line));
    Ok(page)
}

/// Names what real nodes did on their own account, for whoever looks into their logs.
fn name_hashes(page: &mut Page, compared: &Compared) {
    for (what, hashes) in [
        ("given back", &compared.given_back),
        ("settled alone", &compared.settled_alone),
        ("paid by the node between", &compared.paid_between),
    ] {
        hashes.iter().take(SHOWN).for_each(|hash| page.note(format!("{what}: {hash}")));
    }
}

/// What so many cycles say, and what they do not.
fn claim(args: &Args, cycles: u32) -> String {
    let others = if args.lnd {
        "with few nodes on a private\nchain. Of each payment, those without an end too, the \
         receiver got one HTLC if it succeeded, else none;\neach channel of the payers lost what \
         succeeded over it. A killed lnd may show a payment in flight for\never (unresolved, or \
         on a channel), a killed receiver may give back an HTLC whose preimage it had\ntold, a \
         killed node between may pay from its own pocket: counted above, each only with a kill of \
         that\nnode in the payment's life, see docs/lnd-behaviour.md"
    } else {
        "with simulated nodes: not of real lnd (crash --lnd)"
    };
    format!(
        "0 in {cycles} means: with 95 % confidence, below {:.2} % of such crashes go wrong (3/N). \
         It is of\nprocesses that die, on this machine's file system, not of machines that lose \
         power (power-loss)\nor of disks that fail (disk-errors), and {others}.",
        300.0 / f64::from(cycles.max(1))
    )
}
