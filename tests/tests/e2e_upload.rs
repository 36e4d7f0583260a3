//! An upload that is cut at any byte is the whole batch or nothing (U2), and a key belongs to one
//! batch whoever comes with it at once (I3, I4).

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{self as proto, upload_batch_request::Content};
use fulgurite_tests::{
    cut::{Cut, End, Wire},
    doors::{Stage, chunk, http, messages, orders, reason},
    regtest::until,
    scenarios_operator::said,
    upload::{Uploaded, upload_over},
};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Status, transport::Endpoint};

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const ROWS: usize = 6;
/// Cuts by a reset, by the end of the client's process, by the end of the engine's process.
const RESETS: u64 = 110;
const CLOSES: u64 = 70;
const KILLS: u64 = 20;

/// An upload of several messages: every row has its own.
fn whole(key: &str, orders: &[proto::PaymentOrder]) -> Vec<Content> {
    let mut contents = messages(key, orders, proto::BatchOptions::default());
    let rows = (1..).zip(orders).map(|(row, order)| chunk(row, std::slice::from_ref(order)));
    contents.splice(1..2, rows);
    contents
}

async fn upload_by(address: SocketAddr, contents: Vec<Content>) -> Result<Uploaded, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Status::internal(error.to_string()))?;
    upload_over(endpoint.connect_lazy(), stream::iter(contents)).await
}

/// What became of a cut upload.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Accepted, and the client was told.
    told: u32,
    /// Accepted, and the client was not told.
    untold: u32,
    /// Nothing.
    nothing: u32,
}

/// The place of the cut with this number: three quarters of them on the way up, the others on the
/// way down, where the commit has gone and the answer has not come.
fn place(number: u64, of: u64, (up, down): (u64, u64)) -> Cut {
    let ways_up = of * 3 / 4;
    if number < ways_up {
        Cut { up: up * number / ways_up, down: u64::MAX }
    } else {
        Cut { up: u64::MAX, down: down * (number - ways_up) / (of - ways_up) }
    }
}

/// Compares what is known behind a cut with what was answered, and repeats the upload with the
/// same key: the whole batch or nothing, and the same ids for ever after.
async fn settle(
    stage: &Stage,
    (key, orders): (&str, &[proto::PaymentOrder]),
    answer: Result<Uploaded, Status>,
) -> Result<Tally> {
    let is_whole = |batch: &proto::Batch| {
        batch.counts.as_ref().is_some_and(|counts| counts.order_count == ROWS as i32)
    };
    let found = stage.batch(key).await;
    let repeated = stage.upload(whole(key, orders)).await?;
    ensure!(is_whole(&repeated.batch), "{key}: a partial batch: {repeated:?}");
    let id = repeated.batch.batch_id.clone();
    let ids = |payments: Vec<proto::Payment>| -> BTreeSet<String> {
        payments.into_iter().map(|payment| payment.payment_id).collect()
    };
    let first = ids(stage.payments_of(&id).await?);
    ensure!(first.len() == ROWS, "{key}: {} payments", first.len());
    match &found {
        Ok(batch) => {
            ensure!(is_whole(batch) && repeated.replayed, "{key}: {batch:?} {repeated:?}");
            ensure!(batch.batch_id == id, "{key}: another batch");
        }
        Err(status) => {
            ensure!(reason(Err::<(), _>(status.clone())) == "BATCH_NOT_FOUND", "{key}: {status}");
        }
    }
    let again = stage.upload(whole(key, orders)).await?;
    ensure!(again.replayed && again.batch.batch_id == id, "{key}: {again:?}");
    ensure!(ids(stage.payments_of(&id).await?) == first, "{key}: other payments");
    let told = answer.is_ok();
    if let Ok(answer) = answer {
        ensure!(found.is_ok() && answer.batch.batch_id == id, "{key}: told of what is not there");
    }
    let untold = repeated.replayed && !told;
    let nothing = !repeated.replayed;
    Ok(Tally { told: told.into(), untold: untold.into(), nothing: nothing.into() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_cut_anywhere_is_the_whole_batch_or_nothing() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let cuts = RESETS + CLOSES + KILLS;
    let invoices = stage.near.invoices(ROWS * (cuts as usize + 1), AMOUNT_MSAT).await?;
    let all = orders(&invoices);
    let of = |number: u64| &all[ROWS * number as usize..][..ROWS];
    let wire = Wire::whole(stage.engine.grpc()).await?;
    upload_by(wire.address, whole("measured", of(cuts))).await?;
    let bytes = wire.carried();

    let (cutting, ends) = (&stage, [(End::Reset, 0, RESETS), (End::Closed, RESETS, CLOSES)]);
    let numbers =
        ends.into_iter().flat_map(|(end, first, of)| (0..of).map(move |n| (end, first, n, of)));
    let tallies = stream::iter(numbers).map(async |(end, first, number, count)| {
        let key = format!("cut-{}", first + number);
        let wire = Wire::to(cutting.engine.grpc(), place(number, count, bytes), end).await?;
        let orders = of(first + number);
        let answer = upload_by(wire.address, whole(&key, orders)).await;
        settle(cutting, (&key, orders), answer).await
    });
    let mut tallies: Vec<Tally> = tallies.buffer_unordered(6).try_collect().await?;
    for number in 0..KILLS {
        let key = format!("killed-{number}");
        let orders = of(RESETS + CLOSES + number);
        let mut wire =
            Wire::to(stage.engine.grpc(), place(number, KILLS, bytes), End::Held).await?;
        let upload = upload_by(wire.address, whole(&key, orders));
        let cut = wire_cut(&mut wire);
        let answer = tokio::select! {
            answer = upload => answer,
            () = cut => Err(Status::unavailable("the engine is killed")),
        };
        stage.engine.restart()?;
        tallies.push(settle(&stage, (&key, orders), answer).await?);
    }
    let sum = |of: fn(&Tally) -> u32| tallies.iter().map(of).sum::<u32>();
    let (told, untold, nothing) = (sum(|t| t.told), sum(|t| t.untold), sum(|t| t.nothing));
    println!(
        "{} uploads of {} bytes cut: {nothing} came to nothing, {untold} were accepted and not \
         told, {told} were told; all repeated with the same ids",
        tallies.len(),
        bytes.0
    );
    ensure!(tallies.len() as u64 == cuts && nothing > 50 && untold > 5, "the cuts are elsewhere");
    paid_once(&stage, (&invoices, cuts as usize + 1)).await
}

async fn wire_cut(wire: &mut Wire) {
    if (&mut wire.cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Every batch is there once, and every invoice is paid by one payment.
async fn paid_once(
    stage: &Stage,
    (invoices, batches): (&[fulgurite_tests::regtest::Invoice], usize),
) -> Result<()> {
    let request = proto::ListBatchesRequest { page_size: 1_000, ..Default::default() };
    let listed = until("all batches to finish", PATIENCE, async || {
        let listed = stage.batches()?.list_batches(request.clone()).await?.into_inner().batches;
        Ok(listed.iter().all(|batch| batch.finish_time.is_some()).then_some(listed))
    });
    let listed = listed.await?;
    ensure!(listed.len() == batches, "{} batches, not {batches}", listed.len());
    let counts = listed.iter().filter_map(|batch| batch.counts);
    let succeeded: i32 = counts.map(|counts| counts.succeeded_count).sum();
    ensure!(succeeded as usize == invoices.len(), "{succeeded} succeeded");
    ensure!(stage.near.settled(invoices).await? == invoices.len(), "not all were paid");
    let payments = stage.payments()?;
    let found = stream::iter(invoices).map(async |invoice| {
        let request = proto::ListPaymentsRequest {
            payment_hash: hex::encode(invoice.payment_hash),
            ..Default::default()
        };
        Ok::<_, Status>(payments.clone().list_payments(request).await?.into_inner().payments.len())
    });
    let found: Vec<usize> = found.buffer_unordered(64).try_collect().await?;
    ensure!(found.iter().all(|payments| *payments == 1), "a hash with several payments");
    Ok(())
}

/// What 200 callers with one key were answered.
fn one_batch(answers: &[(bool, Result<String, String>)]) -> Result<()> {
    let winner = answers.iter().find(|(_, answer)| answer.is_ok()).context("nobody won")?;
    for (body, answer) in answers {
        match answer {
            Ok(id) => ensure!(*body == winner.0 && Ok(id) == winner.1.as_ref(), "two: {id}"),
            Err(code) => {
                ensure!(*body != winner.0 && code == "IDEMPOTENCY_KEY_REUSED", "{code}");
            }
        }
    }
    let same = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    ensure!(same == answers.len() / 2, "{same} of {} were answered", answers.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_from_200_connections_over_both_doors_is_one_payment() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = &stage.near.invoices(1, AMOUNT_MSAT).await?[0];
    let order = &orders(std::slice::from_ref(invoice))[0];
    let (stage, door) = (&stage, stage.engine.http());
    let host = format!("Host: localhost:{}", door.port());
    let calls = (0..200).map(async |number| {
        let (other, over_http) = (number % 2 == 1, number % 4 < 2);
        let reference = if other { "another" } else { "" };
        if !over_http {
            let order = proto::PaymentOrder { reference: reference.into(), ..order.clone() };
            let answer = stage.create("one", &order, Default::default()).await;
            let id = answer.map(|created| created.payment.unwrap_or_default().payment_id);
            return Ok((other, id.map_err(|status| reason(Err::<(), _>(status)))));
        }
        let bolt11 = &invoice.payment_request;
        let body = serde_json::json!({ "bolt11": bolt11, "reference": reference }).to_string();
        let headers = [host.as_str(), "Content-Type: application/json", "Idempotency-Key: one"];
        let answer = http(door, "POST /v1/payments", &headers, &body).await?;
        let word = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
        Ok((other, if answer.status == 201 { Ok(word("payment_id")) } else { Err(word("code")) }))
    });
    let answers: Vec<(bool, Result<String, String>)> =
        futures::future::join_all(calls).await.into_iter().collect::<Result<_>>()?;
    one_batch(&answers)?;
    let batches = proto::ListBatchesRequest { include_single: true, ..Default::default() };
    let batches = stage.batches()?.list_batches(batches).await?.into_inner().batches;
    ensure!(batches.len() == 1, "{} batches", batches.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_from_200_uploads_is_one_batch() -> Result<()> {
    let stage = Stage::set(1.0, "[limits]\nuploads_max = 200\n").await?;
    let orders = orders(&stage.near.invoices(20, AMOUNT_MSAT).await?);
    let mut others = orders.clone();
    others[16].reference = "another".into();
    let stage = &stage;
    let calls = (0..200).map(async |number| {
        let other = number % 2 == 1;
        let answer = stage.upload(whole("one", if other { &others } else { &orders })).await;
        if let Err(status) = &answer {
            let difference = "row 17 reference";
            ensure!(status.message().contains(difference), "{status}");
        }
        let id = answer.map(|accepted| accepted.batch.batch_id);
        Ok((other, id.map_err(|status| reason(Err::<(), _>(status)))))
    });
    let answers: Vec<(bool, Result<String, String>)> =
        futures::future::join_all(calls).await.into_iter().collect::<Result<_>>()?;
    one_batch(&answers)?;
    let batches = stage.batches()?.list_batches(proto::ListBatchesRequest::default()).await?;
    ensure!(batches.into_inner().batches.len() == 1, "several batches");
    // The other door sees the same keys.
    let single = stage.create("one", &orders[0], Default::default()).await;
    ensure!(reason(single) == "IDEMPOTENCY_KEY_REUSED", "a payment with the key of a batch");
    Ok(())
}

/// How often the journal of a stopped engine has this event.
fn journaled(stage: &Stage, event: &str) -> Result<usize> {
    let journal = stage.engine.folder().join("journal").display().to_string();
    let (exit, text) = said(&stage.engine, &["journal", "dump", &journal])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    Ok(text.matches(&format!("\"event\":\"{event}\"")).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_changes_nothing_writes_nothing() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let all = orders(&stage.near.invoices(8, AMOUNT_MSAT).await?);
    let (single, rows) = (&all[0], &all[1..]);
    let batch = stage.upload(whole("rows", rows)).await?.batch;
    let first = stage.create("one", single, Default::default()).await?;
    let paid = stage.final_payment(&first.payment.context("a payment")?.payment_id).await?;
    let finished = proto::batch::State::Finished;
    until("the batch to be finished", PATIENCE, async || {
        Ok((stage.batch("rows").await?.state() == finished).then_some(()))
    })
    .await?;
    stage.engine.restart()?;
    for _ in 0..10 {
        let again = stage.create("one", single, Default::default()).await?;
        let id = again.payment.map(|payment| payment.payment_id);
        ensure!(again.replayed && id.as_deref() == Some(&*paid.payment_id), "{id:?}");
        let again = stage.upload(whole("rows", rows)).await?;
        ensure!(again.batch.batch_id == batch.batch_id, "{:?}", again.batch);
        let other = stage.create("one", &rows[0], Default::default()).await;
        ensure!(reason(other) == "IDEMPOTENCY_KEY_REUSED", "another order");
        let taken = stage.create("two", single, Default::default()).await;
        ensure!(reason(taken) == "ALREADY_PAID", "its invoice under another key");
    }
    stage.engine.terminate()?;
    // The few rows of the batch are on the disk with its seal, and the payment with its own.
    ensure!(journaled(&stage, "orders_added")? == 2, "what was ordered once");
    ensure!(journaled(&stage, "upload_dropped")? == 0, "nothing was begun in vain");
    ensure!(journaled(&stage, "batch_accepted")? == 2, "a batch and a payment");
    Ok(())
}
