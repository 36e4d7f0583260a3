//! Every interleaving of two threads and two items.
//!
//! A model that is green because nothing interesting happened proves nothing: each counts its
//! interesting outcomes and asserts that each was seen, and each has a twin with one order
//! weakened that must fail.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed as CountOrder},
    },
    task::{Context, Poll, Waker},
};

use crate::{
    bell::{RawBell, Sleeper},
    inbox::{Inbox, Limits},
    ring::RawRing,
    sync::{AtomicU64, Ordering, UnsafeCell, thread},
    watermark::Watermark,
};

/// How often an outcome was seen, over all interleavings of a model.
#[derive(Clone, Default)]
struct Seen(Arc<AtomicUsize>);

impl Seen {
    fn one(&self) {
        self.0.fetch_add(1, CountOrder);
    }

    fn assert_some(&self, what: &str) {
        assert!(self.0.load(CountOrder) > 0, "no interleaving showed: {what}");
    }
}

fn fails(model: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| loom::model(model))).is_err()
}

/// Polls until ready, asleep between wake-ups: loom reports a sleep that nobody ends. Not for a
/// thread that later joins another: loom takes a late unpark for the end of the other.
fn block_on(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Sleeper(thread::current())));
    while future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
        thread::park();
    }
}

fn ring_model<const WEAK: bool>(early: Seen, in_time: Seen) -> impl Fn() {
    move || {
        let ring = Arc::new(RawRing::<Box<u64>, WEAK>::new(2));
        let producer = |item: u64| {
            let ring = ring.clone();
            thread::spawn(move || (item, ring.push(Box::new(item)).expect("there is room")))
        };
        let (first, second) = (producer(10), producer(20));
        thread::yield_now();
        // The items must come in ticket order, without a gap, whenever they come.
        let mut taken = Vec::new();
        match ring.pop() {
            Some(item) => {
                in_time.one();
                taken.push(*item);
            }
            None => early.one(),
        }
        let mut tickets = [first, second].map(|thread| thread.join().expect("no panic"));
        taken.extend(std::iter::from_fn(|| ring.pop()).map(|item| *item));
        tickets.sort_by_key(|&(_, ticket)| ticket);
        assert_eq!(tickets.map(|(_, ticket)| ticket), [0, 1]);
        assert_eq!(taken, tickets.map(|(item, _)| item));
    }
}

#[test]
fn tickets_have_no_gaps_and_items_leave_in_their_order() {
    let (early, in_time) = (Seen::default(), Seen::default());
    loom::model(ring_model::<false>(early.clone(), in_time.clone()));
    early.assert_some("a pop before the first push was published");
    in_time.assert_some("a pop between the pushes");
}

#[test]
fn a_ring_that_does_not_publish_its_writes_is_caught() {
    assert!(fails(ring_model::<true>(Seen::default(), Seen::default())));
}

#[test]
fn a_full_ring_hands_the_item_back_or_takes_the_freed_place() {
    let (full, fitted) = (Seen::default(), Seen::default());
    let counts = (full.clone(), fitted.clone());
    loom::model(move || {
        let ring = Arc::new(RawRing::<u64, false>::new(2));
        assert_eq!((ring.push(1), ring.push(2)), (Ok(0), Ok(1)));
        let consumer = ring.clone();
        let thread = thread::spawn(move || consumer.pop());
        thread::yield_now();
        let pushed = ring.push(3);
        assert_eq!(thread.join().expect("no panic"), Some(1));
        assert_eq!(ring.pop(), Some(2));
        match pushed {
            Err(item) => {
                counts.0.one();
                assert_eq!((item, ring.pop()), (3, None));
            }
            Ok(ticket) => {
                counts.1.one();
                assert_eq!((ticket, ring.pop()), (2, Some(3)));
            }
        }
    });
    full.assert_some("a full ring");
    fitted.assert_some("a freed place");
}

fn bell_model<const WEAK: bool>(slept: Seen, awake: Seen) -> impl Fn() {
    move || {
        let shared = Arc::new((RawBell::<WEAK>::new(), AtomicU64::new(0)));
        let (waiter, slept, awake) = (shared.clone(), slept.clone(), awake.clone());
        let thread = thread::spawn(move || {
            let mut looks = 0;
            waiter.0.wait_until(|| {
                looks += 1;
                (waiter.1.load(Ordering::Relaxed) == 2).then_some(())
            });
            // Up to two looks need no sleep; a third follows a wake-up.
            if looks > 2 { slept.one() } else { awake.one() }
        });
        for number in 1..=2 {
            shared.1.store(number, Ordering::Relaxed);
            shared.0.ring();
        }
        thread.join().expect("no panic");
    }
}

#[test]
fn a_ring_is_never_lost() {
    let (slept, awake) = (Seen::default(), Seen::default());
    loom::model(bell_model::<false>(slept.clone(), awake.clone()));
    slept.assert_some("a sleeper that was woken");
    awake.assert_some("a consumer that did not sleep");
}

#[test]
fn a_bell_without_its_fences_is_caught() {
    assert!(fails(bell_model::<true>(Seen::default(), Seen::default())));
}

#[test]
fn an_inbox_hands_out_everything_and_wakes_its_consumer() {
    let (both, apart) = (Seen::default(), Seen::default());
    let counts = (both.clone(), apart.clone());
    loom::model(move || {
        let limits = Limits { door_max: 2, returns_max: 2, batch_max: 4 };
        let inbox = Arc::new(Inbox::new(limits));
        let (consumer, counts) = (inbox.clone(), counts.clone());
        let thread = thread::spawn(move || {
            let mut taken = Vec::new();
            while taken.len() < 2 {
                let mut batch = Vec::new();
                block_on(poll_fn(|cx| consumer.poll_batch(cx, &mut batch)));
                if batch.len() == 2 {
                    counts.0.one()
                } else {
                    counts.1.one()
                }
                taken.extend(batch);
            }
            taken.sort_unstable();
            assert_eq!(taken, ["door", "return"]);
        });
        inbox.offer("door").expect("there is room");
        inbox.deliver("return");
        thread.join().expect("no panic");
    });
    both.assert_some("one batch of two");
    apart.assert_some("two batches of one");
}

#[test]
fn a_spilled_return_is_neither_lost_nor_reordered() {
    let (spilled, fitted) = (Seen::default(), Seen::default());
    let counts = (spilled.clone(), fitted.clone());
    loom::model(move || {
        let inbox = Arc::new(Inbox::new(Limits { door_max: 2, returns_max: 2, batch_max: 9 }));
        inbox.deliver(1);
        inbox.deliver(2);
        let producer = inbox.clone();
        let thread = thread::spawn(move || {
            producer.deliver(3);
            producer.deliver(4);
        });
        let mut taken = Vec::new();
        block_on(poll_fn(|cx| inbox.poll_batch(cx, &mut taken)));
        thread.join().expect("no panic");
        if taken.len() < 4 {
            block_on(poll_fn(|cx| inbox.poll_batch(cx, &mut taken)));
        }
        assert_eq!(taken, [1, 2, 3, 4]);
        if inbox.spilled() > 0 { counts.0.one() } else { counts.1.one() }
    });
    spilled.assert_some("a spill");
    fitted.assert_some("room in time");
}

/// The journal's hand-over: what the durable LSN covers was written before it was published.
fn watermark_model(publish: fn(&Watermark, u64), slept: Seen) -> impl Fn() {
    move || {
        let shared = Arc::new((Watermark::new(0), UnsafeCell::new(0_u64)));
        let reader = shared.clone();
        let seen = slept.clone();
        let thread = thread::spawn(move || {
            if reader.0.get() < 2 {
                seen.one();
            }
            block_on(reader.0.wait_for(2));
            // SAFETY: the publisher does not touch the cell after publishing 2.
            reader.1.with_mut(|written| unsafe { assert_eq!(*written, 2) });
        });
        // SAFETY: the reader does not touch the cell before it saw 2.
        shared.1.with_mut(|written| unsafe { *written = 2 });
        publish(&shared.0, 2);
        thread.join().expect("no panic");
    }
}

#[test]
fn whoever_sees_the_watermark_sees_what_it_covers() {
    let slept = Seen::default();
    loom::model(watermark_model(|watermark, lsn| watermark.publish(lsn), slept.clone()));
    slept.assert_some("a reader that came first");
}

#[test]
fn a_watermark_published_without_release_is_caught() {
    assert!(fails(watermark_model(Watermark::publish_weakly, Seen::default())));
}
