//! Random histories that the rules allow, from one seed.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, Event, FeePolicy, Msat, Order, PaymentHash, PaymentId, Preimage, UnixMs,
    batch::{self, Batch},
    book::{Book, Changed},
    event::{
        AttemptStarted, Contradiction, Failure, NeverSent, Next, PaymentChange, Resolution,
        SendBounds, Verdict,
    },
    order::{Accepted, BatchOptions, Priority, RefusedRow, RowReason, Sealed},
    payment::{Payment, State},
    port::FailureReason,
};

use super::NOW;

/// A history so far: what is open, and what left memory.
pub struct History {
    pub book: Book,
    pub finished: Vec<Batch>,
    random: u64,
    batches: u128,
}

impl History {
    pub fn new(seed: u64) -> History {
        History { book: Book::default(), finished: Vec::new(), random: seed, batches: 0 }
    }

    /// What an engine that starts now journals first.
    pub fn start(&mut self, epoch: u32, version: &str) {
        let event = Event::EngineStarted { epoch, time: NOW, version: version.into() };
        self.apply(event);
    }

    /// About so many more events.
    pub fn steps(&mut self, steps: usize) -> Vec<Event> {
        (0..steps).flat_map(|_| self.step()).collect()
    }

    /// A batch of so many payments that are all cancelled at once: one record, many rows of views.
    pub fn large_batch(&mut self, count: u32) -> Vec<Event> {
        self.batches += 1;
        let batch = batch_id(self.batches);
        let rows: Vec<_> = (1..=count).map(|row| (row, Arc::new(self.order(batch, row)))).collect();
        let mut accepted = self.accepted(batch, count);
        accepted.refused.clear();
        let time = self.now();
        let rows_cancelled = Arc::new((1..=count).collect());
        let events = [
            Event::OrdersAdded { batch, orders: Arc::new(rows) },
            Event::BatchAccepted(Arc::new(accepted)),
            Event::BatchCancelRequested { batch, time },
            Event::PaymentsCancelled { batch, rows: rows_cancelled, time },
            Event::BatchFinished { batch, time },
        ];
        events.into_iter().map(|event| self.apply(event)).collect()
    }

    fn step(&mut self) -> Vec<Event> {
        let events = match self.below(12) {
            0 => self.upload(),
            1 => self.request(),
            2 if self.below(3) == 0 => {
                let expiry_ms = self.below(60_000) as i64;
                vec![Event::SendBounds(SendBounds { expiry_ms, deadline_ms: expiry_ms + 1 })]
            }
            2 if self.below(3) == 0 => self.witnessed(),
            2 => vec![Event::Barrier],
            _ => self.payment().into_iter().collect(),
        };
        let mut all = Vec::new();
        for event in events {
            all.push(self.apply(event));
        }
        while let Some(event) = self.follow_up() {
            all.push(self.apply(event));
        }
        all
    }

    fn witnessed(&mut self) -> Vec<Event> {
        let (until, live) = (self.now(), self.below(2) == 0);
        let node: fulgurite_core::NodeName = ["a", "b"][self.below(2)].into();
        let hashes = Arc::new(vec![fulgurite_core::PaymentHash([self.below(255) as u8; 32])]);
        let mut events = vec![
            Event::Installed { installation: self.below(1 << 31) as u32 },
            Event::NodeCompared { node: Arc::clone(&node), until, live },
            Event::PaidElsewhere { node: Arc::clone(&node), hashes, time: until },
        ];
        match self.below(3) {
            0 => events.push(Event::NotAlone { node, epoch: 0, time: until }),
            1 => events.push(Event::TakenOver { time: until }),
            _ => {}
        }
        events
    }

    fn apply(&mut self, event: Event) -> Event {
        let lsn = self.book.lsn + 1;
        if let Changed::Finished(batch) = self.book.apply(&event, lsn) {
            self.finished.extend(self.book.forget(batch));
        }
        event
    }

    fn follow_up(&self) -> Option<Event> {
        self.sorted().into_iter().find_map(|batch| batch.follow_up(self.now()))
    }

    fn upload(&mut self) -> Vec<Event> {
        self.batches += 1;
        let batch = batch_id(self.batches);
        let count = 1 + self.below(20) as u32;
        let chunk = 1 + self.below(7);
        let rows: Vec<_> = (1..=count).map(|row| (row, Arc::new(self.order(batch, row)))).collect();
        let added = rows
            .chunks(chunk)
            .map(|orders| Event::OrdersAdded { batch, orders: Arc::new(orders.to_vec()) });
        let mut events: Vec<Event> = added.collect();
        match self.below(8) {
            0 => {}
            1 => events.push(Event::UploadDropped { batch }),
            _ => events.push(Event::BatchAccepted(Arc::new(self.accepted(batch, count)))),
        }
        events
    }

    fn order(&mut self, batch: BatchId, row: u32) -> Order {
        let payment = batch.payment(row);
        let reference = (self.below(3) == 0).then(|| Sealed::plain(&format!("invoice {row}")));
        Order {
            invoice: format!("lnbcrt1{payment}").into(),
            payment_hash: hash(payment),
            payee: (self.below(2) == 0).then_some([2; 33]),
            amount: Msat::from_sat_clamped(1 + self.below(1_000) as u64),
            amount_in_send: self.below(2) == 0,
            fee_limit: Msat::from_sat_clamped(self.below(10) as u64),
            invoice_expiry: NOW.plus_ms(3_600_000),
            deadline: (self.below(2) == 0).then(|| NOW.plus_ms(1_800_000)),
            reference,
        }
    }

    fn accepted(&mut self, batch: BatchId, count: u32) -> Accepted {
        let refused = (count > 2 && self.below(3) == 0).then(|| RefusedRow {
            row: 2,
            reference: Some(Sealed::plain("the second")),
            reason: RowReason::HashClaimed,
            message: "the hash is owned by another payment".into(),
            field: "bolt11",
            payment: Some(batch.payment(1)),
            other_row: None,
        });
        Accepted {
            batch,
            account: "default".into(),
            idempotency_key: format!("key {batch}").into(),
            fingerprint: [batch.as_u128() as u8; 32],
            content_digest: "sha256:00".into(),
            single: count == 1,
            options: batch_options(self.below(4) == 0),
            description: Some(Sealed { key_id: 7, bytes: [1, 2, 3].as_slice().into() }),
            metadata: vec![(Sealed::plain("month"), Sealed::plain("November"))],
            order_count: count,
            refused: refused.into_iter().collect(),
            amount: Msat::from_sat_clamped(u64::from(count)),
            fee_limit: Msat::from_sat_clamped(u64::from(count)),
            time: self.now(),
        }
    }

    fn request(&mut self) -> Vec<Event> {
        let input = match self.below(6) {
            0 => batch::Input::Cancel,
            1 | 2 => batch::Input::Pause,
            _ => batch::Input::Resume,
        };
        let now = self.now();
        let at = self.below(1_000);
        let batches = self.sorted();
        let Some(batch) = batches.get(at % batches.len().max(1)) else {
            return Vec::new();
        };
        batch.decide(input, now).into_iter().collect()
    }

    fn payment(&mut self) -> Option<Event> {
        let (at, row, choice) = (self.below(1_000), self.below(1_000), self.below(100));
        let batches = self.sorted();
        let batch = batches.get(at % batches.len().max(1))?;
        let payment = &batch.payments.get(row % batch.payments.len().max(1))?;
        let change = change(payment, choice, self.now())?;
        Some(Event::Payment { payment: payment.id, time: self.now(), change })
    }

    fn sorted(&self) -> Vec<&Batch> {
        let mut batches: Vec<&Batch> = self.book.batches.values().collect();
        batches.sort_by_key(|batch| batch.summary.accepted.batch);
        batches
    }

    fn now(&self) -> UnixMs {
        NOW.plus_ms(i64::try_from(self.book.lsn).expect("a short history"))
    }

    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn batch_id(number: u128) -> BatchId {
    BatchId::from_uuid(0x0199_0000_0000_7000_8000 << 48 | number << 20)
}

/// Something that may happen to this payment; `None` when nothing more may.
fn change(payment: &Payment, choice: usize, now: UnixMs) -> Option<PaymentChange> {
    let attempt = payment.attempts.last().map_or(0, |attempt| attempt.number);
    let next = match choice % 5 {
        0..3 => Next::Retry { not_before: now.plus_ms(5) },
        3 => Next::Failed(Failure::NoRoute),
        _ => Next::Cancelled,
    };
    let contradiction = Contradiction::SucceededAfterFinal;
    let said = [Contradiction::WrongPreimage, Contradiction::PaidTooMuch, Contradiction::Forgotten];
    Some(match (&payment.state, choice) {
        (State::Queued { .. }, 0..5) => PaymentChange::Failed(Failure::InvoiceExpired),
        (State::Queued { .. }, 5..8) => PaymentChange::Cancelled,
        (State::Queued { .. }, _) => PaymentChange::AttemptStarted(Arc::new(AttemptStarted {
            attempt: payment.next_attempt(),
            node: "alice".into(),
            epoch: 1,
            amount: payment.order.amount,
            fee_limit: payment.order.fee_limit,
            channels: vec![(choice as u64, payment.order.amount)],
            cltv_limit: 1_008,
            timeout_seconds: 30,
            send_until: now.plus_ms(60_000),
        })),
        (State::InFlight(_), 0..3) => PaymentChange::AttemptStuck { attempt },
        (State::InFlight(_) | State::Stuck(_), 0..70) => PaymentChange::AttemptSettled {
            attempt,
            preimage: preimage(payment.id),
            fee_paid: Msat::ZERO,
        },
        (State::InFlight(_) | State::Stuck(_), 70..85) => {
            PaymentChange::AttemptFailed { attempt, reason: FailureReason::NoRoute, next }
        }
        (State::InFlight(_) | State::Stuck(_), 85..98) => {
            PaymentChange::AttemptNeverSent { attempt, cause: NeverSent::NotDelivered, next }
        }
        (State::InFlight(_) | State::Stuck(_), _) => {
            PaymentChange::Contradicted { attempt, contradiction: said[choice % said.len()] }
        }
        // A person decides (rule E20); what they call not paid keeps its hash.
        (State::Unresolved { .. }, 0..50) => {
            let paid = Verdict::Paid(preimage(payment.id));
            let verdict = if choice.is_multiple_of(2) { paid } else { Verdict::NotPaid };
            let (by, reason) = (Sealed::plain("ada"), Sealed::plain("looked"));
            PaymentChange::Resolved(Arc::new(Resolution { verdict, by, reason }))
        }
        // Declared not paid, and paid after all: it leaves a final state.
        (State::Failed(_), 0..5) => PaymentChange::Contradicted { attempt, contradiction },
        _ => return None,
    })
}

fn preimage(payment: PaymentId) -> Preimage {
    let mut preimage = [0; 32];
    preimage[..16].copy_from_slice(&payment.as_u128().to_be_bytes());
    Preimage(preimage)
}

/// The hash of a payment of a history.
pub fn hash(payment: PaymentId) -> PaymentHash {
    preimage(payment).payment_hash()
}

fn batch_options(start_paused: bool) -> BatchOptions {
    BatchOptions {
        start_paused,
        accept_valid: true,
        priority: Priority::High,
        in_flight_max: 100,
        payments_per_second_max: 0,
        per_destination_in_flight_max: 0,
        failed_count_max: 0,
        failed_percent_max: 50,
        fee_policy: FeePolicy { base: Msat::from_sat_clamped(5), proportional_ppm: 3_000 },
        deadline: None,
        attempts_max: 10,
        cltv_limit_blocks: 1_008,
    }
}
