//! From an inbox into an actor: a stream of what waits, in batches; empty ones when it is time.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fulgurite_core::UnixMs;
use fulgurite_inbox::Inbox;
use futures::Stream;
use tokio::time::Sleep;

use crate::clock::now;

/// A clock that is set forward makes moments come earlier than a sleep ends: no sleep is longer.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// Something that has an inbox.
pub trait HasInbox {
    /// What the inbox carries.
    type Item;

    /// The inbox.
    fn inbox(&self) -> &Inbox<Self::Item>;
}

/// The moment at which an actor has something to do by itself; shared with its [`Pump`].
#[derive(Clone, Debug, Default)]
pub struct Alarm(Rc<Cell<Option<UnixMs>>>);

impl Alarm {
    /// Wakes the actor then, and not before; `None` leaves it to its inbox.
    pub fn set(&self, at: Option<UnixMs>) {
        self.0.set(at);
    }
}

/// Everything that waits in a slot's inbox, again and again, and nothing at all when the alarm
/// goes off. Never ends.
pub struct Pump<S> {
    slot: Arc<S>,
    alarm: Alarm,
    sleep: Pin<Box<Sleep>>,
    /// What the sleep ends for.
    set: Option<UnixMs>,
}

impl<S> Pump<S> {
    /// Reads from the slot's inbox. One pump at a time. On a thread with timers.
    pub fn new(slot: Arc<S>, alarm: Alarm) -> Pump<S> {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        Pump { slot, alarm, sleep, set: None }
    }

    /// Ready when the alarm goes off, or when it is time to look at the clock again.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wanted = self.alarm.0.get();
        if self.set != wanted {
            self.set = wanted;
            if let Some(at) = wanted {
                let left_ms = u64::try_from(at.since(now())).unwrap_or(0);
                let left = Duration::from_millis(left_ms).min(SLEEP_MAX);
                self.sleep.as_mut().reset((Instant::now() + left).into());
            }
        }
        if wanted.is_none() || self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The actor sets it anew, to the same moment when that has not come.
        self.set = None;
        self.alarm.set(None);
        Poll::Ready(())
    }
}

impl<S: HasInbox> Stream for Pump<S> {
    type Item = Vec<S::Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut batch = Vec::new();
        if self.slot.inbox().poll_batch(cx, &mut batch).is_pending() {
            std::task::ready!(self.poll_alarm(cx));
        }
        Poll::Ready(Some(batch))
    }
}

impl HasInbox for crate::slot::BatchSlot {
    type Item = crate::message::BatchMessage;

    fn inbox(&self) -> &Inbox<Self::Item> {
        &self.inbox
    }
}

impl HasInbox for crate::slot::NodeSlot {
    type Item = crate::message::NodeMessage;

    fn inbox(&self) -> &Inbox<Self::Item> {
        &self.inbox
    }
}

#[cfg(test)]
mod tests {
    use fulgurite_inbox::inbox::Limits;
    use futures::StreamExt;

    use super::*;

    struct Slot(Inbox<u32>);

    impl HasInbox for Slot {
        type Item = u32;

        fn inbox(&self) -> &Inbox<u32> {
            &self.0
        }
    }

    #[actix::test]
    async fn an_actor_is_woken_by_its_inbox_and_by_its_alarm_and_by_nothing_else() {
        let limits = Limits { door_max: 4, returns_max: 4, batch_max: 4 };
        let (slot, alarm) = (Arc::new(Slot(Inbox::new(limits))), Alarm::default());
        let mut pump = Pump::new(Arc::clone(&slot), alarm.clone());
        slot.0.deliver(1);
        assert_eq!(pump.next().await, Some(vec![1]));
        let soon = now().plus_ms(30);
        alarm.set(Some(soon));
        assert_eq!(pump.next().await, Some(vec![]));
        assert!(now() >= soon, "the moment has come");
        // Rung once, it is silent until it is set again.
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(pump.poll_next_unpin(&mut context).is_pending());
        alarm.set(Some(now().plus_ms(60_000)));
        assert!(pump.poll_next_unpin(&mut context).is_pending());
        slot.0.deliver(2);
        assert_eq!(pump.next().await, Some(vec![2]));
    }
}
