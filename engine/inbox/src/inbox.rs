//! What an actor reads its work from: two lanes and a bell.
//!
//! The `door` takes new work and may be full: then the item is handed back and the client is told
//! to come again. `returns` takes what comes back from work that was let in (answers of nodes,
//! timers, durable events): its number is limited by what was let in, so it is sized to hold all
//! of it and a full lane is a bug.
//!
//! A return is never lost and its deliverer never waits (it may share a thread with the consumer,
//! where waiting would be for ever). So a full lane spills into an unbounded list behind a lock,
//! in order, and counts it: [`Inbox::spilled`] above zero is an alarm, not a lost payment.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use crate::{
    bell::Bell,
    ring::Ring,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// How much an inbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New work that may wait; rounded up to a power of two.
    pub door_max: usize,
    /// Returns that may wait: at least what one admitted item can cause, times what is admitted;
    /// rounded up to a power of two.
    pub returns_max: usize,
    /// The most items handed out at once; at least 1.
    pub batch_max: usize,
}

/// What waits in an inbox at one moment; for gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// New work.
    pub door: usize,
    /// Returns, spilled ones included.
    pub returns: usize,
}

/// A bounded inbox for one consumer and any number of producers.
#[derive(Debug)]
pub struct Inbox<T> {
    door: Ring<T>,
    returns: Ring<T>,
    /// Returns that found their lane full, and how many of them still wait. While any waits, all
    /// further returns follow it here: each producer's items stay in order.
    spill: Mutex<VecDeque<T>>,
    spill_len: AtomicU64,
    spilled: AtomicU64,
    bell: Bell,
    batch_max: usize,
}

impl<T> Inbox<T> {
    /// An empty inbox.
    pub fn new(limits: Limits) -> Inbox<T> {
        assert!(limits.batch_max >= 1, "an inbox that hands out nothing would never be emptied");
        Inbox {
            door: Ring::new(limits.door_max),
            returns: Ring::new(limits.returns_max),
            spill: Mutex::new(VecDeque::new()),
            spill_len: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
            bell: Bell::new(),
            batch_max: limits.batch_max,
        }
    }

    /// Offers new work. `Err` hands it back when too much waits already.
    pub fn offer(&self, item: T) -> Result<(), T> {
        self.door.push(item)?;
        self.bell.ring();
        Ok(())
    }

    /// Delivers a return. Never fails, never waits, never loses it.
    pub fn deliver(&self, item: T) {
        let spilling = self.spill_len.load(Ordering::Acquire) > 0;
        let rest = if spilling { Some(item) } else { self.returns.push(item).err() };
        if let Some(item) = rest {
            let mut spill = lock(&self.spill);
            spill.push_back(item);
            self.spill_len.store(spill.len() as u64, Ordering::Release);
            self.spilled.fetch_add(1, Ordering::Relaxed);
        }
        self.bell.ring();
    }

    /// Makes the consumer poll again, for work that it finds elsewhere (a release list, a flag).
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Appends what waits to `batch`, returns first, until it holds `batch_max` items. Pending
    /// when the batch is still empty and `other_work` (what else the consumer looks after)
    /// says no. The consumer polls again as soon as it has worked the batch off.
    pub fn poll_batch_or(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Vec<T>,
        other_work: impl Fn() -> bool,
    ) -> Poll<()> {
        // A busy consumer does not register: producers then ring for the price of a load.
        if self.fill(batch) || other_work() {
            return Poll::Ready(());
        }
        // Register, then look: whatever comes in between rings the bell again.
        self.bell.register(cx.waker());
        if self.fill(batch) || other_work() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// [`Inbox::poll_batch_or`] for a consumer that looks after nothing else.
    pub fn poll_batch(&self, cx: &mut Context<'_>, batch: &mut Vec<T>) -> Poll<()> {
        self.poll_batch_or(cx, batch, || false)
    }

    /// What waits now.
    pub fn depth(&self) -> Depth {
        let spill = self.spill_len.load(Ordering::Relaxed) as usize;
        Depth { door: self.door.len(), returns: self.returns.len() + spill }
    }

    /// How many returns ever found their lane full; anything but 0 is a sizing bug.
    pub fn spilled(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// Moves items to the batch up to its limit; false when it is still empty.
    fn fill(&self, batch: &mut Vec<T>) -> bool {
        self.fill_from(&self.returns, batch);
        if self.spill_len.load(Ordering::Acquire) > 0 {
            self.fill_from_spill(batch);
        }
        self.fill_from(&self.door, batch);
        !batch.is_empty()
    }

    /// What spilled is younger than what its producer put in the lane, so the lane must be empty
    /// first. Only under the lock is all of it visible; a place that is drawn but not yet written
    /// may hide items behind it, and its producer will ring.
    fn fill_from_spill(&self, batch: &mut Vec<T>) {
        let mut spill = lock(&self.spill);
        self.fill_from(&self.returns, batch);
        if self.returns.is_empty() {
            let room = self.batch_max.saturating_sub(batch.len());
            let count = room.min(spill.len());
            batch.extend(spill.drain(..count));
            self.spill_len.store(spill.len() as u64, Ordering::Release);
        }
    }

    fn fill_from(&self, lane: &Ring<T>, batch: &mut Vec<T>) {
        while batch.len() < self.batch_max {
            let Some(item) = lane.pop() else { break };
            batch.push(item);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::{Wake, Waker},
    };

    use super::*;

    const LIMITS: Limits = Limits { door_max: 4, returns_max: 2, batch_max: 3 };

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(inbox: &Inbox<T>, waker: &Waker) -> Option<Vec<T>> {
        let mut batch = Vec::new();
        let poll = inbox.poll_batch(&mut Context::from_waker(waker), &mut batch);
        poll.is_ready().then_some(batch)
    }

    #[test]
    fn a_full_inbox_hands_the_item_back() {
        let inbox = Inbox::new(LIMITS);
        (0..4).for_each(|item| inbox.offer(item).unwrap());
        assert_eq!(inbox.offer(4), Err(4));
        assert_eq!(inbox.depth(), Depth { door: 4, returns: 0 });
    }

    #[test]
    fn returns_come_before_new_work_and_a_batch_is_bounded() {
        let inbox = Inbox::new(LIMITS);
        ["door 1", "door 2"].iter().for_each(|item| inbox.offer(*item).unwrap());
        ["return 1", "return 2"].iter().for_each(|item| inbox.deliver(*item));
        assert_eq!(poll(&inbox, Waker::noop()), Some(vec!["return 1", "return 2", "door 1"]));
        assert_eq!(poll(&inbox, Waker::noop()), Some(vec!["door 2"]));
        assert_eq!(poll(&inbox, Waker::noop()), None);
    }

    #[test]
    fn an_item_for_a_sleeping_consumer_wakes_it_once() {
        let (inbox, counter) = (Inbox::new(LIMITS), Arc::new(Counter::default()));
        let waker = Waker::from(counter.clone());
        assert_eq!(poll(&inbox, &waker), None);
        inbox.offer(1).unwrap();
        inbox.deliver(2);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&inbox, &waker), Some(vec![2, 1]));
        inbox.offer(3).unwrap();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1, "a busy consumer is not woken");
    }

    #[test]
    fn a_full_return_lane_loses_nothing_keeps_the_order_and_counts() {
        let inbox = Inbox::new(LIMITS);
        (1..=7).for_each(|item| inbox.deliver(item));
        assert_eq!((inbox.depth().returns, inbox.spilled()), (7, 5));
        assert_eq!(poll(&inbox, Waker::noop()), Some(vec![1, 2, 3]));
        inbox.deliver(8);
        assert_eq!(poll(&inbox, Waker::noop()), Some(vec![4, 5, 6]));
        assert_eq!(poll(&inbox, Waker::noop()), Some(vec![7, 8]));
        inbox.deliver(9);
        assert_eq!((poll(&inbox, Waker::noop()), inbox.spilled()), (Some(vec![9]), 6));
    }

    #[test]
    fn other_work_makes_an_empty_inbox_ready() {
        let inbox: Inbox<u8> = Inbox::new(LIMITS);
        let mut context = Context::from_waker(Waker::noop());
        assert!(inbox.poll_batch_or(&mut context, &mut Vec::new(), || true).is_ready());
    }
}
