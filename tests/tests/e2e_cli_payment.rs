//! Single payments and the state of a batch by the command line.

use std::{fs, process::Output};

use anyhow::{Context, Result, ensure};
use fulgurite_tests::{doors::Stage, written::Written};
use serde_json::Value;

const AMOUNT_MSAT: u64 = 1_000_000;

/// What a command prints, when it ends with this exit code.
fn ends(stage: &Stage, code: i32, arguments: &[&str]) -> Result<Output> {
    let output = stage.engine.cli(arguments)?;
    ensure!(output.status.code() == Some(code), "{arguments:?}: {output:?}");
    Ok(output)
}

/// The object that a command prints with `--json`.
fn object(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    let output = ends(stage, 0, &[arguments, &["--json"]].concat())?;
    let line = String::from_utf8(output.stdout)?;
    serde_json::from_str(&line).with_context(|| format!("{arguments:?}: {line}"))
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("no {name} in {value}"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_ordered_read_listed_and_cancelled() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let free = |preimage| Written { preimage, amount_msat: None, ..Default::default() }.text();
    // With every option; it waits, because it starts paused.
    let invoice = free(1)?;
    let mut order = vec!["payment", "create", &invoice, "--amount-sat", "5", "--key", "one"];
    order.extend(["--fee-limit-msat", "7", "--reference", "rent", "--paused"]);
    order.extend(["--deadline", "2096-01-31T12:00:00Z"]);
    let created = object(&stage, &order)?;
    for (name, wanted) in [
        ("state", "queued"),
        ("amount_msat", "5000"),
        ("fee_limit_msat", "7"),
        ("reference", "rent"),
        ("deadline", "2096-01-31T12:00:00.000000Z"),
        ("bolt11", &invoice),
    ] {
        ensure!(created[name] == wanted, "{name}: {created}");
    }
    let id = text(&created, "payment_id")?;
    // The same command again is the same payment, and says so.
    let again = ends(&stage, 0, &[&order[..], &["--json"]].concat())?;
    let (out, err) = (String::from_utf8(again.stdout)?, String::from_utf8(again.stderr)?);
    ensure!(out.contains(&id) && err.contains("before, with this key"), "{out} {err}");
    let hash = text(&created, "payment_hash")?;
    let batch = text(&created, "batch_id")?;
    for among in [["--hash", &hash], ["--reference", "rent"], ["--batch", &batch]] {
        let listed = object(&stage, &[&["payment", "list"][..], &among].concat())?;
        ensure!(text(&listed, "payment_id")? == id, "{among:?}: {listed}");
    }
    ensure!(object(&stage, &["payment", "get", &id])? == created, "payment get");
    let cancelled = object(&stage, &["payment", "cancel", &id])?;
    ensure!(cancelled["state"] == "cancelled", "{cancelled}");
    // An amount in millisatoshi; nobody has this invoice, so that the wait ends with a failure.
    let nobody = free(2)?;
    let pay = ["payment", "create", &nobody, "--amount-msat", "1001", "--key", "two", "--wait"];
    let failed = ends(&stage, 1, &[&pay[..], &["--attempts-max", "1", "--json"]].concat())?;
    let failed: Value = serde_json::from_slice(&failed.stdout)?;
    ensure!(failed["amount_msat"] == "1001" && failed["state"] == "failed", "{failed}");
    ends(&stage, 3, &["payment", "cancel", &text(&failed, "payment_id")?])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_paused_resumed_and_named_by_its_file() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = stage.near.invoices(1, AMOUNT_MSAT).await?.swap_remove(0);
    let file = stage.folder().join("one.csv");
    fs::write(&file, format!("reference,destination\na,{}\n", invoice.payment_request))?;
    let file = file.to_str().context("a path")?;
    let said = ends(&stage, 0, &["batch", "submit", file, "--paused", "--no-wait"])?;
    let listed = object(&stage, &["batch", "list", "--state", "paused"])?;
    // The default key is of the file's bytes, and printed.
    let key = text(&listed, "idempotency_key")?;
    ensure!(key.starts_with("file:sha256-") && key.len() == 12 + 64, "{key}");
    ensure!(String::from_utf8(said.stderr)?.contains(&key), "the key is not printed");
    let id = text(&listed, "batch_id")?;
    for (which, verb, state) in [
        (&[id.as_str()][..], "get", "paused"),
        (&["--key", &key], "pause", "paused"),
        (&[&id], "resume", "running"),
    ] {
        let batch = object(&stage, &[&["batch", verb][..], which].concat())?;
        ensure!(batch["state"] == state && batch["batch_id"] == *id, "{verb}: {batch}");
    }
    ends(&stage, 0, &["batch", "watch", "--key", &key])?;
    ensure!(stage.near.settled(&[invoice]).await? == 1, "it was not paid");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_on_standard_input_is_json_as_over_http() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = stage.near.invoices(1, AMOUNT_MSAT).await?.swap_remove(0);
    let line = serde_json::json!({"bolt11": invoice.payment_request, "amount_msat": "1000000"});
    let file = stage.folder().join("one");
    fs::write(&file, format!("{line}\n"))?;
    let mut command = std::process::Command::new(fulgurite_tests::engine::program()?);
    command.args(["batch", "submit", "-", "--endpoint", &stage.engine.endpoint()]);
    let output = command.stdin(fs::File::open(&file)?).output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    ensure!(stage.near.settled(&[invoice]).await? == 1, "it was not paid");
    Ok(())
}
