//! Whose turn it is at nodes that have room again.
//!
//! A batch whose orders found no room joins the end of its priority's line. When a node has room,
//! the first one in line is told by a message; it places what fits, goes to the end if it has
//! more, and lets the next one have the rest. Who finds others in line before it joins the line
//! too, so that a large batch does not take every place that it frees itself.
//!
//! What a batch could not use (its amounts do not fit) does not stop the line: in one round, which
//! is one time that a node has room, each batch in line tries at most once.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{message::BatchMessage, slot::BatchSlot};

/// The lines, by priority as in [`fulgurite_core::order::Priority::ALL`].
#[derive(Default)]
pub struct Rooms(Mutex<[Line; 3]>);

#[derive(Default)]
struct Line {
    /// Grows each time that a node has room.
    round: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    slot: Arc<BatchSlot>,
    /// The last round in which it tried.
    tried: u64,
    /// The last round in which it was told.
    told: u64,
}

impl Line {
    /// Tells the first one, unless it tried in this round or was told already.
    fn tell(&mut self, lane: usize) {
        let round = self.round;
        if let Some(first) = self.waiting.front_mut()
            && first.tried < round
            && first.told < round
        {
            first.told = round;
            first.slot.inbox.deliver(BatchMessage::Room(lane));
        }
    }

    fn remove(&mut self, slot: u64) {
        match self.waiting.front() {
            Some(first) if first.slot.id == slot => drop(self.waiting.pop_front()),
            _ => self.waiting.retain(|other| other.slot.id != slot),
        }
    }
}

impl Rooms {
    /// A node has room for orders of these priorities.
    pub fn opened(&self, lanes: [bool; 3]) {
        let mut lines = self.0.lock();
        for (lane, line) in lines.iter_mut().enumerate() {
            if lanes[lane] && !line.waiting.is_empty() {
                line.round += 1;
                line.tell(lane);
            }
        }
    }

    /// Whether the batch may try to place orders now; else it is in line.
    pub fn may_try(&self, lane: usize, slot: &Arc<BatchSlot>) -> bool {
        let line = &mut self.0.lock()[lane];
        let round = line.round;
        let is_free = line
            .waiting
            .front()
            .is_none_or(|first| first.slot.id == slot.id || first.tried == round);
        if !is_free && !line.waiting.iter().any(|other| other.slot.id == slot.id) {
            line.waiting.push_back(Waiting { slot: Arc::clone(slot), tried: 0, told: 0 });
        }
        is_free
    }

    /// The batch has tried. It is in line from here on when it has `more`; `left` says whether
    /// there is still room for the next one.
    pub fn tried(&self, lane: usize, slot: &Arc<BatchSlot>, more: bool, left: bool) {
        let line = &mut self.0.lock()[lane];
        line.remove(slot.id);
        if more {
            let (slot, round) = (Arc::clone(slot), line.round);
            line.waiting.push_back(Waiting { slot, tried: round, told: round });
        }
        if left {
            line.tell(lane);
        }
    }

    /// The batch is over, or its actor is gone: a rebuilt one joins anew.
    pub fn leave(&self, slot: u64) {
        for (lane, line) in self.0.lock().iter_mut().enumerate() {
            if line.waiting.iter().any(|other| other.slot.id == slot) {
                line.remove(slot);
                // It may have been told of room that is another's now.
                line.tell(lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn slots() -> [Arc<BatchSlot>; 3] {
        [1, 2, 3].map(|id| Arc::new(BatchSlot::new(id, None, 1)))
    }

    /// How many messages waited in each inbox.
    fn told(slots: &[Arc<BatchSlot>; 3]) -> [usize; 3] {
        slots.each_ref().map(|slot| {
            let mut found = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            let _ = slot.inbox.poll_batch(&mut context, &mut found);
            found.len()
        })
    }

    #[test]
    fn each_one_in_line_is_told_in_turn_and_once_a_round() {
        let (rooms, slots) = (Rooms::default(), slots());
        let [one, two, three] = &slots;
        rooms.opened([true; 3]);
        for slot in [one, two] {
            assert!(rooms.may_try(1, slot), "nobody is before {}", slot.id);
            rooms.tried(1, slot, true, false);
        }
        assert_eq!(told(&slots), [0, 0, 0]);
        rooms.opened([true, false, true]);
        assert_eq!(told(&slots), [0, 0, 0], "of another priority");
        rooms.opened([false, true, false]);
        rooms.opened([false, true, false]);
        assert_eq!(told(&slots), [2, 0, 0], "once for each time that there is room");
        assert!(!rooms.may_try(1, three), "the first one was told and has not tried");
        assert!(rooms.may_try(1, one));
        rooms.tried(1, one, true, true);
        assert_eq!(told(&slots), [0, 1, 0], "what is left is the next one's");
        rooms.tried(1, two, true, true);
        assert_eq!(told(&slots), [0, 0, 1]);
        rooms.tried(1, three, true, true);
        assert_eq!(told(&slots), [0, 0, 0], "each has tried: nothing turns for ever");
    }

    #[test]
    fn who_leaves_the_line_hands_on_what_it_was_told() {
        let (rooms, slots) = (Rooms::default(), slots());
        let [one, two, _] = &slots;
        rooms.tried(0, one, true, false);
        rooms.tried(0, two, true, false);
        rooms.opened([true; 3]);
        assert_eq!(told(&slots), [1, 0, 0]);
        rooms.leave(one.id);
        assert_eq!(told(&slots), [0, 1, 0]);
        rooms.tried(0, two, false, true);
        rooms.opened([true; 3]);
        assert_eq!(told(&slots), [0, 0, 0], "nobody is in line");
    }
}
