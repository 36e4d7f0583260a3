//! What must hold on real lnd and on the simulated one alike: the same code, equal outcomes.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::lnrpc::{invoice::InvoiceState, payment::PaymentStatus};

use crate::{
    engine::{Engine, ResultRow, Submit},
    peer::Peer,
    regtest::{Invoice, plain_payment, until},
    scenarios_operator::a_person_ends_what_is_stuck,
    world::{Receiver, World},
};

const AMOUNT_MSAT: u64 = 1_000_000;
/// Longer than any scenario takes on a slow machine.
const SCENARIO_MAX: Duration = Duration::from_secs(300);

/// Says which scenario passed, and how long it took.
pub fn passed(name: &str, started: Instant) {
    println!("scenario {name}: passed in {:.1} s", started.elapsed().as_secs_f64());
}

/// Waits for a submit without blocking the runtime.
pub(crate) async fn finish(submit: Submit) -> Result<(Option<i32>, Vec<ResultRow>)> {
    tokio::task::spawn_blocking(move || submit.wait()).await?
}

fn count(rows: &[ResultRow], state: &str) -> usize {
    rows.iter().filter(|row| row.state == state).count()
}

/// Every invoice is settled at its receiver, and the engine says so of exactly these.
pub(crate) async fn all_paid(
    rows: &[ResultRow],
    near: (&Peer, &[Invoice]),
    far: (&Peer, &[Invoice]),
) -> Result<()> {
    let wanted = near.1.len() + far.1.len();
    let not = rows.iter().find(|row| row.state != "succeeded");
    ensure!(count(rows, "succeeded") == wanted, "{} of {wanted}: {not:?}", rows.len());
    let hashes: HashSet<&str> = rows.iter().map(|row| row.payment_hash.as_str()).collect();
    ensure!(hashes.len() == wanted, "a hash is missing or twice");
    let settled = near.0.settled(near.1).await? + far.0.settled(far.1).await?;
    ensure!(settled == wanted, "the receivers' books say {settled}, not {wanted}");
    Ok(())
}

/// A CSV of invoices, some of the direct peer and some further away, is paid; the receivers' books
/// equal ours. The engine is killed `kills` times on the way.
///
/// # Errors
/// What does not hold.
pub async fn a_batch_is_paid(
    world: &World,
    folder: &Path,
    (near, far): (usize, usize),
    kills: usize,
) -> Result<()> {
    let started = Instant::now();
    let near_peer = world.receiver(Receiver::Near).await?;
    let far_peer = world.receiver(Receiver::Far).await?;
    let near = near_peer.invoices(near, AMOUNT_MSAT).await?;
    let far = far_peer.invoices(far, AMOUNT_MSAT).await?;
    let mut engine = Engine::start(folder, &[world.payer()], "")?;
    let all: Vec<Invoice> = near.iter().chain(&far).cloned().collect();
    let submit = engine.submit("batch", &all)?;
    for kill in 1..=kills {
        let share = all.len() * kill / (kills + 1);
        wait_settled((&near_peer, &near), (&far_peer, &far), share).await?;
        let open = engine.metric("fulgurite_open_payments")?;
        ensure!(open > 0, "nothing was open any more at kill {kill}");
        engine.restart()?;
    }
    let (code, rows) = finish(submit).await?;
    all_paid(&rows, (&near_peer, &near), (&far_peer, &far)).await?;
    ensure!(code == Some(0), "exit code {code:?}");
    ensure!(started.elapsed() < SCENARIO_MAX, "it took too long");
    Ok(())
}

/// The node is killed and restarted while a batch is paid. Whatever the batch says of a payment is
/// what the receivers' books say of it. What the kill caught between the node's books and its
/// channel is in flight there for ever (rule E15): it is unresolved, not paid and not failed.
/// Returns how many these are.
///
/// # Errors
/// What does not hold.
pub async fn a_batch_outlives_its_node(
    world: &World,
    folder: &Path,
    (near, far): (usize, usize),
) -> Result<usize> {
    let (near_peer, far_peer) =
        (world.receiver(Receiver::Near).await?, world.receiver(Receiver::Far).await?);
    let near = near_peer.invoices(near, AMOUNT_MSAT).await?;
    let far = far_peer.invoices(far, AMOUNT_MSAT).await?;
    // Goes on in the section of the sends.
    let soon = "payment_timeout_s = 5\nstuck_after_s = 1\n[batch]\nattempts_max = 20\n";
    let mut engine = Engine::start(folder, &[world.payer()], soon)?;
    let all: Vec<Invoice> = near.iter().chain(&far).cloned().collect();
    let submit = engine.submit("batch", &all)?;
    wait_settled((&near_peer, &near), (&far_peer, &far), all.len() / 3).await?;
    world.restart_payer().await?;
    let (code, rows) = finish(submit).await?;
    let (paid, stuck) = (count(&rows, "succeeded"), count(&rows, "unresolved"));
    let other = rows.iter().find(|row| !["succeeded", "unresolved"].contains(&&*row.state));
    ensure!(paid + stuck == all.len() && other.is_none(), "{paid} + {stuck}: {other:?}");
    let payer = Peer::connect(&world.payer()).await?;
    for (peer, invoices) in [(&near_peer, &near), (&far_peer, &far)] {
        for invoice in invoices {
            let hash = hex::encode(invoice.payment_hash);
            let row = rows.iter().find(|row| row.payment_hash == hash);
            let row = row.with_context(|| format!("no row for {hash}"))?;
            let settled = peer.state(invoice.payment_hash).await? == InvoiceState::Settled;
            ensure!(settled == (row.state == "succeeded"), "settled: {settled}, ours: {row:?}");
            if row.state == "unresolved" {
                let truth = payer.track(invoice.payment_hash).await?.status();
                ensure!(truth == PaymentStatus::InFlight, "unresolved, the node says {truth:?}");
            }
        }
    }
    ensure!(code == Some(if stuck > 0 { 5 } else { 0 }), "exit code {code:?}, {stuck} stuck");
    if stuck > 0 {
        a_person_ends_what_is_stuck(world, &mut engine, &rows, &all).await?;
    }
    Ok(stuck)
}

pub(crate) async fn wait_settled(
    near: (&Peer, &[Invoice]),
    far: (&Peer, &[Invoice]),
    share: usize,
) -> Result<()> {
    let started = Instant::now();
    while near.0.settled(near.1).await? + far.0.settled(far.1).await? < share {
        ensure!(started.elapsed() < SCENARIO_MAX, "the batch makes no progress");
    }
    Ok(())
}

/// Held payments are in flight over an engine restart; then one is settled and one cancelled, and
/// another is cancelled when the fence behind the first is long up.
///
/// # Errors
/// What does not hold.
pub async fn held_payments_outlive_the_engine(world: &World, folder: &Path) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let (settled, cancelled, late) = ([0x51; 32], [0x52; 32], [0x54; 32]);
    let one = near.hold_invoice(settled, AMOUNT_MSAT).await?;
    let two = near.hold_invoice(cancelled, AMOUNT_MSAT).await?;
    let three = near.hold_invoice(late, AMOUNT_MSAT).await?;
    let mut engine = Engine::start(folder, &[world.payer()], "")?;
    let submit = engine.submit("held", &[one.clone(), two.clone(), three.clone()])?;
    for invoice in [&one, &two, &three] {
        near.wait_held(invoice.payment_hash).await?;
    }
    engine.restart()?;
    near.settle(settled).await?;
    near.cancel(two.payment_hash).await?;
    let started = Instant::now();
    while engine.state_of(&two)? != "failed" {
        ensure!(started.elapsed() < SCENARIO_MAX, "the cancelled one does not end");
    }
    near.cancel(three.payment_hash).await?;
    let (code, rows) = finish(submit).await?;
    let state = |invoice: &Invoice| {
        let hash = hex::encode(invoice.payment_hash);
        rows.iter().find(|row| row.payment_hash == hash).map(|row| row.state.clone())
    };
    ensure!(state(&one).as_deref() == Some("succeeded"), "the settled one: {rows:?}");
    for cancelled in [&two, &three] {
        ensure!(state(cancelled).as_deref() == Some("failed"), "a cancelled one: {rows:?}");
    }
    let refused = rows.iter().filter(|row| row.reason == "recipient_refused").count();
    ensure!(refused == 2, "{rows:?}");
    ensure!(code == Some(1), "exit code {code:?}");
    Ok(())
}

/// An invoice is paid, expires, and is ordered again: refused by us, and still SUCCEEDED at lnd.
///
/// # Errors
/// What does not hold.
pub async fn a_paid_invoice_that_expired_is_never_unpaid(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let extra = "[check]\nexpiry_margin_s = 1\n[retry]\nexpiry_margin_s = 1\n";
    let engine = Engine::start(folder, &[world.payer()], extra)?;
    let invoice = near.invoice(AMOUNT_MSAT, Duration::from_secs(8)).await?;
    let (code, rows) = finish(engine.submit("paid", std::slice::from_ref(&invoice))?).await?;
    ensure!(code == Some(0) && count(&rows, "succeeded") == 1, "{code:?} {rows:?}");
    let payer = Peer::connect(&world.payer()).await?;
    until("the invoice to expire", SCENARIO_MAX, async || {
        let again = payer.pay(plain_payment(&invoice)).await;
        let refused = again.err().context("a paid invoice was paid again")?;
        Ok(refused.message().starts_with("invoice expired").then_some(()))
    })
    .await?;
    let again = engine.submit("again", std::slice::from_ref(&invoice))?;
    let (code, said) = tokio::task::spawn_blocking(move || again.refusal()).await??;
    let named = said.contains("already paid") || said.contains("expired");
    ensure!(code == Some(3) && named, "a paid invoice was ordered again: {code:?} {said}");
    let truth = payer.track(invoice.payment_hash).await?;
    ensure!(truth.status() == PaymentStatus::Succeeded, "lnd says {:?}", truth.status());
    ensure!(near.settled(&[invoice]).await? == 1, "not paid once");
    Ok(())
}

/// An invoice larger than every channel fails with a reason that a person understands.
///
/// # Errors
/// What does not hold.
pub async fn an_invoice_larger_than_any_channel_fails_with_a_reason(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let extra = "[check]\npayment_amount_sat_max = 1000000000\n[batch]\nattempts_max = 2\n";
    let engine = Engine::start(folder, &[world.payer()], extra)?;
    let invoice = near.invoice(900_000_000_000, Duration::from_secs(3_600)).await?;
    let (code, rows) = finish(engine.submit("large", &[invoice])?).await?;
    let [row] = rows.as_slice() else { anyhow::bail!("one row: {rows:?}") };
    ensure!(row.state == "failed" && code == Some(1), "{code:?} {row:?}");
    let reasons = ["insufficient_liquidity", "no_route"];
    ensure!(reasons.contains(&row.reason.as_str()), "{row:?}");
    ensure!(row.message.len() > 20, "a person needs more than {:?}", row.message);
    Ok(())
}

/// The engine pays many invoices through whatever channels there are, and all succeed. Returns
/// payments a second from the start of the upload to the end of the batch.
///
/// # Errors
/// When one fails.
pub async fn all_succeed(world: &World, folder: &Path, invoices: usize) -> Result<f64> {
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(invoices, AMOUNT_MSAT).await?;
    let engine = Engine::start(folder, &[world.payer()], "[batch]\nattempts_max = 20\n")?;
    let started = Instant::now();
    let (code, rows) = finish(engine.submit("many", &invoices)?).await?;
    let rate = invoices.len() as f64 / started.elapsed().as_secs_f64();
    all_paid(&rows, (&near, &invoices), (&near, &[])).await?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(rate)
}

/// The engine stops on SIGTERM with exit code 0 within 5 s, with payments in flight, and its log
/// has held no secret.
///
/// # Errors
/// What does not hold.
pub async fn a_stop_is_graceful_and_logs_hold_no_secret(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let preimage = [0x53; 32];
    let invoice = near.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let extra = "[log]\nlevel = \"debug\"\n";
    let mut engine = Engine::start(folder, &[world.payer()], extra)?;
    let submit = engine.submit("stop", std::slice::from_ref(&invoice))?;
    near.wait_held(invoice.payment_hash).await?;
    let (code, took) = engine.terminate()?;
    ensure!(code == Some(0), "exit code {code:?}: {}", engine.last_words());
    ensure!(took < Duration::from_secs(5), "it took {took:?}");
    engine.spawn()?;
    engine.wait_ready()?;
    near.settle(preimage).await?;
    let (code, rows) = finish(submit).await?;
    ensure!(code == Some(0) && count(&rows, "succeeded") == 1, "{code:?} {rows:?}");
    let log = engine.whole_log();
    let macaroon = hex::encode(std::fs::read(world.payer().macaroon)?);
    for (what, secret) in [
        ("preimage", hex::encode(preimage)),
        // Its identifier: what we add for a send changes the signature behind it.
        ("macaroon", macaroon[32..96].to_owned()),
        ("invoice", invoice.payment_request.clone()),
    ] {
        ensure!(!log.contains(&secret), "the log shows a {what}");
    }
    Ok(())
}
