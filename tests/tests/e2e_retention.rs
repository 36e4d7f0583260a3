//! Old records go while a real engine runs (`journal.keep_days`), and what they said stays.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use fulgurite_core::{
    Event, Lsn, Order, PaymentHash, UnixMs,
    event::{Contradiction, PaymentChange, Resolution, Verdict},
    order::Sealed,
    testing,
};
use fulgurite_journal::{JournalOptions, Opened, open, verify};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    engine::{Engine, Sections},
    regtest::{Invoice, until},
    scenarios_operator::said,
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const KEEP: &str = "[journal]\ndisk_floor_mb = 0\nkeep_days = 30\nsnapshot_every_events = 1_000\n";
/// Nothing gets so old.
const FOR_EVER: i64 = i64::MAX;

fn now() -> Result<UnixMs> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(UnixMs(i64::try_from(now)?))
}

fn opened(folder: &Path, keep_ms: i64, snapshot_every_events: u64, at: UnixMs) -> Result<Opened> {
    let options = JournalOptions { keep_ms, snapshot_every_events, ..JournalOptions::new(folder) };
    Ok(open(options, at)?)
}

/// Appends events of which nothing follows.
fn nothing_happens(opened: &Opened, events: usize) {
    for _ in 0..events / 100 {
        let last = opened.journal.append_many((0..100).map(|_| Event::Barrier));
        opened.views.projected().block_until(last);
    }
}

/// A journal of forty days ago: somebody paid this hash, a person called another one not paid, and
/// then nothing of note happened.
fn old_journal(folder: &Path, elsewhere: &Invoice, resolved: &Invoice) -> Result<()> {
    let time = now()?.plus_ms(-40 * 86_400_000);
    let opened = opened(folder, FOR_EVER, 500, time)?;
    let (node, hashes) = ("node-0".into(), vec![PaymentHash(elsewhere.payment_hash)].into());
    opened.journal.append_many([Event::PaidElsewhere { node, hashes, time }]);
    let invoice = resolved.payment_request.as_str().into();
    let payment_hash = PaymentHash(resolved.payment_hash);
    let order = Order { invoice, payment_hash, ..testing::order(1) };
    let (batch, orders) = (testing::batch_id(), Arc::new(vec![(1, Arc::new(order))]));
    let payment = batch.payment(1);
    let contradiction = Contradiction::PaidBefore;
    let (by, reason) = (Sealed::plain("ada"), Sealed::plain("looked"));
    let word = Arc::new(Resolution { verdict: Verdict::NotPaid, by, reason });
    let change = |change| Event::Payment { payment, time, change };
    opened.journal.append_many([
        Event::OrdersAdded { batch, orders },
        Event::BatchAccepted(Arc::new(testing::accepted(testing::options(), 1))),
        change(PaymentChange::Contradicted { attempt: 0, contradiction }),
        change(PaymentChange::Resolved(word)),
        Event::BatchFinished { batch, time },
    ]);
    nothing_happens(&opened, 2_000);
    opened.running.close();
    Ok(())
}

/// So much happens today that the next start takes a snapshot.
fn busy_day(folder: &Path) -> Result<()> {
    let opened = opened(folder, FOR_EVER, u64::MAX, now()?)?;
    nothing_happens(&opened, 1_500);
    opened.running.close();
    Ok(())
}

/// Removes what was written up to this event, as if long ago.
fn forget(folder: &Path, last: Lsn) -> Result<()> {
    for is_second in [false, true] {
        let opened = opened(folder, 1, 500, now()?)?;
        nothing_happens(&opened, 1_500);
        for _ in 0..500 {
            if is_second && opened.journal.totals().oldest_lsn <= last {
                nothing_happens(&opened, 100);
            }
        }
        let totals = opened.journal.totals();
        ensure!(!is_second || totals.oldest_lsn > last, "{last}: {totals:?}");
        opened.running.close();
    }
    Ok(())
}

/// Starts the engine and kills it as old records go.
async fn killed_as_records_go(engine: &mut Engine) -> Result<()> {
    engine.spawn()?;
    until("old records to be removed", PATIENCE, async || {
        Ok(engine.whole_log().contains("old records are removed").then_some(()))
    })
    .await?;
    engine.kill9();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_as_old_records_go_keeps_every_claim() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = World::simulated(folder.path(), 5, Knobs::default()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(5, 1_000_000).await?;
    let [elsewhere, resolved, paid @ .., free] = invoices.as_slice() else { unreachable!("five") };
    let sections = Sections { extra: KEEP, ..Sections::default() };
    let mut engine = Engine::prepare(&folder.path().join("e"), &[world.payer()], sections)?;
    let journal = engine.folder().join("journal");
    let name = journal.to_str().context("a path")?.to_owned();
    old_journal(&journal, elsewhere, resolved)?;

    // No engine ran for forty days: nothing is old before the next start.
    engine.spawn()?;
    engine.wait_ready()?;
    let (exit, rows) = engine.submit("paid", paid)?.wait()?;
    ensure!(exit == Some(0) && rows.len() == 2, "{exit:?}: {rows:?}");
    engine.kill9();
    let (exit, text) = said(&engine, &["journal", "verify", &name])?;
    ensure!(exit == Some(0) && !text.contains("removed by retention"), "{text}");

    busy_day(&journal)?;
    killed_as_records_go(&mut engine).await?;
    let (exit, text) = said(&engine, &["journal", "verify", &name])?;
    ensure!(exit == Some(0) && text.contains("were removed by retention on"), "{text}");
    forget(&journal, verify(&journal).last_lsn)?;

    engine.spawn()?;
    engine.wait_ready()?;
    ensure!(engine.metric("fulgurite_journal_oldest_lsn")? > 1, "the gauge says where it begins");
    ensure!(engine.metric("fulgurite_journal_retention_failed")? == 0, "nothing is wrong");
    let (exit, text) = engine.submit("other", std::slice::from_ref(elsewhere))?.refusal()?;
    ensure!(exit == Some(3) && text.contains("not by this engine"), "{exit:?}: {text}");
    let told = engine.payment_of(resolved)?;
    ensure!(told["state"] == "failed", "{told}");
    ensure!(told.to_string().to_lowercase().contains("operator_decision"), "{told}");
    for (name, invoice, owner) in [
        ("again", resolved, testing::batch_id().payment(1).to_string()),
        ("more", &paid[0], rows[0].payment_id.clone()),
    ] {
        let (exit, text) = engine.submit(name, std::slice::from_ref(invoice))?.refusal()?;
        ensure!(exit == Some(3) && text.contains(&owner), "{name}: {exit:?}: {text}");
    }
    // The same key: the same batch, and nothing is paid again.
    let accepted = engine.metric("fulgurite_orders_accepted_total")?;
    let (exit, again) = engine.submit("paid", paid)?.wait()?;
    let ids = |rows: &[fulgurite_tests::engine::ResultRow]| {
        rows.iter().map(|row| (row.payment_id.clone(), row.state.clone())).collect::<Vec<_>>()
    };
    ensure!(exit == Some(0) && ids(&again) == ids(&rows), "{exit:?}: {again:?}");
    ensure!(engine.metric("fulgurite_orders_accepted_total")? == accepted, "nothing is new");

    let (exit, rows) = engine.submit("free", std::slice::from_ref(free))?.wait()?;
    ensure!(exit == Some(0), "{exit:?}: {rows:?}");
    engine.restart()?;
    ensure!(engine.state_of(free)? == "succeeded", "{}", engine.state_of(free)?);
    engine.terminate()?;
    let (exit, text) = said(&engine, &["journal", "dump", &name])?;
    ensure!(exit == Some(0) && text.contains("were removed by retention on"), "{text}");
    Ok(())
}
