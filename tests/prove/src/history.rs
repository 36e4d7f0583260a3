//! Histories of a journal that the rules allow: the ones of the journal's own tests.

use fulgurite_core::UnixMs;

/// When a history begins.
pub const NOW: UnixMs = UnixMs(1_790_000_000_000);

// One generator for both, and the journal's crate ships none of it.
#[allow(missing_docs, reason = "the file's items are documented where the tests need it")]
#[path = "../../../engine/journal/src/tests/history.rs"]
mod random;

pub use random::History;
