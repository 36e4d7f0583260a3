//! What a watch promises (W1-W8) and what pages promise, over engine kills and to slow readers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, WatchBatchResponse, batch_service_client::BatchServiceClient, event::Object,
    payment::State,
};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    doors::{Stage, messages, orders, reason},
    regtest::until,
};
use tokio::{sync::watch, time::interval};
use tonic::transport::Endpoint;

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: usize = 600;
const EVENTS_MAX: usize = 256;

/// What a reader keeps, as the contract tells it to.
#[derive(Debug, Default)]
struct Reader {
    cursor: String,
    payments: BTreeMap<i32, proto::Payment>,
    /// The batch as it was sent last.
    batch: Option<proto::Batch>,
    /// When, on this connection.
    /// When this connection's first batch came, and how many came since.
    batches: Option<(Instant, u64)>,
    repeats: usize,
    connections: usize,
}

impl Reader {
    /// Takes one message; true when it is the last one.
    fn take(&mut self, message: WatchBatchResponse) -> Result<bool> {
        ensure!(message.events.len() <= EVENTS_MAX, "{} events", message.events.len());
        ensure!(!message.cursor.is_empty(), "no cursor");
        for event in message.events {
            let Some(Object::Payment(payment)) = event.object else { bail!("no payment") };
            self.payment(payment)?;
        }
        self.cursor = message.cursor;
        let Some(batch) = message.batch else { return Ok(false) };
        let finished = batch.finish_time.is_some();
        let (since, count) = self.batches.get_or_insert((Instant::now(), 0));
        *count += 1;
        // By this side's clock two can be close, but not many: one a second, and the last one.
        let most = since.elapsed().as_secs() + 2;
        ensure!(finished || *count <= most, "W5: {count} times in {:?}", since.elapsed());
        let before = self.batch.as_ref().map_or(0, |before| before.version);
        ensure!(batch.version >= before, "the batch went back: {before}, then {batch:?}");
        self.batch = Some(batch);
        Ok(finished)
    }

    fn payment(&mut self, payment: proto::Payment) -> Result<()> {
        if let Some(before) = self.payments.get(&payment.row) {
            ensure!(payment.version >= before.version, "W3: {before:?} then {payment:?}");
            if payment.version == before.version {
                ensure!(*before == payment, "W3: two contents: {before:?} {payment:?}");
                self.repeats += 1;
            } else {
                ensure!(before.finish_time.is_none(), "final, then changed: {payment:?}");
            }
        }
        self.payments.insert(payment.row, payment);
        Ok(())
    }

    fn finals(&self) -> usize {
        self.payments.values().filter(|payment| payment.finish_time.is_some()).count()
    }

    /// Compares with the counts of the batch: the sums are those of what was seen.
    fn sums(&self) -> Result<()> {
        let batch = self.batch.as_ref().context("no batch was sent")?;
        let counts = batch.counts.unwrap_or_default();
        let count = |state| self.payments.values().filter(|p| p.state() == state).count() as i32;
        ensure!(counts.order_count as usize == self.payments.len(), "{counts:?}");
        ensure!(counts.succeeded_count == count(State::Succeeded), "{counts:?}");
        ensure!(counts.failed_count == count(State::Failed), "{counts:?}");
        let fees: i64 = self.payments.values().map(|payment| payment.fee_msat).sum();
        ensure!(batch.fee_msat == fees, "fees: {} and {fees}", batch.fee_msat);
        Ok(())
    }
}

/// Watches a batch to its end, over every cut, reading a message each `pace`.
async fn follow(
    endpoint: String,
    (request, pace): (proto::WatchBatchRequest, Duration),
    progress: watch::Sender<usize>,
) -> Result<Reader> {
    let mut reader = Reader::default();
    let mut pace = tokio::time::interval(pace);
    let started = Instant::now();
    loop {
        ensure!(started.elapsed() < PATIENCE, "the watch takes too long: {reader:?}");
        // A small window: what waits, waits at the engine and not in this process.
        let endpoint = Endpoint::from_shared(endpoint.clone())?.initial_stream_window_size(4_096);
        let channel = endpoint.connect_lazy();
        let mut client = BatchServiceClient::new(channel);
        let request = proto::WatchBatchRequest { cursor: reader.cursor.clone(), ..request.clone() };
        let Ok(answer) = client.watch_batch(request).await else {
            // The engine is away, or starts: come back.
            pace.tick().await;
            continue;
        };
        (reader.connections, reader.batches) = (reader.connections + 1, None);
        let mut stream = answer.into_inner();
        while let Ok(Some(message)) = stream.message().await {
            let finished = reader.take(message)?;
            progress.send_replace(reader.finals());
            if finished {
                let end = stream.message().await;
                ensure!(matches!(end, Ok(None)), "W6: behind the last message: {end:?}");
                return Ok(reader);
            }
            pace.tick().await;
        }
    }
}

/// Reads the pages of a batch up to a number of rows, from a token on.
async fn pages(
    stage: &Stage,
    batch_id: &str,
    rows: usize,
    token: &mut Option<String>,
) -> Result<Vec<i32>> {
    let mut read = Vec::new();
    while read.len() < rows
        && let Some(page_token) = token.take()
    {
        let request = proto::ListPaymentsRequest {
            batch_id: batch_id.to_owned(),
            page_size: 7,
            page_token,
            ..Default::default()
        };
        let page = stage.payments()?.list_payments(request).await?.into_inner();
        read.extend(page.payments.iter().map(|payment| payment.row));
        *token = Some(page.next_page_token).filter(|token| !token.is_empty());
    }
    Ok(read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_outcome_is_seen_over_two_kills_and_by_a_slow_reader() -> Result<()> {
    let mut stage = Stage::set(5.0, "").await?;
    let invoices = stage.near.invoices(ROWS, AMOUNT_MSAT).await?;
    let options = proto::BatchOptions { payments_per_second_max: Some(150), ..Default::default() };
    let batch = stage.upload(messages("watched", &orders(&invoices), options)).await?.batch;
    let outcomes = proto::WatchBatchRequest {
        batch_id: batch.batch_id.clone(),
        outcomes_only: true,
        view: proto::View::Full.into(),
        ..Default::default()
    };
    let changes = proto::WatchBatchRequest { outcomes_only: false, ..outcomes.clone() };
    let (tell, mut told) = watch::channel(0);
    let endpoint = stage.engine.endpoint();
    let fast = follow(endpoint.clone(), (outcomes, Duration::from_millis(1)), tell);
    let slow = follow(endpoint, (changes, Duration::from_secs(1)), watch::Sender::new(0));
    let (fast, slow) = (tokio::spawn(fast), tokio::spawn(slow));
    let mut token = Some(String::new());
    let mut read = Vec::new();
    for seen in [100, 300] {
        if told.wait_for(|finals| *finals >= seen).await.is_err() {
            bail!("the watch ended: {:?}", fast.await?.err());
        }
        read.extend(pages(&stage, &batch.batch_id, 100, &mut token).await?);
        stage.engine.restart()?;
    }
    let (fast, slow) = (fast.await??, slow.await??);
    read.extend(pages(&stage, &batch.batch_id, usize::MAX, &mut token).await?);
    ensure!(read == (1..=ROWS as i32).collect::<Vec<_>>(), "pages: {read:?}");
    for (name, reader, cut) in [("fast", &fast, 2), ("slow", &slow, 1)] {
        println!(
            "the {name} reader: {} outcomes over {} connections, {} repeated",
            reader.finals(),
            reader.connections,
            reader.repeats
        );
        ensure!(reader.connections > cut, "{name}: {} connections", reader.connections);
        ensure!(reader.finals() == ROWS, "{name}: {} of {ROWS}", reader.finals());
        reader.sums()?;
    }
    let preimages = fast.payments.values().filter(|payment| payment.preimage.len() == 64).count();
    ensure!(preimages == ROWS, "view FULL: {preimages} preimages");
    let listed = stage.payments_of(&batch.batch_id).await?;
    for payment in &listed {
        let seen = fast.payments.get(&payment.row).context("a row")?;
        ensure!(seen.version == payment.version && seen.state() == payment.state(), "{seen:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_cost_no_memory() -> Result<()> {
    const READERS: usize = 40;
    let stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(3_000, AMOUNT_MSAT).await?;
    let mut upload = messages("many", &orders(&invoices), Default::default());
    let rows = orders(&invoices);
    let chunks = rows
        .chunks(1_000)
        .enumerate()
        .map(|(at, rows)| fulgurite_tests::doors::chunk(at as i32 * 1_000 + 1, rows));
    upload.splice(1..2, chunks.collect::<Vec<_>>());
    let batch_id = stage.upload(upload).await?.batch.batch_id;
    until("the batch to finish", PATIENCE, async || {
        Ok(stage.batch("many").await?.finish_time.map(drop))
    })
    .await?;
    let request =
        proto::WatchBatchRequest { batch_id, view: proto::View::Full.into(), ..Default::default() };
    // One that reads all, so that what the engine keeps for itself is there.
    let mut whole = stage.batches()?.watch_batch(request.clone()).await?.into_inner();
    let mut bytes = 0;
    while let Some(message) = whole.message().await? {
        bytes += prost::Message::encoded_len(&message);
    }
    let before = stage.engine.memory_kib("VmRSS")?;
    let mut silent = Vec::new();
    for _ in 0..READERS {
        let mut stream = stage.batches()?.watch_batch(request.clone()).await?.into_inner();
        ensure!(stream.message().await?.is_some(), "nothing was sent");
        silent.push(stream);
    }
    // The engine goes on writing until the connections are full.
    let (mut most, mut look) = (0, interval(Duration::from_millis(50)));
    for _ in 0..20 {
        look.tick().await;
        most = most.max(stage.engine.memory_kib("VmRSS")?);
    }
    let grown = most.saturating_sub(before);
    let buffered = READERS * bytes / 1_024;
    println!(
        "{READERS} silent readers of {bytes} bytes each: {grown} KiB more; buffered it were {buffered}"
    );
    ensure!(grown < buffered as u64 / 3, "{grown} KiB for {READERS} readers of {bytes} bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_cannot_go_on_says_so() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(2, AMOUNT_MSAT).await?;
    let paused = proto::BatchOptions { start_paused: Some(true), ..Default::default() };
    let mut ids = Vec::new();
    for (key, order) in ["one", "two"].iter().zip(orders(&invoices)) {
        ids.push(stage.upload(messages(key, &[order], paused)).await?.batch.batch_id);
    }
    let request = |batch_id: &str, cursor: &str| proto::WatchBatchRequest {
        batch_id: batch_id.to_owned(),
        cursor: cursor.to_owned(),
        ..Default::default()
    };
    let mut stream = stage.batches()?.watch_batch(request(&ids[0], "")).await?.into_inner();
    let first = stream.message().await?.context("a message")?;
    let batch = first.batch.context("W5: the batch comes first")?;
    ensure!(batch.state() == proto::batch::State::Paused, "{batch:?}");
    for (what, answer) in [
        ("W3: another batch", request(&ids[1], &first.cursor)),
        (
            "W3: another filter",
            proto::WatchBatchRequest { outcomes_only: true, ..request(&ids[0], &first.cursor) },
        ),
        ("half a cursor", request(&ids[0], &first.cursor[2..])),
    ] {
        let answer = reason(stage.batches()?.watch_batch(answer).await.map(drop));
        ensure!(answer == "CURSOR_INVALID", "{what}: {answer}");
    }
    let unknown = stage.batches()?.watch_batch(request(&ids[0].replace("bat_", "bat_0"), "")).await;
    ensure!(reason(unknown.map(drop)) == "BATCH_NOT_FOUND", "an unknown batch");
    let view = proto::WatchBatchRequest { view: 9, ..request(&ids[0], "") };
    let answer = reason(stage.batches()?.watch_batch(view).await.map(drop));
    ensure!(answer == "INVALID_FIELD", "a view of later: {answer}");

    // W8: a watch that ends touches nothing. W5: silence is broken by the batch, with a cursor.
    let started = Instant::now();
    let beat = stream.message().await?.context("a heartbeat")?;
    ensure!(beat.batch.is_some() && !beat.cursor.is_empty(), "W5: {beat:?}");
    ensure!(started.elapsed() <= Duration::from_secs(15), "W5: after {:?}", started.elapsed());
    drop(stream);
    ensure!(stage.batch("one").await? == batch, "W8: the end of a watch changed something");
    // W6: an engine that stops ends the stream with a status that says so.
    let mut stream = stage.batches()?.watch_batch(request(&ids[0], "")).await?.into_inner();
    stream.message().await?.context("a message")?;
    stage.engine.terminate()?;
    let ended = stream.message().await;
    ensure!(reason(ended) == "STOPPING", "the end of an engine");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unresolved_is_told_and_keeps_the_watch_open() -> Result<()> {
    // Behind the section of the sends: what a node shows in flight for ever is seen after 2 s.
    let sends = "payment_timeout_s = 1\nstuck_after_s = 1\n";
    let knobs = Knobs { zombie_share: 1.0, ..Knobs::default() };
    let stage = Stage::start(knobs, (sends, "")).await?;
    let invoices = stage.near.invoices(1, AMOUNT_MSAT).await?;
    let batch = stage.upload(messages("stuck", &orders(&invoices), Default::default())).await?;
    let request = proto::WatchBatchRequest {
        batch_id: batch.batch.batch_id,
        outcomes_only: true,
        ..Default::default()
    };
    let mut cursor = String::new();
    for again in [false, true] {
        let mut stream = stage.batches()?.watch_batch(request.clone()).await?.into_inner();
        let told = loop {
            let message = stream.message().await?.context("W2: ended without an outcome")?;
            ensure!(message.batch.is_none_or(|batch| batch.finish_time.is_none()), "finished");
            cursor = message.cursor;
            if let Some(event) = message.events.into_iter().next() {
                break event;
            }
        };
        ensure!(told.r#type == "payment.unresolved", "{again}: {told:?}");
        let Some(Object::Payment(payment)) = told.object else { bail!("no payment") };
        ensure!(
            payment.state() == State::Unresolved && payment.finish_time.is_none(),
            "{payment:?}"
        );
        let cancelled = reason(stage.cancel(&payment.payment_id).await);
        ensure!(cancelled == "PAYMENT_IN_FLIGHT", "{cancelled}");
    }
    // Behind it there is nothing, and no end.
    let request = proto::WatchBatchRequest { cursor, ..request };
    let mut stream = stage.batches()?.watch_batch(request).await?.into_inner();
    let first = stream.message().await?.context("the batch")?;
    ensure!(first.events.is_empty() && first.batch.is_some(), "W3: {first:?}");
    let counts = first.batch.and_then(|batch| batch.counts).unwrap_or_default();
    ensure!(counts.unresolved_count == 1, "{counts:?}");
    let more = tokio::time::timeout(Duration::from_secs(1), stream.message()).await;
    ensure!(!matches!(more, Ok(Ok(None) | Err(_))), "W2: the watch ended: {more:?}");
    Ok(())
}
