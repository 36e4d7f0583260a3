//! What the doors promise, over a running engine and simulated nodes: uploads, keys, watches,
//! HTTP, cancelling.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, payment::State, upload_batch_request::Commit, upload_batch_request::Content,
};
use fulgurite_tests::doors::{Stage, chunk, http, messages, orders, reason, wait_past};
use futures::{StreamExt, stream};

const AMOUNT_MSAT: u64 = 1_000_000;
const JSON: &str = "Content-Type: application/json";

fn paused() -> proto::BatchOptions {
    proto::BatchOptions { start_paused: Some(true), ..Default::default() }
}

/// A deadline so far away.
fn until(time: Duration) -> proto::BatchOptions {
    let deadline = Some(prost_types::Timestamp::from(SystemTime::now() + time));
    proto::BatchOptions { deadline, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_without_a_good_commit_leaves_nothing() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(4, AMOUNT_MSAT).await?);
    let whole = messages("upload", &orders, paused());
    let header = whole[0].clone();
    let commit = |order_count| Content::Commit(Commit { order_count });
    for (what, contents) in [
        ("half-closed after the header", vec![header.clone()]),
        ("half-closed before the commit", whole[..2].to_vec()),
        ("a gap", vec![header.clone(), chunk(1, &orders[..2]), chunk(4, &orders[2..]), commit(4)]),
        ("a row twice", vec![header.clone(), chunk(1, &orders[..2]), chunk(2, &orders[1..])]),
        ("a commit of more", vec![header.clone(), chunk(1, &orders), commit(5)]),
        ("a commit of less", vec![header.clone(), chunk(1, &orders), commit(3)]),
    ] {
        let answer = stage.upload(contents).await;
        ensure!(reason(answer) == "UPLOAD_INCOMPLETE", "{what}");
        ensure!(reason(stage.batch("upload").await) == "BATCH_NOT_FOUND", "{what}");
    }
    // Cut: the engine has the rows, and then nobody is there any more.
    let cut = stream::iter(whole[..2].to_vec()).chain(stream::pending());
    let answer = tokio::time::timeout(Duration::from_millis(500), stage.upload_stream(cut)).await;
    ensure!(answer.is_err(), "an upload without its commit was answered: {answer:?}");
    ensure!(reason(stage.batch("upload").await) == "BATCH_NOT_FOUND", "cut");
    // Killed with the rows in its journal, but no commit.
    let cut = stream::iter(whole[..2].to_vec()).chain(stream::pending());
    let cut = tokio::time::timeout(Duration::from_millis(500), stage.upload_stream(cut));
    ensure!(cut.await.is_err(), "an upload without its commit was answered");
    stage.engine.restart()?;
    ensure!(reason(stage.batch("upload").await) == "BATCH_NOT_FOUND", "killed");

    // No key is bound and no hash is claimed.
    let accepted = stage.upload(whole).await?;
    ensure!(!accepted.replayed, "accepted before");
    ensure!(accepted.batch.counts.unwrap_or_default().queued_count == 4, "{accepted:?}");
    let batches = stage.batches()?.list_batches(proto::ListBatchesRequest::default()).await?;
    ensure!(batches.into_inner().batches.len() == 1, "one batch alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_with_what_was_accepted_for_ever() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    let options = until(Duration::from_secs(8));
    let whole = messages("key", &orders, options);
    // Two at once: one is accepted, the other waits for it.
    let (one, two) = tokio::join!(stage.upload(whole.clone()), stage.upload(whole.clone()));
    let (one, two) = (one?, two?);
    ensure!(one.batch.batch_id == two.batch.batch_id, "two batches: {one:?} {two:?}");
    ensure!(one.replayed != two.replayed, "accepted twice: {one:?} {two:?}");
    let ids = |payments: Vec<proto::Payment>| {
        payments.into_iter().map(|payment| payment.payment_id).collect::<Vec<_>>()
    };
    let first = ids(stage.payments_of(&one.batch.batch_id).await?);

    let mut other = orders.clone();
    other[1].reference = "another".into();
    let other = messages("key", &other, options);
    let other_options = messages("key", &orders, until(Duration::from_secs(60)));
    let past = proto::BatchOptions {
        deadline: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..Default::default()
    };
    // With its content named by a digest, the header alone is answered.
    let mut named = messages("named", &self::orders(&stage.near.invoices(1, 1).await?), options);
    if let Content::Header(header) = &mut named[0] {
        header.content_digest = "sha256-1".into();
    }
    let named_id = stage.upload(named.clone()).await?.batch.batch_id;
    for when in ["at once", "after a kill", "after its deadline"] {
        match when {
            "after a kill" => stage.engine.restart()?,
            "after its deadline" => wait_past(options).await?,
            _ => {}
        }
        let again = stage.upload(whole.clone()).await?;
        ensure!(again.replayed && again.batch.batch_id == one.batch.batch_id, "{when}: {again:?}");
        ensure!(ids(stage.payments_of(&one.batch.batch_id).await?) == first, "{when}");
        let header = stage.upload(named[..1].to_vec()).await?;
        ensure!(header.replayed && header.batch.batch_id == named_id, "{when}: {header:?}");
        for (what, contents) in [("order", &other), ("options", &other_options)] {
            let answer = reason(stage.upload(contents.clone()).await);
            ensure!(answer == "IDEMPOTENCY_KEY_REUSED", "{when}, another {what}: {answer}");
        }
        // What is new and has passed is refused, and binds nothing.
        let late = reason(stage.upload(messages("late", &orders, past)).await);
        ensure!(late == "INVALID_FIELD", "{when}: {late}");
        ensure!(reason(stage.batch("late").await) == "BATCH_NOT_FOUND", "{when}");
    }
    let batch = stage.batch("key").await?;
    ensure!(batch.counts.unwrap_or_default().succeeded_count == 3, "{batch:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_payment_is_one_payment() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(2, AMOUNT_MSAT).await?);
    let options = until(Duration::from_secs(3));
    let created = stage.create("one", &orders[0], options).await?;
    let payment_id = created.payment.context("a payment")?.payment_id;
    ensure!(!created.replayed, "ordered before");
    stage.engine.restart()?;
    wait_past(options).await?;
    let again = stage.create("one", &orders[0], options).await?;
    ensure!(again.replayed, "not recognised");
    ensure!(again.payment.context("a payment")?.payment_id == payment_id, "another payment");
    let other = reason(stage.create("one", &orders[1], options).await);
    ensure!(other == "IDEMPOTENCY_KEY_REUSED", "{other}");
    let late = reason(stage.create("two", &orders[1], options).await);
    ensure!(late == "INVALID_FIELD", "{late}");
    let claimed = reason(stage.create("three", &orders[0], Default::default()).await);
    ensure!(["ALREADY_PAID", "HASH_CLAIMED"].contains(&claimed.as_str()), "{claimed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_of_uploads_leaves_room_for_single_payments() -> Result<()> {
    let stage = Stage::set(1.0, "[limits]\nuploads_max = 1\n").await?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    let open = messages("open", &orders[..1], paused())[..2].to_vec();
    let open = stream::iter(open).chain(stream::pending());
    let others = async {
        stage.wait_for_metric("fulgurite_uploads", 1).await?;
        let full = reason(stage.upload(messages("full", &orders[1..2], paused())).await);
        ensure!(full == "OVERLOADED", "{full}");
        let single = stage.create("single", &orders[2], Default::default()).await?;
        stage.final_payment(&single.payment.context("a payment")?.payment_id).await
    };
    tokio::select! {
        answer = stage.upload_stream(open) => anyhow::bail!("answered: {answer:?}"),
        others = others => ensure!(others?.state() == State::Succeeded, "the single payment"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_from_its_cursor_over_a_kill() -> Result<()> {
    let mut stage = Stage::set(20.0, "").await?;
    let orders = orders(&stage.near.invoices(200, AMOUNT_MSAT).await?);
    let slow = proto::BatchOptions { payments_per_second_max: Some(60), ..Default::default() };
    let accepted = stage.upload(messages("watched", &orders, slow)).await?;
    let batch_id = accepted.batch.batch_id;
    let mut seen = BTreeMap::new();
    let (cursor, finished) = stage.watch((&batch_id, String::new()), &mut seen, 30).await?;
    ensure!(!finished, "all was over before the kill");
    stage.engine.kill9();
    stage.engine.spawn()?;
    stage.engine.wait_ready()?;
    let before: HashSet<i32> = seen.keys().copied().collect();
    // Another kill, while the watch replays and follows.
    let (cursor, finished) = stage.watch((&batch_id, cursor), &mut seen, 100).await?;
    ensure!(!finished, "all was over before the second kill");
    stage.engine.restart()?;
    let (_, finished) = stage.watch((&batch_id, cursor), &mut seen, usize::MAX).await?;
    ensure!(finished, "not finished");
    ensure!(seen.len() == 200, "{} of 200 outcomes, {} before", seen.len(), before.len());
    ensure!(seen.values().all(|state| *state == State::Succeeded), "{seen:?}");
    let other = stage.upload(messages("other", &orders[..1], paused())).await;
    ensure!(reason(other) == "ROWS_REFUSED", "a paid invoice");
    let request = proto::WatchBatchRequest {
        batch_id,
        cursor: "nonsense".into(),
        outcomes_only: true,
        ..Default::default()
    };
    let answer = stage.batches()?.watch_batch(request).await;
    ensure!(reason(answer.map(|_| ())) == "CURSOR_INVALID", "a cursor of nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_post_is_one_payment() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = &stage.near.invoices(1, AMOUNT_MSAT).await?[0];
    let door = stage.engine.http();
    let host = format!("Host: localhost:{}", door.port());
    let body = format!("{{\"bolt11\": \"{}\"}}", invoice.payment_request);
    let headers = [host.as_str(), JSON, "Idempotency-Key: post-1"];
    let post = "POST /v1/payments";
    let created = http(door, post, &headers, &body).await?;
    ensure!(created.status == 201, "{created:?}");
    let payment_id = created.body["payment_id"].as_str().context("an id")?.to_owned();
    ensure!(created.head.contains(&format!("location: /v1/payments/{payment_id}")), "{created:?}");
    ensure!(!created.head.contains("idempotent-replayed"), "{created:?}");
    let again = http(door, post, &headers, &body).await?;
    ensure!(again.status == 201 && again.body["payment_id"] == *payment_id, "{again:?}");
    ensure!(again.head.contains("idempotent-replayed: true"), "{again:?}");
    let other = body.replace('}', ", \"reference\": \"x\"}");
    let reused = http(door, post, &headers, &other).await?;
    ensure!(reused.status == 422 && reused.body["code"] == "IDEMPOTENCY_KEY_REUSED", "{reused:?}");
    let get = format!("GET /v1/payments/{payment_id}?wait_ms=10000&view=full");
    let paid = http(door, &get, &[&host], "").await?;
    ensure!(paid.body["state"] == "succeeded", "{paid:?}");
    let cancel = format!("POST /v1/payments/{payment_id}/cancel");
    let finished = http(door, &cancel, &[&host, JSON], "{}").await?;
    ensure!(finished.status == 409 && finished.body["code"] == "PAYMENT_FINISHED", "{finished:?}");

    // What is not known is refused, also where nothing is taken.
    for (request, body) in [
        (format!("{cancel}?force=true"), ""),
        (cancel, "{\"force\": true}"),
        ("POST /v1/batches/bat_1/pause".to_owned(), "{\"why\": 1}"),
        ("GET /v1/engine?verbose=1".to_owned(), ""),
        ("GET /v1/nodes?name=a".to_owned(), ""),
    ] {
        let answer = http(door, &request, &[&host, JSON], body).await?;
        let code = &answer.body["code"];
        ensure!(answer.status == 400 && code == "INVALID_FIELD", "{request}: {answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_pages_are_not_let_in() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    for (door, path) in
        [(stage.engine.http(), "GET /v1/engine"), (stage.engine.admin(), "GET /metrics")]
    {
        let ours = format!("Host: 127.0.0.1:{}", door.port());
        let foreign = format!("Host: evil.example:{}", door.port());
        let page = format!("Origin: http://localhost:{}", door.port());
        ensure!(http(door, path, &[&ours], "").await?.status == 200, "{path} of a program");
        for headers in [vec![foreign.as_str()], vec![&ours, &page], vec![&ours, &foreign]] {
            let answer = http(door, path, &headers, "").await?;
            ensure!(answer.status == 403, "{path} {headers:?}: {answer:?}");
            ensure!(answer.body["code"] == "NOT_LOCAL", "{answer:?}");
        }
    }
    let door = stage.engine.http();
    let host = format!("Host: localhost:{}", door.port());
    let form = "Content-Type: text/plain";
    let answer = http(door, "POST /v1/payments", &[&host, form], "{}").await?;
    ensure!(answer.status == 415, "a simple POST: {answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_payment_is_cancelled_and_its_hash_is_free() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(2, AMOUNT_MSAT).await?);
    let accepted = stage.upload(messages("queued", &orders, paused())).await?;
    let batch_id = accepted.batch.batch_id;
    let payments = stage.payments_of(&batch_id).await?;
    let [one, two] = payments.as_slice() else { anyhow::bail!("two payments: {payments:?}") };
    let cancelled = stage.cancel(&one.payment_id).await?;
    ensure!(cancelled.state() == State::Cancelled, "{cancelled:?}");
    ensure!(cancelled.finish_time.is_some() && cancelled.attempt_count == 0, "{cancelled:?}");
    ensure!(stage.payment(&one.payment_id).await? == cancelled, "not readable at once");
    ensure!(stage.cancel(&one.payment_id).await? == cancelled, "cancelled twice");
    let request = proto::ResumeBatchRequest { batch_id: batch_id.clone() };
    stage.batches()?.resume_batch(request).await?;
    let paid = stage.final_payment(&two.payment_id).await?;
    ensure!(paid.state() == State::Succeeded, "{paid:?}");
    let batch = stage.batch("queued").await?;
    let counts = batch.counts.unwrap_or_default();
    ensure!((counts.succeeded_count, counts.cancelled_count) == (1, 1), "{batch:?}");
    // The batch is finished, and its answers stay the same.
    ensure!(stage.cancel(&one.payment_id).await? == cancelled, "cancelled a third time");
    let finished = reason(stage.cancel(&two.payment_id).await);
    ensure!(finished == "PAYMENT_FINISHED", "{finished}");
    let again = stage.create("again", &orders[0], Default::default()).await?;
    let again = stage.final_payment(&again.payment.context("a payment")?.payment_id).await?;
    ensure!(again.state() == State::Succeeded, "its hash is free: {again:?}");
    let unknown = reason(stage.cancel(&two.payment_id.replace("pay_", "pay_0")).await);
    ensure!(unknown == "PAYMENT_NOT_FOUND", "{unknown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_in_flight_is_not_cancelled() -> Result<()> {
    let window = "[window]\nin_flight_start = 1\nin_flight_min = 1\nin_flight_max = 1\n";
    let mut stage = Stage::set(1.0, window).await?;
    let preimage = [0x61; 32];
    let held = stage.near.hold_invoice(preimage, AMOUNT_MSAT).await?;
    let waiting = stage.near.invoices(2, AMOUNT_MSAT).await?;
    let held_order = &orders(std::slice::from_ref(&held))[0];
    let created = stage.create("held", held_order, Default::default()).await?;
    let held_id = created.payment.context("a payment")?.payment_id;
    stage.near.wait_held(held.payment_hash).await?;
    // The first of these waits at the node, whose window is full: it is taken back from there.
    let mut ids = Vec::new();
    for (key, order) in ["second", "third"].into_iter().zip(orders(&waiting)) {
        let created = stage.create(key, &order, Default::default()).await?;
        ids.push(created.payment.context("a payment")?.payment_id);
    }
    stage.wait_for_metric("fulgurite_node_queued{node=\"node-0\"}", 1).await?;
    let before = stage.payment(&held_id).await?;
    ensure!(before.state() == State::InFlight, "{before:?}");
    for _ in 0..2 {
        let refused = reason(stage.cancel(&held_id).await);
        ensure!(refused == "PAYMENT_IN_FLIGHT", "{refused}");
    }
    let after = stage.payment(&held_id).await?;
    ensure!(after.version == before.version, "something was recorded: {after:?}");
    let cancelled = stage.cancel(&ids[0]).await?;
    ensure!(cancelled.state() == State::Cancelled, "{cancelled:?}");
    stage.engine.restart()?;
    ensure!(reason(stage.cancel(&held_id).await) == "PAYMENT_IN_FLIGHT", "after a restart");
    ensure!(stage.payment(&ids[0]).await? == cancelled, "it came back");
    stage.near.settle(preimage).await?;
    for id in [&held_id, &ids[1]] {
        let paid = stage.final_payment(id).await?;
        ensure!(paid.state() == State::Succeeded, "{paid:?}");
    }
    ensure!(reason(stage.cancel(&held_id).await) == "PAYMENT_FINISHED", "finished");
    ensure!(stage.near.settled(&waiting).await? == 1, "the cancelled one was paid");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_journal_is_opened_is_a_stop() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let orders = orders(&stage.near.invoices(200, AMOUNT_MSAT).await?);
    stage.upload(messages("some", &orders, Default::default())).await?;
    for _ in 0..5 {
        stage.engine.kill9();
        stage.engine.spawn()?;
        // The admin listener opens before the journal does. Its own answer: the socket of the one
        // that was killed may still take a connection for a moment.
        let lives = |answer: &str| answer.starts_with("HTTP/1.1 200");
        while !stage.engine.get("/livez").is_ok_and(|answer| lives(&answer)) {
            tokio::task::yield_now().await;
        }
        let (code, took) = stage.engine.terminate()?;
        ensure!(code == Some(0), "exit code {code:?}: {}", stage.engine.last_words());
        ensure!(took < Duration::from_secs(5), "it took {took:?}");
    }
    stage.engine.spawn()?;
    stage.engine.wait_ready()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_this_machine_is_no_outcome() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = &stage.near.invoices(1, AMOUNT_MSAT).await?[0];
    let file = stage.folder().join("orders.csv");
    fs::write(&file, format!("destination\n{}\n", invoice.payment_request))?;
    let file = file.to_str().context("a path")?;
    let nowhere = stage.folder().join("missing/results.csv");
    let nowhere = nowhere.to_str().context("a path")?;
    let output = stage.engine.cli(&["batch", "submit", file, "--results", nowhere])?;
    ensure!(output.status.code() == Some(74), "{output:?}");
    // The same again, with a place for the results: the batch has gone on.
    let results = nowhere.replace("missing/", "");
    let output = stage.engine.cli(&["batch", "submit", file, "--results", &results])?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    ensure!(fs::read_to_string(&results)?.contains("succeeded"), "no results");
    Ok(())
}
