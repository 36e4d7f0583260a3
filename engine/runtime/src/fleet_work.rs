//! The supervisor's part of a change of the fleet. A node that leaves or is renewed has its actor
//! stopped; what was open there is taken over by the next one as after a death (rule E16).

use std::{rc::Rc, sync::Arc, sync::atomic::Ordering};

use actix::prelude::*;
use fulgurite_core::port::{self, NodeEvent};

use crate::{
    fleet::Change,
    message::{BatchMessage, NodeMessage},
    slot::{Board, NodeSlot, OpenNode, Presence},
    supervisor::Supervisor,
};

/// What becomes of a node once its actor has stopped.
pub(crate) enum Next {
    /// It is opened anew.
    Renewed(OpenNode),
    /// It is gone.
    Gone,
}

/// Opens a node's adapter, which reports into the slot's inbox.
pub(crate) fn open_adapter(open: &OpenNode, slot: &Arc<NodeSlot>) -> Rc<dyn port::Node> {
    let slot = Arc::clone(slot);
    open(Box::new(move |event| {
        // Here, not in the actor: it may die with the event in its hands.
        match &event {
            NodeEvent::Connected(info) => *slot.last_info.lock() = Some(info.clone()),
            NodeEvent::Disconnected { .. } => *slot.last_info.lock() = None,
            _ => {}
        }
        slot.inbox.deliver(NodeMessage::Event(event));
    }))
}

impl Supervisor {
    pub(crate) fn change(&mut self, change: Change, me: &Addr<Supervisor>) {
        // A node that is opened now would keep a key of an engine that ends.
        if self.shared.is_withdrawn() {
            return;
        }
        match change {
            Change::Join(options) => {
                let (known, seen_until) = self.views.read_open(|book| {
                    let seen = book.compared.get(&options.name);
                    let until = seen.map_or(book.born, |seen| seen.until);
                    (book.nodes.get(&options.name).cloned(), until)
                });
                let named = (Arc::clone(&options.name), known.unwrap_or_default());
                let address = options.address.clone();
                let make = |index| {
                    self.shared.witness.joins(index);
                    NodeSlot::new(index, named, options.limits, address, seen_until)
                };
                let slot = self.shared.nodes.add(make);
                self.adapters.push(Some(open_adapter(&options.open, &slot)));
                self.start_node(slot.index, me, false);
            }
            Change::Renew(index, options) => {
                let slot = self.shared.nodes.at(index);
                *slot.limits.lock() = options.limits;
                slot.status.lock().address = options.address;
                self.stop_node(&slot, Next::Renewed(options.open));
            }
            Change::Part(index) => self.stop_node(&self.shared.nodes.at(index), Next::Gone),
        }
    }

    fn stop_node(&mut self, slot: &NodeSlot, next: Next) {
        self.stopping.insert(slot.index, next);
        slot.inbox.deliver(NodeMessage::Stop);
    }

    /// The actor of a node ended. `false` when nobody had told it to.
    pub(crate) fn node_stopped(&mut self, index: usize, context: &mut Context<Supervisor>) -> bool {
        let Some(next) = self.stopping.remove(&index) else {
            return false;
        };
        let slot = self.shared.nodes.at(index);
        // An adapter that is dropped does not say that it is disconnected.
        crate::witness::not_read(&self.shared, &slot);
        // Its connections close before new ones open.
        self.adapters[index] = None;
        *slot.last_info.lock() = None;
        *slot.board.lock() = Board::default();
        match next {
            Next::Renewed(open) => {
                self.adapters[index] = Some(open_adapter(&open, &slot));
                tracing::info!(node = %slot.name, "the node is opened anew");
                self.rebuild_node(index, context);
            }
            Next::Gone => {
                slot.set_presence(Presence::Gone);
                // Nobody waits for what it may have paid.
                self.shared.witness.compared(index);
                let incarnation = slot.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
                for (batch, _) in self.slots.values() {
                    batch.inbox.deliver(BatchMessage::NodeReborn { node: index, incarnation });
                }
                tracing::info!(node = %slot.name, "the node has left");
            }
        }
        true
    }
}
