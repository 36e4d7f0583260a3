//! The shell around a batch's work.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{batch_work::BatchWork, message::BatchMessage, pump::Pump, supervisor::DeathWatch};

/// How often time is looked at: retries, deadlines, nodes that have room again.
const TICK: Duration = Duration::from_millis(20);

/// One per batch, and one for all single payments.
pub struct BatchActor {
    work: BatchWork,
    watch: DeathWatch,
}

impl BatchActor {
    /// An actor on the slot of its work.
    pub fn new(work: BatchWork, watch: DeathWatch) -> BatchActor {
        BatchActor { work, watch }
    }

    fn end_if_over(&mut self, context: &mut actix::Context<BatchActor>) {
        if self.work.is_over() {
            self.watch.natural = true;
            context.stop();
        }
    }
}

impl Actor for BatchActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(Pump::new(Arc::clone(self.work.slot())));
        context.run_interval(TICK, |actor, context| {
            actor.work.tick();
            actor.end_if_over(context);
        });
    }
}

impl StreamHandler<Vec<BatchMessage>> for BatchActor {
    fn handle(&mut self, batch: Vec<BatchMessage>, context: &mut Self::Context) {
        self.work.drain(batch);
        self.end_if_over(context);
    }
}
