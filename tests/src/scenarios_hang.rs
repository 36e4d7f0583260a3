//! Payments that hang: held by their recipient, or by a channel that is closed. The same on real
//! lnd and on the simulated one.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::lnrpc::{Payment, htlc_attempt::HtlcStatus, invoice::InvoiceState};

use crate::{
    engine::{Engine, ResultRow, Submit},
    peer::Peer,
    regtest::{Invoice, is_final, until},
    world::{Receiver, World},
};

/// Longer than a scenario takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Worth a transaction of its own on chain.
const LARGE_MSAT: u64 = 200_000_000;

async fn finish(submit: Submit) -> Result<(Option<i32>, Vec<ResultRow>)> {
    tokio::task::spawn_blocking(move || submit.wait()).await?
}

fn row<'a>(rows: &'a [ResultRow], invoice: &Invoice) -> Result<&'a ResultRow> {
    let hash = hex::encode(invoice.payment_hash);
    rows.iter().find(|row| row.payment_hash == hash).context("a row for each invoice")
}

async fn hold(near: &Peer, first: u8, count: u8, msat: u64) -> Result<Vec<([u8; 32], Invoice)>> {
    let mut held = Vec::new();
    for number in 0..count {
        let preimage = [first + number; 32];
        held.push((preimage, near.hold_invoice(preimage, msat).await?));
    }
    Ok(held)
}

async fn wait_long(engine: &Engine, node: &str, count: u64) -> Result<()> {
    let metric = format!("fulgurite_node_long_attempts{{node=\"{node}\"}}");
    until("attempts to leave the window", PATIENCE, async || {
        Ok((engine.metric(&metric)? == count).then_some(()))
    })
    .await
}

/// Held payments fill the windows of batch and node. They leave them, and the others of the batch
/// are paid; their slots they keep: with one for each of five channels, a sixth cannot start before
/// one of them has ended. The engine is restarted meanwhile.
///
/// # Errors
/// What does not hold.
pub async fn held_payments_leave_the_windows_and_keep_their_slots(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let held = hold(&near, 0x61, 4, 1_000_000).await?;
    let others = near.invoices(6, 1_000_000).await?;
    // Goes on in the section of the sends.
    let narrow = "long_after_s = 2\n[batch]\nin_flight_max = 4\n[channels]\nslots_reserve = 482\n\
                  [window]\nin_flight_start = 4\nin_flight_min = 4\nin_flight_max = 4\n";
    let mut engine = Engine::start(folder, &[world.payer()], narrow)?;
    let node = world.payer().name;
    let batch: Vec<Invoice> =
        held.iter().map(|(_, invoice)| invoice).chain(&others).cloned().collect();
    let submit = engine.submit("narrow", &batch)?;
    for (_, invoice) in &held {
        near.wait_held(invoice.payment_hash).await?;
    }
    wait_long(&engine, &node, 4).await?;
    until("the others to be paid", PATIENCE, async || {
        Ok((near.settled(&others).await? == others.len()).then_some(()))
    })
    .await?;
    for (_, invoice) in &held {
        let payment = engine.payment_of(invoice)?;
        let expiry = payment["htlc_expiry_height"].as_u64().unwrap_or(0);
        ensure!(payment["state"] == "in_flight" && expiry > 0, "{payment}");
    }

    engine.restart()?;
    wait_long(&engine, &node, 4).await?;
    let more = hold(&near, 0x71, 2, 1_000_000).await?;
    let invoices: Vec<Invoice> = more.iter().map(|(_, invoice)| invoice.clone()).collect();
    let second = engine.submit("more", &invoices)?;
    near.wait_held(invoices[0].payment_hash).await?;
    wait_long(&engine, &node, 5).await?;
    // The windows have room, the channels have none.
    ensure!(engine.state_of(&invoices[1])? == "queued", "it started without a slot");
    near.settle(held[0].0).await?;
    near.wait_held(invoices[1].payment_hash).await?;
    for (preimage, _) in held[1..].iter().chain(&more) {
        near.settle(*preimage).await?;
    }
    for submit in [submit, second] {
        let (code, rows) = finish(submit).await?;
        let paid = rows.iter().all(|row| row.state == "succeeded");
        ensure!(code == Some(0) && paid, "exit code {code:?}: {rows:?}");
    }
    Ok(())
}

/// The channels by which its HTLCs left that are in flight.
fn first_hops(payment: &Payment) -> Vec<u64> {
    let in_flight = payment.htlcs.iter().filter(|htlc| htlc.status() == HtlcStatus::InFlight);
    let routes = in_flight.filter_map(|htlc| htlc.route.as_ref()?.hops.first());
    routes.map(|hop| hop.chan_id).collect()
}

/// Two held payments are in flight when their channels are closed by force. They wait for the
/// chain, whatever the looks for lost HTLCs say, and end with what is true there: the recipient of
/// one takes the money with the preimage, the other one's HTLC times out.
///
/// # Errors
/// What does not hold.
pub async fn a_payment_by_a_channel_that_is_closed_ends_on_chain(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let payer = Peer::connect(&world.payer()).await?;
    let held = hold(&near, 0x81, 2, LARGE_MSAT).await?;
    let [(preimage, paid), (_, unpaid)] = held.as_slice() else { unreachable!("two") };
    let soon = "payment_timeout_s = 1\nstuck_after_s = 1\n[batch]\nattempts_max = 1\n";
    let engine = Engine::start(folder, &[world.payer()], soon)?;
    let submit = engine.submit("closed", &[paid.clone(), unpaid.clone()])?;
    let mut hops = Vec::new();
    for invoice in [paid, unpaid] {
        near.wait_held(invoice.payment_hash).await?;
        hops.extend(first_hops(&payer.track(invoice.payment_hash).await?));
    }
    ensure!(hops.len() == 2, "two HTLCs are in flight: {hops:?}");
    hops.dedup();
    world.force_close(&hops).await?;
    until("the engine to look for their HTLCs in vain", PATIENCE, async || {
        let waits = engine.whole_log().matches("the chain decides").count();
        Ok((waits == 2).then_some(()))
    })
    .await?;
    near.settle(*preimage).await?;
    until("the chain to decide", PATIENCE, async || {
        world.chain_goes_on().await?;
        let mut open = 0;
        for invoice in [paid, unpaid] {
            // Ours before theirs: what it says must have been true then.
            let ours = engine.state_of(invoice)?;
            let theirs = payer.track(invoice.payment_hash).await?;
            let waits = !is_final(&theirs);
            ensure!(!waits || ours == "in_flight", "{ours}, and the node says {theirs:?}");
            open += usize::from(waits);
        }
        Ok((open == 0).then_some(()))
    })
    .await?;
    let (code, rows) = finish(submit).await?;
    ensure!(row(&rows, paid)?.state == "succeeded", "{rows:?}");
    ensure!(row(&rows, unpaid)?.state == "failed" && code == Some(1), "{code:?} {rows:?}");
    let books = [near.state(paid.payment_hash).await?, near.state(unpaid.payment_hash).await?];
    ensure!(books[0] == InvoiceState::Settled, "the recipient says {books:?}");
    ensure!(books[1] != InvoiceState::Settled, "the recipient says {books:?}");
    Ok(())
}
