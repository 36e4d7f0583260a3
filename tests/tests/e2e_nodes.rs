//! Nodes that are drained, and nodes that are not what they were (rules E19, E22).

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    engine::Engine,
    regtest::until,
    scenarios_nodes::{self, id, node, payment, quarantined, reaches, steer},
    scenarios_operator::said,
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const AMOUNT_MSAT: u64 = 1_000_000;

async fn world(folder: &Path) -> Result<World> {
    let knobs = Knobs { latency_ms: 20.0, ..Knobs::default() };
    World::simulated(folder, 5, knobs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_gets_nothing_new_over_restarts_and_what_it_has_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let engine = folder.path().join("e");
    scenarios_nodes::a_drained_node_gets_nothing_new_and_what_it_has_ends(&world, &engine).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_a_node_moves_when_it_drains() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let entries = world.entries();
    let far = world.receiver(Receiver::Far).await?;
    // One payment in flight at a time: the others wait at their node, without an attempt.
    let extra = "[window]\nin_flight_start = 1\nin_flight_min = 1\nin_flight_max = 1\n";
    let engine = Engine::start(&folder.path().join("e"), &entries[..2], extra)?;
    steer(&engine, "drain", "node-1")?;
    let preimage = [0x62; 32];
    let held = far.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let first = engine.submit("held", std::slice::from_ref(&held))?;
    far.wait_held(held.payment_hash).await?;
    let waiting = far.invoices(2, AMOUNT_MSAT).await?;
    let second = engine.submit("waiting", &waiting)?;
    until("orders to wait at the node", PATIENCE, async || {
        Ok((node(&engine, "node-0")?["queued_count"] != 0).then_some(()))
    })
    .await?;
    steer(&engine, "undrain", "node-1")?;
    steer(&engine, "drain", "node-0")?;
    let (code, rows) = second.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    ensure!(payment(&engine, &held)?["state"] == "in_flight", "it ends where it is");
    far.settle(preimage).await?;
    ensure!(first.wait()?.0 == Some(0), "the held one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forgot_a_payment_is_quarantined_until_a_person_trusts_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let World::Simulated(fleet) = &world else { unreachable!("it was started so") };
    let far = world.receiver(Receiver::Far).await?;
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], "")?;
    let held = far.hold_invoice([0x63; 32], AMOUNT_MSAT).await?;
    let submit = engine.submit("held", std::slice::from_ref(&held))?;
    far.wait_held(held.payment_hash).await?;
    // Longer than a moment in flight: in the journal, so that the next engine knows it too.
    let decided = &payment(&engine, &held)?["version"];
    until("the attempt to be confirmed", PATIENCE, async || {
        Ok((payment(&engine, &held)?["version"] != *decided).then_some(()))
    })
    .await?;
    engine.terminate()?;
    let journal = folder.path().join("e/journal").display().to_string();
    let (_, text) = said(&engine, &["journal", "dump", &journal])?;
    ensure!(text.contains("attempt_confirmed"), "{text}");
    fleet.kill(0).await?;
    // Restored from a backup of its first day.
    fs::remove_file(fleet.config().node_dir(0).join("book.dat"))?;
    fleet.start_node(0).await?;
    engine.spawn()?;
    engine.wait_ready()?;
    quarantined(&engine, "node-0", "payment_forgotten").await?;
    reaches(&engine, &held, "unresolved").await?;
    ensure!(engine.metric("fulgurite_contradictions_total")? > 0, "an alarm");
    ensure!(submit.wait()?.0 == Some(5), "who waited for it is sent to a person");

    // Nothing is sent: an order waits.
    let order = far.invoices(1, AMOUNT_MSAT).await?;
    let waits = engine.submit("waits", &order)?;
    until("the order to be there", PATIENCE, async || {
        Ok(payment(&engine, &order[0]).is_ok().then_some(()))
    })
    .await?;
    engine.restart()?;
    quarantined(&engine, "node-0", "payment_forgotten").await?;
    ensure!(payment(&engine, &order[0])?["state"] == "queued", "nothing is sent");
    let (_, text) = said(&engine, &["node", "list"])?;
    ensure!(text.contains("fulgurite node trust node-0"), "the way out is named: {text}");

    steer(&engine, "trust", "node-0")?;
    let (code, rows) = waits.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    // The payment stays unresolved until a person ends it; of this one its node knows nothing.
    ensure!(payment(&engine, &held)?["state"] == "unresolved", "trust decides nothing");
    let payment_id = id(&engine, &held)?;
    let decide = ["payment", "resolve", &payment_id, "--not-paid", "--reason", "restored", "--by"];
    let (exit, text) =
        said(&engine, &[&decide[..], &["ada", "--confirm", "--node-lost"]].concat())?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    ensure!(payment(&engine, &held)?["state"] == "failed", "it is resolved");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_under_the_same_name_is_not_believed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let engine = folder.path().join("e");
    scenarios_nodes::another_node_under_the_same_name_is_not_believed(&world, &engine).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restored_from_its_own_backup_is_quarantined() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let place = folder.path().join("restored");
    scenarios_nodes::a_node_restored_from_its_own_backup_is_quarantined(&world, &place).await
}
