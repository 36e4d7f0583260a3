//! Nodes that are drained, changed and not believed, on real lnd and on the simulated one alike
//! (rules E19, E22).

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    engine::{Engine, NodeEntry},
    regtest::{Invoice, until},
    scenarios_operator::said,
    world::{Receiver, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
const AMOUNT_MSAT: u64 = 1_000_000;

/// `node drain`, `undrain` or `trust`.
///
/// # Errors
/// When it is refused.
pub fn steer(engine: &Engine, verb: &str, node: &str) -> Result<()> {
    let mut arguments = vec!["node", verb, node, "--by", "ada"];
    if verb == "trust" {
        arguments.extend(["--checked", "identity, channels, last payments"]);
    }
    let (exit, text) = said(engine, &arguments)?;
    ensure!(exit == Some(0), "{arguments:?}: {exit:?}: {text}");
    let warns = text.contains("only a preimage counts");
    ensure!(warns == (verb == "trust"), "what trust does not give back: {text}");
    Ok(())
}

/// The node as `node list` has it.
///
/// # Errors
/// When it is not there.
pub fn node(engine: &Engine, name: &str) -> Result<Value> {
    let (_, text) = said(engine, &["node", "list", "--json"])?;
    let nodes = text.lines().map(serde_json::from_str::<Value>);
    let nodes: Vec<Value> = nodes.collect::<Result<_, _>>()?;
    nodes.into_iter().find(|node| node["name"] == name).context("no such node")
}

/// The payment of this invoice.
///
/// # Errors
/// When there is none.
pub fn payment(engine: &Engine, invoice: &Invoice) -> Result<Value> {
    let hash = hex::encode(invoice.payment_hash);
    let (_, text) = said(engine, &["payment", "list", "--hash", &hash, "--json"])?;
    Ok(serde_json::from_str(text.lines().next().context("no payment")?)?)
}

/// The id of the payment of this invoice.
///
/// # Errors
/// When there is none.
pub fn id(engine: &Engine, invoice: &Invoice) -> Result<String> {
    Ok(payment(engine, invoice)?["payment_id"].as_str().context("an id")?.to_owned())
}

/// Waits until the payment of this invoice is in this state.
///
/// # Errors
/// When it is not within a minute.
pub async fn reaches(engine: &Engine, invoice: &Invoice, state: &str) -> Result<()> {
    until(&format!("a payment to be {state}"), PATIENCE, async || {
        Ok((payment(engine, invoice)?["state"] == state).then_some(()))
    })
    .await
}

/// Waits until the node is quarantined for this reason.
///
/// # Errors
/// When it is not within a minute.
pub async fn quarantined(engine: &Engine, name: &str, why: &str) -> Result<()> {
    until(&format!("{name} to be quarantined"), PATIENCE, async || {
        Ok((node(engine, name)?["quarantine"] == why).then_some(()))
    })
    .await
}

/// Writes these nodes into the engine's configuration; it reads them at [`hangup`].
///
/// # Errors
/// What the operating system says.
pub fn set_nodes(engine: &Engine, nodes: &[NodeEntry]) -> Result<()> {
    let path = engine.folder().join("fulgurite.toml");
    let text = fs::read_to_string(&path)?;
    let mut text = text.split("[[node]]").next().unwrap_or_default().to_owned();
    for node in nodes {
        text += &node.section();
    }
    Ok(fs::write(path, text)?)
}

/// Has the engine read its configuration again, and waits until it has said how that went.
///
/// # Errors
/// When it says nothing.
pub async fn hangup(engine: &Engine) -> Result<String> {
    let before = engine.whole_log().len();
    let sent = Command::new("kill").args(["-HUP", &engine.process()?.to_string()]).status()?;
    ensure!(sent.success(), "kill failed");
    until("the configuration to be read", PATIENCE, async || {
        let log = engine.whole_log();
        let new = log.get(before..).unwrap_or_default();
        let told = new.lines().find(|line| line.contains("read again"));
        Ok(told.map(|_| new.to_owned()))
    })
    .await
}

/// A drained node gets nothing new, over restarts; what it has in flight ends there.
///
/// # Errors
/// What does not hold.
pub async fn a_drained_node_gets_nothing_new_and_what_it_has_ends(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let entries = world.entries();
    let [first, second] = [&*entries[0].name, &*entries[1].name];
    let far = world.receiver(Receiver::Far).await?;
    let mut engine = Engine::start(folder, &entries[..2], "")?;
    steer(&engine, "drain", second)?;
    let preimage = [0x61; 32];
    let held = far.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let submit = engine.submit("held", std::slice::from_ref(&held))?;
    far.wait_held(held.payment_hash).await?;
    ensure!(payment(&engine, &held)?["node"] == first, "the only one that does not drain");

    steer(&engine, "undrain", second)?;
    steer(&engine, "drain", first)?;
    steer(&engine, "drain", first)?;
    engine.restart()?;
    ensure!(node(&engine, first)?["draining"] == true, "it drains over a restart");
    ensure!(node(&engine, second)?["draining"] == false, "and the other does not");
    let invoices = far.invoices(20, AMOUNT_MSAT).await?;
    let (code, rows) = engine.submit("others", &invoices)?.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    for invoice in &invoices {
        ensure!(payment(&engine, invoice)?["node"] == second, "paid by the other node");
    }
    // What was in flight ends where it is.
    far.settle(preimage).await?;
    let (code, rows) = submit.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");
    let (exit, text) = said(&engine, &["node", "drain", "nobody", "--by", "ada"])?;
    ensure!(exit == Some(3) && text.contains("NODE_NOT_FOUND"), "{exit:?}: {text}");
    Ok(())
}

/// A node joins and leaves while the engine runs. One with an open attempt stays, at a reload and
/// at a start (rule E22), and nothing else of that file counts either.
///
/// # Errors
/// What does not hold.
pub async fn nodes_join_and_leave_without_loss(world: &World, folder: &Path) -> Result<()> {
    let entries = world.entries();
    let (first, second) = (&entries[0], &entries[1]);
    let far = world.receiver(Receiver::Far).await?;
    let mut engine = Engine::start(folder, std::slice::from_ref(first), "")?;
    let preimage = [0x65; 32];
    let held = far.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let submit = engine.submit("held", std::slice::from_ref(&held))?;
    far.wait_held(held.payment_hash).await?;

    // It may not leave, and what would join in its stead does not either.
    set_nodes(&engine, std::slice::from_ref(second))?;
    let said = hangup(&engine).await?;
    let why = format!("node `{}` is missing, and 1 attempt is open there", first.name);
    ensure!(said.contains(&why) && said.contains("nothing changed"), "{said}");
    ensure!(node(&engine, &second.name).is_err(), "nothing of the file counts");
    engine.kill9();
    engine.spawn()?;
    let code = until("the engine to end", PATIENCE, async || Ok(engine.ended()?)).await?;
    ensure!(code.code() == Some(78), "{code:?}: {}", engine.last_words());
    ensure!(engine.last_words().contains(&why), "{}", engine.last_words());

    // Both: the second joins at a reload, and pays.
    set_nodes(&engine, std::slice::from_ref(first))?;
    engine.restart()?;
    set_nodes(&engine, &entries[..2])?;
    hangup(&engine).await?;
    connected(&engine, &second.name).await?;
    steer(&engine, "drain", &first.name)?;
    let (code, rows) = engine.submit("second", &far.invoices(10, AMOUNT_MSAT).await?)?.wait()?;
    ensure!(code == Some(0) && rows.iter().all(|row| row.node == second.name), "{rows:?}");
    far.settle(preimage).await?;
    let (code, rows) = submit.wait()?;
    ensure!(code == Some(0), "{code:?}: {rows:?}");

    // Nothing is open there any more: it leaves.
    set_nodes(&engine, std::slice::from_ref(second))?;
    hangup(&engine).await?;
    until("the node to be gone", PATIENCE, async || {
        Ok(node(&engine, &first.name).is_err().then_some(()))
    })
    .await?;
    let (code, rows) = engine.submit("after", &far.invoices(10, AMOUNT_MSAT).await?)?.wait()?;
    ensure!(code == Some(0) && rows.iter().all(|row| row.node == second.name), "{rows:?}");
    engine.restart()?;
    // It comes back as it was: draining.
    set_nodes(&engine, &entries[..2])?;
    hangup(&engine).await?;
    connected(&engine, &first.name).await?;
    ensure!(node(&engine, &first.name)?["draining"] == true, "a drained node stays drained");
    Ok(())
}

/// Waits until the engine is connected to the node.
///
/// # Errors
/// When it is not within a minute.
pub async fn connected(engine: &Engine, name: &str) -> Result<()> {
    until(&format!("{name} to be connected"), PATIENCE, async || {
        Ok(node(engine, name).is_ok_and(|node| node["connected"] == true).then_some(()))
    })
    .await
}

/// A node with another identity under the same name is not believed; the right one shows a proof,
/// which counts before anybody trusts it.
///
/// # Errors
/// What does not hold.
pub async fn another_node_under_the_same_name_is_not_believed(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let far = world.receiver(Receiver::Far).await?;
    let own = world.payer();
    let mut engine = Engine::start(folder, std::slice::from_ref(&own), "")?;
    let preimage = [0x64; 32];
    let held = far.hold_invoice(preimage, AMOUNT_MSAT).await?;
    drop(engine.submit("held", std::slice::from_ref(&held))?);
    far.wait_held(held.payment_hash).await?;
    reaches(&engine, &held, "in_flight").await?;
    let other = NodeEntry { name: own.name.clone(), ..world.entries().swap_remove(1) };
    set_nodes(&engine, &[other])?;
    engine.restart()?;
    quarantined(&engine, &own.name, "identity_changed").await?;
    reaches(&engine, &held, "unresolved").await?;
    set_nodes(&engine, std::slice::from_ref(&own))?;
    engine.restart()?;
    quarantined(&engine, &own.name, "identity_changed").await?;
    far.settle(preimage).await?;
    reaches(&engine, &held, "succeeded").await?;
    steer(&engine, "trust", &own.name)?;
    ensure!(node(&engine, &own.name)?["quarantine"].is_null(), "it is believed");
    Ok(())
}

/// A node that was restored from its own old backup forgot a payment that it had shown: nothing is
/// believed of it until a person has looked. Nothing can be paid over it afterwards.
///
/// # Errors
/// What does not hold.
pub async fn a_node_restored_from_its_own_backup_is_quarantined(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let backup = folder.join("backup");
    world.back_up_payer(&backup).await?;
    let name = world.payer().name;
    let far = world.receiver(Receiver::Far).await?;
    let mut engine = Engine::start(&folder.join("e"), &[world.payer()], "")?;
    let held = far.hold_invoice([0x66; 32], AMOUNT_MSAT).await?;
    let submit = engine.submit("held", std::slice::from_ref(&held))?;
    far.wait_held(held.payment_hash).await?;
    confirmed(&engine, &held).await?;
    engine.terminate()?;
    world.restore_payer(&backup).await?;
    engine.spawn()?;
    engine.wait_ready()?;
    quarantined(&engine, &name, "payment_forgotten").await?;
    reaches(&engine, &held, "unresolved").await?;
    ensure!(submit.wait()?.0 == Some(5), "who waited for it is sent to a person");
    ensure!(engine.metric("fulgurite_contradictions_total")? > 0, "an alarm");
    steer(&engine, "trust", &name)?;
    ensure!(payment(&engine, &held)?["state"] == "unresolved", "trust decides nothing");
    let id = id(&engine, &held)?;
    let decide = ["payment", "resolve", &id, "--not-paid", "--reason", "restored", "--by", "ada"];
    let (exit, text) = said(&engine, &[&decide[..], &["--confirm", "--node-lost"]].concat())?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    ensure!(payment(&engine, &held)?["state"] == "failed", "it is resolved");
    Ok(())
}

/// Waits until the journal has it that the node has shown the payment, which is in flight.
///
/// # Errors
/// When it has not within a minute.
pub async fn confirmed(engine: &Engine, invoice: &Invoice) -> Result<()> {
    let decided = payment(engine, invoice)?["version"].clone();
    until("the attempt to be confirmed", PATIENCE, async || {
        Ok((payment(engine, invoice)?["version"] != decided).then_some(()))
    })
    .await
}
