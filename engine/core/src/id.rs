//! Identities: batches, payments, attempts, sends, nodes, hashes.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// How many low bits of a batch's UUIDv7 are zero, so that a payment's id can carry its row.
pub const ROW_BITS: u32 = 17;
/// The most rows of a batch; a row is 1 to this.
pub const ROWS_MAX: u32 = 100_000;

/// A batch: a UUIDv7 whose low [`ROW_BITS`] bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(u128);

/// A payment: its batch's id with the row in the low bits, so each derives from the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PaymentId(u128);

const ROW_MASK: u128 = (1 << ROW_BITS) - 1;

impl BatchId {
    /// The batch of a UUIDv7 given as a number; the low bits are cleared.
    pub const fn from_uuid(uuid: u128) -> BatchId {
        BatchId(uuid & !ROW_MASK)
    }

    /// The UUID as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The payment in row `row`, 1 to [`ROWS_MAX`].
    pub fn payment(self, row: u32) -> PaymentId {
        assert!((1..=ROWS_MAX).contains(&row), "row {row} is outside 1..=100000");
        PaymentId(self.0 | u128::from(row))
    }
}

impl PaymentId {
    /// The payment of a UUID given as a number, or `None` when its row is outside a batch.
    pub fn from_uuid(uuid: u128) -> Option<PaymentId> {
        let row = u32::try_from(uuid & ROW_MASK).ok()?;
        (1..=ROWS_MAX).contains(&row).then_some(PaymentId(uuid))
    }

    /// The UUID as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The batch that the payment belongs to.
    pub const fn batch(self) -> BatchId {
        BatchId::from_uuid(self.0)
    }

    /// The row in its batch, from 1.
    pub fn row(self) -> u32 {
        u32::try_from(self.0 & ROW_MASK).expect("17 bits fit 32")
    }
}

/// Writes a 128-bit number in the hyphenated form of a UUID (RFC 9562, section 4).
fn write_uuid(f: &mut fmt::Formatter<'_>, prefix: &str, uuid: u128) -> fmt::Result {
    let hex = format!("{uuid:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    write!(f, "{prefix}{a}-{b}-{c}-{d}-{e}")
}

/// Reads what [`write_uuid`] wrote: the prefix, then 32 hex digits with four hyphens.
fn parse_uuid(text: &str, prefix: &str) -> Option<u128> {
    let rest = text.strip_prefix(prefix)?;
    let hyphens = rest.bytes().enumerate().filter(|&(_, byte)| byte == b'-').map(|(at, _)| at);
    if rest.len() != 36 || !hyphens.eq([8, 13, 18, 23]) || rest.contains('+') {
        return None;
    }
    u128::from_str_radix(&rest.replace('-', ""), 16).ok()
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, "bat_", self.0)
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, "pay_", self.0)
    }
}

impl fmt::Debug for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct NotAnId;

impl std::str::FromStr for BatchId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<BatchId, NotAnId> {
        let uuid = parse_uuid(text, "bat_").ok_or(NotAnId)?;
        if uuid & ROW_MASK == 0 { Ok(BatchId(uuid)) } else { Err(NotAnId) }
    }
}

impl std::str::FromStr for PaymentId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<PaymentId, NotAnId> {
        parse_uuid(text, "pay_").and_then(PaymentId::from_uuid).ok_or(NotAnId)
    }
}

/// SHA-256 of a preimage (BOLT 2, `payment_hash`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PaymentHash(pub [u8; 32]);

/// The secret that settles a payment. It is proof of payment: never logged.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preimage(pub [u8; 32]);

impl Preimage {
    /// The payment hash that this preimage settles.
    pub fn payment_hash(&self) -> PaymentHash {
        use sha2::Digest;
        PaymentHash(sha2::Sha256::digest(self.0).into())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(..)")
    }
}

/// The name of a node in the configuration, 1 to 32 of `[a-z0-9_-]`.
pub type NodeName = Arc<str>;

/// One decision to pay over one node; a payment can have several, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The payment that is attempted.
    pub payment: PaymentId,
    /// Which attempt of the payment, from 1.
    pub number: u16,
}

/// One `SendPaymentV2` call; an attempt can need several (same hash, same node).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId {
    /// The attempt that is sent.
    pub attempt: AttemptId,
    /// Which send of the attempt, from 1; after a restart of the engine or an actor it goes on
    /// above every number that may have been used before.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_id_carries_batch_and_row() {
        let batch = BatchId::from_uuid(0x0199_aaaa_bbbb_7ccc_8ddd_eeee_ffff_ffff);
        let payment = batch.payment(100_000);
        assert_eq!((payment.batch(), payment.row()), (batch, 100_000));
        assert_eq!(payment.to_string().parse(), Ok(payment));
        assert_eq!(batch.to_string().parse(), Ok(batch));
    }

    #[test]
    fn texts_that_are_no_ids_are_refused() {
        let batch = BatchId::from_uuid(7 << 100);
        for text in ["", "bat_", "pay_1", "pay_zz", &batch.to_string().replace("bat", "pay")] {
            assert_eq!(text.parse::<PaymentId>(), Err(NotAnId), "{text}");
        }
        assert_eq!(
            batch.payment(1).to_string().replace("pay", "bat").parse::<BatchId>(),
            Err(NotAnId)
        );
    }
}
