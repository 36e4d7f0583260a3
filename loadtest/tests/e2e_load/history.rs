//! An engine opens a journal that was made, pays, is killed and comes back.

use serde_json::Value;

use crate::common::loadtest;

#[test]
fn an_engine_goes_on_behind_a_history_that_was_made() {
    let arguments = "history --payments 2000,12000 --batch 100 --rounds 2 --json";
    let output = loadtest(&arguments.split(' ').collect::<Vec<_>>()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // Every payment was paid once, by the engine's word and by the nodes' books.
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    let rows = report["rows"].as_array().expect("rows");
    let payments: Vec<_> = rows.iter().map(|row| row["payments"].as_u64()).collect();
    assert_eq!(payments, [Some(2_000), Some(12_000)]);
    for row in rows {
        // An invoice alone is longer.
        assert!(row["disk_bytes_each"].as_f64().is_some_and(|bytes| bytes > 300.0), "{row}");
        assert!(row["engine_us"]["median"].as_f64().is_some_and(|us| us > 0.0), "{row}");
    }
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("mine"), "").expect("a file");
    let dir = folder.path().to_str().expect("a name");
    let output =
        loadtest(&["history", "--payments", "10", "--dir", dir]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(std::fs::read_dir(dir).expect("the folder").count(), 1);
}
