//! The command line over a running engine: exit codes, files, results, problems, restarts.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fulgurite_tests::{
    cli::{Said, run},
    doors::Stage,
    engine::program,
    regtest::{Invoice, until},
};
use serde_json::Value;

const AMOUNT_MSAT: u64 = 1_000_000;
/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the command says.
fn cli(stage: &Stage, arguments: &[&str]) -> Result<Said> {
    run(&mut stage.engine.command(arguments))
}

/// What the command says, when it ends with this exit code.
fn ends(stage: &Stage, code: i32, arguments: &[&str]) -> Result<Said> {
    let said = cli(stage, arguments)?;
    ensure!(said.code == Some(code), "{arguments:?}: {said:?}");
    Ok(said)
}

/// Writes a CSV file of these invoices, then these lines.
fn csv(folder: &Path, name: &str, invoices: &[Invoice], more: &str) -> Result<String> {
    let path = folder.join(name);
    let rows = invoices.iter().zip(1..);
    let rows: String =
        rows.map(|(one, row)| format!("{},,ref-{row}\n", one.payment_request)).collect();
    fs::write(&path, format!("destination,amount_sat,reference\n{rows}{more}"))?;
    Ok(path.to_str().context("a path")?.to_owned())
}

fn lines(path: &str) -> Result<Vec<String>> {
    Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_ends_with_the_exit_code_that_says_how() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(8, AMOUNT_MSAT).await?;
    let folder = stage.folder().to_owned();
    let out = folder.join("out.csv").to_str().context("a path")?.to_owned();
    let bad = "lnbcrt1x,,ref-4\n,x,ref-5\n";

    let good = csv(&folder, "good.csv", &invoices[..3], "")?;
    let said = ends(&stage, 0, &["batch", "submit", &good, "--dry-run"])?;
    ensure!(said.err.contains("this was a dry run"), "{said:?}");
    let said = ends(&stage, 0, &["batch", "submit", &good, "--results", &out])?;
    ensure!(said.out.contains(" 3: 3 succeeded"), "{said:?}");
    ensure!(!said.err.contains('\u{1b}') && !said.out.contains('\u{1b}'), "{said:?}");
    let again = ends(&stage, 0, &["batch", "submit", &good])?;
    ensure!(again.err.contains("accepted before, with this key"), "{again:?}");

    // All problems at once: those of the reading and those of the engine, by row and line.
    let mixed = csv(&folder, "mixed.csv", &invoices[3..6], bad)?;
    let said = ends(&stage, 3, &["batch", "submit", &mixed, "--results", &out])?;
    for expected in [
        "row 4 (line 5): bad_checksum: the invoice's checksum is wrong",
        "row 5 (line 6): malformed: destination is empty",
        "row 5 (line 6): malformed: amount_sat `x` is not a whole number",
        "error: ROWS_REFUSED: nothing was accepted",
    ] {
        ensure!(said.err.contains(expected), "{expected}: {}", said.err);
    }
    let states: Vec<String> = lines(&out)?.iter().skip(1).map(|line| state(line)).collect();
    ensure!(states[..3] == ["not_accepted"; 3] && states[3..] == ["refused"; 2], "{states:?}");
    ends(&stage, 3, &["batch", "submit", &mixed, "--dry-run"])?;
    ends(&stage, 1, &["batch", "submit", &mixed, "--dry-run", "--accept-valid"])?;
    let accept = ["batch", "submit", &mixed, "--accept-valid", "--results", &out, "--key", "mixed"];
    let said = ends(&stage, 1, &accept)?;
    ensure!(said.out.contains("5: 3 succeeded, 2 refused"), "{said:?}");
    let rows = lines(&out)?;
    ensure!(rows.len() == 6 && rows[5].starts_with("5,6,"), "{rows:?}");
    ensure!(rows[5].contains("amount_sat `x`"), "the words of the reading: {rows:?}");
    ends(&stage, 1, &["batch", "watch", "--key", "mixed"])?;

    let usage = csv(&folder, "usage.csv", &invoices[6..], "")?;
    for arguments in [
        &["batch", "submit"][..],
        &["batch", "submit", &usage, "--deadline", "tomorrow"],
        &["batch", "submit", &usage, "--fee-base-msat", "1"],
        &["batch", "get"],
        &["batch", "get", "bat_1", "--key", "k"],
        &["payment", "create", "lnbcrt1x"],
        &["payment", "create", "x", "--key", "k", "--amount-sat", "1", "--amount-msat", "1"],
        &["node", "list", "--endpoint", "https://127.0.0.1:1"],
    ] {
        ends(&stage, 2, arguments)?;
    }
    let said = ends(&stage, 3, &["batch", "get", "bat_1"])?;
    ensure!(said.err.contains("BATCH_NOT_FOUND"), "{said:?}");
    let said = ends(&stage, 3, &["batch", "submit", &usage, "--in-flight-max", "0"])?;
    ensure!(said.err.contains("options.in_flight_max must be 1 to 100000"), "{said:?}");

    stage.engine.kill9();
    let create = ["payment", "create", &invoices[7].payment_request, "--key", "k"];
    for arguments in [&["node", "list"][..], &["batch", "submit", &usage], &create] {
        let said = ends(&stage, 4, &[arguments, &["--patience", "1"]].concat())?;
        ensure!(said.err.contains("no engine at http://127.0.0.1:"), "{said:?}");
        ensure!(!said.err.contains("may have been accepted"), "nothing was sent: {said:?}");
    }
    Ok(())
}

/// The sixth column.
fn state(line: &str) -> String {
    line.split(',').nth(5).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_paid_can_be_submitted_again() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(4, AMOUNT_MSAT).await?;
    let folder = stage.folder().to_owned();
    let one = csv(&folder, "one.csv", &invoices, "")?;
    let submit = ["batch", "submit", &one, "--key", "one", "--paused", "--no-wait"];
    ends(&stage, 0, &submit)?;
    ends(&stage, 0, &["batch", "pause", "--key", "one"])?;
    ends(&stage, 0, &["batch", "cancel", "--key", "one"])?;
    ends(&stage, 1, &["batch", "watch", "--key", "one"])?;
    for (form, key, paid) in [("again.csv", "two", false), ("again.ndjson", "three", true)] {
        let path = folder.join(form);
        let path = path.to_str().context("a path")?;
        let key_before = if paid { "two" } else { "one" };
        let mut results = vec!["batch", "results", "--key", key_before, "--as", "input"];
        results.extend(["--state", "cancelled"]);
        results.extend(form.ends_with("ndjson").then_some("--json"));
        fs::write(path, ends(&stage, 0, &results)?.out)?;
        if !paid {
            let pause = ["batch", "submit", path, "--key", key, "--paused", "--no-wait"];
            ends(&stage, 0, &pause)?;
            ends(&stage, 0, &["batch", "cancel", "--key", key])?;
            continue;
        }
        let said = ends(&stage, 0, &["batch", "submit", path, "--key", key])?;
        ensure!(said.out.contains("4: 4 succeeded"), "{said:?}");
    }
    ensure!(stage.near.settled(&invoices).await? == 4, "not all was paid");
    let said = ends(&stage, 0, &["batch", "results", "--key", "three"])?;
    let references: Vec<&str> =
        said.out.lines().skip(1).filter_map(|line| line.split(',').nth(4)).collect();
    ensure!(references == ["ref-1", "ref-2", "ref-3", "ref-4"], "{references:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_json_every_line_is_an_object() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(3, AMOUNT_MSAT).await?;
    let folder = stage.folder().to_owned();
    let good = csv(&folder, "good.csv", &invoices[..2], "")?;
    let bad = csv(&folder, "bad.csv", &invoices[..1], ",x,r\n")?;
    let invoice = invoices[2].payment_request.as_str();
    let single = ["payment", "create", invoice, "--key", "single", "--wait", "--json"];
    for (code, arguments, problem) in [
        (0, &["batch", "submit", &good, "--json"][..], ""),
        (0, &single, ""),
        (0, &["batch", "list", "--all", "--json"], ""),
        (0, &["payment", "list", "--reference", "ref-1", "--json"], ""),
        (0, &["engine", "get", "--json"], ""),
        (0, &["node", "list", "--json"], ""),
        (0, &["config", "explain", "--json"], ""),
        (3, &["batch", "submit", &bad, "--json"], "ROWS_REFUSED"),
        (3, &["payment", "get", "pay_1", "--json"], "PAYMENT_NOT_FOUND"),
        (3, &["payment", "create", invoice, "--key", "other", "--json"], "ALREADY_PAID"),
        (3, &["payment", "cancel", "pay_1", "--json"], "PAYMENT_NOT_FOUND"),
        (2, &["payment", "list", "--json"], "USAGE"),
        (78, &["config", "check", "/nonexistent", "--json"], "CONFIG"),
        (2, &["batch", "submit", "/nonexistent", "--json"], "USAGE"),
        (
            4,
            &["node", "list", "--json", "--endpoint", "127.0.0.1:1", "--patience", "0"],
            "ENGINE_UNREACHABLE",
        ),
    ] {
        let said = ends(&stage, code, arguments)?;
        let (out, err) = said.objects()?;
        ensure!(code != 0 || !out.is_empty(), "{arguments:?}: no data");
        let last = err.last().unwrap_or(&Value::Null);
        if code == 0 {
            ensure!(last.get("code").is_none(), "{arguments:?}: {last}");
            continue;
        }
        ensure!(last["code"] == problem && last["exit_code"] == code, "{arguments:?}: {last}");
        ensure!(last["type"].is_string() && last["detail"].is_string(), "{last}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_get_tables_of_80_columns() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let good = csv(stage.folder(), "good.csv", &stage.near.invoices(2, AMOUNT_MSAT).await?, "")?;
    ends(&stage, 0, &["batch", "submit", &good, "--key", "two"])?;
    let batch = ends(&stage, 0, &["batch", "get", "--key", "two"])?;
    let id = batch.out.split_whitespace().nth(1).context("an id")?.to_owned();
    ensure!(batch.out.contains("paid      2,000 sat"), "{}", batch.out);
    for (arguments, header) in [
        (&["batch", "list", "--state", "finished"][..], Some("BATCH ")),
        (&["payment", "list", "--batch", &id, "--state", "succeeded"], Some("PAYMENT ")),
        (&["node", "list"], Some("NAME ")),
        (&["batch", "get", &id], None),
    ] {
        let said = ends(&stage, 0, arguments)?;
        let wide = said.out.lines().find(|line| line.chars().count() > 80);
        ensure!(wide.is_none(), "{arguments:?}: {wide:?}");
        let first = said.out.lines().next().unwrap_or_default();
        ensure!(header.is_none_or(|header| first.starts_with(header)), "{}", said.out);
        ensure!(said.out.lines().count() > 1 && said.err.is_empty(), "{said:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_gets_a_bar_and_a_pipe_gets_lines() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoices = stage.near.invoices(30, AMOUNT_MSAT).await?;
    let file = csv(stage.folder(), "some.csv", &invoices, "")?;
    let submit = ["batch", "submit", &file, "--payments-per-second-max", "20"];
    let words: Vec<String> = std::iter::once(program()?.display().to_string())
        .chain(submit.iter().map(|word| (*word).to_owned()))
        .collect();
    // `script` gives it a terminal of its own.
    let on_terminal = format!("stty cols 80 rows 24; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &on_terminal, "/dev/null"]).env("TERM", "xterm");
    let said = run(script.env("FULGURITE_ENDPOINT", stage.engine.endpoint()))?;
    ensure!(said.code == Some(0), "{said:?}");
    for expected in ["sending ━", "paying  ━", "/30", "s left; ", "30: 30 succeeded"] {
        ensure!(said.out.contains(expected), "{expected}: {}", said.out);
    }
    let said = ends(&stage, 0, &submit)?;
    ensure!(said.err.contains("paying: 30 of 30, 100 %"), "{said:?}");
    ensure!(!said.err.contains('━') && !said.err.contains('\u{1b}'), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_over_kills_and_ctrl_c_leaves_the_batch() -> Result<()> {
    let mut stage = Stage::set(20.0, "").await?;
    let invoices = stage.near.invoices(150, AMOUNT_MSAT).await?;
    let file = csv(stage.folder(), "slow.csv", &invoices, "")?;
    let slow = ["--payments-per-second-max", "40", "--key", "slow"];
    let submit = [&["batch", "submit", &file][..], &slow].concat();
    let mut child = stage.engine.command(&submit).stderr(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(child.stderr.take().context("standard error")?).lines();
    let accepted =
        told.by_ref().find_map(|line| Some(line.ok()?.strip_prefix("accepted: ")?.to_owned()));
    let batch_id = accepted.context("it was not accepted")?;
    let pid = child.id().to_string();
    let status = until("Ctrl-C to end it", PATIENCE, async || {
        ensure!(Command::new("kill").args(["-INT", &pid]).status()?.success(), "kill failed");
        Ok(child.try_wait()?)
    })
    .await?;
    let rest: Vec<String> = told.map_while(Result::ok).collect();
    ensure!(status.code() == Some(130), "{status:?}: {rest:?}");
    let again = format!("  fulgurite batch watch {batch_id}");
    ensure!(rest.contains(&again), "{rest:?}");

    let mut watch = stage.engine.command(&["batch", "watch", &batch_id, "--json"]);
    let watching = std::thread::spawn(move || run(&mut watch));
    for share in [30, 80] {
        until("some payments", PATIENCE, async || {
            Ok((stage.near.settled(&invoices).await? >= share).then_some(()))
        })
        .await?;
        stage.engine.restart()?;
    }
    let said = watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    ensure!(said.code == Some(0), "{said:?}");
    let (out, _) = said.objects()?;
    let mut rows: Vec<i64> = out.iter().filter_map(|object| object["row"].as_i64()).collect();
    rows.sort_unstable();
    ensure!(rows == (1..=150).collect::<Vec<_>>(), "each outcome once: {rows:?}");
    ensure!(
        said.err.contains("the engine is away") && said.err.contains("there again"),
        "{}",
        said.err
    );
    Ok(())
}

#[test]
fn colours_are_for_terminals_that_want_them() -> Result<()> {
    let help = format!("exec {} batch --help", program()?.display());
    for (wanted, no_color) in [(true, None), (false, Some("1"))] {
        let mut script = Command::new("script");
        script.args(["-qec", &help, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        let said = run(script.envs(no_color.map(|value| ("NO_COLOR", value))))?;
        ensure!(said.code == Some(0) && said.out.contains("submit"), "{said:?}");
        ensure!(said.out.contains('\u{1b}') == wanted, "NO_COLOR {no_color:?}: {said:?}");
    }
    Ok(())
}
