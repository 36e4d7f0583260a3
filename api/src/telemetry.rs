//! Logs: one line for each thing that an operator acts on, to standard error.

use std::io::IsTerminal;

use fulgurite_config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// Starts logging. Lines of the libraries below show only when something is wrong.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if log.level == LogLevel::Error { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},fulgurite={level}"));
    // A file or a pipe gets no colours.
    let lines = tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    // The second start in one process is a test's; it logs as the first one said.
    let _ = match log.format {
        LogFormat::Human => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
