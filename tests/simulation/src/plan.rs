//! What the client wants: batches of orders, each under a key.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, FeePolicy, Msat, Order, PaymentHash, PaymentId, Preimage, UnixMs,
    order::{Accepted, BatchOptions, Priority, RefusedRow, RowReason},
};

use crate::{random::Random, world::BEGIN};

/// What the recipient knows of an order.
#[derive(Clone, Copy, Debug)]
pub struct Invoice {
    pub hash: PaymentHash,
    pub preimage: Preimage,
    pub amount: Msat,
    pub invoice_expiry: UnixMs,
    /// Somebody else pays it.
    pub foreign: bool,
}

/// One batch that the client wants.
#[derive(Debug)]
pub struct Plan {
    pub key: Arc<str>,
    /// What the request is, as the engine remembers it.
    pub fingerprint: [u8; 32],
    pub hashes: Vec<PaymentHash>,
    pub options: BatchOptions,
    /// The engine's first answer.
    pub answer: Option<Answer>,
    pub upload: Option<Upload>,
}

/// How a plan was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Accepted(Arc<Accepted>),
    /// The key belongs to another request.
    KeyReused,
}

/// An upload that runs: at which engine, as which batch, how many rows are there.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    pub life: u32,
    pub batch: BatchId,
    pub rows: usize,
}

impl Plan {
    pub fn new(key: Arc<str>, number: u8, hashes: Vec<PaymentHash>, random: &mut Random) -> Plan {
        let options = options(random);
        let fingerprint = [number; 32];
        Plan { key, fingerprint, hashes, options, answer: None, upload: None }
    }

    pub fn batch(&self) -> Option<BatchId> {
        match &self.answer {
            Some(Answer::Accepted(accepted)) => Some(accepted.batch),
            Some(Answer::KeyReused) | None => None,
        }
    }

    pub fn orders(&self, invoice: impl Fn(PaymentHash) -> Invoice) -> Vec<(u32, Arc<Order>)> {
        let order = |hash: &PaymentHash| {
            let invoice = invoice(*hash);
            Arc::new(Order {
                invoice: "lnbcrt1".into(),
                payment_hash: *hash,
                payee: Some([hash.0[0] % 2; 33]),
                amount: invoice.amount,
                amount_in_send: false,
                fee_limit: Msat::from_sat_clamped(10),
                invoice_expiry: invoice.invoice_expiry,
                deadline: None,
                reference: None,
            })
        };
        let mut rows: Vec<(u32, Arc<Order>)> = Vec::new();
        for (row, order) in (1..).zip(self.hashes.iter().map(order)) {
            if !rows.iter().any(|(_, other)| other.payment_hash == order.payment_hash) {
                rows.push((row, order));
            }
        }
        rows
    }

    /// What is accepted, and the accepted rows: hashes that another payment owns are refused.
    pub fn sealed(
        &self,
        batch: BatchId,
        orders: Vec<(u32, Arc<Order>)>,
        now: UnixMs,
        owner: impl Fn(PaymentHash) -> Option<PaymentId>,
    ) -> (Accepted, Vec<(u32, Arc<Order>)>) {
        let refuse = |row: u32, payment| RefusedRow {
            row,
            reference: None,
            reason: RowReason::HashClaimed,
            message: "".into(),
            field: "bolt11",
            payment,
            other_row: None,
        };
        let mut refused = Vec::new();
        let mut rows = Vec::new();
        for (row, order) in orders {
            match owner(order.payment_hash) {
                Some(payment) => refused.push(refuse(row, Some(payment))),
                None => rows.push((row, order)),
            }
        }
        let order_count = u32::try_from(rows.len() + refused.len()).expect("few rows");
        let accepted = Accepted {
            batch,
            account: "default".into(),
            idempotency_key: Arc::clone(&self.key),
            fingerprint: self.fingerprint,
            content_digest: "".into(),
            single: false,
            options: self.options.clone(),
            description: None,
            metadata: Vec::new(),
            order_count,
            refused,
            amount: Msat::ZERO,
            fee_limit: Msat::ZERO,
            time: now,
        };
        (accepted, rows)
    }
}

fn options(random: &mut Random) -> BatchOptions {
    let priority = [Priority::Low, Priority::Normal, Priority::High][random.index(3)];
    BatchOptions {
        start_paused: random.percent(10),
        accept_valid: true,
        priority,
        in_flight_max: if random.percent(30) { 1 } else { 8 },
        payments_per_second_max: if random.percent(30) { 5 } else { 0 },
        per_destination_in_flight_max: if random.percent(30) { 1 } else { 0 },
        failed_count_max: if random.percent(20) { 1 } else { 0 },
        failed_percent_max: 0,
        fee_policy: FeePolicy { base: Msat::ZERO, proportional_ppm: 0 },
        deadline: random.percent(20).then(|| UnixMs(BEGIN + random.between(10_000, 80_000))),
        attempts_max: if random.percent(20) { 1 } else { 4 },
        cltv_limit_blocks: 1_008,
    }
}
