//! A node actor's channels: it supervises their actors and reads the room that they publish.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use actix::{Actor, Addr};
use fulgurite_core::{
    AttemptId, Msat,
    channel::{Channel, Limits, Room},
    map::HashMap,
    port::ChannelInfo,
};
use fulgurite_inbox::{Inbox, inbox};

use crate::{
    channel_actor::{ChannelActor, Close, DeathNotice},
    message::{ChannelMessage, Placed},
    slot::{ChannelSlot, NodeSlot},
};

/// The channels of one node, as its actor knows them.
pub struct Channels {
    node: Arc<NodeSlot>,
    limits: Limits,
    known: HashMap<u64, Known>,
    reported: bool,
}

struct Known {
    slot: Rc<ChannelSlot>,
    actor: Addr<ChannelActor>,
    info: ChannelInfo,
    /// It was in the node's last report: it is open.
    listed: bool,
    /// Tells this actor's death from its predecessors'.
    birth: u64,
}

impl Channels {
    /// No channels yet: the node reports them.
    pub fn new(node: Arc<NodeSlot>, limits: Limits) -> Channels {
        Channels { node, limits, known: HashMap::default(), reported: false }
    }

    /// Takes the node's report: new channels get an actor, closed ones lose it. True when one is
    /// new.
    pub fn reported(&mut self, channels: Vec<ChannelInfo>) -> bool {
        self.reported = true;
        let mut any_new = false;
        let mut gone = std::mem::take(&mut self.known);
        for info in channels {
            let id = info.short_channel_id;
            let known = match gone.remove(&id) {
                Some(mut known) => {
                    let message = ChannelMessage::Reported(Box::new(info.clone()));
                    known.slot.inbox.deliver(message);
                    known.info = info;
                    known.listed = true;
                    known
                }
                None => {
                    any_new = true;
                    self.open(info)
                }
            };
            self.known.insert(id, known);
        }
        for (id, mut known) in gone {
            // A channel with reservations stays until they are released: they end on chain.
            if known.slot.reserved.borrow().is_empty() {
                close(&known.actor);
            } else {
                known.info.active = false;
                known.listed = false;
                let message = ChannelMessage::Reported(Box::new(known.info.clone()));
                known.slot.inbox.deliver(message);
                self.known.insert(id, known);
            }
        }
        any_new
    }

    fn open(&self, info: ChannelInfo) -> Known {
        let sizes = inbox::Limits { door_max: 2, returns_max: 2_048, batch_max: 1_024 };
        let slot = Rc::new(ChannelSlot {
            id: info.short_channel_id,
            inbox: Inbox::new(sizes),
            room: Cell::new(Room::default()),
            wanted: Cell::new(false),
            reserved: RefCell::new(HashMap::default()),
        });
        self.start(slot, info)
    }

    fn start(&self, slot: Rc<ChannelSlot>, info: ChannelInfo) -> Known {
        let channel = Channel::new(info.clone(), self.limits);
        let birth = {
            let mut number = self.node.number.lock();
            *number += 1;
            *number
        };
        let notice = DeathNotice { node: Arc::clone(&self.node), channel: slot.id, birth };
        let actor = ChannelActor::new(Rc::clone(&slot), notice, channel).start();
        Known { slot, actor, info, listed: true, birth }
    }

    /// Builds the actor of a channel anew after its death, from what this node has reserved: also
    /// what its predecessor was asked to reserve and had not answered. False when that actor is not
    /// the one in charge any more.
    pub fn rebuild(&mut self, id: u64, birth: u64) -> bool {
        if self.known.get(&id).is_none_or(|known| known.birth != birth) {
            return false;
        }
        let Some(known) = self.known.remove(&id) else {
            return false;
        };
        tracing::error!(node = %self.node.name, channel = id, "channel actor died; rebuilding");
        // What waits in the inbox speaks of reservations that the new actor already knows.
        let waker = futures::task::noop_waker();
        let mut stale = Vec::new();
        let mut context = std::task::Context::from_waker(&waker);
        while known.slot.inbox.poll_batch(&mut context, &mut stale).is_ready() {
            stale.clear();
        }
        let started = self.start(known.slot, known.info);
        self.known.insert(id, Known { listed: known.listed, ..started });
        true
    }

    /// Asks a channel to reserve; its answer is a `Reserved` message.
    pub fn reserve(&self, id: u64, placed: Placed, amount: Msat) {
        let Some(known) = self.known.get(&id) else {
            return;
        };
        known.slot.reserved.borrow_mut().insert(placed.attempt, amount);
        known.slot.inbox.deliver(ChannelMessage::Reserve { placed, amount });
    }

    /// A reservation was refused.
    pub fn forget(&self, id: u64, attempt: AttemptId) {
        if let Some(known) = self.known.get(&id) {
            known.slot.reserved.borrow_mut().remove(&attempt);
        }
    }

    /// Frees a reservation.
    pub fn release(&self, id: u64, attempt: AttemptId, spent: bool) {
        let Some(known) = self.known.get(&id) else {
            return;
        };
        if known.slot.reserved.borrow_mut().remove(&attempt).is_some() {
            known.slot.inbox.deliver(ChannelMessage::Release { attempt, spent });
        }
    }

    /// Puts a reservation back whose HTLC may exist.
    pub fn restore(&self, id: u64, attempt: AttemptId, amount: Msat) {
        let Some(known) = self.known.get(&id) else {
            return;
        };
        if known.slot.reserved.borrow_mut().insert(attempt, amount).is_none() {
            known.slot.inbox.deliver(ChannelMessage::Restore { attempt, amount });
        }
    }

    /// Makes every channel's actor panic.
    #[cfg(test)]
    pub fn kill_all(&self) {
        for known in self.known.values() {
            known.slot.inbox.deliver(ChannelMessage::Die);
        }
    }

    /// The channel as the node reported it last; `None` when it is not open any more.
    pub fn info(&self, id: u64) -> Option<&ChannelInfo> {
        self.known.get(&id).filter(|known| known.listed).map(|known| &known.info)
    }

    /// The room of every channel, as published last.
    pub fn rooms(&self) -> Vec<Room> {
        self.known.values().map(|known| known.slot.room.get()).collect()
    }

    /// Has the node's actor told when a channel has more room than now.
    pub fn want_room(&self) {
        self.known.values().for_each(|known| known.slot.wanted.set(true));
    }

    /// The node has reported its channels at least once.
    pub fn are_known(&self) -> bool {
        self.reported
    }

    /// Any channel can be used.
    pub fn any_active(&self) -> bool {
        self.known.values().any(|known| known.info.active)
    }

    /// What the active channels could send together if they were idle.
    pub fn idle(&self) -> Msat {
        let rooms = self.known.values().map(|known| known.slot.room.get().idle);
        rooms.fold(Msat::ZERO, Msat::saturating_add)
    }

    /// What the active channels can send now, and how many they are.
    pub fn spendable(&self) -> (Msat, u32) {
        let active = self.known.values().filter(|known| known.info.active);
        active.fold((Msat::ZERO, 0), |(sum, count), known| {
            (sum.saturating_add(known.slot.room.get().available), count + 1)
        })
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for known in self.known.values() {
            close(&known.actor);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a control message that must not wait")]
fn close(actor: &Addr<ChannelActor>) {
    actor.do_send(Close);
}
