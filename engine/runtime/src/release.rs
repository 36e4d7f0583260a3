//! The release list: what may leave once the event that allows it is durable (rule E1).
//!
//! One list per arbiter serves all its actors. It outlives every actor: what was decided and
//! becomes durable is released even if its actor is gone, and the receiver drops what carries an
//! old incarnation (rule E8).

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use fulgurite_core::{
    Lsn, UnixMs,
    batch::{self, Summary},
    payment::{self, Payment},
};
use fulgurite_inbox::{Bell, Watermark};
use tokio::sync::oneshot;

use crate::{
    clock::now,
    message::{NodeMessage, Start},
    metrics::{Metrics, Stage},
    slot::NodeSlot,
};

/// What waits for its event.
pub enum Release {
    /// An attempt to its node, and when it was decided.
    Start(Arc<NodeSlot>, Box<Start>, Instant),
    /// An answer to a request.
    Reply(oneshot::Sender<Result<Summary, batch::Refusal>>, Box<Result<Summary, batch::Refusal>>),
    /// An answer to a request on one payment.
    PaymentReply(
        oneshot::Sender<Result<Payment, payment::Refusal>>,
        Box<Result<Payment, payment::Refusal>>,
    ),
    /// A payment is final on disk: how long that took.
    Outcome {
        /// When the outcome was decided.
        at: Instant,
        /// When the order was accepted.
        accepted: UnixMs,
    },
}

/// The list of one arbiter.
#[derive(Clone)]
pub struct ReleaseList {
    waiting: Rc<RefCell<VecDeque<(Lsn, Release)>>>,
    durable: Arc<Watermark>,
    metrics: Arc<Metrics>,
}

impl ReleaseList {
    /// An empty list that follows the journal.
    pub fn new(durable: Arc<Watermark>, metrics: Arc<Metrics>) -> ReleaseList {
        ReleaseList { waiting: Rc::default(), durable, metrics }
    }

    /// Releases it once `lsn` is durable, which may be now: on a quiet engine nothing else would
    /// ever be published. LSNs of one thread only grow.
    pub fn push(&self, lsn: Lsn, release: Release) {
        self.waiting.borrow_mut().push_back((lsn, release));
        let durable = self.durable.get();
        if lsn <= durable {
            self.release(durable);
        }
    }

    /// Releases everything up to `durable`, in order.
    fn release(&self, durable: Lsn) {
        let metrics = &self.metrics;
        loop {
            // The borrow ends before the release: what it wakes may push here.
            let next = {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.front() {
                    Some((lsn, _)) if *lsn <= durable => waiting.pop_front(),
                    Some(_) | None => None,
                }
            };
            match next {
                Some((_, Release::Start(node, start, decided))) => {
                    metrics.record(Stage::Journal, decided.elapsed());
                    node.inbox.deliver(NodeMessage::Start(start));
                }
                // Who asked may be gone: the event stands all the same.
                Some((_, Release::Reply(reply, answer))) => drop(reply.send(*answer)),
                Some((_, Release::PaymentReply(reply, answer))) => drop(reply.send(*answer)),
                Some((_, Release::Outcome { at, accepted })) => {
                    metrics.record(Stage::Outcome, at.elapsed());
                    let ms = u64::try_from(now().since(accepted)).unwrap_or(0);
                    metrics.record(Stage::EndToEnd, Duration::from_millis(ms));
                }
                None => return,
            }
        }
    }

    /// Releases whatever becomes durable, for ever.
    pub async fn run(self) {
        let bell: Arc<Bell> = self.durable.subscribe();
        let mut seen = 0;
        std::future::poll_fn(|cx| {
            let waker: &Waker = cx.waker();
            bell.register(waker);
            let reached = self.durable.get();
            if reached > seen {
                seen = reached;
                self.release(reached);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn what_is_durable_already_is_released_at_once() {
        let durable = Arc::new(Watermark::new(5));
        let list = ReleaseList::new(Arc::clone(&durable), Arc::default());
        actix::spawn(list.clone().run());
        for lsn in [5, 5, 6] {
            let (reply, answer) = oneshot::channel();
            let refused = Box::new(Err(payment::Refusal::AlreadyFinal));
            list.push(lsn, Release::PaymentReply(reply, refused));
            let waited = tokio::time::timeout(Duration::from_millis(200), answer).await;
            assert_eq!(waited.is_ok(), lsn == 5, "{lsn}");
        }
    }
}
