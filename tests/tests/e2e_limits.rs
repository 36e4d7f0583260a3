//! Uploads and orders that are too slow, too much, or not said as they must be: each is refused
//! with its code and leaves nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fulgurite_proto::fulgurite::v1::{self as proto, BatchOptions, upload_batch_request::Content};
use fulgurite_tests::doors::{Stage, chunk, messages, orders, reason};
use futures::{StreamExt, stream};
use tokio_stream::wrappers::IntervalStream;
use tonic_types::StatusExt;

const AMOUNT_MSAT: u64 = 1_000_000;

fn paused() -> BatchOptions {
    BatchOptions { start_paused: Some(true), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_slow_or_too_much_is_refused_and_binds_nothing() -> Result<()> {
    let limits = "[limits]\nupload_silence_s_max = 1\nopen_payments_max = 1_000\n";
    let stage = Stage::set(1.0, limits).await?;
    let rows = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?);
    let whole = messages("key", &rows, paused());
    let silent = stream::iter(whole[..2].to_vec()).chain(stream::pending());
    ensure!(reason(stage.upload_stream(silent).await) == "UPLOAD_TIMEOUT", "U5");
    ensure!(reason(stage.batch("key").await) == "BATCH_NOT_FOUND", "U5 left something");
    type Change = fn(&mut proto::upload_batch_request::Header);
    let headers: [(&str, Change, &str); 9] = [
        ("no key", |h| h.idempotency_key.clear(), "IDEMPOTENCY_KEY_MISSING"),
        ("a long key", |h| h.idempotency_key = "k".repeat(256), "IDEMPOTENCY_KEY_MISSING"),
        ("a blank key", |h| h.idempotency_key = "a b".into(), "IDEMPOTENCY_KEY_MISSING"),
        ("U4: too many", |h| h.order_count = 1_001, "TOO_MANY_OPEN"),
        ("less than none", |h| h.order_count = -1, "INVALID_FIELD"),
        ("a long text", |h| h.description = "d".repeat(1_025), "INVALID_FIELD"),
        ("a long digest", |h| h.content_digest = "d".repeat(256), "INVALID_FIELD"),
        (
            "a nameless pair",
            |h| h.metadata = [(String::new(), String::new())].into(),
            "INVALID_FIELD",
        ),
        (
            "an option out of range",
            |h| h.options = Some(BatchOptions { in_flight_max: Some(0), ..paused() }),
            "INVALID_FIELD",
        ),
    ];
    for (what, change, wanted) in headers {
        let mut contents = whole.clone();
        if let Content::Header(header) = &mut contents[0] {
            change(header);
        }
        let answer = stage.upload(contents).await;
        let retry = answer.as_ref().err().and_then(StatusExt::get_details_retry_info);
        ensure!(retry.is_some() == (wanted == "TOO_MANY_OPEN"), "{what}: {retry:?}");
        let answer = reason(answer);
        ensure!(answer == wanted, "{what}: {answer}");
    }
    let full = Stage::set(1.0, "[journal]\ndisk_floor_mb = 1_073_741_824\n").await?;
    let answer = full.upload(whole.clone()).await;
    let retry = answer.as_ref().err().and_then(StatusExt::get_details_retry_info);
    ensure!(retry.and_then(|info| info.retry_delay) == Some(Duration::from_secs(30)), "no time");
    ensure!(reason(answer) == "DISK_LOW", "a full disk");
    ensure!(!stage.upload(whole).await?.replayed, "I2: a refusal bound the key");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_said_as_it_must_be_is_refused() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let rows = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?);
    let whole = messages("key", &rows, paused());
    for (what, contents) in [
        ("no header", whole[1..].to_vec()),
        ("two headers", vec![whole[0].clone(), whole[0].clone()]),
        ("no orders", vec![whole[0].clone(), messages("", &[], paused()).swap_remove(2)]),
    ] {
        let answer = reason(stage.upload(contents).await);
        ensure!(answer == "INVALID_FIELD", "{what}: {answer}");
    }
    let single = |order, options| proto::CreatePaymentRequest {
        idempotency_key: "single".into(),
        order,
        options,
        validate_only: false,
    };
    let keep = BatchOptions { accept_valid: Some(true), ..Default::default() };
    for (what, request) in [
        ("no order", single(None, None)),
        ("an option of batches", single(Some(rows[0].clone()), Some(keep))),
    ] {
        let answer = reason(stage.payments()?.create_payment(request).await);
        ensure!(answer == "INVALID_FIELD", "{what}: {answer}");
    }
    // A gap within the stream, too.
    let gap = vec![whole[0].clone(), chunk(2, &rows)];
    ensure!(reason(stage.upload(gap).await) == "UPLOAD_INCOMPLETE", "a gap");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_takes_too_long_in_all_is_ended() -> Result<()> {
    let stage = Stage::set(1.0, "[limits]\nupload_s_max = 10\n").await?;
    let rows = orders(&stage.near.invoices(100, AMOUNT_MSAT).await?);
    let header = stream::iter(messages("slow", &rows, paused())).take(1);
    // Never silent for long, and never at its end: a row each second.
    let ticks = tokio::time::interval(Duration::from_secs(1));
    let chunks = (1..).zip(rows).map(|(row, order)| chunk(row, &[order]));
    let chunks = IntervalStream::new(ticks).zip(stream::iter(chunks.collect::<Vec<_>>()));
    let started = Instant::now();
    let slow = stage.upload_stream(header.chain(chunks.map(|(_, chunk)| chunk)));
    ensure!(reason(slow.await) == "UPLOAD_TIMEOUT", "U5");
    ensure!(started.elapsed() >= Duration::from_secs(9), "after {:?}", started.elapsed());
    ensure!(reason(stage.batch("slow").await) == "BATCH_NOT_FOUND", "U5 left something");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_is_of_its_request_alone() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let mut rows = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    rows.extend([proto::PaymentOrder::default(), proto::PaymentOrder::default()]);
    let keep = BatchOptions { accept_valid: Some(true), ..paused() };
    let batch_id = stage.upload(messages("pages", &rows, keep)).await?.batch.batch_id;
    let payments = proto::ListPaymentsRequest {
        batch_id: batch_id.clone(),
        page_size: 2,
        ..Default::default()
    };
    let refused =
        proto::ListRefusedRowsRequest { batch_id, page_size: 1, page_token: String::new() };
    let page = stage.payments()?.list_payments(payments.clone()).await?.into_inner();
    let rows = stage.batches()?.list_refused_rows(refused.clone()).await?.into_inner();
    ensure!((page.payments.len(), rows.rows.len()) == (2, 1), "{page:?} {rows:?}");
    let (of_payments, of_rows) = (page.next_page_token, rows.next_page_token);
    let states = vec![proto::payment::State::Queued.into()];
    for (what, page_token, states) in
        [("of other states", of_payments.clone(), states), ("of refused rows", of_rows, vec![])]
    {
        let request = proto::ListPaymentsRequest { page_token, states, ..payments.clone() };
        let answer = reason(stage.payments()?.list_payments(request).await);
        ensure!(answer == "PAGE_TOKEN_MISMATCH", "{what}: {answer}");
    }
    let request =
        proto::ListRefusedRowsRequest { page_token: of_payments.clone(), ..refused.clone() };
    let answer = reason(stage.batches()?.list_refused_rows(request).await);
    ensure!(answer == "PAGE_TOKEN_MISMATCH", "of payments: {answer}");
    let request = proto::ListRefusedRowsRequest { batch_id: "bat_1".into(), ..refused };
    let answer = reason(stage.batches()?.list_refused_rows(request).await);
    ensure!(answer == "BATCH_NOT_FOUND", "{answer}");
    // A size above the most is the most.
    let request =
        proto::ListPaymentsRequest { page_token: of_payments, page_size: 1_000_000, ..payments };
    let rest = stage.payments()?.list_payments(request).await?.into_inner();
    ensure!(rest.payments.len() == 1 && rest.next_page_token.is_empty(), "{rest:?}");
    Ok(())
}
