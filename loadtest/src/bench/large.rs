//! A million payments in ten batches, each paid before the next is uploaded.

use std::time::Instant;

use anyhow::Result;
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
    let (flat, peak) = engine.explain(paid)?;
    let took = started.elapsed();
    // It fails when one is lost or twice in the nodes' own books.
    restart::paid_once(fleet.dir(), BATCH * BATCHES)?;
    measured.add("P10a", 0.0);
    measured.add("P10b", peak / flat);
    measured.add("P10c", took.as_secs_f64());
    measured.add("P10d", peak);
    Ok(())
}

/// The engine's peak memory in MiB after the first batches, and after all.
async fn batches(engine: &Engine) -> Result<(f64, f64)> {
    let peak = || engine.process.rss_bytes_max().map(mib);
    let mut flat = peak()?;
    for number in 0..BATCHES {
        // Signing is in the time that is stated: it is not what is asked here.
        let first = u64::from(number) * u64::from(BATCH);
        let orders = client::destinations(&scene::invoices(first, BATCH as usize)?);
        let accepted = engine.client.upload(&format!("large-{number}"), orders).await?;
        engine.client.watch(&accepted.batch_id, BATCH as usize).await?.all_succeeded()?;
        eprintln!("P10: {} of {} paid, {:.0} MiB", (number + 1) * BATCH, BATCHES * BATCH, peak()?);
        if number + 1 == FLAT_AFTER {
            flat = peak()?;
        }
    }
    Ok((flat, peak()?))
}
