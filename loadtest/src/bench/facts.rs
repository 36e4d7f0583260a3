//! What a run says of a goal, if it says anything.

use std::ops::Range;

use crate::result::{Counts, RunResult};

/// The engine's most resident memory in that time, in MiB; `None` when nobody looked.
pub(super) fn memory_within(run: &RunResult, seconds: Range<f64>) -> Option<f64> {
    let within = run.memory_mib.iter().filter(|(second, _)| seconds.contains(second));
    within.map(|(_, rss)| *rss).reduce(f64::max)
}

/// Of the outcomes; `None` without any.
pub(super) fn p95_ms(run: &RunResult) -> Option<f64> {
    let reached = run.curve.iter().find(|(quantile, _)| *quantile >= 0.95);
    reached.map(|(_, value)| *value).filter(|value| *value > 0.0)
}

/// What became of the payments that were not paid, in words; `None` when all were.
pub(super) fn not_paid(counts: &Counts) -> Option<String> {
    let ends = [
        ("failed", counts.failed),
        ("unresolved", counts.unresolved),
        ("refused", counts.refused),
        ("lost", counts.errors),
        ("timed out", counts.timed_out),
        ("unsent", counts.unsent),
        ("abandoned", counts.abandoned),
    ];
    let ends: Vec<String> = ends
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    (!ends.is_empty()).then(|| format!("{} of {}", ends.join(", "), counts.offered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_saw_has_no_value() {
        let mut run = RunResult::default();
        assert_eq!((memory_within(&run, 0.0..9.0), p95_ms(&run)), (None, None));
        run.memory_mib = vec![(1.0, 90.0), (2.0, 80.0), (9.0, 500.0)];
        run.curve = vec![(0.5, 1.0), (0.96, 3.0)];
        assert_eq!((memory_within(&run, 0.0..9.0), p95_ms(&run)), (Some(90.0), Some(3.0)));
    }
}
