//! From an inbox into an actor: a stream of what waits, in batches.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fulgurite_inbox::Inbox;
use futures::Stream;

/// Something that has an inbox.
pub trait HasInbox {
    /// What the inbox carries.
    type Item;

    /// The inbox.
    fn inbox(&self) -> &Inbox<Self::Item>;
}

/// Everything that waits in a slot's inbox, again and again. Never ends.
pub struct Pump<S> {
    slot: Arc<S>,
}

impl<S> Pump<S> {
    /// Reads from the slot's inbox. One pump at a time.
    pub fn new(slot: Arc<S>) -> Pump<S> {
        Pump { slot }
    }
}

impl<S: HasInbox> Stream for Pump<S> {
    type Item = Vec<S::Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut batch = Vec::new();
        self.slot.inbox().poll_batch(cx, &mut batch).map(|()| Some(batch))
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
