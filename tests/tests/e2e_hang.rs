//! Payments that hang, on the simulated lnd: what the scenarios of both worlds do not show.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fulgurite_proto::lnrpc::invoice::InvoiceState;
use fulgurite_sim::{FailMix, Fleet, Knobs};
use fulgurite_tests::{
    engine::Engine,
    peer::{Peer, text},
    regtest::{Invoice, plain_payment, until},
    scenarios_hang as hang,
    world::{Receiver, World},
};

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn simulated(folder: &std::path::Path, knobs: Knobs) -> Result<World> {
    World::simulated(folder, 5, knobs).await
}

fn fleet(world: &World) -> Result<&Fleet> {
    match world {
        World::Simulated(fleet) => Ok(fleet),
        World::Real(_) => bail!("a simulated world"),
    }
}

async fn wait_state(engine: &Engine, invoice: &Invoice, state: &str) -> Result<()> {
    until(state, PATIENCE, async || Ok((engine.state_of(invoice)? == state).then_some(()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_payments_leave_the_windows_and_keep_their_slots() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = simulated(folder.path(), Knobs { latency_ms: 5.0, ..Knobs::default() }).await?;
    let engine = folder.path().join("e");
    hang::held_payments_leave_the_windows_and_keep_their_slots(&world, &engine).await
}

/// Mostly waits for two looks, ten seconds apart: together they take no longer than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_without_an_htlc_or_on_chain_ends_with_what_is_true() -> Result<()> {
    tokio::try_join!(
        a_payment_by_a_channel_that_is_closed_ends_on_chain(),
        a_zombie_is_unresolved_until_its_node_is_restarted(),
        a_lost_htlc_whose_channel_is_closed_does_not_stay_in_flight_for_ever(),
    )?;
    Ok(())
}

async fn a_payment_by_a_channel_that_is_closed_ends_on_chain() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = simulated(folder.path(), Knobs { latency_ms: 5.0, ..Knobs::default() }).await?;
    let engine = folder.path().join("e");
    hang::a_payment_by_a_channel_that_is_closed_ends_on_chain(&world, &engine).await
}

/// The node ends its work on a payment and tells nobody: without a watchdog the engine would wait
/// for its word for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_which_the_node_says_nothing_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = simulated(folder.path(), Knobs { latency_ms: 1.0, ..Knobs::default() }).await?;
    let near = world.receiver(Receiver::Near).await?;
    let payer = Peer::connect(&world.payer()).await?;
    let preimage = [0x63; 32];
    let held = near.hold_invoice(preimage, 10_000).await?;
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], "silence_s_max = 2\n")?;
    let submit = engine.submit("mute", std::slice::from_ref(&held))?;
    near.wait_held(held.payment_hash).await?;
    let mute = Knobs { is_mute: true, latency_ms: 1.0, ..Knobs::default() };
    fleet(&world)?.turn(Some(0), &mute)?;
    // It is mute once a payment of its own goes unheard.
    until("the node to be mute", PATIENCE, async || {
        let pilot = near.invoices(1, 10_000).await?.swap_remove(0);
        let paid = payer.pay(plain_payment(&pilot));
        let told = tokio::time::timeout(Duration::from_millis(500), paid).await;
        Ok(told.is_err().then_some(()))
    })
    .await?;
    near.settle(preimage).await?;
    let (code, rows) = tokio::task::spawn_blocking(move || submit.wait()).await??;
    ensure!(code == Some(0) && rows[0].state == "succeeded", "{code:?} {rows:?}");
    Ok(())
}

/// lnd shows a payment in flight on which nobody works; its restart ends it (NO_ROUTE).
async fn a_zombie_is_unresolved_until_its_node_is_restarted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = simulated(folder.path(), Knobs { zombie_share: 1.0, ..Knobs::default() }).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoice = near.invoices(1, 10_000).await?.swap_remove(0);
    let soon = "payment_timeout_s = 1\nstuck_after_s = 1\n";
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], soon)?;
    let submit = engine.submit("zombie", std::slice::from_ref(&invoice))?;
    wait_state(&engine, &invoice, "unresolved").await?;
    drop(submit);
    let payer = Peer::connect(&world.payer()).await?;
    ensure!(text(&payer.track(invoice.payment_hash).await?) == "IN_FLIGHT", "not a zombie");
    fleet(&world)?.restart(0, Duration::from_millis(100)).await?;
    // The node failed it, and the order is paid anew, once.
    wait_state(&engine, &invoice, "succeeded").await?;
    ensure!(near.state(invoice.payment_hash).await? == InvoiceState::Settled, "not paid");
    Ok(())
}

/// What a killed node lost is in flight in its books for ever. When the channel by which it left is
/// closed, the payment waits for the chain; when the chain is done with it, it is unresolved; and
/// the node's next restart ends it, not paid.
async fn a_lost_htlc_whose_channel_is_closed_does_not_stay_in_flight_for_ever() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lossy = Knobs { latency_ms: 60_000.0, commit_ms: 60_000, ..Knobs::default() };
    let world = simulated(folder.path(), lossy.clone()).await?;
    let (near, fleet) = (world.receiver(Receiver::Near).await?, fleet(&world)?);
    let invoice = near.invoices(1, 10_000).await?.swap_remove(0);
    // Connected to anew each time: it is restarted.
    let truth = async || -> Result<String> {
        Ok(Peer::connect(&world.payer()).await?.track_text(invoice.payment_hash).await)
    };
    let soon = "payment_timeout_s = 1\nstuck_after_s = 1\n[batch]\nattempts_max = 1\n";
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], soon)?;
    let submit = engine.submit("lost", std::slice::from_ref(&invoice))?;
    until("the payment to be sent", PATIENCE, async || {
        Ok((truth().await? == "IN_FLIGHT").then_some(()))
    })
    .await?;
    let closed = Knobs { closed_channels: 5, ..lossy };
    fleet.turn(Some(0), &closed)?;
    fleet.restart(0, Duration::from_millis(100)).await?;
    until("the engine to look for its HTLC", PATIENCE, async || {
        Ok(engine.whole_log().contains("the chain decides").then_some(()))
    })
    .await?;
    ensure!(engine.state_of(&invoice)? == "in_flight", "it may still be decided on chain");

    fleet.turn(Some(0), &Knobs { resolved_channels: 5, ..closed })?;
    wait_state(&engine, &invoice, "unresolved").await?;
    let said = truth().await?;
    ensure!(said == "IN_FLIGHT", "the node says {said}");
    fleet.restart(0, Duration::from_millis(100)).await?;
    let (_, rows) = tokio::task::spawn_blocking(move || submit.wait()).await??;
    let found = rows.first().context("a row")?;
    ensure!(found.state == "unresolved" || found.state == "failed", "{rows:?}");
    wait_state(&engine, &invoice, "failed").await?;
    ensure!(near.state(invoice.payment_hash).await? == InvoiceState::Open, "it was paid");
    Ok(())
}

/// A node's clock that is an hour off changes nothing, with sends that are lost and streams that
/// are cut: every invoice is paid once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_an_hour_off_pays_each_invoice_once() -> Result<()> {
    tokio::try_join!(with_a_clock_off_by(3_600_000), with_a_clock_off_by(-3_600_000))?;
    Ok(())
}

async fn with_a_clock_off_by(clock_offset_ms: i64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = simulated(folder.path(), Knobs { latency_ms: 5.0, ..Knobs::default() }).await?;
    let near = world.receiver(Receiver::Near).await?;
    let knobs = Knobs {
        clock_offset_ms,
        latency_ms: 5.0,
        drop_share: 0.3,
        cut_silent_share: 0.3,
        ..Knobs::default()
    };
    fleet(&world)?.turn(Some(0), &knobs)?;
    // Its clock is read when it is connected to.
    fleet(&world)?.restart(0, Duration::from_millis(50)).await?;
    let mut invoices = Vec::new();
    for _ in 0..20 {
        invoices.push(near.invoice(10_000, Duration::from_secs(3 * 3_600)).await?);
    }
    let extra = "[batch]\nattempts_max = 20\n";
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], extra)?;
    let nodes = engine.cli(&["node", "list", "--json"])?.stdout;
    let nodes = String::from_utf8_lossy(&nodes).into_owned();
    ensure!(nodes.contains("3600") || nodes.contains("3599"), "the clock: {nodes}");
    let submit = engine.submit("clock", &invoices)?;
    let (code, rows) = tokio::task::spawn_blocking(move || submit.wait()).await??;
    let paid = rows.iter().filter(|row| row.state == "succeeded").count();
    ensure!(code == Some(0) && paid == invoices.len(), "{clock_offset_ms}: {code:?} {rows:?}");
    ensure!(near.settled(&invoices).await? == invoices.len(), "the recipient's books");
    Ok(())
}

/// Rule E14: a payment that its node called failed is paid after all. It is unresolved, the alarm
/// is raised, and it is paid by nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_is_paid_after_it_failed_is_unresolved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let timeout =
        FailMix { timeout: 1.0, no_route: 0.0, insufficient_balance: 0.0, ..FailMix::default() };
    let knobs = Knobs {
        latency_ms: 5.0,
        fail_share: 0.5,
        fail_mix: timeout,
        recants: true,
        ..Knobs::default()
    };
    let world = simulated(folder.path(), knobs).await?;
    let near = world.receiver(Receiver::Near).await?;
    // Held, so that the batch stays open: of twelve, some do not fail first.
    let mut all = Vec::new();
    for preimage in 0x41..0x4d {
        all.push(near.hold_invoice([preimage; 32], 10_000).await?);
    }
    let invoices = near.invoices(20, 10_000).await?;
    all.extend(invoices.iter().cloned());
    let once = "[batch]\nattempts_max = 1\n";
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], once)?;
    let submit = engine.submit("recants", &all)?;
    for held in &all[..12] {
        near.wait_held(held.payment_hash).await?;
    }
    let states = || -> Result<Vec<String>> {
        invoices.iter().map(|invoice| engine.state_of(invoice)).collect()
    };
    let seen = until("every payment to be paid", PATIENCE, async || {
        let seen = states()?;
        let over = seen.iter().all(|state| ["succeeded", "unresolved"].contains(&state.as_str()));
        Ok(over.then_some(seen))
    })
    .await?;
    let unresolved = seen.iter().filter(|state| *state == "unresolved").count();
    ensure!((1..20).contains(&unresolved), "{unresolved} of 20 failed first");
    ensure!(engine.metric("fulgurite_contradictions_total")? == unresolved as u64, "the alarm");
    ensure!(near.settled(&invoices).await? == 20, "the recipient's books");
    for (invoice, state) in invoices.iter().zip(&seen) {
        let again = engine.submit(&format!("again-{state}"), std::slice::from_ref(invoice))?;
        let (code, said) = tokio::task::spawn_blocking(move || again.refusal()).await??;
        ensure!(code == Some(3), "{state}, ordered again: {code:?} {said}");
    }
    drop(submit);
    Ok(())
}
