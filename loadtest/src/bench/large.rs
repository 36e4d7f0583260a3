//! A million payments in ten batches, each paid before the next is uploaded.

use std::time::Instant;

use anyhow::{Result, ensure};
use fulgurite_sim::Knobs;

use super::goals::Measured;
use crate::{
    client,
    report::mib,
    restart,
    scene::{self, Engine, Fleet, Folder, Settings, Signatures},
};

/// Payments of one batch: the most that there may be.
const BATCH: u32 = 100_000;
const BATCHES: u32 = 10;
/// After so many the memory should not grow any more.
const FLAT_AFTER: u32 = 2;

/// Pays them and measures.
///
/// # Errors
/// When a payment is not paid.
pub(super) async fn pay(measured: &mut Measured) -> Result<()> {
    let folder = Folder::new()?;
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let settings = Settings { signatures: Signatures::Door, window: None };
    let mut engine = Engine::start(&folder.path, &fleet.nodes, settings).await?;
    let started = Instant::now();
    let paid = batches(&engine).await;
    let Seen { told, flat, peak } = engine.explain(paid)?;
    let took = started.elapsed();
    // What the engine tells, and what is in the nodes' own books: the worse of the two.
    let ordered = u64::from(BATCH) * u64::from(BATCHES);
    let books = restart::books(fleet.dir())?;
    let wrong = ordered - told.min(books.paid).min(ordered) + books.twice;
    measured.add("P10a", wrong as f64);
    measured.add("P10b", peak / flat);
    measured.add("P10c", took.as_secs_f64());
    measured.add("P10d", peak);
    let (paid, twice) = (books.paid, books.twice);
    ensure!(
        wrong == 0,
        "P10: of {ordered} the engine paid {told}, the nodes {paid}, {twice} twice"
    );
    Ok(())
}

/// How many payments the engine called paid, and its peak memory in MiB after the first batches
/// and after all.
struct Seen {
    told: u64,
    flat: f64,
    peak: f64,
}

async fn batches(engine: &Engine) -> Result<Seen> {
    let peak = || engine.process.rss_bytes_max().map(mib);
    let (mut told, mut flat) = (0, peak()?);
    for number in 0..BATCHES {
        // Signing is in the time that is stated: it is not what is asked here.
        let first = u64::from(number) * u64::from(BATCH);
        let orders = client::destinations(&scene::invoices(first, BATCH as usize).await?);
        let accepted = engine.client.upload(&format!("large-{number}"), orders).await?;
        let watched = engine.client.watch(&accepted.batch_id, BATCH as usize).await?;
        told += watched.outcomes.iter().filter(|outcome| outcome.succeeded).count() as u64;
        eprintln!("P10: {told} of {} paid, {:.0} MiB", BATCHES * BATCH, peak()?);
        if number + 1 == FLAT_AFTER {
            flat = peak()?;
        }
    }
    Ok(Seen { told, flat, peak: peak()? })
}
