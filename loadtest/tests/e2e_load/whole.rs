//! Whether what a run leaves behind is whole: the report, the page and HdrHistogram's files.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use serde_json::Value;

use crate::common::loadtest;

/// How often `wanted` was recorded in an interval log and its largest value in nanoseconds, by the
/// crate's own reader.
pub fn recorded(path: &Path, wanted: &str) -> (u64, u64) {
    let bytes = fs::read(path).expect("an interval log");
    let (mut count, mut max) = (0, 0);
    for entry in IntervalLogIterator::new(&bytes) {
        let LogEntry::Interval(interval) = entry.expect("a readable line") else { continue };
        let raw = STANDARD.decode(interval.encoded_histogram()).expect("base64");
        let values: Histogram<u64> =
            Deserializer::new().deserialize(&mut raw.as_slice()).expect("a histogram");
        if interval.tag().is_some_and(|tag| tag.as_str() == wanted) {
            count += values.len();
            max = max.max(values.max());
        }
    }
    (count, max)
}

/// Reads a `.hgrm` as HdrHistogram's plotter does: four columns that grow, then its comments.
pub fn percentiles(path: &Path, count: u64) {
    let text = fs::read_to_string(path).expect("percentiles");
    let rows = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
    let rows: Vec<Vec<f64>> = rows
        .map(|row| row.split_whitespace().map(|cell| cell.parse().expect("a number")).collect())
        .collect();
    assert!(rows.len() > 3 && rows.iter().all(|row| row.len() == 4), "{text}");
    assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
    let last = rows.last().expect("rows");
    assert_eq!((last[1], last[2], last[3]), (1.0, count as f64, f64::INFINITY), "{text}");
    assert!(text.contains(&format!("Total count    = {count:12}]")), "{text}");
}

/// The page of a folder, after a look at what a browser would stumble over.
pub fn page(folder: &Path) -> String {
    let page = fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</main></body></html>\n"));
    for tag in ["main", "section", "div", "table", "figure", "svg", "dl", "details", "pre", "h2"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}: {page}");
    }
    // Nothing is fetched or run, and no number went wrong on its way.
    for bad in ["<script", "<link", "src=", "href=", "url(", "NaN", "inf\""] {
        assert!(!page.contains(bad), "{bad}: {page}");
    }
    page
}

#[test]
fn a_run_beside_the_bare_client_leaves_whole_files_with_the_ratio_and_the_nodes_time() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().expect("a path in UTF-8");
    let arguments = "run steady --target batches,bare --threads 2 --rate 100 --duration 2 --spacing constant \
                     --timeout 60 --quiet --json --out";
    let arguments: Vec<&str> = arguments.split_whitespace().chain([out]).collect();
    let output = loadtest(&arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let text = fs::read_to_string(folder.path().join("report.json")).expect("a report");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(printed, kept);
    for (run, name) in ["batches", "bare"].into_iter().enumerate() {
        let counts = &kept["runs"][run]["counts"];
        assert_eq!(counts["succeeded"].as_u64(), Some(200), "{counts}");
        assert_eq!(recorded(&folder.path().join(format!("{name}-1.hlog")), "outcome").0, 200);
        percentiles(&folder.path().join(format!("{name}-1.hgrm")), 200);
    }
    // The ratio, and beside it what the fleet cost in each of the two.
    let beside = &kept["beside"][0];
    for name in ["ratio", "engine_us", "nodes_us", "bare_nodes_us", "bare_generator_us"] {
        assert!(beside[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {beside}");
    }
    let page = page(folder.path());
    for words in [
        "Beside the bare client",
        "in the engine",
        "Latency to the outcome, by percentile",
        "CPU a payment: nodes",
        "events a commit",
        "What the words mean",
        "name = &quot;steady&quot;",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Told again, it is the same.
    let again = loadtest(&["report", out, "--json"]).output().expect("it starts");
    let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(again["beside"], kept["beside"]);
}
