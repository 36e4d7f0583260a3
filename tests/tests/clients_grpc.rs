//! The gRPC door as clients see it that nobody here wrote: grpcurl, ghz, and Python's grpcio.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use fulgurite_tests::{
    clients::{Said, generate_python, program, run},
    doors::Stage,
    regtest::Invoice,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One call of grpcurl that finds everything by reflection.
fn grpcurl(stage: &Stage, method: &str, input: &str) -> Result<Said> {
    let mut command = program("grpcurl")?;
    command.args(["-plaintext", "-max-time", "60", "-format-error", "-d", "@"]);
    run(command.arg(stage.engine.grpc().to_string()).arg(method), input)
}

/// The answers of a call, a value each.
fn answers(said: Said) -> Result<Vec<Value>> {
    Ok(serde_json::Deserializer::from_str(&said.fine()?)
        .into_iter::<Value>()
        .collect::<Result<_, _>>()?)
}

fn upload_of(key: &str, invoices: &[Invoice]) -> String {
    let orders: Vec<Value> =
        invoices.iter().map(|invoice| json!({"bolt11": invoice.payment_request})).collect();
    [
        json!({"header": {"idempotencyKey": key}}),
        json!({"orders": {"firstRow": 1, "orders": orders}}),
        json!({"commit": {"orderCount": orders.len()}}),
    ]
    .iter()
    .map(|message| format!("{message}\n"))
    .collect()
}

#[tokio::test]
async fn grpcurl_uploads_lists_and_watches_by_reflection() -> Result<()> {
    let stage = Stage::set(2.0, "").await?;
    let mut list = program("grpcurl")?;
    let address = stage.engine.grpc().to_string();
    let services = run(list.args(["-plaintext", &address, "list"]), "")?.fine()?;
    for service in ["BatchService", "EngineService", "PaymentService"] {
        assert!(services.contains(&format!("fulgurite.v1.{service}")), "{services}");
    }

    let upload = upload_of("grpcurl-1", &stage.near.invoices(20, 1_000).await?);
    let accepted = answers(grpcurl(&stage, "fulgurite.v1.BatchService/UploadBatch", &upload)?)?;
    let id = accepted[0]["accepted"]["batch"]["batchId"].as_str().context("an id")?.to_owned();
    let again = answers(grpcurl(&stage, "fulgurite.v1.BatchService/UploadBatch", &upload)?)?;
    assert_eq!(again[0]["accepted"]["replayed"], json!(true));
    assert_eq!(again[0]["accepted"]["batch"]["batchId"], json!(id));

    let watch = json!({"batchId": id, "outcomesOnly": true}).to_string();
    let watched = answers(grpcurl(&stage, "fulgurite.v1.BatchService/WatchBatch", &watch)?)?;
    let last = &watched.last().context("a last message")?["batch"];
    assert_eq!(last["counts"]["succeededCount"], json!(20), "{last}");
    let outcomes = watched.iter().flat_map(|message| message["events"].as_array().into_iter());
    assert_eq!(outcomes.flatten().filter(|event| event["payment"].is_object()).count(), 20);

    let page = json!({"batchId": id, "pageSize": 7, "view": "VIEW_FULL"}).to_string();
    let page = answers(grpcurl(&stage, "fulgurite.v1.PaymentService/ListPayments", &page)?)?;
    let payments = page[0]["payments"].as_array().context("payments")?;
    assert_eq!(payments.len(), 7);
    assert!(payments.iter().all(|payment| payment["preimage"].is_string()), "{payments:?}");
    Ok(())
}

#[tokio::test]
async fn grpcurl_shows_why_it_was_refused() -> Result<()> {
    let stage = Stage::set(2.0, "").await?;
    let missing = json!({"batchId": "bat_nothing"}).to_string();
    let said = grpcurl(&stage, "fulgurite.v1.BatchService/GetBatch", &missing)?;
    let error: Value = serde_json::from_str(&said.err).with_context(|| said.err.clone())?;
    let info = error["details"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|detail| detail["@type"] == json!("type.googleapis.com/google.rpc.ErrorInfo"))
        .with_context(|| format!("no ErrorInfo in {error}"))?;
    assert_eq!(
        (&info["reason"], &info["domain"]),
        (&json!("BATCH_NOT_FOUND"), &json!("fulgurite"))
    );
    Ok(())
}

#[tokio::test]
async fn ghz_creates_payments_and_each_is_made_once() -> Result<()> {
    const COUNT: usize = 300;
    let stage = Stage::set(2.0, "").await?;
    let invoices = stage.near.invoices(COUNT, 1_000).await?;
    let calls: Vec<Value> = invoices
        .iter()
        .enumerate()
        .map(|(index, invoice)| {
            let order = json!({"bolt11": invoice.payment_request, "reference": "ghz"});
            json!({"idempotency_key": format!("ghz-{index}"), "order": order})
        })
        .collect();
    let data = stage.folder().join("calls.json");
    fs::write(&data, serde_json::to_string(&calls)?)?;
    let mut ghz = program("ghz")?;
    ghz.args(["--insecure", "--call", "fulgurite.v1.PaymentService/CreatePayment"]);
    // Every call twice: the second is a repeat.
    ghz.args(["--total", &(2 * COUNT).to_string(), "--concurrency", "20", "--format", "json"]);
    ghz.arg("--data-file").arg(&data).arg(stage.engine.grpc().to_string());
    let report: Value = serde_json::from_str(&run(&mut ghz, "")?.fine()?)?;
    assert_eq!(report["statusCodeDistribution"], json!({"OK": 2 * COUNT}), "{report:#}");

    for invoice in &invoices {
        let list = json!({"paymentHash": hex::encode(invoice.payment_hash)}).to_string();
        let listed = answers(grpcurl(&stage, "fulgurite.v1.PaymentService/ListPayments", &list)?)?;
        assert_eq!(listed[0]["payments"].as_array().map(Vec::len), Some(1), "{listed:?}");
    }
    Ok(())
}

#[tokio::test]
async fn thirty_lines_of_python_outlive_an_engine() -> Result<()> {
    const COUNT: usize = 60;
    let mut stage = Stage::set(150.0, "").await?;
    generate_python(stage.folder())?;
    let invoices = stage.near.invoices(COUNT, 1_000).await?;
    let mut python = Command::from(program("python")?);
    python
        .kill_on_drop(true)
        .arg(fulgurite_tests::root().join("docs/examples/payout.py"))
        .env("PYTHONPATH", stage.folder())
        .args([stage.engine.grpc().to_string().as_str(), "python-1"])
        .args(invoices.iter().map(|invoice| &invoice.payment_request))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = python.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    // It is in the middle of its watch when the engine dies under it.
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(timeout(PATIENCE, lines.next_line()).await??.context("it ended")?);
    }
    stage.engine.kill9();
    stage.engine.spawn()?;
    stage.engine.wait_ready()?;
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await?? {
        seen.push(line);
    }
    assert!(child.wait().await?.success(), "{seen:?}");

    assert_eq!(seen.pop().as_deref(), Some("finished 60 of 60"));
    let mut rows: Vec<u32> = Vec::new();
    for line in &seen {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], "STATE_SUCCEEDED", "{line}");
        rows.push(words[0].parse()?);
    }
    rows.sort_unstable();
    assert_eq!(rows, (1..=60).collect::<Vec<u32>>(), "each outcome once");
    Ok(())
}
