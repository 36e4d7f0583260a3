//! A batch, a node and channels, as the actors hold them.

use std::sync::Arc;

use fulgurite_core::{
    Lsn, Msat, Order, PaymentHash, UnixMs,
    batch::Batch,
    breaker,
    channel::{self, Channel},
    node::{self, Node},
    order::{Accepted, BatchOptions},
    port::ChannelInfo,
    testing, window,
};

use crate::{AMOUNT, FEE_LIMIT, NOW, order, payment_id};

/// What every row pays and may cost, together.
pub const WITH_FEE: Msat = Msat::from_sat_clamped(251_250);
/// More than any benchmark has in flight.
const MANY: u32 = 100_000;

/// A hash of its own for each number.
pub fn hash(number: u32) -> PaymentHash {
    let mut bytes = [0x5a; 32];
    // Spread over all of it, as hashes are.
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte ^= number.wrapping_mul(0x9e37_79b1).rotate_left(at as u32).to_le_bytes()[at % 4];
    }
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PaymentHash(bytes)
}

/// A batch of `rows` payments that wait for their first attempt.
pub fn batch(rows: u32) -> Batch {
    let options = BatchOptions { in_flight_max: MANY, ..testing::options() };
    let accepted = Accepted {
        batch: payment_id().batch(),
        amount: AMOUNT,
        fee_limit: FEE_LIMIT,
        time: NOW,
        ..testing::accepted(options, rows)
    };
    let orders: Vec<(u32, Arc<Order>)> = (1..=rows).map(|row| (row, Arc::new(order()))).collect();
    let lsn: Lsn = 1;
    Batch::new(Arc::new(accepted), &orders, lsn)
}

/// A connected node with room for everything.
pub fn node(now: UnixMs) -> Node {
    let limits = node::Limits {
        window: window::Limits { start: MANY, min: 1, max: MANY },
        breaker: breaker::Limits { faults: 5, open_ms: 1_000, probes: 3 },
        payments_per_second_max: 0,
    };
    let mut node = Node::new(limits, now);
    node.connection(true);
    node
}

/// Ten idle channels.
pub fn channels() -> Vec<Channel> {
    let info = |number: u64| ChannelInfo {
        short_channel_id: number << 40,
        remote_pubkey: "02".into(),
        active: true,
        capacity: Msat::from_sat_clamped(1_000_000_000),
        local_balance: Msat::from_sat_clamped(900_000_000),
        reserve: Msat::from_sat_clamped(10_000_000),
        commit_fee: Msat::ZERO,
        max_accepted_htlcs: 483,
        max_in_flight: Msat::from_sat_clamped(900_000_000),
        dust_limit: Msat::from_sat_clamped(354),
        outgoing: Arc::default(),
    };
    let fee_exposure_max = Msat::from_sat_clamped(500_000);
    let limits = channel::Limits { slots_reserve: 20, fee_exposure_max };
    (1..=10).map(|number| Channel::new(info(number), limits)).collect()
}
