//! The load tester as a process.

use std::process::{Command, Stdio};

use serde_json::Value;

/// A command of the load tester.
pub fn loadtest(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite-loadtest"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The only run of the report that a command printed. Its exit code is of the limits.
pub fn only_run(stdout: &[u8], stderr: &[u8]) -> Value {
    let report: Value = serde_json::from_slice(stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(stderr)));
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(1));
    report["runs"][0].clone()
}
