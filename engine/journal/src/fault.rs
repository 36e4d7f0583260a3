//! The end of the process after a failed write: nobody retries an fsync.

use std::{error::Error, io::Write};

/// What ends the process; tests put something else in its place.
#[derive(Clone, Copy, Debug)]
pub struct Fault(pub fn(&str) -> !);

/// The exit code of a journal that cannot be written or opened (API.md 4).
pub const EXIT_CODE: i32 = 74;

impl Default for Fault {
    fn default() -> Fault {
        Fault(exit)
    }
}

impl Fault {
    /// Ends the process with a last line that says what happened and what to do.
    pub(crate) fn end(self, what: &str, error: &dyn Error) -> ! {
        (self.0)(&format!(
            "{what}: {error}; nothing after the last durable event was acknowledged: check the \
             disk, then start again"
        ))
    }
}

fn exit(message: &str) -> ! {
    tracing::error!(error = message, "the journal failed");
    let mut last = std::io::stderr().lock();
    // Nobody may listen. Locked to the end: nothing is to be logged behind the last line.
    drop(writeln!(last, "fulgurite: {message}"));
    std::process::exit(EXIT_CODE)
}
