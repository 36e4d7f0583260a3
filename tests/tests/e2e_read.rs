//! What is read over gRPC: batches and payments in pages, every field of them, the engine and its
//! nodes; and what requests are refused for.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, Batch, BatchOptions, Payment, batch, failure::Reason, get_batch_request::Key,
    payment::State, upload_batch_request::Content,
};
use fulgurite_tests::{
    doors::{Stage, messages, orders, reason},
    regtest::until,
};
use futures::{StreamExt, stream};
use prost_types::Timestamp;
use tonic::Status;

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn paused() -> BatchOptions {
    BatchOptions { start_paused: Some(true), ..Default::default() }
}

async fn list(
    stage: &Stage,
    request: &proto::ListBatchesRequest,
) -> Result<proto::ListBatchesResponse, Status> {
    Ok(stage.batches()?.list_batches(request.clone()).await?.into_inner())
}

/// Every batch of a list, by pages.
async fn all(stage: &Stage, mut request: proto::ListBatchesRequest) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let page = list(stage, &request).await?;
        ensure!(page.batches.len() <= request.page_size as usize, "a page of too many");
        ids.extend(page.batches.into_iter().map(|batch| batch.batch_id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_come_newest_first_in_pages_that_survive_a_restart() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let rows = orders(&stage.near.invoices(9, AMOUNT_MSAT).await?);
    let mut ids = Vec::new();
    for (at, row) in rows[..5].iter().enumerate() {
        let options = if at < 2 { paused() } else { BatchOptions::default() };
        let key = format!("batch-{at}");
        let batch = stage.upload(messages(&key, std::slice::from_ref(row), options)).await?.batch;
        let by_id = proto::GetBatchRequest { key: Some(Key::BatchId(batch.batch_id.clone())) };
        let by_id = stage.batches()?.get_batch(by_id).await?.into_inner().batch;
        ensure!(by_id.is_some_and(|found| found.batch_id == batch.batch_id), "by id");
        ensure!(stage.batch(&key).await?.batch_id == batch.batch_id, "by key");
        ids.push(batch.batch_id);
    }
    for (key, row) in ["single-1", "single-2"].into_iter().zip(&rows[5..7]) {
        stage.create(key, row, Default::default()).await?;
        ensure!(stage.batch(key).await?.single, "a payment's own batch, by its key");
    }
    ids.reverse();
    let two = proto::ListBatchesRequest { page_size: 2, ..Default::default() };
    ensure!(all(&stage, two.clone()).await? == ids, "not the newest first");
    let singles = proto::ListBatchesRequest { include_single: true, ..two.clone() };
    ensure!(all(&stage, singles).await?.len() == 7, "with single payments");
    let states = vec![batch::State::Paused.into()];
    let held = proto::ListBatchesRequest { states, page_size: 1, ..Default::default() };
    ensure!(all(&stage, held.clone()).await? == ids[3..], "paused");

    // What comes meanwhile, and a restart, neither skip nor repeat.
    let first = list(&stage, &two).await?;
    stage.upload(messages("later", &rows[7..8], paused())).await?;
    stage.engine.restart()?;
    let page_token = first.next_page_token;
    let rest = proto::ListBatchesRequest { page_token: page_token.clone(), ..two.clone() };
    ensure!(all(&stage, rest).await? == ids[2..], "behind a restart");

    let with_token = |request: proto::ListBatchesRequest, page_token: &str| {
        proto::ListBatchesRequest { page_token: page_token.to_owned(), ..request }
    };
    for (what, request, wanted) in [
        ("another filter", with_token(held, &page_token), "PAGE_TOKEN_MISMATCH"),
        ("no token", with_token(two.clone(), "x"), "PAGE_TOKEN_MISMATCH"),
        ("half a token", with_token(two.clone(), &page_token[2..]), "PAGE_TOKEN_MISMATCH"),
        (
            "a size below 0",
            proto::ListBatchesRequest { page_size: -1, ..Default::default() },
            "INVALID_FIELD",
        ),
        (
            "a state of later",
            proto::ListBatchesRequest { states: vec![9], ..Default::default() },
            "INVALID_FIELD",
        ),
        (
            "no state",
            proto::ListBatchesRequest { states: vec![0], ..Default::default() },
            "INVALID_FIELD",
        ),
    ] {
        let answer = reason(list(&stage, &request).await);
        ensure!(answer == wanted, "{what}: {answer}");
    }
    let get = async |key| stage.batches()?.get_batch(proto::GetBatchRequest { key }).await;
    ensure!(reason(get(None).await) == "INVALID_FIELD", "neither id nor key");
    let unknown = get(Some(Key::BatchId(ids[0].replace("bat_", "bat_0")))).await;
    ensure!(reason(unknown) == "BATCH_NOT_FOUND", "an unknown batch");
    Ok(())
}

async fn payments(
    stage: &Stage,
    request: proto::ListPaymentsRequest,
) -> Result<proto::ListPaymentsResponse, Status> {
    Ok(stage.payments()?.list_payments(request).await?.into_inner())
}

/// A batch of a payment that succeeds and one that fails, with everything that a client can say.
async fn said_all(stage: &Stage) -> Result<(Batch, [Payment; 2])> {
    let invoices = stage.near.invoices(2, AMOUNT_MSAT).await?;
    stage.near.cancel(invoices[1].payment_hash).await?;
    let mut rows = orders(&invoices);
    let deadline = Some(Timestamp { seconds: 4_000_000_000, nanos: 5_000_000 });
    for (row, reference) in rows.iter_mut().zip(["rent", "food"]) {
        row.reference = reference.into();
        (row.deadline, row.fee_limit_msat) = (deadline, Some(2_000));
    }
    let options = BatchOptions { deadline, attempts_max: Some(3), ..Default::default() };
    let mut contents = messages("said", &rows, options);
    if let Content::Header(header) = &mut contents[0] {
        header.description = "October".into();
        header.metadata = [("team".to_owned(), "ops".to_owned())].into();
        header.order_count = 2;
    }
    stage.upload(contents).await?;
    let batch = until("the batch", PATIENCE, async || {
        let batch = stage.batch("said").await?;
        Ok(batch.finish_time.is_some().then_some(batch))
    });
    let batch = batch.await?;
    let [paid, failed] =
        stage.payments_of(&batch.batch_id).await?.try_into().ok().context("two")?;
    Ok((batch, [paid, failed]))
}

fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000))
}

fn batch_fields(batch: &Batch, fee_msat: i64) -> Result<()> {
    ensure!(batch.idempotency_key == "said" && batch.description == "October", "{batch:?}");
    ensure!(batch.metadata.get("team").is_some_and(|team| team == "ops"), "{batch:?}");
    ensure!(batch.state() == batch::State::Finished && !batch.single, "{batch:?}");
    ensure!(batch.fingerprint.len() == 64 && batch.version > 0, "{batch:?}");
    let options = batch.options.as_ref().context("options")?;
    ensure!(options.attempts_max == Some(3) && options.deadline.is_some(), "{options:?}");
    ensure!(options.in_flight_max == Some(10_000) && options.fee_policy.is_some(), "{options:?}");
    let counts = batch.counts.context("counts")?;
    ensure!(
        (counts.order_count, counts.succeeded_count, counts.failed_count) == (2, 1, 1),
        "{counts:?}"
    );
    ensure!((batch.amount_msat, batch.fee_limit_msat) == (2_000_000, 4_000), "sums of orders");
    ensure!(batch.amount_succeeded_msat == 1_000_000 && batch.fee_msat == fee_msat, "{batch:?}");
    let [created, ended] = [batch.create_time, batch.finish_time].map(micros);
    ensure!(created < ended && micros(batch.update_time) == ended, "{created:?} {ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_batch_and_a_payment_is_filled() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let (batch, [paid, failed]) = said_all(&stage).await?;
    batch_fields(&batch, paid.fee_msat)?;
    ensure!(
        (paid.row, paid.reference.as_str(), paid.state()) == (1, "rent", State::Succeeded),
        "{paid:?}"
    );
    ensure!(paid.payment_hash.len() == 64 && paid.destination.is_some(), "{paid:?}");
    ensure!(
        (paid.amount_msat, paid.fee_limit_msat, paid.fee_msat) == (1_000_000, 2_000, 100),
        "{paid:?}"
    );
    ensure!(
        paid.node == "node-0" && paid.attempt_count == 1 && paid.batch_id == batch.batch_id,
        "{paid:?}"
    );
    ensure!(paid.preimage.is_empty() && paid.attempts.is_empty(), "BASIC shows no proof: {paid:?}");
    let times = [paid.create_time, paid.first_attempt_time, paid.finish_time].map(micros);
    ensure!(times.is_sorted() && times[0].is_some(), "{times:?}");
    ensure!(paid.update_time == paid.finish_time && paid.deadline.is_some(), "{paid:?}");
    let full = stage.payment(&paid.payment_id).await?;
    ensure!(full.preimage.len() == 64 && full.version == paid.version, "{full:?}");
    let [attempt] = &full.attempts[..] else { anyhow::bail!("{full:?}") };
    ensure!(
        (attempt.number, attempt.node.as_str(), attempt.fee_msat) == (1, "node-0", 100),
        "{attempt:?}"
    );
    ensure!(attempt.start_time.is_some() && attempt.end_time.is_some(), "{attempt:?}");

    let failure = failed.failure.as_ref().context("a failure")?;
    ensure!(
        failure.reason() == Reason::RecipientRefused && !failure.message.is_empty(),
        "{failure:?}"
    );
    ensure!(failure.node_code == "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS", "{failure:?}");
    ensure!(!failure.same_invoice_may_succeed && failed.fee_msat == 0, "{failure:?}");

    several_payments_of_a_hash(&stage, (batch.batch_id, failed)).await
}

/// A hash can have several payments: failed, and ordered again. What is asked for must be one
/// thing.
async fn several_payments_of_a_hash(
    stage: &Stage,
    (batch_id, failed): (String, Payment),
) -> Result<()> {
    let invoice = match &failed.destination {
        Some(proto::payment::Destination::Bolt11(invoice)) => invoice.clone(),
        None => anyhow::bail!("no invoice"),
    };
    let order = proto::PaymentOrder {
        destination: Some(proto::payment_order::Destination::Bolt11(invoice)),
        ..Default::default()
    };
    let again = stage.create("again", &order, paused()).await?.payment.context("a payment")?;
    let ask = || proto::ListPaymentsRequest::default();
    let by_hash =
        proto::ListPaymentsRequest { payment_hash: failed.payment_hash.to_uppercase(), ..ask() };
    let found: BTreeSet<String> =
        payments(stage, by_hash).await?.payments.into_iter().map(|p| p.payment_id).collect();
    ensure!(found == [failed.payment_id, again.payment_id].into(), "by hash: {found:?}");
    let by_name = proto::ListPaymentsRequest { reference: "food".into(), ..ask() };
    ensure!(payments(stage, by_name).await?.payments.len() == 1, "by reference");
    let states = vec![State::Failed.into(), State::Queued.into()];
    let of_batch = proto::ListPaymentsRequest { batch_id, ..ask() };
    let by_state =
        proto::ListPaymentsRequest { states, view: proto::View::Full.into(), ..of_batch.clone() };
    let by_state = payments(stage, by_state).await?.payments;
    ensure!(by_state.len() == 1 && by_state[0].attempts.len() == 1, "by state: {by_state:?}");
    for (what, request) in [
        ("nothing asked", ask()),
        (
            "two questions",
            proto::ListPaymentsRequest { reference: "food".into(), ..of_batch.clone() },
        ),
        ("half a hash", proto::ListPaymentsRequest { payment_hash: "00".into(), ..ask() }),
        ("a state of later", proto::ListPaymentsRequest { states: vec![7], ..of_batch.clone() }),
        ("a view of later", proto::ListPaymentsRequest { view: 3, ..of_batch.clone() }),
    ] {
        let answer = reason(payments(stage, request).await);
        ensure!(answer == "INVALID_FIELD", "{what}: {answer}");
    }
    let foreign = proto::ListPaymentsRequest { batch_id: "bat_1".into(), ..ask() };
    ensure!(reason(payments(stage, foreign).await) == "BATCH_NOT_FOUND", "a foreign batch");
    ensure!(reason(stage.payment("pay_1").await) == "PAYMENT_NOT_FOUND", "a foreign payment");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_never_larger_than_clients_read() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let rows = orders(&stage.near.invoices(300, AMOUNT_MSAT).await?);
    let metadata = (0..32).map(|at| (format!("{at:064}"), "v".repeat(512)));
    let metadata: std::collections::HashMap<_, _> = metadata.collect();
    let (stage, metadata) = (&stage, &metadata);
    let uploads = stream::iter(rows.chunks(1).enumerate()).map(async |(at, row)| {
        let mut contents = messages(&format!("large-{at}"), row, paused());
        if let Content::Header(header) = &mut contents[0] {
            header.metadata.clone_from(metadata);
        }
        stage.upload(contents).await
    });
    let uploaded: Vec<_> = uploads.buffer_unordered(8).collect().await;
    ensure!(uploaded.iter().all(Result::is_ok), "{uploaded:?}");
    // 300 batches of 19 KB each: more than the 4 MiB that a client decodes.
    let most = proto::ListBatchesRequest { page_size: 1_000, ..Default::default() };
    let ids: BTreeSet<String> = all(stage, most).await?.into_iter().collect();
    ensure!(ids.len() == 300, "{} of 300 batches", ids.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_says_what_it_is_and_every_limit() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let mut client = proto::engine_service_client::EngineServiceClient::new(stage.channel()?);
    let engine = client.get_engine(proto::GetEngineRequest {}).await?.into_inner();
    let engine = engine.engine.context("an engine")?;
    ensure!(engine.ready && engine.not_ready_reasons.is_empty(), "{engine:?}");
    ensure!(engine.network == "regtest" && !engine.version.is_empty(), "{engine:?}");
    ensure!((engine.node_count, engine.connected_node_count) == (1, 1), "{engine:?}");
    ensure!(engine.verify_signatures == "door", "{engine:?}");
    let options = engine.default_options.context("options")?;
    ensure!(options.priority() == proto::batch_options::Priority::Normal, "{options:?}");
    let limits = proto::Limits {
        batch_order_count_max: 100_000,
        message_order_count_max: 1_000,
        message_bytes_max: 1 << 20,
        payment_amount_msat_max: 10_000_000_000,
        batch_amount_msat_max: 10_000_000_000_000,
        final_cltv_delta_max: 432,
        invoice_expiry_margin_seconds: 60,
        fee_limit_base_msat_max: 10_000,
        fee_limit_ppm_max: 100_000,
        upload_idle_seconds_max: 30,
        upload_seconds_max: 600,
        page_size_max: 1_000,
        reference_bytes_max: 255,
        invoice_chars_max: 7_089,
        concurrent_streams_max: 256,
        open_payments_max: 1_000_000,
    };
    ensure!(engine.limits == Some(limits), "{:?}", engine.limits);
    let node = until("the node's own words", PATIENCE, async || {
        let nodes = client.clone().list_nodes(proto::ListNodesRequest {}).await?.into_inner().nodes;
        Ok(nodes.into_iter().find(|node| node.spendable_msat > 0))
    });
    let node = node.await?;
    ensure!(node.connected && node.breaker() == proto::node::Breaker::Closed, "{node:?}");
    ensure!(node.name == "node-0" && node.identity_pubkey.len() == 66, "{node:?}");
    ensure!(node.active_channel_count == 5 && node.window > 0, "{node:?}");
    Ok(())
}
