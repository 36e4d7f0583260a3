//! The shell around one node's work.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{
    message::NodeMessage,
    node_work::NodeWork,
    pump::{Alarm, Pump},
    supervisor::DeathWatch,
};

/// How often operators get a new view, and time is looked at in any case.
const STATUS: Duration = Duration::from_millis(250);

/// One per LND node.
pub struct NodeActor {
    work: NodeWork,
    watch: DeathWatch,
    alarm: Alarm,
}

impl NodeActor {
    /// An actor on the slot of its work.
    pub fn new(work: NodeWork, watch: DeathWatch) -> NodeActor {
        NodeActor { work, watch, alarm: Alarm::default() }
    }
}

impl Actor for NodeActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(Pump::new(Arc::clone(&self.work.slot), self.alarm.clone()));
        context.run_interval(STATUS, |actor, _| {
            actor.work.tick();
            actor.work.publish_status();
            actor.alarm.set(actor.work.wake_at());
            // The pump looks at its alarm when it is polled.
            actor.work.slot.inbox.ring();
        });
    }
}

impl StreamHandler<Vec<NodeMessage>> for NodeActor {
    fn handle(&mut self, batch: Vec<NodeMessage>, context: &mut Self::Context) {
        if batch.is_empty() {
            self.work.tick();
        } else {
            self.work.drain(batch);
        }
        self.alarm.set(self.work.wake_at());
        if self.work.is_over {
            self.watch.natural = true;
            context.stop();
        }
    }
}
