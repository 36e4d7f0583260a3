//! What a large batch took goes back to the system when it is paid.

use std::time::Duration;

use fulgurite_runtime::Engine;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So many payments fewer than there were are worth it.
const PAYMENTS: u64 = 20_000;

/// Gives back what is free after many payments have ended, for as long as the process lives.
///
/// glibc makes several heaps, and a thread keeps to its own. Here one thread reads an order, others
/// check, pay and forget it: what is free in a heap is not where the next batch asks. Fewer heaps
/// need less memory and cost as much in processor time (docs/performance.md).
pub(super) async fn give_back(engine: Engine) {
    let mut most = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let open = engine.load().open_payments;
        most = most.max(open);
        if is_worth_it(most, open) {
            most = open;
            // It takes some milliseconds for each 100 MiB: not on a thread that serves.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

/// Of so many payments at most, so few are left.
fn is_worth_it(most: u64, open: u64) -> bool {
    most - open >= PAYMENTS && open <= most / 2
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn trim() {
    // SAFETY: works inside the allocator, under its own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_when_a_large_batch_is_mostly_paid() {
        for (most, open, is) in [
            (0, 0, false),
            (19_999, 0, false),
            (20_000, 0, true),
            (100_000, 50_001, false),
            (100_000, 50_000, true),
            (1_000_000, 1_000_000, false),
        ] {
            assert_eq!(is_worth_it(most, open), is, "{most}, {open}");
        }
    }
}
