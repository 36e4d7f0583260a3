//! `[witness]`: the nodes' own books against the journal.

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;

/// How what the nodes paid is compared with the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Witness {
    /// A node's payments are read back to the time up to which the journal has seen them, and so
    /// many seconds further, 61 to 31,536,000, and at least 60 more than `every_s`. Default 120.
    pub margin_s: u32,
    /// They are read on each so many seconds, 1 to 600. Default 10.
    pub every_s: u32,
    /// The doors open when every node that can be reached was compared, or after so many
    /// milliseconds, 0 to 600,000. Default 3,000.
    pub start_wait_ms: u32,
}

impl Default for Witness {
    fn default() -> Witness {
        Witness { margin_s: 120, every_s: 10, start_wait_ms: 3_000 }
    }
}

impl Witness {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        // What was read last must reach back to what the journal knew then.
        let least = self.every_s.saturating_add(60);
        bounds.within("witness.margin_s", self.margin_s, least..=31_536_000);
        bounds.within("witness.every_s", self.every_s, 1..=600);
        bounds.within("witness.start_wait_ms", self.start_wait_ms, 0..=600_000);
    }
}
