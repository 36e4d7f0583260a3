//! Bad rows at the real door: each reason with its field, its message and what it points at; all
//! of them listed, and flat memory however many there are.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, PaymentOrder, payment_order::Amount, refused_row::Reason,
    upload_batch_request::Content,
};
use fulgurite_tests::{
    doors::{Stage, chunk, messages, orders, reason},
    odd::{self, Oddity},
    peer::Peer,
    regtest::{Invoice, until},
    upload::{Uploaded, upload_into},
    written::Written,
};
use futures::stream;
use lightning_invoice::Currency;
use tonic_types::StatusExt;

const AMOUNT_MSAT: u64 = 1_000_000;
const MEMORY_KIB_MAX: u64 = 600 << 10;

fn order(bolt11: impl Into<String>) -> PaymentOrder {
    let destination = Some(proto::payment_order::Destination::Bolt11(bolt11.into()));
    PaymentOrder { destination, ..Default::default() }
}

fn amount(msat: i64) -> Option<Amount> {
    Some(Amount::AmountMsat(msat))
}

/// Uploads, and returns the refused rows with the reason of the end.
async fn refused(
    stage: &Stage,
    contents: Vec<Content>,
) -> Result<(Vec<proto::RefusedRow>, String)> {
    let mut uploaded = Uploaded::default();
    let end = upload_into(stage.channel()?, stream::iter(contents), &mut uploaded).await;
    Ok((uploaded.refused, reason(end)))
}

/// One bad row: its order, and its only problem.
struct Bad {
    order: PaymentOrder,
    reason: Reason,
    field: &'static str,
    says: &'static str,
}

fn bad(order: PaymentOrder, reason: Reason, field: &'static str, says: &'static str) -> Bad {
    Bad { order, reason, field, says }
}

/// The same invoice with its last character changed.
fn torn(mut text: String) -> String {
    let last = text.pop();
    text.push(if last == Some('q') { 'p' } else { 'q' });
    text
}

/// An invoice whose signature was given by nobody who could.
fn forged() -> Result<String> {
    Ok(odd::invoice(Oddity::NotSigned, [0x71; 32])?.payment_request)
}

/// Waits until the engine has seen who its node is, as a start does not wait for the nodes: from
/// then on it refuses what that node would be paid by.
async fn own_invoice_is_refused(stage: &Stage, own: &PaymentOrder) -> Result<()> {
    let request = proto::CreatePaymentRequest {
        idempotency_key: "own".into(),
        order: Some(own.clone()),
        validate_only: true,
        ..Default::default()
    };
    until("the engine to know its node", Duration::from_secs(10), async || {
        Ok(stage.payments()?.create_payment(request.clone()).await.err().map(drop))
    })
    .await
}

/// An invoice of the engine's own node.
async fn own_invoice(stage: &Stage) -> Result<PaymentOrder> {
    let own = Peer::connect(&stage.world.payer()).await?.invoices(1, AMOUNT_MSAT).await?;
    let own = order(own.into_iter().next().context("an invoice")?.payment_request);
    own_invoice_is_refused(stage, &own).await?;
    Ok(own)
}

#[rustfmt::skip] // A table: one entry is one order and what is wrong with it.
async fn bad_rows(stage: &Stage) -> Result<Vec<Bad>> {
    use Reason as R;
    let of = |preimage| Written { preimage, ..Default::default() };
    let good = |preimage| of(preimage).text().map(order);
    let free = |preimage| Written { amount_msat: None, ..of(preimage) }.text().map(order);
    let past = Some(prost_types::Timestamp::from(SystemTime::now() - Duration::from_secs(1)));
    let own = own_invoice(stage).await?;
    let odd = |oddity: Oddity| odd::invoice(oddity, [oddity as u8 + 0x51; 32]);
    let [no_secret, amp] = [Oddity::NoAddress, Oddity::Amp].map(odd);
    Ok(vec![
        bad(order("coffee"), R::Malformed, "bolt11", "does not start with ln"),
        bad(PaymentOrder { reference: "x".repeat(256), ..good(1)? }, R::Malformed, "reference", "at most 255"),
        bad(PaymentOrder { amount: amount(0), ..free(2)? }, R::Malformed, "amount_msat", "at least 1"),
        bad(PaymentOrder { fee_limit_msat: Some(-1), ..good(3)? }, R::Malformed, "fee_limit_msat", "at least 0"),
        bad(PaymentOrder::default(), R::UnsupportedDestination, "destination", "no destination"),
        bad(order("max@example.org"), R::UnsupportedDestination, "bolt11", "Lightning Address"),
        bad(order(Written { currency: Currency::Bitcoin, ..of(4) }.text()?), R::WrongNetwork, "bolt11", "for mainnet"),
        bad(order(torn(of(5).text()?)), R::BadChecksum, "bolt11", "copy it again"),
        bad(order(forged()?), R::BadSignature, "bolt11", "signature is wrong"),
        bad(order(Written { age_s: 3_601, ..of(6) }.text()?), R::Expired, "bolt11", "expired at"),
        bad(order(Written { expiry_s: 45, ..of(7) }.text()?), R::ExpiresTooSoon, "bolt11", "sooner than in 60 s"),
        bad(free(8)?, R::AmountMissing, "amount_msat", "set amount_msat"),
        bad(PaymentOrder { amount: amount(1), ..good(9)? }, R::AmountConflict, "amount_msat", "asks for 1000000"),
        bad(PaymentOrder { amount: amount(10_000_000_001), ..free(10)? }, R::AmountAboveLimit, "amount_msat", "limit of one payment"),
        bad(PaymentOrder { amount: amount(30_000_001), ..free(11)? }, R::BatchAboveLimit, "amount_msat", "above its limit"),
        bad(PaymentOrder { fee_limit_msat: Some(100_001), ..good(12)? }, R::FeeLimitTooHigh, "fee_limit_msat", "is allowed"),
        bad(own, R::OwnInvoice, "bolt11", "own nodes"),
        bad(order(no_secret?.payment_request), R::FeatureUnsupported, "bolt11", "no payment secret"),
        bad(order(amp?.payment_request), R::FeatureUnsupported, "bolt11", "AMP"),
        bad(order(Written { feature: Some(200), ..of(13) }.text()?), R::FeatureUnsupported, "bolt11", "feature bit 200"),
        bad(order(Written { final_cltv_delta: 433, ..of(14) }.text()?), R::CltvTooLong, "bolt11", "433 blocks; at most 432"),
        bad(PaymentOrder { deadline: past, ..good(15)? }, R::DeadlinePast, "deadline", "passed at"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_is_told_with_its_field_and_what_it_points_at() -> Result<()> {
    // Good rows are of 1,000 sat: these fit, and no more of 30,000.
    let mut stage = Stage::set(1.0, "[check]\nbatch_amount_sat_max = 30_000\n").await?;
    let invoices = stage.near.invoices(6, AMOUNT_MSAT).await?;
    let valid = orders(&invoices);
    let paid = stage.create("paid", &valid[0], Default::default()).await?;
    let paid = stage.final_payment(&paid.payment.context("a payment")?.payment_id).await?;
    let paused = proto::BatchOptions { start_paused: Some(true), ..Default::default() };
    let open = stage.upload(messages("open", &valid[1..2], paused)).await?.batch.batch_id;
    let open = stage.payments_of(&open).await?.swap_remove(0);

    let named =
        |order: &PaymentOrder, name: &str| PaymentOrder { reference: name.into(), ..order.clone() };
    let mut rows = vec![named(&valid[2], "good"), valid[0].clone(), valid[1].clone()];
    rows.extend([named(&valid[2], "twice"), named(&valid[3], "good")]);
    let table = bad_rows(&stage).await?;
    rows.extend(table.iter().map(|bad| bad.order.clone()));
    let first = 6;
    let (found, end) = refused(&stage, messages("bad", &rows, Default::default())).await?;
    ensure!(end == "ROWS_REFUSED", "{end}");
    let mut by_row: BTreeMap<i32, Vec<&proto::RefusedRow>> = BTreeMap::new();
    found.iter().for_each(|row| by_row.entry(row.row).or_default().push(row));
    let one = |row: i32| match by_row.get(&row).map(Vec::as_slice) {
        Some([one]) => Ok(*one),
        other => Err(anyhow::anyhow!("row {row}: {other:?}")),
    };
    ensure!(!by_row.contains_key(&1), "the good row: {:?}", by_row[&1]);
    let (claimed, taken) = (one(3)?, one(2)?);
    ensure!(
        taken.reason() == Reason::AlreadyPaid && taken.payment_id == paid.payment_id,
        "{taken:?}"
    );
    ensure!(claimed.reason() == Reason::HashClaimed, "{claimed:?}");
    ensure!(claimed.payment_id == open.payment_id && claimed.field == "bolt11", "{claimed:?}");
    let (hash, name) = (one(4)?, one(5)?);
    ensure!(hash.reason() == Reason::DuplicateHash && hash.other_row == 1, "{hash:?}");
    ensure!(name.reason() == Reason::DuplicateReference && name.other_row == 1, "{name:?}");
    ensure!((hash.field.as_str(), name.field.as_str()) == ("bolt11", "reference"), "{name:?}");
    ensure!(name.reference == "good", "the client's own name for the row: {name:?}");
    for (at, bad) in (first..).zip(&table) {
        let row = one(at)?;
        ensure!(row.reason() == bad.reason && row.field == bad.field, "{row:?}");
        ensure!(row.message.contains(bad.says), "{:?} lacks {:?}", row.message, bad.says);
    }
    let seen: std::collections::BTreeSet<i32> = found.iter().map(|row| row.reason).collect();
    ensure!(seen == (1..=20).collect(), "reasons without a row: {seen:?}");

    same_verdicts(&mut stage, (&rows, &found)).await?;
    // It started again for that.
    let own = table.iter().find(|bad| bad.reason == Reason::OwnInvoice).context("a row")?;
    own_invoice_is_refused(&stage, &own.order).await?;
    as_single_orders(&stage, &table).await
}

/// `validate_only` says the same and writes nothing; `accept_valid` keeps the good row and lists
/// the others for ever.
async fn same_verdicts(
    stage: &mut Stage,
    (rows, found): (&[PaymentOrder], &[proto::RefusedRow]),
) -> Result<()> {
    let texts = |rows: &[proto::RefusedRow]| {
        let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        texts.sort();
        texts
    };
    let mut only = messages("bad", rows, Default::default());
    if let Content::Header(header) = &mut only[0] {
        header.validate_only = true;
    }
    let (validated, end) = refused(stage, only.clone()).await?;
    ensure!(end == "ROWS_REFUSED" && texts(&validated) == texts(found), "{end}: {validated:?}");
    let keep = proto::BatchOptions {
        accept_valid: Some(true),
        start_paused: Some(true),
        ..Default::default()
    };
    only[0] = messages("bad", rows, keep).swap_remove(0);
    if let Content::Header(header) = &mut only[0] {
        header.validate_only = true;
    }
    let totals = stage.upload(only).await?;
    ensure!(texts(&totals.refused) == texts(found), "validated with accept_valid");
    ensure!(totals.batch.batch_id.is_empty(), "written: {totals:?}");
    ensure!(reason(stage.batch("bad").await) == "BATCH_NOT_FOUND", "written");

    let kept = stage.upload(messages("bad", rows, keep)).await?;
    ensure!(texts(&kept.refused) == texts(found), "accepted with accept_valid");
    let counts = kept.batch.counts.unwrap_or_default();
    ensure!(
        counts.queued_count == 1 && counts.refused_count as usize == rows.len() - 1,
        "{counts:?}"
    );
    let validated = &totals.batch;
    ensure!(
        validated.counts == kept.batch.counts && validated.options == kept.batch.options,
        "{validated:?}"
    );
    ensure!(validated.amount_msat == kept.batch.amount_msat, "{validated:?}");
    ensure!(validated.fee_limit_msat == kept.batch.fee_limit_msat, "{validated:?}");
    ensure!(validated.fingerprint == kept.batch.fingerprint, "{validated:?}");
    let repeated = stage.upload(messages("bad", rows, keep)).await?;
    ensure!(repeated.replayed && texts(&repeated.refused) == texts(found), "I3: the same rows");
    // They are journaled with the batch.
    stage.engine.restart()?;
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let batch_id = kept.batch.batch_id.clone();
        let request = proto::ListRefusedRowsRequest { batch_id, page_size: 5, page_token };
        let page = stage.batches()?.list_refused_rows(request).await?.into_inner();
        listed.extend(page.rows);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(texts(&listed) == texts(found), "ListRefusedRows: {} rows", listed.len());
    Ok(())
}

/// The same orders alone: the reason is that of the refusal.
async fn as_single_orders(stage: &Stage, table: &[Bad]) -> Result<()> {
    for bad in table {
        let request = proto::CreatePaymentRequest {
            idempotency_key: "single".into(),
            order: Some(bad.order.clone()),
            ..Default::default()
        };
        for validate_only in [true, false] {
            let request = proto::CreatePaymentRequest { validate_only, ..request.clone() };
            let answer = stage.payments()?.create_payment(request).await;
            let status = answer.err().with_context(|| format!("{:?} was taken", bad.reason))?;
            let info = status.get_details_error_info().context("an ErrorInfo")?;
            let wanted = bad.reason.as_str_name().trim_start_matches("REASON_");
            ensure!(info.reason == "ORDER_REFUSED", "{status}");
            ensure!(
                info.metadata.get("row_reason").is_some_and(|found| found == wanted),
                "{info:?}"
            );
            let fields = status.get_details_bad_request().context("a BadRequest")?.field_violations;
            ensure!(fields.iter().any(|violation| violation.field == bad.field), "{fields:?}");
        }
    }
    Ok(())
}

/// A whole upload in messages of 1,000 rows.
fn many(key: &str, orders: &[PaymentOrder], options: proto::BatchOptions) -> Vec<Content> {
    let mut contents = messages(key, &[], options);
    let order_count = i32::try_from(orders.len()).expect("at most 100,000");
    contents[2] = Content::Commit(proto::upload_batch_request::Commit { order_count });
    let chunks = (0..).zip(orders.chunks(1_000)).map(|(at, rows)| chunk(at * 1_000 + 1, rows));
    contents.splice(1..2, chunks.collect::<Vec<_>>());
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_bad_rows_are_all_listed_in_flat_memory() -> Result<()> {
    const ROWS: usize = 100_000;
    let stage = Stage::set(1.0, "").await?;
    let torn = torn(Written::default().text()?);
    let rows: Vec<PaymentOrder> = (0..ROWS)
        .map(|row| PaymentOrder {
            reference: format!("row-{row}-{}", "x".repeat(200)),
            ..order(if row % 2 == 0 { &torn } else { "coffee" })
        })
        .collect();
    let (found, end) = refused(&stage, many("bad", &rows, Default::default())).await?;
    ensure!(end == "ROWS_REFUSED" && found.len() == ROWS, "{end}: {} rows", found.len());
    ensure!((1..).zip(&found).all(|(row, found)| found.row == row), "not in their order");
    // Every problem that a row can have, of every row but one.
    let past = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let worst = Written { age_s: 4_000, final_cltv_delta: 2_000, ..Default::default() }.text()?;
    let worst = PaymentOrder {
        fee_limit_msat: Some(1_000_000),
        deadline: past,
        reference: "x".repeat(255),
        ..order(worst)
    };
    // What is kept with a batch has an end: its acceptance is one record of the journal.
    let keep = proto::BatchOptions { accept_valid: Some(true), ..Default::default() };
    let mut rows = vec![worst; 40_000];
    let (_, end) = refused(&stage, many("endless", &rows, keep)).await?;
    ensure!(end == "BATCH_TOO_LARGE", "{end}");
    ensure!(reason(stage.batch("endless").await) == "BATCH_NOT_FOUND", "accepted");
    rows.truncate(10_000);
    rows[0] = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?).swap_remove(0);
    let kept = stage.upload(many("kept", &rows, keep)).await?;
    ensure!(kept.refused.len() == 9_999 * 6 - 2, "{} problems", kept.refused.len());
    let counts = kept.batch.counts.unwrap_or_default();
    ensure!((counts.queued_count, counts.refused_count) == (1, 9_999), "{counts:?}");
    let peak = stage.engine.memory_kib("VmHWM")?;
    println!("{ROWS} bad rows and {} problems of others: {} MiB", kept.refused.len(), peak >> 10);
    ensure!(peak < MEMORY_KIB_MAX, "{peak} KiB");

    // A row too many.
    let rows = vec![order("coffee"); ROWS + 1];
    let (_, end) = refused(&stage, many("large", &rows, Default::default())).await?;
    ensure!(end == "BATCH_TOO_LARGE", "{end}");
    let mut header = many("large", &rows[..1], Default::default());
    if let Content::Header(header) = &mut header[0] {
        header.order_count = ROWS as i32 + 1;
    }
    let (_, end) = refused(&stage, header[..1].to_vec()).await?;
    ensure!(end == "BATCH_TOO_LARGE", "U4: {end}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validated_payment_is_not_written() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices: Vec<Invoice> = stage.near.invoices(1, AMOUNT_MSAT).await?;
    let order = Some(PaymentOrder { reference: "r".into(), ..orders(&invoices).swap_remove(0) });
    let request = proto::CreatePaymentRequest {
        idempotency_key: "one".into(),
        order: order.clone(),
        validate_only: true,
        ..Default::default()
    };
    let only = stage.payments()?.create_payment(request.clone()).await?.into_inner();
    let only = only.payment.context("a payment")?;
    ensure!(only.payment_id.is_empty() && only.create_time.is_none(), "written: {only:?}");
    ensure!(only.payment_hash == hex::encode(invoices[0].payment_hash), "{only:?}");
    ensure!((only.amount_msat, only.fee_limit_msat) == (1_000_000, 15_000), "{only:?}");
    ensure!((only.reference.as_str(), only.row) == ("r", 1), "{only:?}");
    ensure!(reason(stage.batch("one").await) == "BATCH_NOT_FOUND", "the key is bound");
    let request = proto::CreatePaymentRequest { validate_only: false, ..request };
    let created = stage.payments()?.create_payment(request).await?.into_inner();
    ensure!(!created.replayed, "ordered by what was only validated");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_fee_policy_of_its_own_a_batch_is_judged_by_it() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices: Vec<Invoice> = stage.near.invoices(2, AMOUNT_MSAT).await?;
    let policy = |base_msat, proportional_ppm| proto::BatchOptions {
        start_paused: Some(true),
        fee_policy: Some(proto::FeePolicy { base_msat, proportional_ppm }),
        ..Default::default()
    };
    let costly = messages("costly", &orders(&invoices[..1]), policy(100_001, 0));
    let (found, end) = refused(&stage, costly).await?;
    ensure!(end == "ROWS_REFUSED" && found[0].reason() == Reason::FeeLimitTooHigh, "{found:?}");
    let own = messages("own", &orders(&invoices), policy(1_000, 20_000));
    let batch = stage.upload(own).await?.batch;
    let payments = stage.payments_of(&batch.batch_id).await?;
    ensure!(payments.iter().all(|payment| payment.fee_limit_msat == 21_000), "{payments:?}");
    ensure!(batch.fee_limit_msat == 42_000, "{batch:?}");
    Ok(())
}
