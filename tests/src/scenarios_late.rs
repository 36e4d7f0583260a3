//! Requests that arrive late, on real lnd and on the simulated one alike: why failed and never
//! sent are final only behind a fence (rules E6 and E13).

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use fulgurite_core::time::UnixMs;
use fulgurite_lnd::macaroon::Macaroon;
use fulgurite_proto::lnrpc::invoice::InvoiceState;

use crate::{
    late::{Client, Middlebox, Started},
    peer::{Peer, text, wait_expired},
    regtest::{Invoice, plain_payment},
    world::{Receiver, World},
};

const AMOUNT_MSAT: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const NOT_FOUND: &str = "NotFound: payment isn't initiated";
const PEER_AWAY: &str = "FAILED/FAILURE_REASON_INSUFFICIENT_BALANCE";
/// A stream at its `grpc-timeout`. Two timers of lnd's gRPC library race: of 40 such streams of a
/// real lnd 25 were reset and 15 had a status. The simulated node always has a status.
const OVER: [&str; 2] = ["reset: CANCEL", "DeadlineExceeded: context deadline exceeded"];

/// A `SendPaymentV2` that has left a client and has not arrived at the payer.
struct Late {
    middlebox: Middlebox,
    client: Client,
    started: Started,
    invoice: Invoice,
}

impl Late {
    /// All of a request is held.
    async fn whole(world: &World, macaroon: &Macaroon, invoice: Invoice) -> Result<Late> {
        let mut middlebox = Middlebox::before(&world.payer().address).await?;
        let mut client = Client::connect(&world.payer(), &middlebox).await?;
        middlebox.hold();
        let mut started = client.start(macaroon, None)?;
        started.send(&plain_payment(&invoice))?;
        middlebox.wait_held().await?;
        Ok(Late { middlebox, client, started, invoice })
    }

    /// The HEADERS have arrived and were read, the message is held behind them.
    async fn data(
        world: &World,
        macaroon: &Macaroon,
        timeout: Option<&str>,
        invoice: Invoice,
    ) -> Result<Late> {
        let mut middlebox = Middlebox::before(&world.payer().address).await?;
        let mut client = Client::connect(&world.payer(), &middlebox).await?;
        let mut started = client.start(macaroon, timeout)?;
        client.wait_read().await?;
        middlebox.hold();
        started.send(&plain_payment(&invoice))?;
        middlebox.wait_held().await?;
        Ok(Late { middlebox, client, started, invoice })
    }

    /// Lets the request through and waits for its answer.
    async fn arrive(&mut self) -> Result<String> {
        self.middlebox.let_through();
        self.started.answer().await
    }
}

fn in_ms(ms: i64) -> Result<UnixMs> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(UnixMs(i64::try_from(now)?).plus_ms(ms))
}

/// The payer's own macaroon.
fn macaroon(world: &World) -> Result<Macaroon> {
    Ok(Macaroon::parse(&fs::read(world.payer().macaroon)?)?)
}

/// lnd's own words for a macaroon that it took before.
fn expired(expiry: UnixMs) -> Result<String> {
    let time = jiff::Timestamp::from_millisecond(expiry.0)?;
    Ok(format!("Unknown: caveat \"time-before {time:.3}\" not satisfied: macaroon has expired"))
}

/// Two first sends are held on their way; the second sends of their hashes fail, and the payer says
/// FAILED. Then the first ones arrive: the one without an end runs the hash again and pays. The
/// one whose macaroon has expired meanwhile is refused, and its invoice stays open.
///
/// # Errors
/// What does not hold.
pub async fn a_held_request_pays_a_failed_hash_unless_its_macaroon_expired(
    world: &World,
) -> Result<()> {
    let payer = Peer::connect(&world.payer()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let (plain, end) = (macaroon(world)?, in_ms(100)?);
    let ending = plain.expiring_at(end);
    let mut open = Late::whole(world, &plain, near.invoice(AMOUNT_MSAT, HOUR).await?).await?;
    let mut fenced = Late::whole(world, &ending, near.invoice(AMOUNT_MSAT, HOUR).await?).await?;
    let hashes = [open.invoice.payment_hash, fenced.invoice.payment_hash];
    for hash in hashes {
        let seen = payer.track_text(hash).await;
        ensure!(seen == NOT_FOUND, "before anything arrived: {seen}");
    }

    world.peer_away().await?;
    for late in [&open, &fenced] {
        let payment = payer.pay(plain_payment(&late.invoice)).await?;
        ensure!(text(&payment) == PEER_AWAY, "the second send: {payment:?}");
        let seen = payer.track_text(late.invoice.payment_hash).await;
        ensure!(seen == PEER_AWAY, "Track after the second send: {seen}");
    }
    world.peer_back().await?;
    wait_expired(&world.payer(), &ending).await?;

    let (paid, refused) = (open.arrive().await?, fenced.arrive().await?);
    ensure!(paid == "SUCCEEDED OK", "the one without an end: {paid}");
    ensure!(refused == expired(end)?, "the one with an end: {refused}");
    let near = world.receiver(Receiver::Near).await?;
    let seen = [payer.track_text(hashes[0]).await, payer.track_text(hashes[1]).await];
    ensure!(seen == ["SUCCEEDED", PEER_AWAY], "Track in the end: {seen:?}");
    let books = [near.state(hashes[0]).await?, near.state(hashes[1]).await?];
    ensure!(books == [InvoiceState::Settled, InvoiceState::Open], "the receiver: {books:?}");
    Ok(())
}

/// The macaroon is checked when HEADERS arrive, the message is read afterwards: DATA that is held
/// starts a payment after the macaroon's end, when Track said that there is none.
///
/// # Errors
/// What does not hold.
pub async fn held_data_without_a_deadline_pays_after_its_macaroon_expired(
    world: &World,
) -> Result<()> {
    let payer = Peer::connect(&world.payer()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoice = near.invoice(AMOUNT_MSAT, HOUR).await?;
    // Long enough for HEADERS to be read on a busy machine.
    let ending = macaroon(world)?.expiring_at(in_ms(1_500)?);
    let mut late = Late::data(world, &ending, None, invoice.clone()).await?;
    wait_expired(&world.payer(), &ending).await?;
    let seen = payer.track_text(invoice.payment_hash).await;
    ensure!(seen == NOT_FOUND, "after the macaroon's end: {seen}");

    let paid = late.arrive().await?;
    ensure!(paid == "SUCCEEDED OK", "the late message: {paid}");
    let seen = payer.track_text(invoice.payment_hash).await;
    ensure!(seen == "SUCCEEDED", "Track in the end: {seen}");
    ensure!(near.state(invoice.payment_hash).await? == InvoiceState::Settled, "not settled");
    Ok(())
}

/// The same with a `grpc-timeout`: the stream is over at its deadline, and DATA that comes later
/// is ignored.
///
/// # Errors
/// What does not hold.
pub async fn held_data_is_ignored_after_its_deadline(world: &World) -> Result<()> {
    let payer = Peer::connect(&world.payer()).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoice = near.invoice(AMOUNT_MSAT, HOUR).await?;
    let mut late = Late::data(world, &macaroon(world)?, Some("1500m"), invoice.clone()).await?;
    let over = late.started.answer().await?;
    ensure!(OVER.contains(&over.as_str()), "at the deadline: {over}");
    let seen = payer.track_text(invoice.payment_hash).await;
    ensure!(seen == NOT_FOUND, "after the deadline: {seen}");

    late.middlebox.let_through();
    late.client.wait_read().await?;
    // A payment that started later than the late one would have is over: so would that one be.
    let other = near.invoice(AMOUNT_MSAT, HOUR).await?;
    let paid = payer.pay(plain_payment(&other)).await?;
    ensure!(text(&paid) == "SUCCEEDED", "another payment: {paid:?}");
    let seen = payer.track_text(invoice.payment_hash).await;
    ensure!(seen == NOT_FOUND, "after the late message was read: {seen}");
    ensure!(near.state(invoice.payment_hash).await? == InvoiceState::Open, "not open");
    Ok(())
}
