//! What a node actor does by the clock. It is woken for moments that it knows; what may be a moment
//! late is seen to whenever operators get a new view.

use fulgurite_core::{UnixMs, port::Command};

use crate::{
    clock::{now, steady},
    node_work::NodeWork,
};

impl NodeWork {
    /// Time has passed.
    pub fn tick(&mut self) {
        let time = now();
        let before = self.fence.up_to();
        if let Some(expiry) = self.fence.poll(steady(), self.steady_offset_ms) {
            self.adapter.command(Command::ProbeExpiry { expiry });
        }
        if self.fence.up_to() > before {
            self.shared.metrics.fence_raised(&self.slot.name);
            self.fence_is_up(time);
            self.inspect_behind_fence();
        }
        self.tick_waiting(time);
        self.watch(time);
        self.look_for_suspects(time);
        self.confirm(time);
        self.witness_tick(time);
        self.inspect_in_time();
        self.pump(time);
        self.publish(time);
    }

    /// The next moment that must not be missed: of the fence, of trackers that ask again, of the
    /// node's rate, of the next reading of its payments.
    pub fn wake_at(&self) -> Option<UnixMs> {
        let time = now();
        let by_wall = |at: UnixMs| time.plus_ms(at.since(steady()));
        let fence = self.fence.wake_at().map(by_wall);
        let asks = self.waiting.next(time).filter(|_| self.node.is_connected());
        let moments = [fence, asks, self.start_at, self.witness_at()];
        let soonest = time.plus_ms(1);
        moments.into_iter().flatten().min().map(|at| at.max(soonest))
    }
}
