//! A server that stalls: what a load tester that waits for answers does not see.
//!
//! Nothing is asked of the machine's speed but what the freeze itself forces.

use std::fs;

use serde_json::Value;

use crate::{
    common::{loadtest, only_run},
    whole,
};

/// The freeze of the scenario `stall`, in milliseconds of its run.
const FROZEN_MS: f64 = 2_000.0;

fn run(arguments: &[&str]) -> Value {
    let output = loadtest(arguments).output().expect("the load tester starts");
    only_run(&output.stdout, &output.stderr)
}

fn ms(run: &Value, stage: &str, quantile: &str) -> f64 {
    run["latency"][stage][quantile].as_f64().unwrap_or_else(|| panic!("{stage} {quantile}: {run}"))
}

#[test]
fn the_stall_of_a_frozen_fleet_is_in_the_report_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().expect("a path in UTF-8");
    let run = run(&[
        "run",
        "stall",
        "--rate",
        "100",
        "--timeout",
        "60",
        "--quiet",
        "--json",
        "--out",
        out,
    ]);
    let counts = &run["counts"];
    assert_eq!(
        (counts["offered"].as_u64(), counts["succeeded"].as_u64()),
        (Some(2_000), Some(2_000)),
        "{counts}"
    );
    // A tenth of the payments are due while everything is frozen, and a payment that is due `t`
    // into the freeze waits for the rest of it: of 20 s, a hundredth waits 1.8 s and more.
    assert!(ms(&run, "outcome", "p99_ms") >= 0.85 * FROZEN_MS, "{}", run["latency"]);
    assert!(ms(&run, "outcome", "max_ms") >= 0.95 * FROZEN_MS, "{}", run["latency"]);
    // The second in which it began shows it: payments due in it had nearly all of it before them.
    let second = &run["timeline"][8];
    assert_eq!(second["offered"].as_u64(), Some(100), "{second}");
    assert!(second["outcome"]["max_ms"].as_f64() >= Some(0.9 * FROZEN_MS), "{second}");
    // The same in the interval log.
    let (count, max_ns) = whole::recorded(&folder.path().join("batches-1.hlog"), "outcome");
    assert_eq!(count, 2_000);
    assert!(max_ns as f64 / 1e6 >= 0.95 * FROZEN_MS, "{max_ns} ns");
    let page = whole::page(folder.path());
    assert!(page.contains("8 s: all nodes frozen for 2 s"), "{page}");
    whole::percentiles(&folder.path().join("batches-1.hgrm"), 2_000);
    println!(
        "outcome P99 {} ms, max {} ms",
        ms(&run, "outcome", "p99_ms"),
        ms(&run, "outcome", "max_ms")
    );
}

/// The same freeze in a shorter run.
const SHORT: &str = r#"
name = "short-stall"
description = "all nodes freeze for 2 of 6 s"
[load]
target = "bare"
spacing = "constant"
stages = [{ rate = 100, seconds = 6 }]
timeout_s = 60
in_flight_max = 4
[[fault]]
at_s = 2
for_s = 2
kind = "freeze"
"#;

#[test]
fn a_closed_loop_would_have_hidden_it() {
    // Four requests at most: those behind them wait for their turn, as in a closed loop, whose
    // only time is from the request on.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.toml");
    fs::write(&file, SHORT).unwrap();
    let run = run(&["run", file.to_str().expect("a path in UTF-8"), "--quiet", "--json"]);
    let (outcome, service) = (ms(&run, "outcome", "p99_ms"), ms(&run, "service", "p99_ms"));
    assert!(outcome >= 0.85 * FROZEN_MS, "{}", run["latency"]);
    // Four payments of 600 met the freeze by this measure.
    assert!(service < 0.5 * FROZEN_MS, "{}", run["latency"]);
    println!("P99 from the planned time {outcome} ms, from the request {service} ms");
}
