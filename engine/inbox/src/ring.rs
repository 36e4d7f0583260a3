//! A bounded lock-free queue in which number and place are one step.
//!
//! Dmitry Vyukov's bounded queue: every slot carries a sequence number that says whose turn it is.
//!
//! ```text
//!   sequence == ticket              free for the producer that draws this ticket
//!   sequence == ticket + 1          written; for the consumer at this ticket
//!   sequence == ticket + capacity   taken; free for the ticket one round later
//! ```
//!
//! A ticket is drawn by the same compare-and-swap that reserves the slot, so tickets have no gaps,
//! and a consumer that takes slots in ticket order stops at the first one that is drawn but not
//! yet written. The journal's LSNs rest on both.

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// A bounded queue with any number of producers and consumers; its tickets count from 0.
pub type Ring<T> = RawRing<T, false>;

/// [`Ring`], or with `WEAK` its twin without the publishing order, which loom must reject.
#[derive(Debug)]
pub struct RawRing<T, const WEAK: bool> {
    slots: Box<[Slot<T>]>,
    /// The next ticket to be drawn by a producer.
    tail: CachePadded<AtomicU64>,
    /// The next ticket to be taken by a consumer.
    head: CachePadded<AtomicU64>,
}

#[derive(Debug)]
struct Slot<T> {
    sequence: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot's value is touched only by the thread that drew its ticket, between the moments
// that `sequence` names; items therefore move between threads but are never shared.
unsafe impl<T: Send, const WEAK: bool> Sync for RawRing<T, WEAK> {}
// SAFETY: as above; the ring owns its items.
unsafe impl<T: Send, const WEAK: bool> Send for RawRing<T, WEAK> {}

impl<T, const WEAK: bool> RawRing<T, WEAK> {
    /// The order that makes a written value visible before its sequence number.
    const PUBLISH: Ordering = if WEAK { Ordering::Relaxed } else { Ordering::Release };

    /// An empty ring for `capacity` items, rounded up to a power of two of at least 2.
    pub fn new(capacity: usize) -> Self {
        // With one slot "free" and "written" would be the same number.
        let capacity = capacity.max(2).next_power_of_two();
        let slot = |at| Slot {
            sequence: AtomicU64::new(at),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        };
        RawRing {
            slots: (0..capacity as u64).map(slot).collect(),
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
        }
    }

    /// How many items fit.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many tickets were drawn: the ticket of the next push.
    pub fn pushed(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// How many items wait, those being written at this moment included; for gauges.
    pub fn len(&self) -> usize {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).saturating_sub(head) as usize
    }

    /// Whether nothing waits; for gauges.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an item in and returns its ticket: 0, 1, 2 and so on. `Err` hands the item back when
    /// the ring is full.
    pub fn push(&self, item: T) -> Result<u64, T> {
        let mut ticket = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(ticket);
            let turn = slot.sequence.load(Ordering::Acquire);
            if turn == ticket {
                match self.draw(&self.tail, ticket) {
                    Ok(()) => {
                        // SAFETY: the ticket is ours and the slot is free: nobody else may touch
                        // its value until the sequence number below says that it is written.
                        slot.value.with_mut(|value| unsafe { (*value).write(item) });
                        slot.sequence.store(ticket + 1, Self::PUBLISH);
                        return Ok(ticket);
                    }
                    Err(current) => ticket = current,
                }
            } else if turn < ticket {
                // Still written in the round before: full, unless somebody moved on meanwhile.
                let current = self.tail.load(Ordering::Relaxed);
                if current == ticket {
                    return Err(item);
                }
                ticket = current;
            } else {
                ticket = self.tail.load(Ordering::Relaxed);
            }
        }
    }

    /// Takes the item with the lowest ticket. `None` when there is none, or when it is drawn but
    /// not yet written.
    pub fn pop(&self) -> Option<T> {
        let mut ticket = self.head.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(ticket);
            let turn = slot.sequence.load(Ordering::Acquire);
            if turn == ticket + 1 {
                match self.draw(&self.head, ticket) {
                    Ok(()) => {
                        // SAFETY: the slot was written (Acquire above, Release in `push`) and the
                        // ticket is ours: the value is initialised and read exactly once.
                        let item =
                            slot.value.with_mut(|value| unsafe { (*value).assume_init_read() });
                        slot.sequence.store(ticket + self.slots.len() as u64, Ordering::Release);
                        return Some(item);
                    }
                    Err(current) => ticket = current,
                }
            } else if turn <= ticket {
                let current = self.head.load(Ordering::Relaxed);
                if current == ticket {
                    return None;
                }
                ticket = current;
            } else {
                ticket = self.head.load(Ordering::Relaxed);
            }
        }
    }

    fn slot(&self, ticket: u64) -> &Slot<T> {
        // The capacity is a power of two.
        &self.slots[ticket as usize & (self.slots.len() - 1)]
    }

    /// Moves a counter on by one: the ticket is ours, or `Err` has the counter as it is now. The
    /// order of values comes from the sequence numbers, so the counter itself needs none.
    fn draw(&self, counter: &AtomicU64, ticket: u64) -> Result<(), u64> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        counter.compare_exchange_weak(ticket, ticket + 1, success, failure).map(drop)
    }
}

impl<T, const WEAK: bool> Drop for RawRing<T, WEAK> {
    fn drop(&mut self) {
        // A model that is failing must fail with a message, not abort in a second panic.
        if cfg!(loom) && std::thread::panicking() {
            return;
        }
        while self.pop().is_some() {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_ring_hands_the_item_back() {
        let ring = Ring::new(2);
        assert_eq!([ring.push('a'), ring.push('b'), ring.push('c')], [Ok(0), Ok(1), Err('c')]);
        assert_eq!((ring.pop(), ring.push('d'), ring.len()), (Some('a'), Ok(2), 2));
    }

    #[test]
    fn a_ring_rounds_its_capacity_up() {
        assert_eq!([0, 1, 3, 1000].map(|n| Ring::<u8>::new(n).capacity()), [2, 2, 4, 1024]);
    }

    #[test]
    fn items_leave_in_the_order_of_their_tickets() {
        let ring = Ring::new(4);
        for round in 0..100_u64 {
            assert_eq!(ring.push(round), Ok(round));
            assert_eq!(ring.pop(), Some(round));
        }
        assert_eq!((ring.pop(), ring.pushed()), (None, 100));
    }

    #[test]
    fn tickets_of_many_producers_have_no_gaps_and_number_the_items() {
        let ring = Arc::new(Ring::new(64));
        let producer = |name: u64| {
            let ring = ring.clone();
            std::thread::spawn(move || {
                (0..10_000).map(|n| push_waiting(&ring, (name, n))).collect::<Vec<u64>>()
            })
        };
        let producers: Vec<_> = (0..4).map(producer).collect();
        let mut taken = Vec::new();
        while taken.len() < 40_000 {
            match ring.pop() {
                Some(item) => taken.push(item),
                None => std::thread::yield_now(),
            }
        }
        for (name, producer) in producers.into_iter().enumerate() {
            let tickets = producer.join().unwrap();
            for (n, ticket) in tickets.into_iter().enumerate() {
                assert_eq!(taken[ticket as usize], (name as u64, n as u64));
            }
        }
    }

    fn push_waiting<T>(ring: &Ring<T>, mut item: T) -> u64 {
        loop {
            match ring.push(item) {
                Ok(ticket) => return ticket,
                Err(back) => item = back,
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_dropped_ring_drops_its_items() {
        let item = Arc::new(());
        let ring = Ring::new(4);
        ring.push(item.clone()).unwrap();
        ring.push(item.clone()).unwrap();
        drop(ring.pop());
        drop(ring);
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
