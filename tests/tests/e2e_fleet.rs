//! The configuration's nodes are read again while the engine pays (SIGHUP).

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    engine::{Engine, NodeEntry},
    regtest::until,
    scenarios_nodes::{self as nodes, connected, hangup, node, set_nodes},
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const AMOUNT_MSAT: u64 = 1_000_000;

async fn world(folder: &std::path::Path, knobs: Knobs) -> Result<World> {
    World::simulated(folder, 5, Knobs { latency_ms: 20.0, ..knobs }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_and_leave_without_loss() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    nodes::nodes_join_and_leave_without_loss(&world, &folder.path().join("e")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_wrong_changes_nothing_and_is_logged_with_its_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    let entries = world.entries();
    let engine = Engine::start(&folder.path().join("e"), &entries[..1], "")?;
    let path = engine.folder().join("fulgurite.toml");
    let good = fs::read_to_string(&path)?;
    let bad = folder.path().join("bad.macaroon");
    fs::write(&bad, "half of a copy")?;
    let joins = |entry: NodeEntry| good.clone() + &entry.section();
    let missing = NodeEntry { tls_cert: folder.path().join("no.cert"), ..entries[1].clone() };
    let broken = NodeEntry { macaroon: bad.clone(), ..entries[1].clone() };
    let unknown = joins(entries[1].clone()).replace("[sends]", "[sends]\nspeed = 9");
    for (text, place) in [
        (unknown, "speed"),
        (joins(missing), "no.cert"),
        (joins(broken), "bad.macaroon"),
        (joins(entries[0].clone()), "is taken"),
    ] {
        fs::write(&path, text)?;
        let said = hangup(&engine).await?;
        ensure!(said.contains(place) && said.contains("nothing changed"), "{place}: {said}");
        ensure!(node(&engine, "node-1").is_err(), "{place}: nothing of it counts");
    }
    // A section that is not read again is told, and the nodes are.
    fs::write(&path, joins(entries[1].clone()) + "[window]\nin_flight_max = 77\n")?;
    let said = hangup(&engine).await?;
    ensure!(!said.contains("nothing changed"), "{said}");
    until("the section to be told", PATIENCE, async || {
        Ok(engine.whole_log().contains("needs a restart").then_some(()))
    })
    .await?;
    connected(&engine, "node-1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_opened_anew_under_a_batch_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let knobs = Knobs { payments_per_second: 100.0, ..Knobs::default() };
    let world = world(folder.path(), knobs).await?;
    let entries = world.entries();
    let engine = Engine::start(&folder.path().join("e"), &entries[..2], "")?;
    let far = world.receiver(Receiver::Far).await?;
    let invoices = far.invoices(300, AMOUNT_MSAT).await?;
    let mut submit = engine.submit("batch", &invoices)?;
    let mut reloads = 0;
    let mut macaroon = folder.path().join("copy-0.macaroon");
    while !submit.has_ended() && reloads < 20 {
        // Another file with the same rights: the node is opened anew, with what it has in flight.
        fs::copy(&entries[0].macaroon, &macaroon)?;
        let renewed = NodeEntry { macaroon: macaroon.clone(), ..entries[0].clone() };
        set_nodes(&engine, &[renewed, entries[1].clone()])?;
        hangup(&engine).await?;
        connected(&engine, "node-0").await?;
        reloads += 1;
        macaroon = folder.path().join(format!("copy-{reloads}.macaroon"));
    }
    ensure!(reloads > 1, "the batch was over before the node was opened anew");
    let (code, rows) = submit.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    ensure!(far.settled(&invoices).await? == 300, "the receiver has all of it");
    println!("{reloads} reloads under a batch of 300");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_macaroon_that_is_replaced_is_read_and_a_broken_one_is_not_used() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    let macaroon = folder.path().join("own.macaroon");
    let good = fs::read(world.payer().macaroon)?;
    fs::write(&macaroon, &good)?;
    let entry = NodeEntry { macaroon: macaroon.clone(), ..world.payer() };
    let engine = Engine::start(&folder.path().join("e"), &[entry], "")?;
    fs::write(&macaroon, "half of a copy")?;
    until("the broken file to be told", PATIENCE, async || {
        Ok(engine.whole_log().contains("a file of the node cannot be used").then_some(()))
    })
    .await?;
    ensure!(engine.whole_log().contains("own.macaroon"), "its place is named");
    let far = world.receiver(Receiver::Far).await?;
    let (code, rows) = engine.submit("pays", &far.invoices(5, AMOUNT_MSAT).await?)?.wait()?;
    ensure!(code == Some(0), "it pays on: {code:?}: {rows:?}");
    Ok(())
}

/// The key is in the journal: an invoice of ours is refused before its node has answered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_node_is_known_over_a_restart_before_it_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), Knobs::default()).await?;
    let World::Simulated(fleet) = &world else { unreachable!("it was started so") };
    let entries = world.entries();
    let mut engine = Engine::start(&folder.path().join("e"), &entries[..2], "")?;
    connected(&engine, "node-1").await?;
    let own = world.receiver(Receiver::Near).await?.invoices(1, AMOUNT_MSAT).await?;
    let key = node(&engine, "node-1")?["identity_pubkey"].clone();
    engine.kill9();
    fleet.kill(1).await?;
    engine.spawn()?;
    engine.wait_ready()?;
    ensure!(node(&engine, "node-1")?["connected"] == false, "it did not answer");
    ensure!(node(&engine, "node-1")?["identity_pubkey"] == key, "and is known");
    let (exit, text) = engine.submit("own", &own)?.refusal()?;
    ensure!(exit == Some(3) && text.contains("own nodes"), "{exit:?}: {text}");
    Ok(())
}
