//! What a user of `run` meets: Ctrl-C, refusals, words that are wrong.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::common::{loadtest, only_run};

/// The ends of a payment, as the report has them.
const ENDS: [&str; 8] =
    ["succeeded", "failed", "unresolved", "refused", "errors", "timed_out", "unsent", "abandoned"];

/// Nodes that take a minute, an engine that takes a thousand payments, and three times as many.
const FULL: &str = r#"
name = "full"
description = "more than the engine takes"
[load]
spacing = "constant"
stages = [{ rate = 3000, seconds = 1 }]
batch_size = 100
timeout_s = 4
[engine.config.limits]
open_payments_max = 1000
[fleet.knobs]
latency_ms = 60000
"#;

fn count(run: &Value, name: &str) -> u64 {
    run["counts"][name].as_u64().unwrap_or_else(|| panic!("{name}: {}", run["counts"]))
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::INT)
        .expect("the signal is sent");
}

#[test]
fn ctrl_c_ends_with_the_report_of_what_was_run() {
    let mut command = loadtest(&["run", "steady", "--rate", "50", "--duration", "600", "--json"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
    // The first line of the view: payments are on their way.
    let seen = lines.by_ref().map_while(Result::ok).any(|line| line.contains("in flight"));
    assert!(seen, "no line of the view");
    interrupt(&child);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().expect("it ends");
    let run = only_run(&output.stdout, rest.join("\n").as_bytes());
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert_eq!(run["interrupted"], true);
    assert!(count(&run, "offered") > 0 && count(&run, "succeeded") > 0, "{}", run["counts"]);
    assert_eq!(ENDS.iter().map(|end| count(&run, end)).sum::<u64>(), count(&run, "offered"));
}

#[test]
fn ctrl_c_while_invoices_are_signed_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (out, scratch) = (folder.path().join("a/out"), folder.path().join("scratch"));
    fs::create_dir(&scratch).unwrap();
    // Eleven million invoices: minutes.
    let load = ["run", "steady", "--rate", "20000", "--duration", "600", "--out"];
    let mut command = loadtest(&load);
    command.arg(&out).env("TMPDIR", &scratch).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
    let seen = lines.by_ref().map_while(Result::ok).any(|line| line.contains("signing"));
    assert!(seen, "no line of the signing");
    interrupt(&child);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("nothing was run")), "{rest:?}");
    assert!(output.stdout.is_empty());
    let left: Vec<_> = fs::read_dir(&scratch).unwrap().collect();
    assert!(left.is_empty() && !folder.path().join("a").exists(), "{left:?}");
}

/// The engine that this load tester has started.
fn engine_of(loadtest: &Child) -> Option<u32> {
    let parent = format!("--parent\0{}\0", loadtest.id());
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let mut engines = processes.filter(|process| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("\0serve\0") && line.ends_with(&parent)
    });
    engines.next()
}

#[test]
fn an_engine_that_dies_in_the_middle_is_named_and_the_run_fails() {
    let load = ["run", "steady", "--rate", "100", "--duration", "8", "--timeout", "2"];
    let mut command = loadtest(&load);
    command.args(["--saturation", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
    let seen = lines.by_ref().map_while(Result::ok).any(|line| line.contains("in flight"));
    assert!(seen, "no line of the run");
    let engine = engine_of(&child).expect("its engine runs");
    let killed = Command::new("kill").args(["-9", &engine.to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{rest:?}");
    let told = "in the middle of a run the engine ended (signal: 9";
    assert!(rest.iter().any(|line| line.starts_with(told)), "{rest:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let ended = report["runs"][0]["engine_ended"].as_str();
    assert!(
        ended.is_some_and(|ended| ended.starts_with("the engine ended (signal: 9")),
        "{ended:?}"
    );
}

#[test]
fn refusals_are_counted_by_their_code_and_what_has_no_outcome_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("full.toml");
    fs::write(&file, FULL).unwrap();
    let file = file.to_str().expect("a path in UTF-8");
    let output = loadtest(&["run", file, "--quiet", "--json"]).output().expect("it starts");
    let run = only_run(&output.stdout, &output.stderr);
    assert_eq!((count(&run, "offered"), count(&run, "succeeded")), (3_000, 0));
    assert_eq!(ENDS.iter().map(|end| count(&run, end)).sum::<u64>(), 3_000);
    // At most 1,000 are taken, so that the others are refused, all of them for one reason.
    let codes = &run["codes"];
    let refused = codes["refused TOO_MANY_OPEN"].as_u64();
    assert!(count(&run, "refused") > 0, "{run}");
    assert_eq!(refused, Some(count(&run, "refused")), "{codes}");
    // What was taken has no outcome: it counts with its deadline and is never sent again.
    let late = &run["latency"]["outcome"];
    assert_eq!(late["count"].as_u64(), Some(count(&run, "timed_out") + count(&run, "unsent")));
    assert!(late["p50_ms"].as_f64() >= Some(3_990.0), "{late}");
}

#[test]
fn what_cannot_be_run_is_said_in_a_line_with_its_exit_code() {
    for (arguments, said) in [
        (&["run", "stedy"][..], "there is no scenario \"stedy\""),
        (&["run", "steady", "--rate", "0"], "stage 1: a rate is 0.001 to 1,000,000"),
        (&["run", "stall", "--engine", "127.0.0.1:1"], "faults and history need nodes"),
        (&["run", "steady", "--engine", "127.0.0.1:1", "--target", "bare"], "needs nodes"),
        (&["run", "stall", "--lnd"], "scenario stall, with --lnd: faults and history need nodes"),
        (&["run", "steady", "--lnd", "--rate", "9000"], "the channels of --lnd hold"),
        (&["profile", "steady", "--target", "bare"], "--target bare has no engine to profile"),
        (&["compare", "--last", "/nowhere"], "/nowhere"),
        (&["compare", "/nowhere/a"], "required arguments were not provided"),
        (&["run", "--bare-in-flight", "64"], "--bare-in-flight is for the target bare"),
        (&["run", "--invoices", "x"], "--invoices needs those who pay them"),
        (&["run", "--target", "http", "--batch-size", "9"], "--batch-size is only for the target"),
        (&["run", "--target", "http", "--connections", "9"], "--connections is only for the"),
        (&["run", "--new-connections"], "--new-connections is only for the target http"),
        (&["run", "--target", "bare", "--threads", "2"], "--threads is only for the targets"),
        (&["run", "--threads", "3"], "load.threads: 3, and load.connections is 2"),
        (&["run", "--fleet-seed", "3"], "--fleet-seed is for simulated nodes that run already"),
        (&["run", "--fleet", "x"], "need their engine: --engine IP:PORT"),
        (&["run", "--engine", "127.0.0.1:1", "--target", "http"], "need --engine-http IP:PORT"),
        (&["run", "overload", "--engine", "127.0.0.1:1"], "its [fleet] is for simulated nodes"),
        (&["run", "yardstick", "--engine", "127.0.0.1:1"], "its [engine] is for an engine that"),
        (&["run", "slow-node", "--lnd"], "scenario slow-node, with --lnd: faults and history"),
        (&["run", "--out", "/proc/nowhere"], "--out /proc/nowhere: the report cannot be written"),
        (&["search", "--out", "/proc/nowhere"], "the report cannot be written there"),
        (&["bench", "--out", "/proc/nowhere"], "the report cannot be written there"),
        (&["search", "--rate", "9"], "search has no --rate: --from and --to"),
        (&["profile", "--out", "/proc/nowhere/a"], "its folder cannot be written"),
        (&["profile", "--engine", "127.0.0.1:1"], "--engine needs --engine-pid here"),
        (&["bench", "--only", "P5", "--rounds", "2"], "--rounds: P5 is measured once"),
        (&["history", "--dir", "x", "--batch", "200"], "cannot be used with"),
        (
            &["plan", "--rate", "9", "--amount-dist", "x", "--amount-sigma", "2"],
            "are for lognormal",
        ),
        (&["search", "steady", "--from", "9", "--to", "3"], "--to is above --from"),
        (&["bench", "--only", "P9"], "--only P9: one of P1, P2, P3, P4, P5, P6, P7, P8, P10"),
        (&["compare", "/nowhere/a", "/nowhere/b"], "/nowhere/a"),
    ] {
        let output = loadtest(arguments).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}
