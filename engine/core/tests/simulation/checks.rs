//! What must be true after every step, by the nodes' own books.

use fulgurite_core::{
    batch,
    book::Book,
    payment::{Payment, State},
};

use super::{engine::Engine, world::World};

impl World {
    pub fn check(&self) {
        for (hash, times) in &self.paid {
            assert!(*times <= 1, "{hash} was paid {times} times");
        }
        let entries = || {
            let books = self.nodes.iter().flat_map(|node| &node.books);
            books
                .filter(|(_, entry)| entry.is_alive())
                .filter_map(|(hash, entry)| entry.attempt.map(|attempt| (*hash, attempt.payment)))
        };
        for (hash, payment) in entries() {
            let alive = entries().filter(|(other, _)| *other == hash).count();
            assert!(alive <= 1, "{hash} is alive at {alive} nodes");
            let Some(batch) = self.visible.batches.get(&payment.batch()) else {
                panic!("{payment} is alive at a node and its batch is not durable");
            };
            let seen = batch.payment(payment).expect("a payment of its batch");
            let not_paid = matches!(seen.state, State::Failed(_) | State::Cancelled);
            assert!(!not_paid, "{payment} was reported {} and is alive", seen.state.name());
        }
        for plan in &self.client.plans {
            if let Some(batch) = plan.accepted {
                assert!(self.visible.batches.contains_key(&batch), "{batch} was acknowledged");
            }
        }
        for payment in self.payments() {
            if let State::Succeeded { .. } = payment.state {
                let hash = payment.order.payment_hash;
                let foreign = self.client.order(hash).foreign;
                assert!(foreign || self.paid.get(&hash) == Some(&1), "{hash} is not paid");
            }
        }
    }

    fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.visible.batches.values().flat_map(|batch| &batch.payments)
    }

    /// What is on disk or on its way there gives the state in memory.
    pub fn check_replay(&self, engine: &Engine) {
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(self.disk.all()) {
            book.apply(&event, lsn);
        }
        for (id, work) in &engine.batches {
            assert_eq!(book.batches.get(id), Some(&work.batch), "replay equals the original");
        }
    }

    /// Everything is accepted and final, or unresolved.
    pub fn is_over(&self) -> bool {
        let accepted = self.client.plans.iter().all(|plan| plan.accepted.is_some());
        accepted
            && self.payments().all(|payment| {
                payment.is_final() || matches!(payment.state, State::Unresolved { .. })
            })
    }

    pub fn open_payments(&self) -> Vec<&Payment> {
        self.payments().filter(|payment| !payment.is_final()).collect()
    }

    /// The last looks, and the outcomes for the coverage.
    pub fn finish(&mut self) {
        if let Some(engine) = &self.engine {
            self.check_replay(engine);
        }
        let states: Vec<&'static str> = self
            .payments()
            .map(|payment| {
                let hash = payment.order.payment_hash;
                let foreign = self.client.order(hash).foreign;
                assert!(
                    foreign || !matches!(payment.state, State::Unresolved { .. }),
                    "{} is unresolved: {:?}",
                    payment.id,
                    payment.state
                );
                payment.state.name()
            })
            .collect();
        let finished =
            self.visible.batches.values().filter(|b| b.summary.state == batch::State::Finished);
        let finished = finished.count();
        states.into_iter().for_each(|state| self.coverage.saw(state));
        (0..finished).for_each(|_| self.coverage.saw("batch finished"));
    }
}
