//! What a batch actor holds back until every node was compared with the journal (rule E18), or
//! until what allows it is on disk.

use std::collections::BTreeSet;

use fulgurite_core::{AttemptId, BatchId};

/// Batches with something to place, and attempts that nodes want to send again.
#[derive(Default)]
pub(crate) struct Held {
    /// Once each: a batch may ask again and again.
    pub(crate) batches: BTreeSet<BatchId>,
    /// With the node that asks.
    pub(crate) attempts: Vec<(AttemptId, usize)>,
}

/// How often it is looked whether what is held may go, while anything is, in milliseconds.
pub(crate) const HELD_AGAIN_MS: i64 = 20;

impl Held {
    /// True when anything waits.
    pub(crate) fn is_any(&self) -> bool {
        !self.batches.is_empty() || !self.attempts.is_empty()
    }
}
