//! What a simulated lnd does with a send: macaroon, message, invoice, database, HTLCs.

use fulgurite_core::{
    PaymentHash, UnixMs,
    port::{FailureReason, Refused, SendEnd, SendReport},
};

use super::{
    network::DEADLINE_MS,
    sim_node::{Entry, Request, Status},
    world::{Happening, World},
};

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
            self.coverage.saw("request refused: macaroon expired");
            self.refuse(&request, Refused::MacaroonExpired);
            return;
        }
        let hold_ms = request.hold_ms;
        if hold_ms >= DEADLINE_MS {
            self.coverage.saw("held message dropped at the deadline");
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
        if UnixMs(self.now + node.offset_ms) > request.invoice_expiry {
            self.coverage.saw("request refused: invoice expired");
            self.refuse(&request, Refused::InvoiceExpired);
            return;
        }
        let slow = !self.calm && self.random.percent(10);
        let ms = self.random.between(0, if slow { 8_000 } else { 3 });
        self.after(ms, Happening::Begin(request));
    }

    /// The database: one payment per hash, unless it failed.
    pub fn begin(&mut self, request: Request) {
        let node = &mut self.nodes[request.node];
        if node.life != request.life || !node.up {
            return;
        }
        let known = node.books.get(&request.hash);
        if known.is_some_and(Entry::is_alive) {
            self.coverage.saw("request refused: already exists");
            self.refuse(&request, Refused::AlreadyExists);
            return;
        }
        if known.is_some() {
            self.coverage.saw("a failed hash ran again");
        }
        self.runs += 1;
        let entry = Entry {
            status: Status::Initiated,
            attempt: Some(request.send.attempt),
            created: UnixMs(self.now + node.offset_ms),
            amount: request.amount,
            run: self.runs,
        };
        match node.sends.get_mut(&request.send) {
            Some(stream) => stream.shows = true,
            None => self.coverage.saw("a late request started a payment"),
        }
        node.books.insert(request.hash, entry);
        self.show(request.node, request.hash);
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
        let preimage = self.client.order(hash).preimage;
        let (roll, ms) = (self.random.between(0, 99), self.htlc_ms());
        let Some(entry) = self.nodes[at].books.get_mut(&hash) else {
            return;
        };
        if entry.run != run || entry.is_final() {
            return;
        }
        if entry.status == Status::Initiated {
            entry.status = Status::InFlight;
            self.after(ms, again);
        } else if roll < 50 {
            entry.status = Status::Succeeded(preimage);
            *self.paid.entry(hash).or_default() += 1;
        } else {
            entry.status = Status::Failed(reason(roll));
        }
        self.show(at, hash);
    }

    fn htlc_ms(&mut self) -> i64 {
        match if self.calm { 0 } else { self.random.between(0, 19) } {
            0..14 => self.random.between(10, 2_000),
            14..18 => self.random.between(2_000, 15_000),
            _ => {
                self.coverage.saw("an HTLC was held for long");
                self.random.between(15_000, 150_000)
            }
        }
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
