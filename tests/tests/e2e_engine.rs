//! What an engine says of itself and of what fails: whether it is ready, that it is open to a
//! network, that it has too much to do, why a payment failed.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, BatchOptions, engine_service_client::EngineServiceClient, failure::Reason,
    payment::State,
};
use fulgurite_sim::{FailMix, Knobs};
use fulgurite_tests::{
    doors::{Stage, http, orders},
    regtest::{Invoice, until},
    written::Written,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops the engine and puts `new` in the place of `old` in its configuration.
fn reconfigure(stage: &mut Stage, old: &str, new: &str) -> Result<String> {
    stage.engine.kill9();
    let file = stage.folder().join("engine/fulgurite.toml");
    let config = fs::read_to_string(&file)?;
    ensure!(config.contains(old), "no {old} in {config}");
    fs::write(&file, config.replace(old, new))?;
    Ok(file.to_str().context("a path")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_a_node_takes_orders_and_says_that_it_is_not_ready() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let order = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?).swap_remove(0);
    let there = format!("{:?}", stage.world.payer().address);
    reconfigure(&mut stage, &there, "\"127.0.0.1:1\"")?;
    stage.engine.spawn()?;
    let started = async || {
        let answer = stage.engine.get("/startupz");
        Ok(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")).then_some(()))
    };
    until("the start", PATIENCE, started).await?;
    let why = "no node is connected";
    let ready = stage.engine.get("/readyz")?;
    ensure!(ready.starts_with("HTTP/1.1 503") && ready.contains(why), "{ready}");
    ensure!(ready.contains("\"ready\":false") && ready.contains("application/json"), "{ready}");
    ensure!(stage.engine.get("/livez")?.starts_with("HTTP/1.1 200"), "it lives");
    ensure!(stage.engine.get("/metrics")?.contains("# EOF"), "metrics");
    let mut client = EngineServiceClient::new(stage.channel()?);
    let engine = client.get_engine(proto::GetEngineRequest {}).await?.into_inner().engine;
    let engine = engine.context("an engine")?;
    ensure!(!engine.ready && engine.not_ready_reasons == [why], "{engine:?}");
    let mut health = HealthClient::new(stage.channel()?);
    let check = health.check(HealthCheckRequest { service: String::new() }).await?.into_inner();
    ensure!(check.status() == ServingStatus::NotServing, "{check:?}");
    // Accepted is durable, and is paid once there is a node.
    let waiting = stage.create("early", &order, BatchOptions::default()).await?;
    let waiting = waiting.payment.context("a payment")?;
    ensure!(waiting.state() == State::Queued, "{waiting:?}");
    reconfigure(&mut stage, "\"127.0.0.1:1\"", &there)?;
    stage.engine.spawn()?;
    stage.engine.wait_ready()?;
    let paid = stage.final_payment(&waiting.payment_id).await?;
    ensure!(paid.state() == State::Succeeded, "{paid:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_network_is_refused_or_warned_of() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    ensure!(stage.engine.metric("fulgurite_unauthenticated_network")? == 0, "open by default");
    let door = format!("\"{}\"", stage.engine.http());
    let file = reconfigure(&mut stage, &door, "\"0.0.0.0:0\"")?;
    let output = stage.engine.cli(&["serve", "--config", &file])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(78), "{:?}: {said}", output.status);
    let last = said.lines().last().unwrap_or_default();
    ensure!(said.contains("allow_unauthenticated_network"), "{said}");
    ensure!(last.contains("correct the configuration"), "{last}");

    let allowed =
        format!("[access]\nallow_unauthenticated_network = true\n[http]\nlisten = {door}");
    reconfigure(&mut stage, "[http]\nlisten = \"0.0.0.0:0\"", &allowed)?;
    stage.engine.spawn()?;
    stage.engine.wait_ready()?;
    stage.wait_for_metric("fulgurite_unauthenticated_network", 1).await?;
    let log = stage.engine.whole_log();
    ensure!(log.contains("allow_unauthenticated_network is true"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_http_door_says_when_to_come_back() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    reconfigure(&mut stage, "[http]\n", "[http]\nconcurrent_requests_max = 1\n")?;
    stage.engine.spawn()?;
    stage.engine.wait_ready()?;
    let order = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?).swap_remove(0);
    let paused = BatchOptions { start_paused: Some(true), ..Default::default() };
    let held = stage.create("held", &order, paused).await?.payment.context("a payment")?;
    let door = stage.engine.http();
    let host = format!("Host: localhost:{}", door.port());
    // A long poll that ends by its time says how the payment is.
    let poll = |ms: u32| format!("GET /v1/payments/{}?wait_ms={ms}", held.payment_id);
    let looked = http(door, &poll(50), &[&host], "").await?;
    ensure!(looked.status == 200 && looked.body["state"] == "queued", "{looked:?}");
    // Another one takes the only place; who is faster than it asks again.
    let long = poll(30_000);
    let full = async {
        loop {
            let answer = http(door, "GET /v1/engine", &[&host], "").await?;
            if answer.status != 200 {
                return anyhow::Ok(answer);
            }
        }
    };
    let taken = async {
        loop {
            let answer = http(door, &long, &[&host], "").await?;
            ensure!(answer.status == 429, "it did not wait: {answer:?}");
        }
    };
    let full = tokio::select! {
        full = full => full?,
        taken = taken => return taken,
    };
    ensure!(full.status == 429 && full.body["code"] == "OVERLOADED", "{full:?}");
    ensure!(full.head.contains("retry-after: 1") && full.body["retry"] == true, "{full:?}");
    // It ends with the payment, not with its time.
    stage.cancel(&held.payment_id).await?;
    Ok(())
}

/// Orders this and waits for its failure; the code of its last attempt is the one of the failure.
async fn failure(
    stage: &Stage,
    invoice: &str,
    options: BatchOptions,
) -> Result<(Reason, String, bool)> {
    let invoice = Invoice {
        payment_request: invoice.to_owned(),
        payment_hash: [0; 32],
        amount_msat: AMOUNT_MSAT,
    };
    let order = &orders(std::slice::from_ref(&invoice))[0];
    let created = stage.create(&invoice.payment_request[40..90], order, options).await?;
    let id = created.payment.context("a payment")?.payment_id;
    let payment = stage.final_payment(&id).await?;
    let failure = payment.failure.clone().with_context(|| format!("{payment:?}"))?;
    ensure!(payment.state() == State::Failed && !failure.message.is_empty(), "{payment:?}");
    ensure!(payment.preimage.is_empty() && payment.fee_msat == 0, "{payment:?}");
    let last = payment.attempts.last().map(|attempt| attempt.node_code.clone());
    ensure!(failure.node_code == last.unwrap_or_default(), "{payment:?}");
    let (reason, again) = (failure.reason(), failure.same_invoice_may_succeed);
    Ok((reason, failure.node_code, again))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_says_why_and_whether_the_invoice_can_be_used_again() -> Result<()> {
    let none =
        FailMix { timeout: 0.0, no_route: 0.0, insufficient_balance: 0.0, ..FailMix::default() };
    let soon = "[check]\nexpiry_margin_s = 0\n[retry]\nexpiry_margin_s = 0\n";
    let once = BatchOptions { attempts_max: Some(1), ..Default::default() };
    let expect = |found: (Reason, String, bool), wanted: (Reason, &str, bool)| {
        ensure!((found.0, found.1.as_str(), found.2) == wanted, "{found:?}, not {wanted:?}");
        Ok(())
    };
    for (fail_mix, wanted) in [
        (
            FailMix { no_route: 1.0, ..none.clone() },
            (Reason::NoRoute, "FAILURE_REASON_NO_ROUTE", true),
        ),
        (
            FailMix { insufficient_balance: 1.0, ..none },
            (Reason::InsufficientLiquidity, "FAILURE_REASON_INSUFFICIENT_BALANCE", true),
        ),
    ] {
        let knobs = Knobs { fail_share: 1.0, fail_mix, ..Knobs::default() };
        let stage = Stage::start(knobs, (soon, "")).await?;
        let invoice = stage.near.invoices(1, AMOUNT_MSAT).await?.swap_remove(0);
        expect(failure(&stage, &invoice.payment_request, once).await?, wanted)?;
        if wanted.0 == Reason::NoRoute {
            continue;
        }
        // It waits until its invoice is over.
        let short = stage.near.invoice(AMOUNT_MSAT, Duration::from_secs(3)).await?;
        let paused = BatchOptions { start_paused: Some(true), ..once };
        let expired = failure(&stage, &short.payment_request, paused).await?;
        expect(expired, (Reason::InvoiceExpired, "", false))?;
        // The payee asks for more blocks than the order allows: the node does not take it.
        let slow = Written { final_cltv_delta: 200, ..Default::default() }.text()?;
        let locked = BatchOptions { cltv_limit_blocks: Some(144), ..once };
        let refused = failure(&stage, &slow, locked).await?;
        expect(refused, (Reason::NodeRefused, "NEVER_SENT_INVALID", false))?;
    }
    Ok(())
}
