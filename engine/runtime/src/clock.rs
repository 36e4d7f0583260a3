//! The one place where the actors read the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use fulgurite_core::UnixMs;

/// The time now; 0 when the clock is before 1970.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
