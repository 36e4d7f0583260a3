//! What the nodes paid, compared with the journal before anything from before the start is sent,
//! and then on and on (rule E18).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, Event, PaymentHash, UnixMs,
    event::Contradiction,
    payment::Payment,
    port::{Command, Journal, ListCall, ListedPayment},
    standing,
    tracker::Outcome,
    witness::{Compared, Origin, Reading, origin},
};

use crate::{coverage::Kind, engine::Engine, engine_node::NodeWork, twin::Twin};

/// How much further back than the journal's end a node is read, in milliseconds.
const MARGIN_MS: i64 = 40_000;
/// How often it is read on, in milliseconds.
const EVERY_MS: i64 = 10_000;
/// After a page that did not come, in milliseconds.
const AGAIN_MS: i64 = 1_000;
/// A reading that is older is over, in milliseconds.
const STALE_MS: i64 = 20_000;

/// How far the reading of one node is.
#[derive(Default)]
pub struct Witnessing {
    reading: Option<Reading>,
    /// When the reading that runs began, or the next one begins.
    at: UnixMs,
    /// What is asked for now shows whether everything was read.
    levels: bool,
    /// What was seen of the node, and whether the journal says that it is read on.
    pub seen: Compared,
    /// Nothing may be sent to the node yet.
    pub waits: bool,
}

impl Witnessing {
    /// A rebuilt actor reads anew from where its predecessor was.
    #[must_use]
    pub fn reborn(&self) -> Witnessing {
        Witnessing { seen: self.seen, waits: self.waits, ..Witnessing::default() }
    }
}

impl Engine {
    /// A node was not compared since the start: what is from before it waits.
    pub fn is_comparing(&self) -> bool {
        self.nodes.iter().any(|node| node.witnessing.waits)
    }

    /// How far the node's clock is ahead of ours, as far as it is known; also after ours was set.
    fn clock_offset_ms(&self, at: usize, now: UnixMs) -> i64 {
        self.nodes[at].offset.unwrap_or(0) - now.since(self.steady(now))
    }

    /// Begins to read, reads on, or stops.
    pub fn witness(&mut self, at: usize, now: UnixMs) {
        self.started_at.clock_is_ahead(self.set_ms);
        if self.is(Twin::NoWitness) {
            return;
        }
        let offset_ms = self.clock_offset_ms(at, now);
        let node = &mut self.nodes[at];
        if node.offset.is_some() {
            let witnessing = &mut node.witnessing;
            let begins = witnessing.reading.is_none();
            if begins {
                let set_back_ms = self.behind_ms + self.started_at.set_back_ms();
                let read_back_ms = MARGIN_MS + set_back_ms;
                let back_to = witnessing.seen.until.plus_ms(offset_ms - read_back_ms);
                witnessing.reading = Some(Reading::back_to(back_to));
                witnessing.levels = false;
            }
            let idle = witnessing.reading.as_ref().is_some_and(|reading| !reading.waits());
            // What is far ahead is by a clock that was set back since.
            let is_due = witnessing.at <= now || witnessing.at.since(now) > EVERY_MS;
            if idle && (begins || is_due) {
                witnessing.at = now;
                self.list_payments(at);
            }
        }
        if now.since(self.nodes[at].witnessing.seen.until) > STALE_MS {
            self.not_read(at);
        }
    }

    fn list_payments(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.number += 1;
        if let Some(reading) = &mut node.witnessing.reading {
            self.out.push((at, Command::ListPayments(reading.ask(node.number))));
        }
    }

    /// What the node does from now on, nobody sees, and the journal says so.
    fn not_read(&mut self, at: usize) {
        let seen = &mut self.nodes[at].witnessing.seen;
        if std::mem::take(&mut seen.live) {
            let (node, until) = (NodeWork::name(at), seen.until);
            self.disk.append(Event::NodeCompared { node, until, live: false });
        }
    }

    /// The connection is gone.
    pub fn witness_disconnected(&mut self, at: usize) {
        self.nodes[at].witnessing.reading = None;
        self.not_read(at);
    }

    /// A page of the node's payments, or why there is none.
    pub fn listed(
        &mut self,
        at: usize,
        call: ListCall,
        page: Result<Vec<ListedPayment>, String>,
        now: UnixMs,
    ) {
        let offset_ms = self.clock_offset_ms(at, now);
        let Some(reading) = &mut self.nodes[at].witnessing.reading else {
            return;
        };
        let Ok(page) = page else {
            if reading.lost(call.number) {
                self.nodes[at].witnessing.at = now.plus_ms(AGAIN_MS);
            }
            return;
        };
        let Some(read) = reading.page(call, &page) else {
            return;
        };
        let (alive, more) = read.expect("a page of where it was asked for");
        for listed in alive {
            self.compare(at, listed.payment_hash, listed.created.plus_ms(-offset_ms), now);
        }
        if more {
            return self.list_payments(at);
        }
        self.read(at, now);
    }

    fn read(&mut self, at: usize, now: UnixMs) {
        let node = &mut self.nodes[at];
        let witnessing = &mut node.witnessing;
        let was_live = witnessing.seen.live;
        witnessing.seen = Compared { until: witnessing.at, live: true };
        let until = witnessing.at;
        witnessing.at = now.plus_ms(EVERY_MS);
        if witnessing.waits {
            let reading = witnessing.reading.as_mut().expect("a page of it has come");
            if reading.is_level() {
                witnessing.waits = false;
                self.seen.push((Kind::Moment, "a node was compared with the journal"));
            } else {
                if !std::mem::replace(&mut witnessing.levels, true) {
                    reading.level_from(node.number);
                }
                witnessing.at = now;
                self.list_payments(at);
            }
        }
        if !was_live {
            let node = NodeWork::name(at);
            self.disk.append(Event::NodeCompared { node, until, live: true });
        }
    }

    /// Who made a payment that the node shows?
    fn compare(&mut self, at: usize, hash: PaymentHash, created: UnixMs, now: UnixMs) {
        let payments = self.batches.values().flat_map(|work| &work.batch.payments);
        let ours = payments.filter(|payment| payment.order.payment_hash == hash);
        let ours: Vec<Payment> = ours.cloned().collect();
        let name = NodeWork::name(at);
        match origin(|node| *node == *name, created, &ours, self.started_at) {
            Origin::Ours => {}
            Origin::Elsewhere => {
                if self.elsewhere.insert(hash) {
                    let hashes = Arc::new(vec![hash]);
                    self.disk.append(Event::PaidElsewhere { node: name, hashes, time: now });
                }
            }
            Origin::AfterAll(payment) => {
                self.stand(at, &standing::Input::PaidAfterAll(payment), now);
            }
            Origin::PaidBefore(payment) => {
                let attempt = AttemptId { payment, number: 0 };
                self.outcome(attempt, Outcome::Contradicted(Contradiction::PaidBefore));
            }
            Origin::OtherJournal(_) => self.fenced = Some(hash),
        }
    }
}
