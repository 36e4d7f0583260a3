//! What a large batch took goes back to the system when it is paid.

use std::time::Duration;

use fulgurite_runtime::Engine;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So many payments fewer than there were are worth it.
const PAYMENTS: u64 = 20_000;
/// Most of what a batch took is free when its last payment has ended. After so many looks it is
/// given back again, and then after twice as many each time,
const AGAIN: u32 = 8;
/// until it would be more than so many: half an hour in all.
const AGAIN_MAX: u32 = 1_024;

/// Gives back what is free after many payments have ended, for as long as the process lives.
///
/// glibc makes several heaps, and a thread keeps to its own. Here one thread reads an order, others
/// check, pay and forget it: what is free in a heap is not where the next batch asks. Fewer heaps
/// need less memory and cost as much in processor time (docs/performance.md).
pub(super) async fn give_back(engine: Engine) {
    let mut turns = Turns::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if turns.is_now(engine.load().open_payments) {
            // It takes some milliseconds for each 100 MiB: not on a thread that serves.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

/// When what is free goes back.
#[derive(Debug, Default)]
struct Turns {
    /// The most payments that were open since it fell to half.
    most: u64,
    /// Looks until the next turn; 0: there is none.
    left: u32,
    /// As many as there were at first.
    wait: u32,
}

impl Turns {
    /// Looks, with so many payments open.
    fn is_now(&mut self, open: u64) -> bool {
        self.most = self.most.max(open);
        if self.most - open >= PAYMENTS && open <= self.most / 2 {
            *self = Turns { most: open, left: AGAIN, wait: AGAIN };
            return true;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.wait *= 2;
        self.left = if self.wait > AGAIN_MAX { 0 } else { self.wait };
        true
    }
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

    /// The looks at which it is given back, from 1.
    fn turns(opens: impl IntoIterator<Item = u64>) -> Vec<usize> {
        let mut turns = Turns::default();
        let looks = (1..).zip(opens).filter(|(_, open)| turns.is_now(*open));
        looks.map(|(look, _)| look).collect()
    }

    #[test]
    fn memory_goes_back_when_many_payments_have_ended() {
        assert!(turns([19_999, 0]).is_empty());
        assert_eq!(turns([20_000, 0]), [2]);
        assert_eq!(turns([100_000, 50_001, 50_000]), [3]);
        assert!(turns([1_000_000; 100]).is_empty());
    }

    #[test]
    fn it_goes_back_after_the_last_payment_of_a_slow_batch_too() {
        // 100,000 at 1,000/s: most of it is free behind the last one.
        let slow = (0..=100).map(|second| 100_000 - second * 1_000);
        let all = turns(slow.chain([0; 3_000]));
        assert_eq!(all[..3], [51, 59, 75]);
        let after = all.iter().find(|look| **look > 101).expect("a turn behind the end");
        assert!(*after < 150, "{all:?}");
        // And then it ends.
        assert!(all.len() < 20 && all.last().is_some_and(|last| *last < 2_500), "{all:?}");
    }
}
