//! Lines of the contract that other tests do not show: what a refusal names and binds, what starts
//! paused, the size of a page, a full engine, and what is unresolved.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, BatchOptions, PaymentOrder, batch, engine_service_client::EngineServiceClient,
    event::Object, payment::State, payment_order::Amount, upload_batch_request::Content,
};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    doors::{Stage, chunk, messages, orders, wait_past},
    regtest::until,
    written::Written,
};
use futures::{StreamExt, stream};
use tonic::Status;
use tonic_types::{ErrorInfo, StatusExt};

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn paused() -> BatchOptions {
    BatchOptions { start_paused: Some(true), ..Default::default() }
}

/// The `ErrorInfo` of a refusal with this reason.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>, wanted: &str) -> Result<ErrorInfo> {
    let Err(status) = answer else { anyhow::bail!("not refused: {answer:?}") };
    let info = status.get_details_error_info().context("an ErrorInfo")?;
    ensure!(info.reason == wanted && info.domain == "fulgurite", "{info:?}, not {wanted}");
    Ok(info)
}

/// Whether a refusal names this payment.
fn names(info: &ErrorInfo, payment: &proto::Payment) -> Result<()> {
    let named = info.metadata.get("payment_id") == Some(&payment.payment_id);
    ensure!(named, "{info:?} does not name {}", payment.payment_id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_what_it_is_about_and_binds_nothing() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    let [one, two, three] = orders.as_slice() else { anyhow::bail!("three orders") };
    for key in ["", "two words", "schl\u{fc}ssel", &"x".repeat(256)] {
        refusal(stage.create(key, one, paused()).await, "IDEMPOTENCY_KEY_MISSING")?;
        let answer = stage.upload(messages(key, &orders, paused())).await;
        refusal(answer, "IDEMPOTENCY_KEY_MISSING")?;
    }
    // I2: a refused order and a refused batch bind neither key nor hash.
    let costly = PaymentOrder { fee_limit_msat: Some(100_001), ..one.clone() };
    let info = refusal(stage.create("single", &costly, paused()).await, "ORDER_REFUSED")?;
    let row_reason = info.metadata.get("row_reason").map(String::as_str);
    ensure!(row_reason == Some("FEE_LIMIT_TOO_HIGH"), "{info:?}");
    refusal(stage.upload(messages("batch", &[costly], paused())).await, "ROWS_REFUSED")?;
    let answer = stage.create("single", one, paused()).await?;
    let open = answer.payment.context("a payment")?;
    ensure!(!answer.replayed && open.state() == State::Queued, "{open:?}");
    ensure!(!stage.upload(messages("batch", std::slice::from_ref(two), paused())).await?.replayed);

    for validate_only in [true, false] {
        let request = proto::CreatePaymentRequest {
            idempotency_key: "again".into(),
            order: Some(one.clone()),
            options: None,
            validate_only,
        };
        let answer = stage.payments()?.create_payment(request).await;
        names(&refusal(answer, "HASH_CLAIMED")?, &open)?;
    }
    let paid = stage.create("paid", three, Default::default()).await?;
    let paid = stage.final_payment(&paid.payment.context("a payment")?.payment_id).await?;
    ensure!(paid.state() == State::Succeeded, "{paid:?}");
    names(&refusal(stage.create("more", three, paused()).await, "ALREADY_PAID")?, &paid)?;
    // An option without a meaning is refused, not ignored.
    let keep = BatchOptions { accept_valid: Some(true), ..Default::default() };
    refusal(stage.create("keep", three, keep).await, "INVALID_FIELD")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reused_key_is_told_its_batch_and_the_first_difference() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let free = |preimage| Written { preimage, amount_msat: None, ..Default::default() }.text();
    let amount = |msat| Some(Amount::AmountMsat(msat));
    let orders = (0..20)
        .map(|row| {
            let destination = Some(proto::payment_order::Destination::Bolt11(free(row)?));
            Ok(PaymentOrder { destination, amount: amount(1_000), ..Default::default() })
        })
        .collect::<Result<Vec<_>>>()?;
    let batch = stage.upload(messages("key", &orders, paused())).await?.batch;
    let mut other = orders.clone();
    other[16].amount = amount(1_001);
    let low = BatchOptions { priority: 1, ..paused() };
    for (what, orders, options) in [
        ("row 17 amount_msat", &other[..], paused()),
        ("order_count", &orders[..19], paused()),
        ("options.priority", &orders[..], low),
    ] {
        let answer = stage.upload(messages("key", orders, options)).await;
        let info = refusal(answer, "IDEMPOTENCY_KEY_REUSED")?;
        ensure!(info.metadata.get("batch_id") == Some(&batch.batch_id), "{info:?}");
        ensure!(info.metadata.get("difference").is_some_and(|found| found == what), "{info:?}");
    }
    // One namespace over the methods.
    let answer = stage.create("key", &orders[0], paused()).await;
    let info = refusal(answer, "IDEMPOTENCY_KEY_REUSED")?;
    ensure!(info.metadata.get("batch_id") == Some(&batch.batch_id), "{info:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_starts_paused_shows_what_holds_and_starts_nothing() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let mut engine = EngineServiceClient::new(stage.channel()?);
    let engine = engine.get_engine(proto::GetEngineRequest {}).await?.into_inner().engine;
    let defaults = engine.and_then(|engine| engine.default_options).context("options")?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    let set = BatchOptions { attempts_max: Some(3), ..paused() };
    let accepted = stage.upload(messages("paused", &orders[..2], set)).await?.batch;
    ensure!(accepted.state() == batch::State::Paused, "{accepted:?}");
    ensure!(accepted.pause_reason() == batch::PauseReason::StartPaused, "{accepted:?}");
    let holds = BatchOptions { start_paused: Some(true), attempts_max: Some(3), ..defaults };
    ensure!(accepted.options == Some(holds) && defaults.attempts_max == Some(5), "{accepted:?}");
    // Another batch is paid meanwhile, with the engine's own fee policy: 10 sat and 0.5 %.
    let other = stage.create("other", &orders[2], Default::default()).await?;
    let other = stage.final_payment(&other.payment.context("a payment")?.payment_id).await?;
    ensure!(other.fee_limit_msat == 15_000, "{other:?}");
    ensure!(
        other.payment_id.starts_with("pay_") && other.batch_id.starts_with("bat_"),
        "{other:?}"
    );
    for hex in [&other.payment_hash, &other.preimage] {
        let is_lower = hex.bytes().all(|digit| b"0123456789abcdef".contains(&digit));
        ensure!(hex.len() == 64 && is_lower, "{hex}");
    }
    for payment in stage.payments_of(&accepted.batch_id).await? {
        ensure!(payment.state() == State::Queued && payment.attempt_count == 0, "{payment:?}");
        ensure!(payment.first_attempt_time.is_none() && payment.node.is_empty(), "{payment:?}");
    }
    ensure!(stage.batch("paused").await? == accepted, "it changed");
    let resume = proto::ResumeBatchRequest { batch_id: accepted.batch_id };
    stage.batches()?.resume_batch(resume).await?;
    until("the batch to be paid", PATIENCE, async || {
        let counts = stage.batch("paused").await?.counts.unwrap_or_default();
        Ok((counts.succeeded_count == 2).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_started_may_end_after_its_deadline_and_no_fee_is_no_fee() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let preimage = [0x71; 32];
    let held = stage.near.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let order = orders(std::slice::from_ref(&held)).swap_remove(0);
    let deadline = Some(prost_types::Timestamp::from(SystemTime::now() + Duration::from_secs(2)));
    let soon = BatchOptions { deadline, ..Default::default() };
    let started = stage.create("started", &order, soon).await?.payment.context("a payment")?;
    stage.near.wait_held(held.payment_hash).await?;
    wait_past(soon).await?;
    let payment = stage.payment(&started.payment_id).await?;
    ensure!(payment.state() == State::InFlight, "{payment:?}");
    stage.near.settle(preimage).await?;
    let paid = stage.final_payment(&started.payment_id).await?;
    ensure!(paid.state() == State::Succeeded && paid.fee_msat > 0, "{paid:?}");
    // The same route without a fee: there is none.
    let order = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?).swap_remove(0);
    let free = PaymentOrder { fee_limit_msat: Some(0), ..order };
    let once = BatchOptions { attempts_max: Some(1), ..Default::default() };
    let unpaid = stage.create("free", &free, once).await?.payment.context("a payment")?;
    ensure!(unpaid.fee_limit_msat == 0, "{unpaid:?}");
    let unpaid = stage.final_payment(&unpaid.payment_id).await?;
    let reason = unpaid.failure.as_ref().map(proto::Failure::reason);
    ensure!(reason == Some(proto::failure::Reason::NoRoute), "{unpaid:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_payments_has_100_and_at_most_1_000() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(1_001, AMOUNT_MSAT).await?);
    let mut upload = messages("large", &orders[..1_000], paused());
    upload[2] = chunk(1_001, &orders[1_000..]);
    upload.push(Content::Commit(proto::upload_batch_request::Commit { order_count: 1_001 }));
    let batch_id = stage.upload(upload).await?.batch.batch_id;
    let ask = proto::ListPaymentsRequest { batch_id, ..Default::default() };
    let mut token = String::new();
    for (page_size, rows) in [(0, 100), (5_000, 1_000)] {
        let request = proto::ListPaymentsRequest { page_size, ..ask.clone() };
        let page = stage.payments()?.list_payments(request).await?.into_inner();
        let found: Vec<i32> = page.payments.iter().map(|payment| payment.row).collect();
        ensure!(found == (1..=rows).collect::<Vec<_>>(), "{page_size}: {} rows", found.len());
        token = page.next_page_token;
    }
    let rest = proto::ListPaymentsRequest { page_token: token, ..ask };
    let rest = stage.payments()?.list_payments(rest).await?.into_inner();
    ensure!(rest.payments.len() == 1 && rest.next_page_token.is_empty(), "{rest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_engine_says_when_to_come_back() -> Result<()> {
    let mut stage = Stage::set(1.0, "[limits]\nopen_payments_max = 1_000\n").await?;
    let orders = orders(&stage.near.invoices(1_001, AMOUNT_MSAT).await?);
    let retry = |status: &Status| {
        let info = status.get_details_retry_info();
        info.and_then(|info| info.retry_delay).context("a RetryInfo")
    };
    // U4: what the header announces is refused before rows travel.
    let mut many = messages("many", &orders, paused()).swap_remove(0);
    if let Content::Header(header) = &mut many {
        header.order_count = 1_001;
    }
    let announced = stage.upload_stream(stream::iter([many]).chain(stream::pending())).await;
    refusal(announced, "TOO_MANY_OPEN")?;
    stage.upload(messages("all", &orders[..1_000], paused())).await?;
    // I3: what was accepted is answered again, with its own rows in the way.
    stage.upload(messages("all", &orders[..1_000], paused())).await.context("a repeat")?;
    let full = stage.create("more", &orders[1_000], paused()).await.err().context("refused")?;
    ensure!(retry(&full)? == Duration::from_secs(10), "{full:?}");
    refusal(Err::<(), _>(full), "TOO_MANY_OPEN")?;
    let first = stage.payments_of(&stage.batch("all").await?.batch_id).await?.swap_remove(0);
    stage.cancel(&first.payment_id).await?;
    stage.create("more", &orders[1_000], paused()).await.context("one has ended")?;

    // A disk that is too small: nothing new is accepted, what was accepted goes on.
    let file = stage.folder().join("engine/fulgurite.toml");
    let config = fs::read_to_string(&file)?;
    let floor = "disk_floor_mb = 1_073_741_824";
    fs::write(&file, config.replace("disk_floor_mb = 0", floor))?;
    stage.engine.restart()?;
    let low = stage.create("low", &orders[0], paused()).await.err().context("refused")?;
    ensure!(retry(&low)? == Duration::from_secs(30), "{low:?}");
    refusal(Err::<(), _>(low), "DISK_LOW")?;
    stage.create("more", &orders[1_000], paused()).await.context("a repeat")?;
    let answer = stage.upload(messages("low", &orders[..1], paused())).await;
    refusal(answer, "DISK_LOW")?;
    let batch_id = stage.batch("all").await?.batch_id;
    stage.batches()?.resume_batch(proto::ResumeBatchRequest { batch_id }).await?;
    until("the batch to be paid", PATIENCE, async || {
        Ok(stage.batch("all").await?.finish_time.map(drop))
    })
    .await
}

/// Reads a watch until `enough` events came, and returns them.
async fn events(
    stream: &mut tonic::Streaming<proto::WatchBatchResponse>,
    enough: usize,
) -> Result<Vec<proto::Event>> {
    let mut found = Vec::new();
    while found.len() < enough {
        let message = stream.message().await?.context("the stream ended")?;
        found.extend(message.events);
    }
    Ok(found)
}

fn states(events: &[proto::Event]) -> Vec<State> {
    let state = |event: &proto::Event| match &event.object {
        Some(Object::Payment(payment)) => payment.state(),
        _ => State::Unspecified,
    };
    events.iter().map(state).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unresolved_is_told_stays_open_and_is_paid_by_nobody_else() -> Result<()> {
    // The node shows each payment in flight and has no HTLC of it, until it is restarted.
    let knobs = Knobs { zombie_share: 1.0, ..Knobs::default() };
    let stage = Stage::start(knobs, ("payment_timeout_s = 1\nstuck_after_s = 1\n", "")).await?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    let once = BatchOptions { attempts_max: Some(1), ..Default::default() };
    let batch_id = stage.upload(messages("stuck", &orders, once)).await?.batch.batch_id;
    let request = proto::WatchBatchRequest {
        batch_id: batch_id.clone(),
        outcomes_only: true,
        ..Default::default()
    };
    let mut stream = stage.batches()?.watch_batch(request.clone()).await?.into_inner();
    let told = events(&mut stream, 3).await?;
    ensure!(states(&told) == [State::Unresolved; 3], "{told:?}");
    ensure!(told.iter().all(|event| event.r#type == "payment.unresolved"), "{told:?}");
    let named = |event: &proto::Event| event.event_id.starts_with("evt_") && event.time.is_some();
    ensure!(told.iter().all(named), "{told:?}");
    let batch = stage.batch("stuck").await?;
    let counts = batch.counts.unwrap_or_default();
    ensure!(counts.unresolved_count == 3 && batch.finish_time.is_none(), "{batch:?}");
    for (payment, order) in stage.payments_of(&batch_id).await?.iter().zip(&orders) {
        let payment = stage.payment(&payment.payment_id).await?;
        ensure!(payment.finish_time.is_none(), "{payment:?}");
        ensure!(payment.outcome_unknown_since.is_some(), "{payment:?}");
        ensure!(payment.attempts[0].node_code == "IN_FLIGHT_WITHOUT_HTLC", "{payment:?}");
        refusal(stage.cancel(&payment.payment_id).await, "PAYMENT_IN_FLIGHT")?;
        let again = stage.create("again", order, Default::default()).await;
        names(&refusal(again, "HASH_CLAIMED")?, &payment)?;
    }
    // The command line does not wait for a person: it says so.
    let output = stage.engine.cli(&["batch", "watch", &batch_id])?;
    ensure!(output.status.code() == Some(5), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for event in &told {
        let Some(Object::Payment(payment)) = &event.object else { continue };
        ensure!(said.contains(&payment.payment_id), "{} is not in {said}", payment.payment_id);
    }
    // W2: the stream is still open, and has each end; a later replay has the ends alone.
    stage.world.restart_payer().await?;
    let ends = events(&mut stream, 3).await?;
    ensure!(!states(&ends).contains(&State::Unresolved), "{ends:?}");
    let mut replay = stage.batches()?.watch_batch(request).await?.into_inner();
    let replayed = events(&mut replay, 3).await?;
    ensure!(replayed == ends, "{replayed:?}, not {ends:?}");
    while let Some(message) = replay.message().await? {
        ensure!(message.events.is_empty(), "more than the ends: {message:?}");
    }
    Ok(())
}
