//! The end of a process that must not go on.

use std::io::{self, Write};

/// Ends the process with this as its last line: what happened, and what to do.
pub(crate) fn end(code: i32, line: &str) -> ! {
    let mut last = io::stderr().lock();
    // Nobody may listen; the exit code is there all the same.
    drop(writeln!(last, "fulgurite: {line}"));
    // Still locked: what other threads log until the process is gone would be the last line.
    std::process::exit(code)
}
