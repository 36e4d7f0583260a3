//! The shell around a batch's work.

use std::sync::Arc;

use actix::prelude::*;

use crate::{
    batch_work::BatchWork,
    message::BatchMessage,
    pump::{Alarm, Pump},
    supervisor::DeathWatch,
};

/// One per batch, and one for all single payments.
pub struct BatchActor {
    work: BatchWork,
    watch: DeathWatch,
    alarm: Alarm,
}

impl BatchActor {
    /// An actor on the slot of its work.
    pub fn new(work: BatchWork, watch: DeathWatch) -> BatchActor {
        BatchActor { work, watch, alarm: Alarm::default() }
    }

    fn work(&mut self, batch: Vec<BatchMessage>, context: &mut actix::Context<BatchActor>) {
        self.work.drain(batch);
        self.alarm.set(self.work.wake_at());
        if self.work.is_over() {
            self.watch.natural = true;
            context.stop();
        }
    }
}

impl Actor for BatchActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(Pump::new(Arc::clone(self.work.slot()), self.alarm.clone()));
        // What it was built with is placed at once.
        self.work(Vec::new(), context);
    }
}

impl StreamHandler<Vec<BatchMessage>> for BatchActor {
    fn handle(&mut self, batch: Vec<BatchMessage>, context: &mut Self::Context) {
        self.work(batch, context);
    }
}
