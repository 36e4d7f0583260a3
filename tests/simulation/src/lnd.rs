//! What a simulated lnd does with a send: macaroon, message, invoice, database, HTLCs.

use fulgurite_core::{
    Msat, PaymentHash, Preimage, UnixMs,
    port::{FailureReason, Refused, SendEnd, SendReport},
};

use crate::{
    fault::Fault,
    network::DEADLINE_MS,
    sim_node::{Entry, Request, Status},
    twin::Twin,
    world::{Happening, World},
};

/// The longest that a request waits for the database: within the fence's margin.
pub const DATABASE_MS_MAX: i64 = 8_000;

impl World {
    /// HEADERS: lnd looks at the macaroon.
    pub fn headers(&mut self, mut request: Request) {
        let node = &self.nodes[request.node];
        if !node.up {
            if self.random.percent(50) {
                let ms = self.random.between(1_000, 8_000);
                self.after(ms, Happening::Headers(request));
            }
            return;
        }
        request.life = node.life;
        if UnixMs(self.now + node.offset_ms) > request.expiry {
            self.saw("request refused: macaroon expired");
            self.refuse(&request, Refused::MacaroonExpired);
            return;
        }
        let hold_ms = request.hold_ms;
        if hold_ms >= DEADLINE_MS && !self.is(Twin::NoDeadline) {
            self.saw("held message dropped at the deadline");
            return;
        }
        self.after(hold_ms, Happening::Message(request));
    }

    /// The message: lnd looks at the invoice, then waits for its database.
    pub fn message(&mut self, request: Request) {
        let node = &self.nodes[request.node];
        if node.life != request.life || !node.up {
            return;
        }
        let slow = node.slow_until > self.now;
        if UnixMs(self.now + node.offset_ms) > request.invoice_expiry {
            self.saw("request refused: invoice expired");
            self.refuse(&request, Refused::InvoiceExpired);
            return;
        }
        for (fault, refused) in
            [(Fault::RefusedInvalid, Refused::Invalid), (Fault::RefusedOwn, Refused::SelfPayment)]
        {
            if self.strikes(fault) {
                self.refuse(&request, refused);
                return;
            }
        }
        let slow = self.strikes(Fault::DatabaseSlow) || slow;
        let ms = if request.database_ms > 0 {
            request.database_ms
        } else if slow {
            self.faults.size(Fault::DatabaseSlow, 0, DATABASE_MS_MAX)
        } else {
            self.random.between(0, 3)
        };
        self.after(ms, Happening::Begin(request));
    }

    /// The database: one payment per hash, unless it failed.
    pub fn begin(&mut self, request: Request) {
        let node = &self.nodes[request.node];
        if node.life != request.life || !node.up {
            return;
        }
        let known = node.books.get(&request.hash).map(Entry::is_alive);
        let asked = node.asked.get(&request.hash).is_some_and(|life| *life > request.engine);
        let offset_ms = node.offset_ms;
        if known == Some(true) {
            self.saw("request refused: already exists");
            self.refuse(&request, Refused::AlreadyExists);
            return;
        }
        if known.is_some() {
            self.saw("a failed hash ran again");
        }
        if asked {
            self.saw("a request came after its engine had died, come back and asked");
        }
        self.runs += 1;
        let entry = Entry {
            status: Status::Initiated,
            attempt: Some(request.send.attempt),
            created: UnixMs(self.now + offset_ms),
            began: self.now,
            amount: request.amount,
            fee: Msat::from_sat_clamped(1),
            run: self.runs,
            allowed: request.channels,
            channel: 0,
            lost: false,
        };
        let node = &mut self.nodes[request.node];
        node.books.insert(request.hash, entry);
        match node.sends.get_mut(&request.send) {
            Some(stream) => stream.shows = true,
            None => self.saw("a late request started a payment"),
        }
        self.show(request.node, request.hash);
        if self.nodes[request.node].sends.contains_key(&request.send)
            && self.strikes(Fault::CutAfterFirst)
        {
            let ms = self.faults.size(Fault::CutAfterFirst, 1, 2_000);
            self.after(ms, Happening::StreamCut { node: request.node, send: request.send });
        }
        let ms = self.random.between(0, 30);
        let moves = Happening::Move { node: request.node, hash: request.hash, run: self.runs };
        self.after(ms, moves);
    }

    fn refuse(&mut self, request: &Request, refused: Refused) {
        let report = SendReport::Ended(SendEnd::Refused(refused));
        self.stream_says(request.node, request.send, report);
    }

    /// A payment at a node goes on: HTLCs out, then its end.
    pub fn payment_moves(&mut self, at: usize, hash: PaymentHash, run: u64) {
        let again = Happening::Move { node: at, hash, run };
        if !self.nodes[at].up {
            self.after(1_000, again);
            return;
        }
        let moves = |entry: &&Entry| entry.run == run && !entry.is_final() && !entry.lost;
        let Some(entry) = self.nodes[at].books.get(&hash).filter(moves) else {
            return;
        };
        if entry.status == Status::Initiated {
            let allowed = entry.allowed.iter().copied().collect();
            let first_hop = self.nodes[at].first_hop(&allowed, self.now);
            let ms = self.htlc_ms();
            let entry = self.nodes[at].books.get_mut(&hash).expect("it moves");
            match first_hop {
                Some(channel) => {
                    entry.channel = channel;
                    entry.status = Status::InFlight;
                    self.after(ms, again);
                }
                None => entry.status = Status::Failed(FailureReason::InsufficientBalance),
            }
        } else {
            self.payment_ends(at, hash);
        }
        self.show(at, hash);
    }

    fn payment_ends(&mut self, at: usize, hash: PaymentHash) {
        let roll = self.random.between(0, 99);
        let mut preimage = self.client.invoice(hash).preimage;
        let mut fee = Msat::from_sat_clamped(1);
        if roll < 50 {
            *self.paid.entry(hash).or_default() += 1;
            if self.strikes(Fault::WrongPreimage) {
                preimage = Preimage([0xee; 32]);
                self.excused.insert(hash, "its node gave a wrong preimage");
            }
            if self.strikes(Fault::FeeAboveLimit) {
                fee = Msat::from_sat_clamped(1_000);
                self.excused.insert(hash, "its node paid too much in fees");
            }
        }
        let entry = self.nodes[at].books.get_mut(&hash).expect("it moves");
        entry.fee = fee;
        entry.status =
            if roll < 50 { Status::Succeeded(preimage) } else { Status::Failed(reason(roll)) };
    }

    fn htlc_ms(&mut self) -> i64 {
        if self.strikes(Fault::HtlcHeld) {
            return self.faults.size(Fault::HtlcHeld, 15_000, 150_000);
        }
        let long = !self.faults.calm && self.random.percent(20);
        if long { self.random.between(2_000, 15_000) } else { self.random.between(10, 2_000) }
    }
}

fn reason(roll: i64) -> FailureReason {
    match roll {
        50..65 => FailureReason::InsufficientBalance,
        65..80 => FailureReason::NoRoute,
        80..87 => FailureReason::Timeout,
        87..94 => FailureReason::Error,
        _ => FailureReason::IncorrectPaymentDetails,
    }
}
