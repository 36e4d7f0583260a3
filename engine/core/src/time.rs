//! Time as the rules see it: a number that somebody else read from a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC. The engine's clock unless a name says "node".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// This time plus `ms` milliseconds (which may be negative); stops at the ends of the range.
    pub fn plus_ms(self, ms: i64) -> UnixMs {
        UnixMs(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; negative when `earlier` is later.
    pub fn since(self, earlier: UnixMs) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// True when this moment has come for one who waits for at most `longest_ms` milliseconds. One
    /// that is further ahead is by a clock that was set back since, and says nothing about how
    /// long it is.
    pub fn has_come(self, now: UnixMs, longest_ms: i64) -> bool {
        self <= now || self.since(now) > longest_ms
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
