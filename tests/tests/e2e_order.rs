//! What a batch's options do, and in which order payments go: priorities, pause, cancel, limits,
//! thresholds, deadlines.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, Batch, BatchOptions, Payment, batch, batch_options::Priority, failure::Reason,
    payment::State,
};
use fulgurite_sim::{FailMix, Knobs};
use fulgurite_tests::{
    doors::{Stage, messages, orders, reason},
    regtest::{Invoice, until},
    world::Receiver,
    written::Written,
};

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const NARROW: &str = "[window]\nin_flight_start = 2\nin_flight_min = 1\nin_flight_max = 2\n";

async fn upload(
    stage: &Stage,
    key: &str,
    (invoices, options): (&[Invoice], BatchOptions),
) -> Result<Batch> {
    Ok(stage.upload(messages(key, &orders(invoices), options)).await?.batch)
}

/// Waits until the batch looks as it should.
async fn batch_when(stage: &Stage, key: &str, is_so: fn(&Batch) -> bool) -> Result<Batch> {
    until(&format!("the batch {key}"), PATIENCE, async || {
        let batch = stage.batch(key).await?;
        Ok(is_so(&batch).then_some(batch))
    })
    .await
}

async fn finished(stage: &Stage, key: &str) -> Result<Vec<Payment>> {
    let batch = batch_when(stage, key, |batch| batch.finish_time.is_some()).await?;
    Ok(stage.payments_of(&batch.batch_id).await?)
}

fn time(stamp: Option<prost_types::Timestamp>) -> Result<SystemTime> {
    Ok(SystemTime::try_from(stamp.context("a time")?)?)
}

/// When the first attempt of each payment started, the earliest first.
fn starts(payments: &[Payment]) -> Result<Vec<SystemTime>> {
    let mut starts =
        payments.iter().map(|p| time(p.first_attempt_time)).collect::<Result<Vec<_>>>()?;
    starts.sort();
    Ok(starts)
}

async fn pause(stage: &Stage, batch_id: &str) -> Result<Batch> {
    let request = proto::PauseBatchRequest { batch_id: batch_id.to_owned() };
    let answer = stage.batches()?.pause_batch(request).await?;
    answer.into_inner().batch.context("a batch")
}

async fn resume(stage: &Stage, batch_id: &str) -> Result<Batch> {
    let request = proto::ResumeBatchRequest { batch_id: batch_id.to_owned() };
    let answer = stage.batches()?.resume_batch(request).await?;
    answer.into_inner().batch.context("a batch")
}

async fn cancel(stage: &Stage, batch_id: &str) -> Result<Batch> {
    let request = proto::CancelBatchRequest { batch_id: batch_id.to_owned() };
    let answer = stage.batches()?.cancel_batch(request).await?;
    answer.into_inner().batch.context("a batch")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_overtakes_under_a_full_window_and_low_does_not_starve() -> Result<()> {
    let stage = Stage::set(10.0, NARROW).await?;
    let invoices = stage.near.invoices(300, AMOUNT_MSAT).await?;
    let of = |priority: Priority| BatchOptions { priority: priority.into(), ..Default::default() };
    let waiting = |priority| BatchOptions { start_paused: Some(true), ..of(priority) };
    let normal = (&invoices[120..200], waiting(Priority::Normal));
    let normal = upload(&stage, "normal", normal).await?.batch_id;
    let high = upload(&stage, "high", (&invoices[200..], waiting(Priority::High))).await?.batch_id;
    upload(&stage, "low", (&invoices[..120], of(Priority::Low))).await?;
    let started = |batch: &Batch| batch.counts.unwrap_or_default().succeeded_count > 3;
    batch_when(&stage, "low", started).await?;
    resume(&stage, &normal).await?;
    resume(&stage, &high).await?;
    let mut all = BTreeMap::new();
    for key in ["high", "normal", "low"] {
        all.insert(key, starts(&finished(&stage, key).await?)?);
    }
    let (first, last) = (all["high"][10], *all["high"].last().context("a payment")?);
    let within = |key: &str| all[key].iter().filter(|at| **at > first && **at < last).count();
    let (low, normal) = (within("low"), within("normal"));
    println!("while 90 payments of HIGH started: {normal} of NORMAL, {low} of LOW");
    // Of sixteen, one is of the lowest priority that waits and one of NORMAL.
    let share = 3..=10;
    ensure!(share.contains(&low) && share.contains(&normal), "{normal} of NORMAL, {low} of LOW");
    ensure!(all["normal"].last() < all["low"].last(), "LOW was before NORMAL");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_quick_and_survives_a_restart() -> Result<()> {
    let mut stage = Stage::set(5.0, "").await?;
    let invoices = stage.near.invoices(400, AMOUNT_MSAT).await?;
    let slow = BatchOptions { in_flight_max: Some(10), ..Default::default() };
    let batch_id = upload(&stage, "paused", (&invoices, slow)).await?.batch_id;
    let mut pauses = Vec::new();
    for wanted in [40, 120, 200] {
        until("some to be paid", PATIENCE, async || {
            let counts = stage.batch("paused").await?.counts.unwrap_or_default();
            Ok((counts.succeeded_count >= wanted).then_some(()))
        })
        .await?;
        let paused = pause(&stage, &batch_id).await?;
        let acknowledged = SystemTime::now();
        ensure!(paused.state() == batch::State::Paused, "{paused:?}");
        ensure!(paused.pause_reason() == batch::PauseReason::Requested, "{paused:?}");
        // I7: the same again is answered as it is.
        ensure!(pause(&stage, &batch_id).await?.state() == paused.state(), "paused twice");
        let idle = |batch: &Batch| batch.counts.unwrap_or_default().in_flight_count == 0;
        let idle = batch_when(&stage, "paused", idle).await?;
        if wanted == 120 {
            stage.engine.restart()?;
        }
        let after = stage.batch("paused").await?;
        ensure!(after.counts == idle.counts && after.state() == batch::State::Paused, "{after:?}");
        ensure!(after.counts.unwrap_or_default().queued_count > 0, "paused too late: {after:?}");
        // The times of attempts are whole milliseconds.
        let resumed_at = SystemTime::now() - Duration::from_millis(1);
        let resumed = resume(&stage, &batch_id).await?;
        ensure!(resumed.state() == batch::State::Running, "{resumed:?}");
        pauses.push((acknowledged + Duration::from_millis(100), resumed_at));
    }
    let payments = finished(&stage, "paused").await?;
    ensure!(payments.iter().all(|payment| payment.state() == State::Succeeded), "{payments:?}");
    let starts = starts(&payments)?;
    for (from, to) in pauses {
        let late = starts.iter().filter(|at| **at > from && **at < to).count();
        ensure!(late == 0, "{late} attempts started behind a pause");
    }
    let end = reason(stage.batches()?.pause_batch(proto::PauseBatchRequest { batch_id }).await);
    ensure!(end == "BATCH_FINISHED", "{end}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_batch_ends_what_waits_and_waits_for_what_is_under_way() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let preimages = [[0x81; 32], [0x82; 32]];
    let mut invoices = Vec::new();
    for preimage in preimages {
        invoices.push(stage.near.hold_invoice(preimage, AMOUNT_MSAT).await?);
    }
    invoices.extend(stage.near.invoices(5, AMOUNT_MSAT).await?);
    let two = BatchOptions { in_flight_max: Some(2), ..Default::default() };
    let batch_id = upload(&stage, "cancelled", (&invoices, two)).await?.batch_id;
    for invoice in &invoices[..2] {
        stage.near.wait_held(invoice.payment_hash).await?;
    }
    let cancelling = cancel(&stage, &batch_id).await?;
    ensure!(cancelling.state() == batch::State::Cancelling, "{cancelling:?}");
    ensure!(cancelling.cancel_request_time.is_some(), "{cancelling:?}");
    let asked = proto::PauseBatchRequest { batch_id: batch_id.clone() };
    let answer = reason(stage.batches()?.pause_batch(asked).await.map(drop));
    ensure!(answer == "BATCH_CANCELLING", "{answer}");
    let asked = proto::ResumeBatchRequest { batch_id: batch_id.clone() };
    let answer = reason(stage.batches()?.resume_batch(asked).await.map(drop));
    ensure!(answer == "BATCH_CANCELLING", "{answer}");
    stage.engine.restart()?;
    ensure!(cancel(&stage, &batch_id).await?.state() == batch::State::Cancelling, "I7");
    // One of the two is paid after all, the payee gives the other one back.
    stage.near.settle(preimages[0]).await?;
    stage.near.cancel(invoices[1].payment_hash).await?;
    let payments = finished(&stage, "cancelled").await?;
    let states: Vec<State> = payments.iter().map(Payment::state).collect();
    let mut wanted = vec![State::Cancelled; 7];
    (wanted[0], wanted[1]) = (State::Succeeded, State::Failed);
    ensure!(states == wanted, "{states:?}");
    let failure = payments[1].failure.as_ref().map(proto::Failure::reason);
    ensure!(
        failure == Some(Reason::CancelRequested) || failure == Some(Reason::RecipientRefused),
        "{failure:?}"
    );
    let batch = cancel(&stage, &batch_id).await?;
    ensure!(
        batch.state() == batch::State::Finished,
        "I7: a cancel of what is cancelled: {batch:?}"
    );
    // The hashes are free again.
    let again = upload(&stage, "again", (&invoices[2..], BatchOptions::default())).await?;
    ensure!(again.counts.unwrap_or_default().refused_count == 0, "{again:?}");
    let payments = finished(&stage, "again").await?;
    ensure!(payments.iter().all(|payment| payment.state() == State::Succeeded), "{payments:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_a_batch_and_of_a_payee_hold() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let preimages: Vec<[u8; 32]> = (0x90..0x96).map(|byte| [byte; 32]).collect();
    let mut held = Vec::new();
    for preimage in &preimages {
        held.push(stage.near.hold_invoice(*preimage, AMOUNT_MSAT).await?);
    }
    let far = stage.world.receiver(Receiver::Far).await?;
    let mut invoices = held[..3].to_vec();
    invoices.extend(far.invoices(10, AMOUNT_MSAT).await?);
    let one = BatchOptions { per_destination_in_flight_max: Some(1), ..Default::default() };
    upload(&stage, "payee", (&invoices, one)).await?;
    let three = BatchOptions { in_flight_max: Some(2), ..Default::default() };
    upload(&stage, "window", (&held[3..], three)).await?;
    for (at, preimage) in preimages[..3].iter().enumerate() {
        stage.near.wait_held(held[at].payment_hash).await?;
        let others_paid = |batch: &Batch| batch.counts.unwrap_or_default().succeeded_count >= 10;
        let counts = batch_when(&stage, "payee", others_paid).await?.counts.unwrap_or_default();
        ensure!(counts.in_flight_count == 1 && counts.queued_count == 2 - at as i32, "{counts:?}");
        stage.near.settle(*preimage).await?;
    }
    let two = |batch: &Batch| batch.counts.unwrap_or_default().in_flight_count == 2;
    let counts = batch_when(&stage, "window", two).await?.counts.unwrap_or_default();
    ensure!(counts.queued_count == 1, "{counts:?}");
    for (at, preimage) in preimages.iter().enumerate().skip(3) {
        stage.near.wait_held(held[at].payment_hash).await?;
        stage.near.settle(*preimage).await?;
    }
    for key in ["payee", "window"] {
        let payments = finished(&stage, key).await?;
        ensure!(payments.iter().all(|payment| payment.state() == State::Succeeded), "{payments:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_and_failures_pause_a_batch() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(41, AMOUNT_MSAT).await?;
    let rate = BatchOptions { payments_per_second_max: Some(20), ..Default::default() };
    upload(&stage, "rate", (&invoices, rate)).await?;
    // Behind the first burst of two, one each 50 ms.
    let starts = starts(&finished(&stage, "rate").await?)?;
    let took = starts[40].duration_since(starts[0])?;
    ensure!(took >= Duration::from_millis(1_850), "41 payments at 20 a second in {took:?}");

    let gone = stage.near.invoices(60, AMOUNT_MSAT).await?;
    for invoice in &gone {
        stage.near.cancel(invoice.payment_hash).await?;
    }
    let one = Some(1);
    let count =
        BatchOptions { in_flight_max: one, failed_count_max: Some(3), ..Default::default() };
    let share =
        BatchOptions { in_flight_max: one, failed_percent_max: Some(50), ..Default::default() };
    for (key, options, wanted) in [("count", count, 3), ("share", share, 20)] {
        let rows = if key == "count" { &gone[..10] } else { &gone[10..] };
        upload(&stage, key, (rows, options)).await?;
        let paused = batch_when(&stage, key, |batch| batch.state() == batch::State::Paused).await?;
        let counts = paused.counts.unwrap_or_default();
        ensure!(paused.pause_reason() == batch::PauseReason::FailureThreshold, "{paused:?}");
        ensure!((wanted..=wanted + 1).contains(&counts.failed_count), "{key}: {counts:?}");
    }
    // Resumed, it goes on until as many have failed again.
    resume(&stage, &stage.batch("count").await?.batch_id).await?;
    let again = |batch: &Batch| {
        let failed = batch.counts.unwrap_or_default().failed_count;
        batch.state() == batch::State::Paused && failed >= 6
    };
    batch_when(&stage, "count", again).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_deadlines_and_locks_are_the_orders() -> Result<()> {
    // Each payment's first attempt fails, in a way that lets another one try.
    let none =
        FailMix { no_route: 0.0, error: 0.0, insufficient_balance: 0.0, ..FailMix::default() };
    let fail_mix = FailMix { incorrect_payment_details: 0.0, ..none };
    let knobs = Knobs { fail_share: 1.0, fail_mix, ..Knobs::default() };
    let stage = Stage::start(knobs, ("", "")).await?;
    let invoices = stage.near.invoices(4, AMOUNT_MSAT).await?;
    for (key, attempts_max) in [("once", 1), ("twice", 2)] {
        let options = BatchOptions { attempts_max: Some(attempts_max), ..Default::default() };
        let rows = if key == "once" { &invoices[..1] } else { &invoices[1..2] };
        upload(&stage, key, (rows, options)).await?;
        let payment = finished(&stage, key).await?.swap_remove(0);
        let failure = payment.failure.as_ref().map(proto::Failure::reason);
        let wanted = (attempts_max == 1).then_some(Reason::AttemptsExhausted);
        ensure!(failure == wanted && payment.attempt_count == attempts_max, "{payment:?}");
        let full = stage.payment(&payment.payment_id).await?;
        ensure!(full.attempts.len() as i32 == attempts_max, "{full:?}");
        ensure!(full.attempts[0].node_code == "FAILURE_REASON_TIMEOUT", "{full:?}");
    }
    // A deadline of the batch, and one of the row that is earlier.
    let soon = |s| Some(prost_types::Timestamp::from(SystemTime::now() + Duration::from_secs(s)));
    let options =
        BatchOptions { start_paused: Some(true), deadline: soon(2), ..Default::default() };
    let mut rows = orders(&invoices[2..4]);
    rows[1].deadline = soon(1);
    stage.upload(messages("late", &rows, options)).await?;
    let late = finished(&stage, "late").await?;
    for payment in &late {
        let failure = payment.failure.as_ref().map(proto::Failure::reason);
        ensure!(failure == Some(Reason::DeadlinePassed), "{payment:?}");
        ensure!(payment.attempt_count == 0 && payment.first_attempt_time.is_none(), "{payment:?}");
    }
    ensure!(time(late[1].finish_time)? < time(late[0].finish_time)?, "{late:?}");

    // A payee that asks for more blocks than the batch allows: the node refuses it.
    let slow = Written { final_cltv_delta: 200, ..Default::default() };
    let order = proto::PaymentOrder {
        destination: Some(proto::payment_order::Destination::Bolt11(slow.text()?)),
        ..Default::default()
    };
    let options = BatchOptions { cltv_limit_blocks: Some(144), ..Default::default() };
    let refused = stage.create("locked", &order, options).await?;
    let refused = stage.final_payment(&refused.payment.context("a payment")?.payment_id).await?;
    ensure!(refused.attempts[0].node_code == "NEVER_SENT_INVALID", "{refused:?}");
    Ok(())
}
