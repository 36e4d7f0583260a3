//! What a payment in flight says of itself: when it comes back at the latest, and since when its
//! node cannot be asked.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fulgurite_proto::fulgurite::v1::{Payment, payment::State};
use fulgurite_tests::{
    doors::{Stage, orders},
    regtest::until,
    world::World,
};

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);

async fn wait(stage: &Stage, id: &str, what: &str, is: fn(&Payment) -> bool) -> Result<Payment> {
    until(what, PATIENCE, async || {
        let payment = stage.payment(id).await?;
        Ok(is(&payment).then_some(payment))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_in_flight_says_when_its_node_was_lost() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let World::Simulated(fleet) = &stage.world else { bail!("a simulated node") };
    let preimage = [0x62; 32];
    let held = stage.near.hold_invoice(preimage, 10_000).await?;
    let order = &orders(std::slice::from_ref(&held))[0];
    let created = stage.create("held", order, Default::default()).await?.payment;
    let id = created.unwrap_or_default().payment_id;
    stage.near.wait_held(held.payment_hash).await?;
    let known = wait(&stage, &id, "the expiry", |payment| payment.htlc_expiry_height > 0).await?;
    ensure!(known.state() == State::InFlight, "{known:?}");
    ensure!(known.outcome_unknown_since.is_none(), "its node is there: {known:?}");

    fleet.kill(0).await?;
    let is_lost = |payment: &Payment| payment.outcome_unknown_since.is_some();
    let lost = wait(&stage, &id, "the loss", is_lost).await?;
    // It is no change of the payment: it is in flight as before, and being asked for.
    ensure!(lost.state() == State::InFlight && lost.version == known.version, "{lost:?}");
    let since = lost.outcome_unknown_since;
    ensure!(stage.payment(&id).await?.outcome_unknown_since == since, "the time moved");

    fleet.start_node(0).await?;
    let back = |payment: &Payment| payment.outcome_unknown_since.is_none();
    wait(&stage, &id, "its node", back).await?;
    stage.near.settle(preimage).await?;
    let paid = stage.final_payment(&id).await?;
    ensure!(paid.state() == State::Succeeded && paid.htlc_expiry_height == 0, "{paid:?}");
    Ok(())
}
