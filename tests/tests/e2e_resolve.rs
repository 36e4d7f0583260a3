//! What a person ends: the payments of a lost node, one by one what its node cannot say, and what
//! comes after such a word (rules E14, E19, E20).

use std::{path::Path, slice::from_ref, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::{Fleet, Knobs};
use fulgurite_tests::{
    engine::{Engine, NodeEntry},
    peer::Peer,
    regtest::{Invoice, until},
    scenarios_nodes::{
        connected, hangup, id, node, payment, quarantined, reaches, set_nodes, steer,
    },
    scenarios_operator::said,
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const AMOUNT_MSAT: u64 = 1_000_000;

async fn world(folder: &Path, knobs: Knobs) -> Result<World> {
    World::simulated(folder, 5, Knobs { latency_ms: 20.0, ..knobs }).await
}

fn fleet(world: &World) -> &Fleet {
    let World::Simulated(fleet) = world else { unreachable!("it was started so") };
    fleet
}

async fn held(far: &Peer, engine: &Engine, name: &str, bytes: &[u8]) -> Result<Vec<Invoice>> {
    let mut invoices = Vec::new();
    for byte in bytes {
        invoices.push(far.hold_invoice([*byte; 32], AMOUNT_MSAT).await?);
    }
    drop(engine.submit(name, &invoices)?);
    for invoice in &invoices {
        far.wait_held(invoice.payment_hash).await?;
        reaches(engine, invoice, "in_flight").await?;
    }
    Ok(invoices)
}

fn refused(engine: &Engine, arguments: &[&str], texts: &[&str]) -> Result<()> {
    let (exit, text) = said(engine, arguments)?;
    let all = texts.iter().all(|wanted| text.contains(wanted));
    ensure!(exit == Some(3) && all, "{arguments:?}: {exit:?}, not {texts:?}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_payments_of_a_lost_node_are_ended_together() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    let (entries, fleet) = (world.entries(), fleet(&world));
    let far = world.receiver(Receiver::Far).await?;
    let mut engine = Engine::start(&folder.path().join("e"), &entries[..2], "")?;
    let look = ["node", "resolve", "node-0", "--by", "ada", "--reason", "its disk is gone"];
    let decide = [&look[..], &["--confirm"]].concat();
    steer(&engine, "drain", "node-1")?;
    // Both ways: an engine that lost the node, and one that never saw it.
    for (again, bytes) in [(false, [0x71, 0x72, 0x73]), (true, [0x74, 0x75, 0x76])] {
        let invoices = held(&far, &engine, &format!("held-{again}"), &bytes).await?;
        refused(&engine, &decide, &["NODE_ANSWERS"])?;
        fleet.kill(0).await?;
        until("the engine to miss its node", PATIENCE, async || {
            Ok((node(&engine, "node-0")?["connected"] == false).then_some(()))
        })
        .await?;
        if again {
            engine.restart()?;
        }
        refused(&engine, &look, &["CONFIRMATION_REQUIRED", "3 payments"])?;
        ensure!(payment(&engine, &invoices[0])?["state"] == "in_flight", "nothing is decided");
        let (exit, text) = said(&engine, &decide)?;
        ensure!(exit == Some(0) && text.contains("3 payments"), "{exit:?}: {text}");
        for invoice in &invoices {
            let (_, text) = said(&engine, &["payment", "get", &id(&engine, invoice)?])?;
            ensure!(text.contains("operator_decision"), "{text}");
        }
        let (exit, text) = said(&engine, &decide)?;
        ensure!(exit == Some(0) && text.contains("0 payments"), "again: {exit:?}: {text}");
        quarantined(&engine, "node-0", "lost").await?;
        fleet.start_node(0).await?;
        connected(&engine, "node-0").await?;
        steer(&engine, "trust", "node-0")?;
    }
    refused(
        &engine,
        &["node", "resolve", "nobody", "--by", "ada", "--reason", "lost"],
        &["NODE_NOT_FOUND"],
    )?;
    // Nothing is open there any more: it may leave.
    set_nodes(&engine, from_ref(&entries[1]))?;
    let told = hangup(&engine).await?;
    ensure!(!told.contains("nothing changed"), "{told}");
    Ok(())
}

/// An engine with a payment in flight at `node-0`, which was another node for a while: it is
/// quarantined, connected to the right one again, and the payment unresolved.
async fn quarantined_with_one(world: &World, home: &Path) -> Result<(Engine, Invoice)> {
    let far = world.receiver(Receiver::Far).await?;
    let engine = Engine::start(home, &[world.payer()], "")?;
    let invoice = far.hold_invoice([0x77; 32], AMOUNT_MSAT).await?;
    drop(engine.submit("one", from_ref(&invoice))?);
    reaches(&engine, &invoice, "in_flight").await?;
    // Longer than a moment: the engine has it in its journal that the node knows it.
    let decided = payment(&engine, &invoice)?["version"].clone();
    until("the attempt to be confirmed", PATIENCE, async || {
        Ok((payment(&engine, &invoice)?["version"] != decided).then_some(()))
    })
    .await?;
    let key = node(&engine, "node-0")?["identity_pubkey"].clone();
    let is_it = |wanted: bool| {
        let node = node(&engine, "node-0")?;
        let same = node["identity_pubkey"] == key;
        Ok((node["connected"] == true && same == wanted).then_some(()))
    };
    let other = NodeEntry { name: "node-0".to_owned(), ..world.entries().swap_remove(1) };
    set_nodes(&engine, from_ref(&other))?;
    hangup(&engine).await?;
    quarantined(&engine, "node-0", "identity_changed").await?;
    reaches(&engine, &invoice, "unresolved").await?;
    until("the other node to be shown", PATIENCE, async || is_it(false)).await?;
    set_nodes(&engine, &[world.payer()])?;
    hangup(&engine).await?;
    until("the right node to be back", PATIENCE, async || is_it(true)).await?;
    Ok((engine, invoice))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_after_a_persons_not_paid_is_seen_when_its_batch_is_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    let (mut engine, invoice) = quarantined_with_one(&world, &folder.path().join("e")).await?;
    until("the node to show it in flight", PATIENCE, async || {
        let height = payment(&engine, &invoice)?["htlc_expiry_height"].clone();
        Ok(height.as_i64().filter(|height| *height > 0))
    })
    .await?;
    let id = id(&engine, &invoice)?;
    let decide = ["payment", "resolve", &id, "--not-paid", "--reason", "told", "--by", "ada"];
    let decide = [&decide[..], &["--confirm"]].concat();
    refused(&engine, &decide, &["NODE_AWAY", "quarantined"])?;
    let (exit, text) = said(&engine, &[&decide[..], &["--node-lost"]].concat())?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    world.receiver(Receiver::Far).await?.settle([0x77; 32]).await?;
    let named = async || {
        until("the contradiction to be named", PATIENCE, async || {
            let ids = node(&engine, "node-0")?["contradicted_payment_ids"].clone();
            Ok((ids[0] == id.as_str()).then_some(()))
        })
        .await
    };
    named().await?;
    ensure!(engine.metric("fulgurite_contradictions_total")? > 0, "an alarm");
    ensure!(payment(&engine, &invoice)?["state"] == "failed", "what was told stays");
    engine.restart()?;
    let ids = node(&engine, "node-0")?["contradicted_payment_ids"].clone();
    ensure!(ids[0] == id.as_str(), "it is in the journal: {ids}");
    let (_, text) = said(&engine, &["node", "list"])?;
    ensure!(text.contains(&id) && text.contains("node trust node-0"), "{text}");
    steer(&engine, "trust", "node-0")?;
    ensure!(node(&engine, "node-0")?["contradicted_payment_ids"].is_null(), "a person has looked");
    engine.terminate()?;
    let journal = engine.folder().join("journal").display().to_string();
    let (_, text) = said(&engine, &["journal", "dump", &journal])?;
    ensure!(text.contains("node_paid_after_all"), "{text}");
    Ok(())
}

/// It is not for the watch to find it stuck, which would take minutes: a person asks twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_without_an_htlc_is_ended_after_two_looks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let knobs = Knobs { zombie_share: 1.0, ..Knobs::default() };
    let world = world(folder.path(), knobs).await?;
    let (engine, invoice) = quarantined_with_one(&world, &folder.path().join("e")).await?;
    steer(&engine, "trust", "node-0")?;
    let id = id(&engine, &invoice)?;
    let decide = ["payment", "resolve", &id, "--not-paid", "--reason", "looked", "--by", "ada"];
    let decide = [&decide[..], &["--confirm"]].concat();
    refused(&engine, &decide, &["PAYMENT_MAY_LIVE", "ask again"])?;
    until("the second look to count", PATIENCE, async || {
        let (exit, text) = said(&engine, &decide)?;
        ensure!(exit == Some(0) || text.contains("ask again"), "{exit:?}: {text}");
        Ok((exit == Some(0)).then_some(()))
    })
    .await?;
    let stands = payment(&engine, &invoice)?;
    ensure!(stands["failure"]["reason"] == "operator_decision", "{stands}");
    let far = world.receiver(Receiver::Far).await?;
    far.cancel(invoice.payment_hash).await.context("nobody was paid")?;
    Ok(())
}
