//! An old copy of the journal is started in place of the newest (rule E18).
//!
//! Whoever restored it sees the nodes' word on it: it ends by itself, or has missed nothing. Then
//! the newest journal is put back.

use std::{mem::replace, rc::Rc};

use fulgurite_core::{book::Book, port::Journal};

use crate::{
    disk::Disk, engine::Engine, engine_node::NodeWork, fault::Fault, rule::rule, twin::Twin,
    world::World,
};

/// So long an old copy runs at most.
const RUNS_MS_MAX: i64 = 40_000;

/// The newest journal, while an old copy runs.
pub struct Newest {
    disk: Rc<Disk>,
    visible: Book,
    /// When the copy was started.
    since: i64,
}

impl World {
    /// An old copy runs.
    pub fn is_copy(&self) -> bool {
        self.newest.is_some()
    }

    /// Somebody starts an old copy. By a clock that was set in between no copy can tell its age.
    pub fn start_old_copy(&mut self) {
        let clocks = [Fault::ClockForward, Fault::ClockBack, Fault::ClockBeforeFence];
        let is_set = self.faults.struck().iter().any(|fault| clocks.contains(fault));
        let durable = i64::try_from(self.disk.durable()).expect("few events");
        if self.is_copy() || is_set || durable < 4 || !self.strikes(Fault::OldCopy) {
            return;
        }
        let kept = self.faults.size(Fault::OldCopy, 3, durable - 1);
        let disk = Rc::new(self.disk.copy(kept.unsigned_abs()));
        let mut visible = Book::default();
        for (lsn, event) in (1..).zip(disk.all()) {
            visible.apply(&event, lsn);
        }
        let (disk, visible) = (replace(&mut self.disk, disk), replace(&mut self.visible, visible));
        self.newest = Some(Newest { disk, visible, since: self.now });
    }

    /// What the comparison with the nodes has found; true when the engine ended by it.
    pub fn witnessed(&mut self) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        let Some(newest) = &self.newest else {
            let taken = engine.fenced.or(engine.elsewhere.first().copied());
            let taken = taken.filter(|hash| !self.excused.contains_key(hash));
            rule!(taken.is_none(), "{taken:?} is ours, and taken for another engine's");
            return false;
        };
        let what = if engine.fenced.is_some() {
            "an old copy of the journal ended itself"
        } else if !engine.is_comparing() && !self.is(Twin::NoWitness) {
            self.check_copy(engine, newest.since);
            "an old copy of the journal had missed nothing"
        } else if self.faults.calm || self.now > newest.since + RUNS_MS_MAX {
            "an old copy of the journal was stopped"
        } else {
            return false;
        };
        self.saw(what);
        self.newest_again();
        true
    }

    /// Whatever was paid before it started, the copy knows, or has claimed.
    fn check_copy(&self, engine: &Engine, since: i64) {
        for (at, node) in self.nodes.iter().enumerate() {
            let paid = node.books.iter().filter(|(_, entry)| {
                entry.is_alive() && entry.attempt.is_some() && entry.began < since
            });
            for (hash, _) in paid.filter(|(hash, _)| !self.excused.contains_key(hash)) {
                let payments = engine.batches.values().flat_map(|work| &work.batch.payments);
                let mut ours = payments.filter(|payment| payment.order.payment_hash == *hash);
                let name = NodeWork::name(at);
                let known = ours.any(|payment| {
                    payment.attempts.iter().any(|attempt| attempt.node == name)
                        || !payment.is_queued()
                });
                let claimed = engine.elsewhere.contains(hash);
                rule!(known || claimed, "an old copy may pay {hash}, which node {at} has paid");
            }
        }
    }

    /// The newest journal is put back, and an engine started on it.
    fn newest_again(&mut self) {
        let Some(Newest { disk, visible, .. }) = self.newest.take() else {
            return;
        };
        (self.disk, self.visible, self.engine) = (disk, visible, None);
        self.starts_anew();
    }
}
