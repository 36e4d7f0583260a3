//! A number that only grows, such as the durable LSN, and those who wait for it.
//!
//! An acknowledgement is a number, not a message: the one publisher stores it and rings the bell
//! of each subscriber, who then releases everything up to it.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use crate::{
    bell::Bell,
    sync::{AtomicU64, Mutex, Ordering, RwLock, lock},
};

/// A published number with one publisher and any number of readers.
#[derive(Debug)]
pub struct Watermark {
    reached: AtomicU64,
    bells: RwLock<Vec<Weak<Bell>>>,
    waiting: Mutex<Waiting>,
}

/// Those who wait for one number each, by that number.
#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    wakers: BTreeMap<(u64, u64), Waker>,
}

impl Watermark {
    /// A watermark that starts at `reached`.
    pub fn new(reached: u64) -> Watermark {
        Watermark {
            reached: AtomicU64::new(reached),
            bells: RwLock::new(Vec::new()),
            waiting: Mutex::new(Waiting::default()),
        }
    }

    /// The number that was published last; whatever it covers happened before this call returns.
    pub fn get(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// Publishes a number and wakes everybody concerned. Only for the one publisher; a number
    /// below the last one is a bug.
    pub fn publish(&self, reached: u64) {
        let before = self.reached.load(Ordering::Relaxed);
        assert!(before <= reached, "the watermark went back from {before} to {reached}");
        self.reached.store(reached, Ordering::Release);
        for waker in self.take_reached(reached) {
            waker.wake();
        }
        let bells = self.bells.read().expect("nothing panics under this lock");
        bells.iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }

    /// A bell that is rung at every publication until it is dropped. One per waiting task or
    /// thread: a bell wakes one.
    pub fn subscribe(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::new());
        let mut bells = self.bells.write().expect("nothing panics under this lock");
        bells.retain(|other| other.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        bell
    }

    /// Rings `bell` at every publication until it is dropped: for one that also rings for
    /// something else.
    pub fn attach(&self, bell: &Arc<Bell>) {
        let mut bells = self.bells.write().expect("nothing panics under this lock");
        bells.retain(|other| other.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    /// Waits until `wanted` is reached.
    pub async fn wait_for(&self, wanted: u64) {
        let mut wait = Wait { watermark: self, wanted, id: None };
        poll_fn(|cx| wait.poll(cx)).await;
    }

    /// [`Watermark::wait_for`] as a future that owns its watermark, for spawned tasks.
    pub async fn wait_owned(self: Arc<Self>, wanted: u64) {
        self.wait_for(wanted).await;
    }

    /// Blocks the thread until `wanted` is reached.
    pub fn block_until(&self, wanted: u64) {
        if self.get() < wanted {
            let bell = self.subscribe();
            bell.wait_until(|| (self.get() >= wanted).then_some(()));
        }
    }

    /// The twin of [`Watermark::publish`] without the publishing order, which loom must reject.
    #[cfg(all(test, loom))]
    pub(crate) fn publish_weakly(&self, reached: u64) {
        self.reached.store(reached, Ordering::Relaxed);
        self.take_reached(reached).into_iter().for_each(Waker::wake);
    }

    fn take_reached(&self, reached: u64) -> Vec<Waker> {
        let mut waiting = lock(&self.waiting);
        if waiting.wakers.is_empty() {
            return Vec::new();
        }
        let later = waiting.wakers.split_off(&(reached.saturating_add(1), 0));
        std::mem::replace(&mut waiting.wakers, later).into_values().collect()
    }
}

/// One wait for one number; leaves the list when it is dropped.
struct Wait<'a> {
    watermark: &'a Watermark,
    wanted: u64,
    id: Option<u64>,
}

impl Wait<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.watermark.get() >= self.wanted {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.watermark.waiting);
        // Under the lock: the publisher stores before it takes the lock, so either it finds this
        // waker or this look finds the number.
        if self.watermark.get() >= self.wanted {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            waiting.next_id += 1;
            waiting.next_id
        });
        waiting.wakers.insert((self.wanted, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.watermark.waiting).wakers.remove(&(self.wanted, id));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_waits_for_a_reached_number_goes_on_at_once() {
        let watermark = Watermark::new(5);
        assert!(is_ready(watermark.wait_for(5)));
        assert!(!is_ready(watermark.wait_for(6)));
        assert!(lock(&watermark.waiting).wakers.is_empty(), "a dropped wait leaves the list");
    }

    #[test]
    fn a_publication_wakes_exactly_those_whose_number_is_reached() {
        let watermark = Watermark::new(0);
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = [1, 2, 3].map(|wanted| Box::pin(watermark.wait_for(wanted)));
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut context).is_pending()));
        watermark.publish(2);
        assert_eq!(lock(&watermark.waiting).wakers.len(), 1);
        let ready = waits.each_mut().map(|wait| wait.as_mut().poll(&mut context).is_ready());
        assert_eq!(ready, [true, true, false]);
    }

    #[test]
    fn a_thread_blocks_until_the_number_is_published() {
        let watermark = Arc::new(Watermark::new(0));
        let waiter = watermark.clone();
        let thread = std::thread::spawn(move || {
            (1..=1_000).for_each(|wanted| waiter.block_until(wanted));
            waiter.get()
        });
        (1..=1_000).for_each(|reached| watermark.publish(reached));
        assert_eq!(thread.join().unwrap(), 1_000);
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn a_watermark_never_goes_back() {
        Watermark::new(2).publish(1);
    }

    #[test]
    fn a_dropped_bell_leaves_the_list() {
        let watermark = Watermark::new(0);
        drop(watermark.subscribe());
        let _kept = watermark.subscribe();
        assert_eq!(watermark.bells.read().unwrap().len(), 1);
    }
}
