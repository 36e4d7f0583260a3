//! The shell around one node's work.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{message::NodeMessage, node_work::NodeWork, pump::Pump, supervisor::DeathWatch};

/// How often time is looked at: fences, waiting trackers, rate limits.
const TICK: Duration = Duration::from_millis(20);
/// How often operators get a new view.
const STATUS: Duration = Duration::from_millis(250);

/// One per LND node.
pub struct NodeActor {
    work: NodeWork,
    watch: DeathWatch,
}

impl NodeActor {
    /// An actor on the slot of its work.
    pub fn new(work: NodeWork, watch: DeathWatch) -> NodeActor {
        NodeActor { work, watch }
    }
}

impl Actor for NodeActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(Pump::new(Arc::clone(&self.work.slot)));
        context.run_interval(TICK, |actor, _| actor.work.tick());
        context.run_interval(STATUS, |actor, _| actor.work.publish_status());
    }
}

impl StreamHandler<Vec<NodeMessage>> for NodeActor {
    fn handle(&mut self, batch: Vec<NodeMessage>, context: &mut Self::Context) {
        self.work.drain(batch);
        if self.work.is_over {
            self.watch.natural = true;
            context.stop();
        }
    }
}
