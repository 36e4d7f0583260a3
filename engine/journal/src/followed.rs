//! Who follows what: one watermark for each batch and payment that somebody watches.
//!
//! A watcher of one batch is woken by changes of that batch alone. By [`crate::Views::projected`]
//! every commit would wake every watcher, whatever it is about.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use fulgurite_core::{BatchId, Lsn, PaymentId};
use fulgurite_inbox::Watermark;
use parking_lot::Mutex;

/// A batch, or one row of it; row 0 is the batch with all that is in it.
pub(crate) type Subject = (BatchId, u32);

/// What is followed now.
#[derive(Debug, Default)]
pub(crate) struct Followed(Mutex<HashMap<Subject, Known>>);

/// A subject that is followed.
#[derive(Debug)]
struct Known {
    /// How many [`Follow`]s there are of it. The watermark's own count says more: whoever
    /// publishes holds it, too.
    followers: usize,
    changed: Arc<Watermark>,
}

/// Follows one batch or one payment until it is dropped.
#[derive(Debug)]
pub struct Follow {
    followed: Arc<Followed>,
    subject: Subject,
    changed: Arc<Watermark>,
}

impl Follow {
    /// The number to wait past: whoever reads after this call has seen every change up to it.
    pub fn seen(&self) -> Lsn {
        self.changed.get()
    }

    /// Waits for a change that readers may not have seen at `seen`.
    pub async fn changed_after(&self, seen: Lsn) {
        self.changed.wait_for(seen + 1).await;
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut followed = self.followed.0.lock();
        if let Entry::Occupied(mut known) = followed.entry(self.subject) {
            known.get_mut().followers -= 1;
            if known.get().followers == 0 {
                known.remove();
            }
        }
    }
}

impl Followed {
    /// Follows a batch; `projected` is asked once nothing can be missed any more.
    pub(crate) fn batch(self: &Arc<Followed>, batch: BatchId, projected: &Watermark) -> Follow {
        self.follow((batch, 0), projected)
    }

    /// Follows a payment up to its end.
    pub(crate) fn payment(self: &Arc<Followed>, id: PaymentId, projected: &Watermark) -> Follow {
        self.follow((id.batch(), id.row()), projected)
    }

    fn follow(self: &Arc<Followed>, subject: Subject, projected: &Watermark) -> Follow {
        let mut followed = self.0.lock();
        let known = followed.entry(subject).or_insert_with(|| {
            // Changes up to here can be read; what is published later finds the entry.
            let changed = Arc::new(Watermark::new(projected.get()));
            Known { followers: 0, changed }
        });
        known.followers += 1;
        let changed = Arc::clone(&known.changed);
        Follow { followed: Arc::clone(self), subject, changed }
    }

    /// True when nobody follows anything: then nothing need be noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// These changed, up to `lsn`, and can be read. Only the projector may call it, after it has
    /// published `lsn`.
    pub(crate) fn publish(&self, subjects: &mut Vec<Subject>, lsn: Lsn) {
        if subjects.is_empty() {
            return;
        }
        subjects.sort_unstable();
        subjects.dedup();
        let concerned: Vec<Arc<Watermark>> = {
            let followed = self.0.lock();
            let known = subjects.drain(..).filter_map(|subject| followed.get(&subject));
            known.map(|known| Arc::clone(&known.changed)).collect()
        };
        concerned.iter().for_each(|changed| changed.publish(lsn));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Wake, Waker},
    };

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_follower_is_woken_by_its_own_subject_alone_and_leaves_nothing_behind() {
        let (followed, projected) = (Arc::new(Followed::default()), Watermark::new(7));
        let (one, two) = (BatchId::from_uuid(1 << 80), BatchId::from_uuid(2 << 80));
        let batch = followed.batch(one, &projected);
        let payment = followed.payment(one.payment(3), &projected);
        let again = followed.batch(one, &projected);
        let table: [(&[Subject], [bool; 2]); 4] = [
            (&[(two, 0), (two, 3)], [false, false]),
            (&[(one, 0), (one, 2)], [true, false]),
            (&[(one, 3), (one, 3)], [false, true]),
            (&[(one, 0), (one, 3)], [true, true]),
        ];
        for (lsn, (subjects, woken)) in (8..).zip(table) {
            let before = [batch.seen(), payment.seen()];
            projected.publish(lsn);
            followed.publish(&mut subjects.to_vec(), lsn);
            let of_batch = is_ready(batch.changed_after(before[0]));
            let found = [of_batch, is_ready(payment.changed_after(before[1]))];
            assert_eq!(found, woken, "{subjects:?}");
            assert_eq!(of_batch, is_ready(again.changed_after(before[0])), "{subjects:?}");
        }
        drop((batch, payment));
        assert_eq!(again.seen(), 11);
        assert!(!followed.is_empty());
        drop(again);
        assert!(followed.is_empty());
    }

    /// A long poll: woken, it answers at once and is gone.
    struct LongPoll(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

    impl Wake for LongPoll {
        fn wake(self: Arc<LongPoll>) {
            drop(self.0.lock().take());
        }
    }

    #[test]
    fn long_polls_that_end_while_they_are_woken_leave_nothing_behind() {
        let (followed, projected) = (Arc::new(Followed::default()), Watermark::new(7));
        let one = BatchId::from_uuid(1 << 80);
        for _ in 0..2 {
            let follow = followed.batch(one, &projected);
            let changed = Box::pin(async move { follow.changed_after(7).await });
            let poll = Arc::new(LongPoll(Mutex::new(Some(changed))));
            let waker = Waker::from(Arc::clone(&poll));
            let mut changed = poll.0.lock().take().expect("it was just made");
            assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            *poll.0.lock() = Some(changed);
        }
        projected.publish(8);
        followed.publish(&mut vec![(one, 0)], 8);
        assert!(followed.is_empty());
    }
}
