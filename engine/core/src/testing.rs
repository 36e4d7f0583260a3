//! Orders, batches and attempts for tests, those of other crates too. Built always: behind a
//! feature the crate would be compiled twice.

use std::sync::Arc;

use crate::{
    amount::{FeePolicy, Msat},
    batch::Batch,
    event::AttemptStarted,
    id::{BatchId, PaymentHash, Preimage},
    order::{Accepted, BatchOptions, Order},
    port::ChannelInfo,
    retry::{RetryPolicy, Terms},
    time::UnixMs,
};

/// When the tests begin.
pub const NOW: UnixMs = UnixMs(1_000_000);
/// What every order pays.
pub const AMOUNT: Msat = Msat::from_sat_clamped(1_000);
/// What every order may pay in fees.
pub const FEE_LIMIT: Msat = Msat::from_sat_clamped(10);

/// The proof of row `row`.
pub fn preimage(row: u32) -> Preimage {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&row.to_be_bytes());
    Preimage(bytes)
}

/// The hash of row `row`.
pub fn hash(row: u32) -> PaymentHash {
    preimage(row).payment_hash()
}

/// An order whose invoice expires in an hour.
pub fn order(row: u32) -> Order {
    Order {
        invoice: "lnbcrt1".into(),
        payment_hash: hash(row),
        payee: None,
        amount: AMOUNT,
        amount_in_send: false,
        fee_limit: FEE_LIMIT,
        invoice_expiry: NOW.plus_ms(3_600_000),
        deadline: None,
        reference: None,
    }
}

/// Options without any limit in the way.
pub fn options() -> BatchOptions {
    BatchOptions {
        accept_valid: true,
        in_flight_max: 100,
        fee_policy: FeePolicy { base: FEE_LIMIT, proportional_ppm: 0 },
        attempts_max: 3,
        ..BatchOptions::default()
    }
}

/// What a batch of `order_count` orders is accepted as.
pub fn accepted(options: BatchOptions, order_count: u32) -> Accepted {
    Accepted {
        batch: batch_id(),
        account: "default".into(),
        idempotency_key: "key".into(),
        fingerprint: [0; 32],
        content_digest: "".into(),
        single: false,
        options,
        description: None,
        metadata: Vec::new(),
        order_count,
        refused: Vec::new(),
        amount: AMOUNT,
        fee_limit: FEE_LIMIT,
        time: NOW,
    }
}

/// The one batch of the tests.
pub fn batch_id() -> BatchId {
    BatchId::from_uuid(0x0199_aaaa_bbbb_7ccc_8ddd << 48)
}

/// A batch of these orders, at LSN 1.
pub fn batch(options: BatchOptions, orders: Vec<Order>) -> Batch {
    let rows: Vec<_> = (1..).zip(orders.into_iter().map(Arc::new)).collect();
    let count = u32::try_from(rows.len()).expect("few rows");
    Batch::new(Arc::new(accepted(options, count)), &rows, 1)
}

/// An attempt that fits [`order`].
pub fn attempt(number: u16) -> Arc<AttemptStarted> {
    Arc::new(AttemptStarted {
        attempt: number,
        node: "a".into(),
        epoch: 1,
        amount: AMOUNT,
        fee_limit: FEE_LIMIT,
        channels: Vec::new(),
        cltv_limit: 1_008,
        timeout_seconds: 30,
        send_until: NOW.plus_ms(3_585_000),
    })
}

/// A channel without HTLCs.
pub fn channel() -> ChannelInfo {
    ChannelInfo {
        short_channel_id: 7,
        remote_pubkey: "02".into(),
        active: true,
        capacity: AMOUNT,
        local_balance: AMOUNT,
        reserve: Msat::ZERO,
        commit_fee: Msat::ZERO,
        max_accepted_htlcs: 483,
        max_in_flight: AMOUNT,
        dust_limit: Msat::ZERO,
        outgoing: [].into(),
    }
}

/// Three attempts, no deadline.
pub fn terms() -> Terms {
    let retry = RetryPolicy::default();
    Terms { attempts_max: 3, deadline: None, cancelling: false, retry }
}
