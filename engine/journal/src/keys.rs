//! The keys of the rows of views: numbers big-endian, so that rows lie in reading order.

use fulgurite_core::{BatchId, PaymentHash, PaymentId, id::ROW_BITS};

/// A payment: its id, which sorts by batch and row.
pub(crate) fn payment(id: PaymentId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// The payments of a batch with rows above `after`: from, and up to but without.
pub(crate) fn payments(batch: BatchId, after: u32) -> ([u8; 16], [u8; 16]) {
    let first = batch.as_u128() + u128::from(after) + 1;
    (first.to_be_bytes(), (batch.as_u128() + (1 << ROW_BITS)).to_be_bytes())
}

/// A payment that has this hash.
pub(crate) fn hash(hash: PaymentHash, id: PaymentId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&hash.0);
    key[32..].copy_from_slice(&payment(id));
    key
}

/// A hash that is of no payment: the id behind it is nobody's.
pub(crate) fn hash_elsewhere(hash: PaymentHash) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&hash.0);
    key
}

/// What all keys of a reference begin with. Its length comes first: no reference's keys are
/// among another's.
pub(crate) fn reference_prefix(reference: &[u8]) -> Vec<u8> {
    let length = u16::try_from(reference.len()).unwrap_or(u16::MAX);
    let mut key = length.to_be_bytes().to_vec();
    key.extend(reference);
    key
}

/// A payment that has this reference.
pub(crate) fn reference(reference: &[u8], id: PaymentId) -> Vec<u8> {
    let mut key = reference_prefix(reference);
    key.extend(payment(id));
    key
}

/// A batch; those of a single payment have a range of their own.
pub(crate) fn batch(id: BatchId, single: bool) -> [u8; 17] {
    let mut key = [0; 17];
    key[0] = u8::from(single);
    key[1..].copy_from_slice(&id.as_u128().to_be_bytes());
    key
}

/// A client's idempotency key in its account.
pub(crate) fn idempotency(account: &str, key: &str) -> Vec<u8> {
    let length = u16::try_from(account.len()).unwrap_or(u16::MAX);
    let mut row = length.to_be_bytes().to_vec();
    row.extend(account.as_bytes());
    row.extend(key.as_bytes());
    row
}

/// The id at the end of a key; `None` when it is none.
pub(crate) fn payment_at_end(key: &[u8]) -> Option<PaymentId> {
    PaymentId::from_uuid(u128::from_be_bytes(*key.last_chunk()?))
}

/// The batch at the end of a key or value; `None` when it is none.
pub(crate) fn batch_at_end(bytes: &[u8]) -> Option<BatchId> {
    let id = u128::from_be_bytes(*bytes.last_chunk()?);
    Some(BatchId::from_uuid(id)).filter(|batch| batch.as_u128() == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_batch_holds_its_rows_and_no_others() {
        let batch = BatchId::from_uuid(5 << ROW_BITS);
        let next = BatchId::from_uuid(6 << ROW_BITS);
        let (from, to) = payments(batch, 0);
        let inside = |id| (from..to).contains(&payment(id));
        assert!(inside(batch.payment(1)) && inside(batch.payment(100_000)));
        assert!(!inside(next.payment(1)));
        assert!(!(payments(batch, 7).0..to).contains(&payment(batch.payment(7))));
    }

    #[test]
    fn no_reference_is_found_among_another_ones_keys() {
        let id = BatchId::from_uuid(1 << 80).payment(3);
        assert!(!reference(b"ab", id).starts_with(&reference_prefix(b"a")));
        assert!(reference(b"ab", id).starts_with(&reference_prefix(b"ab")));
        assert_eq!(payment_at_end(&reference(b"ab", id)), Some(id));
    }
}
