//! What the nodes show of payments that this journal did not make (rule E18), on simulated nodes:
//! names that change, nodes that are not believed, and what a person accepts.

use std::{
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::lnrpc::payment::PaymentStatus;
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    engine::{Engine, NodeEntry, Sections},
    peer::Peer,
    regtest::{Invoice, plain_payment, until},
    scenarios_nodes::{
        connected, hangup, id, node, payment, quarantined, reaches, set_nodes, steer,
    },
    scenarios_operator::said,
    scenarios_witness::{resume, submit_paused},
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const AMOUNT_MSAT: u64 = 1_000_000;
const OFTEN: &str = "[witness]\nevery_s = 1\n";

async fn world(folder: &Path) -> Result<World> {
    let knobs = Knobs { latency_ms: 20.0, ..Knobs::default() };
    World::simulated(folder, 5, knobs).await
}

/// Pays invoices over the engine, and waits until they are paid.
fn pays(engine: &Engine, name: &str, invoices: &[Invoice]) -> Result<()> {
    let (code, rows) = engine.submit(name, invoices)?.wait()?;
    ensure!(code == Some(0), "{name}: {code:?}: {rows:?}");
    Ok(())
}

/// Ends an unresolved payment with its proof.
async fn resolve(engine: &Engine, receiver: &Peer, invoice: &Invoice) -> Result<()> {
    let preimage = hex::encode(receiver.preimage(invoice.payment_hash).await?);
    let payment = id(engine, invoice)?;
    let proof = ["payment", "resolve", &payment, "--paid", "--preimage", &preimage, "--by", "ada"];
    let (exit, text) = said(engine, &proof)?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_be_renamed_and_have_two_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(9, AMOUNT_MSAT).await?;
    let renamed = NodeEntry { name: "renamed".to_owned(), ..world.payer() };
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], OFTEN)?;
    pays(&engine, "one", &invoices[..3])?;
    set_nodes(&engine, std::slice::from_ref(&renamed))?;
    engine.restart()?;
    pays(&engine, "two", &invoices[3..6])?;
    set_nodes(&engine, &[renamed, world.payer()])?;
    engine.restart()?;
    pays(&engine, "three", &invoices[6..])?;
    // What one of them started, the other lists.
    engine.restart()?;
    ensure!(engine.metric("fulgurite_contradictions_total")? == 0, "nothing is contradicted");
    ensure!(near.settled(&invoices).await? == invoices.len(), "not all paid");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_believed_is_compared_once_it_is_trusted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let far = world.receiver(Receiver::Far).await?;
    let entries = world.entries();
    let invoices = far.invoices(6, AMOUNT_MSAT).await?;
    let engine = Engine::start(&folder.path().join("e"), &entries[..2], OFTEN)?;
    connected(&engine, "node-0").await?;
    connected(&engine, "node-1").await?;
    steer(&engine, "drain", "node-0")?;
    pays(&engine, "one", &invoices[..2])?;
    // The address of our own other node, by mistake: what is paid there is not of this name.
    let mistaken = NodeEntry { name: "node-0".to_owned(), ..entries[1].clone() };
    set_nodes(&engine, &[mistaken, entries[1].clone()])?;
    hangup(&engine).await?;
    quarantined(&engine, "node-0", "identity_changed").await?;
    connected(&engine, "node-0").await?;
    pays(&engine, "two", &invoices[2..4])?;
    set_nodes(&engine, &entries[..2])?;
    hangup(&engine).await?;
    connected(&engine, "node-0").await?;
    steer(&engine, "trust", "node-0")?;
    steer(&engine, "undrain", "node-0")?;
    steer(&engine, "drain", "node-1")?;
    pays(&engine, "three", &invoices[4..])?;
    ensure!(!engine.whole_log().contains("claimed as paid elsewhere"), "nothing is claimed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_says_that_a_node_is_not_read_any_more_when_it_leaves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let entries = world.entries();
    let mut engine = Engine::start(&folder.path().join("e"), &entries[..2], OFTEN)?;
    connected(&engine, "node-0").await?;
    set_nodes(&engine, &entries[1..2])?;
    hangup(&engine).await?;
    until("the node to have left", PATIENCE, async || {
        Ok(engine.whole_log().contains("the node has left").then_some(()))
    })
    .await?;
    engine.terminate()?;
    let journal = engine.folder().join("journal").display().to_string();
    let (_, text) = said(&engine, &["journal", "dump", &journal])?;
    let compared = |line: &&str| line.contains("node_compared") && line.contains("node-0");
    let last = text.lines().rfind(compared).unwrap_or_default();
    ensure!(last.contains("\"live\":false"), "{last}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_paid_by_hand_stops_the_engine_until_a_person_accepts_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let payer = Peer::connect(&world.payer()).await?;
    let invoices = near.invoices(2, AMOUNT_MSAT).await?;
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], OFTEN)?;
    submit_paused(&engine, "batch", &invoices)?;
    payer.pay(plain_payment(&invoices[0])).await?;
    let hash = hex::encode(invoices[0].payment_hash);
    for _ in 0..3 {
        let status = until("the engine to end", PATIENCE, async || engine.ended()).await?;
        let words = engine.last_words();
        let last = words.lines().last().unwrap_or_default();
        ensure!(status.code() == Some(75), "{status}: {words}");
        ensure!(last.contains(&format!("--accept-paid-elsewhere {hash}")), "the way out: {last}");
        engine.spawn()?;
    }
    until("the engine to end", PATIENCE, async || engine.ended()).await?;
    engine.set_environment(vec![("FULGURITE_ACCEPT_PAID_ELSEWHERE", OsString::from(&hash))]);
    engine.spawn()?;
    engine.wait_ready()?;
    reaches(&engine, &invoices[0], "unresolved").await?;
    // It is in the journal: the next start needs no option.
    engine.set_environment(Vec::new());
    engine.restart()?;
    let (exit, text) = said(&engine, &["batch", "resume", "--key", "batch"])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    reaches(&engine, &invoices[1], "succeeded").await?;
    ensure!(payment(&engine, &invoices[0])?["state"] == "unresolved", "a person decides");
    resolve(&engine, &near, &invoices[0]).await?;
    engine.restart()?;
    reaches(&engine, &invoices[0], "succeeded").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_what_was_paid_before_it_is_unresolved_and_not_paid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let payer = Peer::connect(&world.payer()).await?;
    let invoices = near.invoices(2, AMOUNT_MSAT).await?;
    // It reads at its start alone, as far as this test goes.
    let seldom = "[witness]\nevery_s = 600\nmargin_s = 660\n";
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], seldom)?;
    payer.pay(plain_payment(&invoices[0])).await?;
    let paid = Instant::now();
    // Clocks are compared to five seconds.
    until("the order to be clearly later", PATIENCE, async || {
        Ok((paid.elapsed() > Duration::from_secs(7)).then_some(()))
    })
    .await?;
    submit_paused(&engine, "batch", &invoices)?;
    engine.restart()?;
    reaches(&engine, &invoices[0], "unresolved").await?;
    let (exit, text) = said(&engine, &["batch", "resume", "--key", "batch"])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    reaches(&engine, &invoices[1], "succeeded").await?;
    ensure!(payment(&engine, &invoices[0])?["state"] == "unresolved", "a person decides");
    resolve(&engine, &near, &invoices[0]).await?;
    reaches(&engine, &invoices[0], "succeeded").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_order_that_its_node_shows_as_paid_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fails = Knobs { latency_ms: 20.0, fail_share: 1.0, ..Knobs::default() };
    let world = World::simulated(folder.path(), 5, fails.clone()).await?;
    let World::Simulated(fleet) = &world else { unreachable!("it was started so") };
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(1, AMOUNT_MSAT).await?;
    let extra = format!("{OFTEN}[batch]\nattempts_max = 1\n");
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], &extra)?;
    connected(&engine, "node-0").await?;
    let (code, rows) = engine.submit("fails", &invoices)?.wait()?;
    ensure!(code != Some(0) && rows[0].state == "failed", "{code:?}: {rows:?}");
    engine.terminate()?;
    fleet.turn(Some(0), &Knobs { fail_share: 0.0, ..fails })?;
    let payer = Peer::connect(&world.payer()).await?;
    until("the payment by hand to be paid", PATIENCE, async || {
        let paid = payer.pay(plain_payment(&invoices[0])).await?;
        Ok((paid.status() == PaymentStatus::Succeeded).then_some(()))
    })
    .await?;
    engine.spawn()?;
    engine.wait_ready()?;
    let payment = id(&engine, &invoices[0])?;
    until("the payment to be named", PATIENCE, async || {
        let ids = node(&engine, "node-0")?["contradicted_payment_ids"].clone();
        Ok((ids[0] == *payment).then_some(()))
    })
    .await?;
    ensure!(engine.metric("fulgurite_contradictions_total")? == 1, "an alarm");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_one_node_cuts_off_leaves_no_key_at_any() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let entries = world.entries();
    let mut guarded = OFTEN.to_owned();
    for NodeEntry { name, address, tls_cert, macaroon } in &entries[..2] {
        guarded += &format!(
            "[[node]]\nname = {name:?}\naddress = {address:?}\ntls_cert_path = {tls_cert:?}\n\
             macaroon_path = {macaroon:?}\nguard_macaroon_path = {macaroon:?}\n"
        );
    }
    let sections = Sections { extra: &guarded, ..Sections::default() };
    let mut engine = Engine::prepare(&folder.path().join("e"), &[], sections)?;
    let (one, other) = (Peer::connect(&entries[0]).await?, Peer::connect(&entries[1]).await?);
    let before = [one.macaroon_ids().await?, other.macaroon_ids().await?];
    engine.spawn()?;
    engine.wait_ready()?;
    connected(&engine, "node-0").await?;
    connected(&engine, "node-1").await?;
    let baked = one.macaroon_ids().await?;
    let key = baked.iter().find(|id| !before[0].contains(id)).context("a key of the engine")?;
    ensure!(other.macaroon_ids().await?.contains(key), "the same at both");
    let far = world.receiver(Receiver::Far).await?;
    pays(&engine, "goes on", &far.invoices(2, AMOUNT_MSAT).await?)?;
    // As an engine does that takes over; it may be gone again with its own key.
    one.delete_macaroon_id(*key).await?;
    let status = until("the engine to end", PATIENCE, async || engine.ended()).await?;
    let words = engine.last_words();
    ensure!(status.code() == Some(75) && words.contains("is gone"), "{status}: {words}");
    ensure!(other.macaroon_ids().await? == before[1], "a key is left behind");
    // It stays so: a start asks no node.
    engine.spawn()?;
    let status = until("the engine to end", PATIENCE, async || engine.ended()).await?;
    let words = engine.last_words();
    ensure!(status.code() == Some(75) && words.contains("--take-over"), "{status}: {words}");
    ensure!(one.macaroon_ids().await? == before[0], "it has asked the node");
    let journal = engine.folder().join("journal").display().to_string();
    let (_, text) = said(&engine, &["journal", "dump", &journal])?;
    ensure!(text.matches("\"engine_started\"").count() == 1, "a refused start is none: {text}");
    Ok(())
}

/// Waits until the node's problem is that it does not list its payments, and means this.
async fn lists_nothing(engine: &Engine, means: &str) -> Result<()> {
    until("the problem to be shown", PATIENCE, async || {
        let node = node(engine, "node-0")?;
        let problem = node["problem"].as_str().unwrap_or_default();
        let is_told = problem.contains("does not list them") && problem.contains(means);
        Ok((is_told && node["connected"] == true).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_list_its_payments_says_so_and_is_not_sent_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let World::Simulated(fleet) = &world else { unreachable!("it was started so") };
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(2, AMOUNT_MSAT).await?;
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], OFTEN)?;
    let hides = Knobs { latency_ms: 20.0, hides_payments: true, ..Knobs::default() };
    fleet.turn(Some(0), &hides)?;
    lists_nothing(&engine, "payments go on").await?;
    pays(&engine, "goes on", &invoices[..1])?;
    engine.restart()?;
    lists_nothing(&engine, "nothing is sent there before they were").await?;
    let waiting = engine.submit("waits", &invoices[1..])?;
    reaches(&engine, &invoices[1], "queued").await?;
    fleet.turn(Some(0), &Knobs { hides_payments: false, ..hides })?;
    let (code, rows) = waiting.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    until("the problem to be gone", PATIENCE, async || {
        Ok(node(&engine, "node-0")?["problem"].is_null().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_and_cannot_be_reached_holds_no_older_batch() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(2, AMOUNT_MSAT).await?;
    let mut engine = Engine::start(&folder.path().join("e"), &[world.payer()], OFTEN)?;
    submit_paused(&engine, "batch", &invoices)?;
    engine.restart()?;
    let away = NodeEntry {
        name: "away".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        ..world.entries().swap_remove(1)
    };
    set_nodes(&engine, &[world.payer(), away])?;
    hangup(&engine).await?;
    ensure!(node(&engine, "away")?["connected"] != true, "nobody is there");
    resume(&engine, "batch")?;
    ensure!(near.settled(&invoices).await? == invoices.len(), "not all paid");
    Ok(())
}
