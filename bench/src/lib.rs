//! Criterion benchmarks, one group per hot function; here, what they are fed with.

pub mod allocations;
pub mod batch;
pub mod group;

pub use group::criterion;

use std::sync::Arc;

use fulgurite_core::{
    BatchId, Event, Msat, Order, PaymentId, Preimage, UnixMs,
    event::{AttemptStarted, PaymentChange},
    payment::Payment,
    retry::{RetryPolicy, Terms},
};

/// An invoice with amount, from the test vectors of BOLT 11.
pub const INVOICE: &str = "\
lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzq\
fqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9v\
dx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3r\
h";

/// When everything happens.
pub const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// The proof of every payment.
pub const PREIMAGE: Preimage = Preimage([7; 32]);

/// What every payment pays.
pub const AMOUNT: Msat = Msat::from_sat_clamped(250_000);
/// What it may cost.
pub const FEE_LIMIT: Msat = Msat::from_sat_clamped(1_250);

/// An order that can be paid for an hour.
pub fn order() -> Order {
    Order {
        invoice: INVOICE.into(),
        payment_hash: PREIMAGE.payment_hash(),
        payee: Some([2; 33]),
        amount: AMOUNT,
        amount_in_send: false,
        fee_limit: FEE_LIMIT,
        invoice_expiry: NOW.plus_ms(3_600_000),
        deadline: None,
        reference: None,
    }
}

/// The payment of row 1.
pub fn payment_id() -> PaymentId {
    BatchId::from_uuid(0x0199_aaaa_bbbb_7ccc_8ddd << 48).payment(1)
}

/// A payment that waits for its first attempt.
pub fn queued() -> Payment {
    Payment::new(payment_id(), Arc::new(order()), NOW, 1)
}

/// Its first attempt, over one channel.
pub fn attempt() -> Arc<AttemptStarted> {
    Arc::new(AttemptStarted {
        attempt: 1,
        node: "first".into(),
        epoch: 1,
        amount: AMOUNT,
        fee_limit: FEE_LIMIT,
        channels: vec![(1 << 40, AMOUNT)],
        cltv_limit: 1_008,
        timeout_seconds: 30,
        send_until: NOW.plus_ms(3_585_000),
    })
}

/// A payment with its first attempt in flight.
pub fn in_flight() -> Payment {
    let mut payment = queued();
    payment.apply(&PaymentChange::AttemptStarted(attempt()), NOW, 2);
    payment
}

/// The end of a payment that was paid.
pub fn settled() -> PaymentChange {
    let fee_paid = Msat::from_sat_clamped(25);
    PaymentChange::AttemptSettled { attempt: 1, preimage: PREIMAGE, fee_paid }
}

/// What a payment that is paid at once leaves in the journal.
pub fn events() -> [Event; 2] {
    let event = |change| Event::Payment { payment: payment_id(), time: NOW, change };
    [event(PaymentChange::AttemptStarted(attempt())), event(settled())]
}

/// Five attempts, no deadline.
pub fn terms() -> Terms {
    Terms { attempts_max: 5, deadline: None, cancelling: false, retry: RetryPolicy::default() }
}
