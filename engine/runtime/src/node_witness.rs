//! The node actor's part of the witness (rule E18): it has the node's payments read, back to where
//! the journal has seen them and then on and on, and hands what it does not know to the thread
//! that looks it up.

use std::sync::Arc;

use fulgurite_core::{
    Event, PaymentHash, UnixMs,
    map::HashSet,
    port::{Command, Journal, ListCall, ListedPayment, Whose},
    witness::Reading,
};

use crate::{node_work::NodeWork, witness::Check};

/// After a page that did not come, in milliseconds.
const AGAIN_MS: i64 = 1_000;
/// How long a page may take before operators are told, in milliseconds.
const SLOW_MS: i64 = 5_000;
/// A reading counts as over so long before it would be older than the next start reads back, in
/// milliseconds.
const STALE_BEFORE_MS: i64 = 30_000;

/// How far the reading of one node is.
#[derive(Default)]
pub(crate) struct Witnessing {
    /// `None` before the first connection.
    reading: Option<Reading>,
    /// When the reading that runs began, or the next one begins.
    at: UnixMs,
    /// When the page that is waited for was asked for.
    asked: UnixMs,
    /// What is started here and has not been listed yet, and before the last reading.
    started: [HashSet<PaymentHash>; 2],
    /// The page that is looked up, and whether there is more behind it.
    checking: Option<(u64, bool)>,
    /// The first call over this connection that revokes the macaroons of older engines with this
    /// journal.
    revoking: Option<u64>,
    /// None of those over this connection can send to the node any more.
    revoked: bool,
    /// Why its payments cannot be compared; empty when they can.
    problem: String,
    /// Nothing may be sent to the node yet.
    pub(crate) waits: bool,
}

impl Witnessing {
    /// Nothing was read yet.
    pub(crate) fn new(waits: bool) -> Witnessing {
        Witnessing { waits, ..Witnessing::default() }
    }

    /// An attempt is sent here: its payment is ours when it is listed.
    pub(crate) fn starts(&mut self, hash: PaymentHash) {
        self.started[0].insert(hash);
    }

    /// Why the node's payments cannot be compared with the journal, for operators; empty when they
    /// can.
    pub(crate) fn problem(&self) -> &String {
        &self.problem
    }

    fn knows(&mut self, hash: PaymentHash) -> bool {
        self.started.iter_mut().any(|started| started.remove(&hash))
    }
}

impl NodeWork {
    /// The node can be asked: what has it paid since it was last compared?
    fn witness_begins(&mut self, time: UnixMs) {
        let until = self.slot.compared.lock().until;
        let read_back_ms = self.shared.witness.read_back_ms();
        let back_to = until.plus_ms(self.clock_offset_ms(time) - read_back_ms);
        self.witnessing.reading = Some(Reading::back_to(back_to));
        self.witnessing.checking = None;
        self.witnessing.problem.clear();
        self.list(time);
    }

    /// What the node does now, nobody sees.
    pub(crate) fn witness_disconnected(&mut self) {
        self.witnessing.reading = None;
        // The next connection may find other keys.
        self.witnessing.revoking = None;
        self.witnessing.revoked = false;
        self.witness_could_not();
        crate::witness::not_read(&self.shared, &self.slot);
    }

    /// Who waits for the node goes on without it, if that is safe.
    fn witness_could_not(&self) {
        self.slot.compared.lock().tried = true;
        self.shared.witness.could_not(self.slot.index);
    }

    /// Begins to read, reads on, or stops, as the node is.
    pub(crate) fn witness_tick(&mut self, time: UnixMs) {
        self.shared.witness.see_clock(time);
        if self.node.is_connected() && !self.shared.is_withdrawn() {
            match (self.is_the_one_that_was_believed(), self.witnessing.reading.is_some()) {
                (true, true) => {}
                // What an earlier reading has found is still looked up: one look is enough.
                (true, false) if self.shared.witness.looks_up(self.slot.index) => {}
                (true, false) => self.witness_begins(time),
                // What another node paid says nothing of our orders. Once it is trusted, it is
                // compared before it is sent to.
                (false, reads) => {
                    self.witnessing.waits = true;
                    self.witnessing.revoking = None;
                    self.witnessing.revoked = false;
                    if reads || !self.slot.compared.lock().tried {
                        self.witness_disconnected();
                    }
                }
            }
        }
        let waits = |reading: &Reading| !reading.waits();
        let idle = self.witnessing.reading.as_ref().is_some_and(waits);
        let (at, every_ms) = (self.witnessing.at, self.shared.witness.policy.every_ms);
        let is_due = at.has_come(time, every_ms.max(AGAIN_MS));
        if idle && self.witnessing.checking.is_none() && is_due {
            self.list(time);
        }
        self.witness_is_slow(time);
        let read = self.slot.compared.lock().until;
        if time.since(read) > self.shared.witness.policy.margin_ms - STALE_BEFORE_MS {
            crate::witness::not_read(&self.shared, &self.slot);
        }
    }

    /// When the next reading begins, or the page that is waited for is late; `None` when neither
    /// can be.
    pub(crate) fn witness_at(&self) -> Option<UnixMs> {
        let Witnessing { reading, at, asked, checking, problem, .. } = &self.witnessing;
        let can = self.node.is_connected() && checking.is_none();
        let reading = reading.as_ref().filter(|_| can)?;
        match reading.waits() {
            false => Some(*at),
            true => problem.is_empty().then(|| asked.plus_ms(SLOW_MS)),
        }
    }

    /// Tells operators of a node that does not list its payments.
    fn witness_is_slow(&mut self, time: UnixMs) {
        let asks = self.witnessing.reading.as_ref().is_some_and(Reading::waits);
        if !asks || time.since(self.witnessing.asked) < SLOW_MS {
            return;
        }
        if self.witnessing.problem.is_empty() {
            tracing::warn!(node = %self.slot.name, "the node does not list its payments");
            self.witnessing.problem =
                cannot_compare(self.witnessing.waits, "it does not list them");
        }
        self.witness_could_not();
    }

    /// It shows the identity that the journal knows it by.
    fn is_the_one_that_was_believed(&self) -> bool {
        let shown = self.info.as_ref().map(|info| info.identity_pubkey.as_slice());
        shown == Some(&*self.slot.standing.lock().identity_pubkey)
    }

    /// A reading begins.
    fn list(&mut self, time: UnixMs) {
        self.witnessing.at = time;
        let [now, before] = &mut self.witnessing.started;
        // What never was listed never began.
        *before = std::mem::take(now);
        self.list_on(time);
    }

    fn list_on(&mut self, time: UnixMs) {
        self.witnessing.asked = time;
        let number = self.next_call();
        if let Some(reading) = &mut self.witnessing.reading {
            self.adapter.command(Command::ListPayments(reading.ask(number)));
        }
    }

    fn next_call(&self) -> u64 {
        let mut number = self.slot.number.lock();
        *number += 1;
        *number
    }

    /// A page of the node's payments, or why there is none.
    pub(crate) fn listed(
        &mut self,
        call: ListCall,
        page: Result<Vec<ListedPayment>, String>,
        time: UnixMs,
    ) {
        let Some(reading) = &mut self.witnessing.reading else {
            return;
        };
        let read = match page {
            Ok(page) => match reading.page(call, &page) {
                Some(read) => read.map_err(|misplaced| misplaced.to_string()),
                None => return,
            },
            Err(error) if reading.lost(call.number) => Err(error),
            Err(_) => return,
        };
        let (alive, more) = match read {
            Ok(read) => read,
            Err(error) => return self.not_listed(&error, time),
        };
        let offset_ms = self.clock_offset_ms(time);
        let unknown = alive.iter().filter(|listed| !self.witnessing.knows(listed.payment_hash));
        let ours =
            |listed: &ListedPayment| (listed.payment_hash, listed.created.plus_ms(-offset_ms));
        let listed: Vec<_> = unknown.map(ours).collect();
        if listed.is_empty() {
            return self.listed_is_ours(more, time);
        }
        let node = Arc::clone(&self.slot);
        if self.shared.witness.check(Check { node, number: call.number, listed }) {
            self.witnessing.checking = Some((call.number, more));
        } else {
            // An actor before this one handed over what is looked up now.
            self.witnessing.reading = None;
        }
    }

    /// A page did not come, or says what cannot be: it is asked for again.
    fn not_listed(&mut self, error: &str, time: UnixMs) {
        tracing::warn!(node = %self.slot.name, error,
            "the node's payments cannot be compared with the journal");
        self.witnessing.problem = cannot_compare(self.witnessing.waits, error);
        self.witnessing.at = time.plus_ms(AGAIN_MS);
        self.witness_could_not();
    }

    /// What was handed over has been looked up, and is no reason to end.
    pub(crate) fn checked(&mut self, number: u64, time: UnixMs) {
        if let Some((_, more)) = self.witnessing.checking.take_if(|(asked, _)| *asked == number) {
            self.listed_is_ours(more, time);
        }
    }

    fn listed_is_ours(&mut self, more: bool, time: UnixMs) {
        if more {
            return self.list_on(time);
        }
        let until = self.witnessing.at;
        let was_live = {
            let mut seen = self.slot.compared.lock();
            seen.until = until;
            std::mem::replace(&mut seen.live, true)
        };
        if !was_live {
            let node = Arc::clone(&self.slot.name);
            self.shared.journal.append(Event::NodeCompared { node, until, live: true });
        }
        self.witnessing.at = time.plus_ms(self.shared.witness.policy.every_ms);
        if !self.witnessing.waits {
            self.witnessing.problem.clear();
            return;
        }
        if !self.witnessing.revoked {
            // Only now: an old copy must not cut off the engine with the newest journal.
            self.witnessing.at = time.plus_ms(AGAIN_MS);
            let call = self.next_call();
            self.witnessing.revoking.get_or_insert(call);
            return self.adapter.command(Command::Revoke(Whose::Older(call)));
        }
        // A page that was asked for before the revocation may miss what was started before it.
        if !self.witnessing.reading.as_ref().is_some_and(Reading::is_level) {
            self.witnessing.at = time;
            return self.level_from_now();
        }
        self.witnessing.waits = false;
        self.witnessing.problem.clear();
        self.shared.witness.compared(self.slot.index);
        tracing::info!(node = %self.slot.name, "the node's payments agree with the journal");
    }

    fn level_from_now(&mut self) {
        let number = *self.slot.number.lock();
        if let Some(reading) = &mut self.witnessing.reading {
            reading.level_from(number);
        }
    }

    /// The engine ends, because its journal is not the newest: its key must not stop the engine
    /// that has that.
    pub(crate) fn withdraw(&mut self) {
        self.witnessing.waits = true;
        self.witnessing.reading = None;
        self.adapter.command(Command::Revoke(Whose::Own));
    }

    /// What came of that.
    pub(crate) fn withdrawn(&mut self, revoked: Result<(), String>) {
        if let Err(error) = &revoked {
            tracing::warn!(node = %self.slot.name, %error, "this engine's key cannot be deleted");
        }
        self.slot.compared.lock().withdrawn = Some(revoked.is_ok());
    }

    /// No older engine can send any more: what it sent before is listed now.
    pub(crate) fn revoked(&mut self, call: u64, revoked: Result<(), String>, time: UnixMs) {
        let is_asked = self.witnessing.revoking.is_some_and(|first| call >= first);
        if !is_asked || self.shared.is_withdrawn() {
            return;
        }
        match revoked {
            Ok(()) => {
                self.witnessing.revoked = true;
                self.witnessing.at = time;
                self.level_from_now();
                self.witness_tick(time);
            }
            Err(error) => {
                tracing::warn!(node = %self.slot.name, %error,
                    "the macaroons of older engines cannot be revoked");
                self.witnessing.problem = format!(
                    "the macaroons of older engines cannot be revoked, and nothing is sent there \
                     before they were: {error}"
                );
            }
        }
    }
}

/// For operators: why the node's payments are not compared, and what that means.
fn cannot_compare(waits: bool, error: &str) -> String {
    let means = match waits {
        true => ", and nothing is sent there before they were",
        false => "; payments go on",
    };
    format!("its payments cannot be compared with the journal{means}: {error}")
}
