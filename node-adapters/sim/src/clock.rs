//! The time of day, as the machine and as a node sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970 by the machine's clock.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Nanoseconds since 1970 by the clock of a node that is `offset_ms` ahead.
pub(crate) fn node_now_ns(offset_ms: i64) -> i64 {
    let now = i64::try_from(unix_now().as_nanos()).unwrap_or(i64::MAX);
    now.saturating_add(offset_ms.saturating_mul(1_000_000))
}

/// A Unix second as Go prints it: `2026-01-02 03:04:05 +0000 UTC`.
pub(crate) fn go_text(unix_secs: i64) -> String {
    jiff::Timestamp::from_second(unix_secs)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string())
        .unwrap_or_default()
}
