//! The shell around one channel's reservations. All rules are in `fulgurite_core::channel`.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix::prelude::*;
use fulgurite_core::{UnixMs, channel::Channel};
use futures::Stream;

use crate::{
    clock::now,
    message::{ChannelMessage, NodeMessage},
    slot::{ChannelSlot, NodeSlot},
};

/// One per channel, supervised by its node's actor.
pub struct ChannelActor {
    slot: Rc<ChannelSlot>,
    channel: Channel,
    notice: DeathNotice,
}

/// Tells the node's actor when the channel's actor is gone, also by a panic.
pub struct DeathNotice {
    /// Whom to tell.
    pub node: Arc<NodeSlot>,
    /// Which channel.
    pub channel: u64,
    /// Which of its actors.
    pub birth: u64,
}

impl Drop for DeathNotice {
    fn drop(&mut self) {
        let (channel, birth) = (self.channel, self.birth);
        self.node.inbox.deliver(NodeMessage::ChannelDied { channel, birth });
    }
}

/// What waits in a channel's inbox; like [`crate::pump::Pump`], for a slot of one thread.
struct ChannelPump(Rc<ChannelSlot>);

impl Stream for ChannelPump {
    type Item = Vec<ChannelMessage>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut batch = Vec::new();
        self.0.inbox.poll_batch(cx, &mut batch).map(|()| Some(batch))
    }
}

impl ChannelActor {
    /// A channel with the reservations that its node's actor knows of.
    pub fn new(slot: Rc<ChannelSlot>, notice: DeathNotice, mut channel: Channel) -> ChannelActor {
        for (&attempt, &amount) in slot.reserved.borrow().iter() {
            channel.restore(attempt, amount, now());
        }
        slot.room.set(channel.room());
        ChannelActor { slot, channel, notice }
    }

    fn step(&mut self, message: ChannelMessage, now: UnixMs) {
        match message {
            ChannelMessage::Reserve { placed, amount } => {
                let reserved = self.channel.reserve(placed.attempt, amount, now).is_ok();
                let channel = self.slot.id;
                let message = NodeMessage::Reserved { placed, channel, reserved };
                self.notice.node.inbox.deliver(message);
            }
            ChannelMessage::Release { attempt, spent } => self.channel.release(attempt, spent),
            ChannelMessage::Restore { attempt, amount } => {
                self.channel.restore(attempt, amount, now);
            }
            ChannelMessage::Reported(info) => self.channel.reported(*info, now),
            #[cfg(test)]
            ChannelMessage::Die => panic!("a channel actor was told to die"),
        }
    }
}

impl Actor for ChannelActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(ChannelPump(Rc::clone(&self.slot)));
    }
}

impl StreamHandler<Vec<ChannelMessage>> for ChannelActor {
    fn handle(&mut self, batch: Vec<ChannelMessage>, _: &mut Self::Context) {
        let time = now();
        for message in batch {
            self.step(message, time);
        }
        let (before, room) = (self.slot.room.get(), self.channel.room());
        self.slot.room.set(room);
        let has_more = room.slots > before.slots
            || room.available > before.available
            || room.dust_room > before.dust_room;
        if has_more && self.slot.wanted.take() {
            self.notice.node.inbox.deliver(NodeMessage::ChannelFreed);
        }
    }
}

/// The channel is closed: its actor ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close;

impl Handler<Close> for ChannelActor {
    type Result = ();

    fn handle(&mut self, _: Close, context: &mut Self::Context) {
        context.stop();
    }
}
