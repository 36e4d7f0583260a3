//! Wakes the one consumer of something: register, then look.
//!
//! The consumer registers its waker and looks again; a producer makes its change and rings.
//! Whoever comes second sees the other: both put a sequentially consistent fence between their
//! two steps, so either the producer sees the sleeper or the sleeper sees the change. A ring
//! while nobody sleeps is one fence and one load.
//!
//! ```text
//!            register                    ring
//!   WAITING ----------> REGISTERING -----------> REGISTERING | WAKING
//!      ^  \                  |                        |
//!      |   \ ring            | stored                 | stored: the registrar wakes itself
//!      |    v                v                        v
//!      +-- WAKING         WAITING                  WAITING
//! ```

#[cfg(not(loom))]
use std::time::{Duration, Instant};
use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use crate::sync::{AtomicBool, AtomicU8, Ordering, UnsafeCell, fence, thread};

/// A wake-up for one consumer, rung by any number of producers.
pub type Bell = RawBell<false>;

/// [`Bell`], or with `WEAK` its twin without the fences, which loom must reject.
#[derive(Debug)]
pub struct RawBell<const WEAK: bool> {
    /// Whether somebody registered since the last ring.
    asleep: AtomicBool,
    state: AtomicU8,
    waker: UnsafeCell<Option<Waker>>,
}

const WAITING: u8 = 0;
const REGISTERING: u8 = 1;
const WAKING: u8 = 2;

// SAFETY: `waker` is touched only by the thread that moved `state` away from WAITING, and wakers
// may be moved and used on any thread.
unsafe impl<const WEAK: bool> Sync for RawBell<WEAK> {}
// SAFETY: as above.
unsafe impl<const WEAK: bool> Send for RawBell<WEAK> {}

impl<const WEAK: bool> Default for RawBell<WEAK> {
    fn default() -> Self {
        RawBell {
            asleep: AtomicBool::new(false),
            state: AtomicU8::new(WAITING),
            waker: UnsafeCell::new(None),
        }
    }
}

impl<const WEAK: bool> RawBell<WEAK> {
    /// A bell that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes who is to be woken by the next ring; replaces an earlier waker. The caller must look
    /// for work *afterwards*, before it sleeps.
    pub fn register(&self, waker: &Waker) {
        let (success, failure) = (Ordering::Acquire, Ordering::Acquire);
        match self.state.compare_exchange(WAITING, REGISTERING, success, failure) {
            Ok(_) => self.store(waker),
            Err(_) => {
                // A ring is under way and may take the old waker: look again, after giving it
                // the time for its last step.
                thread::yield_now();
                waker.wake_by_ref();
            }
        }
        self.asleep.store(true, Ordering::Relaxed);
        Self::order();
    }

    /// Wakes whoever registered since the last ring. The change that is rung for must be made
    /// before.
    pub fn ring(&self) {
        Self::order();
        // One of several ringers is enough, and an awake consumer needs none.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Blocks the thread until `look` finds something. Rings, and nothing else, make it look
    /// again.
    pub fn wait_until<R>(&self, mut look: impl FnMut() -> Option<R>) -> R {
        if let Some(found) = look() {
            return found;
        }
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        loop {
            self.register(&waker);
            if let Some(found) = look() {
                return found;
            }
            thread::park();
        }
    }

    /// The same for so long at most; `None` when `look` found nothing until then.
    #[cfg(not(loom))]
    pub fn wait_for<R>(&self, most: Duration, mut look: impl FnMut() -> Option<R>) -> Option<R> {
        let until = Instant::now() + most;
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        loop {
            self.register(&waker);
            if let Some(found) = look() {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }

    fn store(&self, waker: &Waker) {
        // SAFETY: only this thread is in REGISTERING, and a ring in that state leaves the waker
        // alone.
        self.waker.with_mut(|slot| unsafe {
            if !(*slot).as_ref().is_some_and(|old| old.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
        });
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        if self.state.compare_exchange(REGISTERING, WAITING, success, failure).is_err() {
            // Rung meanwhile: the ringer left the waking to us.
            self.state.store(WAITING, Ordering::Release);
            waker.wake_by_ref();
        }
    }

    fn wake(&self) {
        if self.state.fetch_or(WAKING, Ordering::AcqRel) != WAITING {
            // A registrar is at work and wakes itself, or another ringer is.
            return;
        }
        // SAFETY: this thread moved the state from WAITING to WAKING: nobody else touches the
        // waker until the state is WAITING again.
        let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
        self.state.fetch_and(!WAKING, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Between my change and my look at the other side.
    fn order() {
        if !WEAK {
            fence(Ordering::SeqCst);
        }
    }
}

/// Wakes a parked thread.
pub(crate) struct Sleeper(pub(crate) thread::Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_registration_is_woken_once() {
        let (bell, counter) = (Bell::new(), Arc::new(Counter::default()));
        bell.ring();
        bell.register(&counter.clone().into());
        bell.ring();
        bell.ring();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_last_waker_is_the_one_that_is_woken() {
        let bell = Bell::new();
        let (first, second) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        bell.register(&first.clone().into());
        bell.register(&second.clone().into());
        bell.ring();
        let woken = [first, second].map(|counter| counter.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
    }

    #[test]
    fn a_wait_ends_with_what_is_rung_for_and_without_it_in_the_end() {
        let shared = Arc::new((Bell::new(), AtomicU64::new(0)));
        let (bell, number) = &*shared;
        let look = || Some(number.load(Ordering::Acquire)).filter(|seen| *seen > 0);
        assert_eq!(bell.wait_for(Duration::from_millis(1), look), None);
        let ringer = shared.clone();
        let thread = std::thread::spawn(move || {
            ringer.1.store(7, Ordering::Release);
            ringer.0.ring();
        });
        // Long enough for a machine that has much to do: what ends it is the ring.
        assert_eq!(bell.wait_for(Duration::from_secs(3_600), look), Some(7));
        thread.join().expect("it does not panic");
    }

    #[test]
    fn a_thread_that_waits_sees_every_change() {
        let shared = Arc::new((Bell::new(), AtomicU64::new(0)));
        let (waiter, ringer) = (shared.clone(), shared);
        let thread = std::thread::spawn(move || {
            let (bell, number) = &*waiter;
            let mut seen = 0;
            while seen < 10_000 {
                seen = bell.wait_until(|| {
                    let now = number.load(Ordering::Acquire);
                    (now > seen).then_some(now)
                });
            }
        });
        for _ in 0..10_000 {
            ringer.1.fetch_add(1, Ordering::Release);
            ringer.0.ring();
        }
        thread.join().expect("it does not panic");
    }
}
