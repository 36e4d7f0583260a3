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

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case digits for each byte. `text` has room for them.
fn hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 15)];
    }
}

/// Writes a text of ASCII digits and signs.
fn write_ascii(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
}

/// Writes a 128-bit number in the hyphenated form of a UUID (RFC 9562, section 4), behind a prefix
/// of four characters. Ids are written for every answer, so this formats nothing.
fn write_uuid(f: &mut fmt::Formatter<'_>, prefix: &[u8; 4], uuid: u128) -> fmt::Result {
    let mut text = [b'-'; 40];
    text[..4].copy_from_slice(prefix);
    let bytes = uuid.to_be_bytes();
    for (from, to, at) in [(0, 4, 4), (4, 6, 13), (6, 8, 18), (8, 10, 23), (10, 16, 28)] {
        hex(&bytes[from..to], &mut text[at..]);
    }
    write_ascii(f, &text)
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
        write_uuid(f, b"bat_", self.0)
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, b"pay_", self.0)
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

fn write_hash(f: &mut fmt::Formatter<'_>, hash: &PaymentHash) -> fmt::Result {
    let mut text = [0; 64];
    hex(&hash.0, &mut text);
    write_ascii(f, &text)
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hash(f, self)
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hash(f, self)
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
        assert_eq!(batch.to_string(), "bat_0199aaaa-bbbb-7ccc-8ddd-eeeefffe0000");
    }

    #[test]
    fn a_hash_is_written_in_hex() {
        let hash = PaymentHash(std::array::from_fn(|at| 0x10 * (at as u8 % 16) + at as u8 / 2));
        let expected: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash.to_string(), expected);
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
