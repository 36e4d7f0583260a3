//! What a person decides, on real lnd and on the simulated one alike.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    engine::{Engine, ResultRow},
    regtest::{Invoice, until},
    world::{Receiver, World},
};

/// Longer than a fence takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command said: exit code and everything that it printed.
pub fn said(engine: &Engine, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = engine.cli(arguments)?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

fn refused(engine: &Engine, arguments: &[&str], code: &str) -> Result<()> {
    let (exit, text) = said(engine, arguments)?;
    ensure!(exit == Some(3) && text.contains(code), "{arguments:?}: {exit:?}, not {code}: {text}");
    Ok(())
}

/// A person ends what is stuck: not paid, behind the fence, only while no HTLC may live and only
/// when confirmed; paid, only with the preimage. The word is for ever, over a restart too.
///
/// # Errors
/// What does not hold.
pub async fn a_person_ends_what_is_stuck(
    world: &World,
    engine: &mut Engine,
    rows: &[ResultRow],
    invoices: &[Invoice],
) -> Result<()> {
    let invoice_of = |row: &ResultRow| {
        let ours = |invoice: &&Invoice| hex::encode(invoice.payment_hash) == row.payment_hash;
        invoices.iter().find(ours).context("an invoice of ours")
    };
    let unresolved = |row: &&ResultRow| row.state == "unresolved";
    let mut stuck = rows.iter().filter(unresolved);
    let row = stuck.next().context("nothing is stuck")?;
    let (id, invoice) = (row.payment_id.as_str(), invoice_of(row)?);
    let not_paid = ["payment", "resolve", id, "--not-paid", "--reason", "looked", "--by", "ada"];
    let confirmed = [&not_paid[..], &["--confirm"]].concat();
    let lost = [&confirmed[..], &["--node-lost"]].concat();
    refused(engine, &not_paid, "CONFIRMATION_REQUIRED")?;
    refused(engine, &lost, "NODE_ANSWERS")?;
    let wrong = "00".repeat(32);
    let proof = ["payment", "resolve", id, "--paid", "--preimage", &wrong, "--by", "ada"];
    refused(engine, &proof, "PREIMAGE_WRONG")?;
    let paid = rows.iter().find(|row| row.state == "succeeded").context("nothing was paid")?;
    let other = [&["payment", "resolve", &paid.payment_id], &confirmed[3..]].concat();
    refused(engine, &other, "PAYMENT_FINISHED")?;

    // Its HTLC may be on the peer's side alone.
    world.peer_away().await?;
    until("the engine to see that the channels are not active", PATIENCE, async || {
        let (_, text) = said(engine, &confirmed)?;
        Ok(text.contains("PAYMENT_MAY_LIVE").then_some(()))
    })
    .await?;
    world.peer_back().await?;
    until("the payment to be resolved", PATIENCE, async || {
        let (exit, text) = said(engine, &confirmed)?;
        ensure!(exit == Some(0) || text.contains("PAYMENT_MAY_LIVE"), "{exit:?}: {text}");
        Ok((exit == Some(0)).then_some(()))
    })
    .await?;
    stands(engine, (id, invoice), &confirmed, "operator_decision")?;

    if let Some(row) = stuck.next() {
        let hash = invoice_of(row)?.payment_hash;
        let mut preimage = Vec::new();
        for receiver in [Receiver::Near, Receiver::Far] {
            if let Ok(found) = world.receiver(receiver).await?.preimage(hash).await {
                preimage = found;
            }
        }
        let preimage = hex::encode(preimage);
        let (id, invoice) = (row.payment_id.as_str(), invoice_of(row)?);
        let proof = ["payment", "resolve", id, "--paid", "--preimage", &preimage, "--by", "ada"];
        let (exit, text) = said(engine, &proof)?;
        ensure!(exit == Some(0) && text.contains(&preimage), "{exit:?}: {text}");
        stands(engine, (id, invoice), &proof, "succeeded")?;
    }
    engine.restart()?;
    stands(engine, (id, invoice), &confirmed, "operator_decision")
}

/// The decision stands, asking again is no error, and its invoice is never paid by another order.
fn stands(
    engine: &Engine,
    (id, invoice): (&str, &Invoice),
    again: &[&str],
    shows: &str,
) -> Result<()> {
    let (exit, text) = said(engine, &["payment", "get", id])?;
    ensure!(exit == Some(0) && text.contains(shows), "{shows}: {text}");
    let (exit, text) = said(engine, again)?;
    ensure!(exit == Some(0), "again: {exit:?}: {text}");
    let name = format!("again-{shows}-{}", engine.metric("fulgurite_orders_accepted_total")?);
    let (exit, text) = engine.submit(&name, std::slice::from_ref(invoice))?.refusal()?;
    ensure!(exit == Some(3) && text.contains(id), "ordered again: {exit:?}: {text}");
    Ok(())
}
