//! The harness itself: a real network comes up, and lnd behaves as the adapter assumes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fulgurite_proto::lnrpc::PaymentFailureReason;
use fulgurite_proto::lnrpc::invoice::InvoiceState;
use fulgurite_proto::lnrpc::payment::PaymentStatus;
use fulgurite_tests::regtest::{
    Network, Node, Options, Outcome, pay_naively, payment_hash, plain_payment, until,
};
use tonic::Code;

const AMOUNT_MSAT: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const HELD_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_network_pays_and_remembers() -> Result<()> {
    let started = Instant::now();
    let network = Network::start(&Options::default()).await?;
    println!("network: ready after {:.1?}", started.elapsed());

    for receiver in [network.bob(), network.carol()] {
        pays_once(network.alice(), receiver).await?;
    }
    an_unknown_hash_is_not_found(&network).await?;
    a_held_payment_survives_a_kill(&network).await?;
    a_payment_fails_while_the_peer_is_away(&network).await?;
    a_run_of_payments_succeeds(&network).await
}

async fn pays_once(payer: &Node, receiver: &Node) -> Result<()> {
    let invoice = receiver.add_invoice(AMOUNT_MSAT, HOUR).await?;
    let payment = payer.pay(plain_payment(&invoice)).await?;
    ensure!(payment.status() == PaymentStatus::Succeeded, "{payment:?}");
    let preimage: [u8; 32] = hex::decode(&payment.payment_preimage)?.as_slice().try_into()?;
    ensure!(payment_hash(&preimage) == invoice.payment_hash, "a wrong preimage");

    let again = payer.pay(plain_payment(&invoice)).await;
    let refusal = again.expect_err("lnd pays a hash once");
    ensure!(refusal.code() == Code::AlreadyExists, "{refusal}");
    ensure!(receiver.received_msat(&[invoice]).await? == AMOUNT_MSAT, "not paid once");
    Ok(())
}

async fn an_unknown_hash_is_not_found(network: &Network) -> Result<()> {
    let unknown = payment_hash(&[0xfe; 32]);
    let payer = network.alice().track(unknown).await.expect_err("nobody has paid it");
    let receiver = network.carol().lookup(unknown).await.expect_err("nobody has given it out");
    ensure!(payer.code() == Code::NotFound, "{payer}");
    ensure!(receiver.code() == Code::NotFound, "{receiver}");
    Ok(())
}

async fn a_held_payment_survives_a_kill(network: &Network) -> Result<()> {
    let (alice, carol) = (network.alice(), network.carol());
    let preimage = [7; 32];
    let invoice = carol.add_hold_invoice(payment_hash(&preimage), AMOUNT_MSAT).await?;
    let _messages = alice.start_payment(plain_payment(&invoice)).await?;
    until("the payment to be held", HELD_MAX, async || {
        let seen = carol.lookup(invoice.payment_hash).await?;
        Ok((seen.state() == InvoiceState::Accepted).then_some(()))
    })
    .await?;

    let restarted = Instant::now();
    alice.kill9();
    alice.restart().await?;
    println!("alice: ready {:.1?} after a kill", restarted.elapsed());
    let tracked = alice.track(invoice.payment_hash).await?;
    ensure!(tracked.status() == PaymentStatus::InFlight, "{tracked:?}");

    alice.connect(network.bob()).await?;
    carol.settle(preimage).await?;
    let payment = alice.track_to_end(invoice.payment_hash).await?;
    ensure!(payment.status() == PaymentStatus::Succeeded, "{payment:?}");
    Ok(())
}

async fn a_payment_fails_while_the_peer_is_away(network: &Network) -> Result<()> {
    let (alice, bob, carol) = (network.alice(), network.bob(), network.carol());
    let invoice = carol.add_invoice(AMOUNT_MSAT, HOUR).await?;
    bob.kill9();
    until("alice to see that bob is away", HELD_MAX, async || {
        let channels = alice.channels().await?;
        Ok(channels.iter().all(|channel| !channel.active).then_some(()))
    })
    .await?;
    let payment = alice.pay(plain_payment(&invoice)).await?;
    println!("peer away: {:?}", payment.failure_reason());
    ensure!(payment.status() == PaymentStatus::Failed, "{payment:?}");
    let reason = payment.failure_reason();
    ensure!(reason == PaymentFailureReason::FailureReasonInsufficientBalance, "{payment:?}");

    bob.restart().await?;
    network.wait_usable().await?;
    let payment = alice.pay(plain_payment(&invoice)).await?;
    ensure!(
        payment.status() == PaymentStatus::Succeeded,
        "a failed hash is paid again: {payment:?}"
    );
    Ok(())
}

async fn a_run_of_payments_succeeds(network: &Network) -> Result<()> {
    for (receiver, at_once) in [(network.bob(), 100), (network.carol(), 50)] {
        let invoices = receiver.add_invoices(300, AMOUNT_MSAT).await?;
        let outcome = pay_naively(network.alice(), &invoices, at_once).await;
        print(receiver.name(), &outcome);
        ensure!(outcome.succeeded == invoices.len(), "{outcome:?}");
        let received_msat = receiver.received_msat(&invoices).await?;
        ensure!(received_msat == 300 * AMOUNT_MSAT, "received {received_msat} msat");
    }
    let balance = network.alice().balance().await?;
    ensure!(balance.unsettled_msat == 0, "something is still in flight: {balance:?}");
    let payments = network.alice().list_payments().await?.len();
    println!("alice knows {payments} payments, {balance:?}");
    Ok(())
}

fn print(receiver: &str, outcome: &Outcome) {
    let Outcome { succeeded, failed, .. } = outcome;
    let (rate, p50, p99) = (outcome.rate(), outcome.latency(50), outcome.latency(99));
    println!(
        "to {receiver}: {succeeded} paid, {rate:.0}/s, p50 {p50:.0?}, p99 {p99:.0?}, {failed:?}"
    );
}
