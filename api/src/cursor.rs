//! Opaque texts that a client brings back: cursors of a watch and tokens of a page.
//!
//! Hex of: version, kind, digest of what they belong to (8 bytes), position (16 bytes), and the
//! first 4 bytes of the SHA-256 of all that, so that a text that was cut or typed is not taken.
//! They hold no secret and survive restarts.

use fulgurite_core::{BatchId, Lsn};
use fulgurite_runtime::watcher::Position;
use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const BODY: usize = 1 + 1 + 8 + 16;
const CHECK: usize = 4;

/// What a token is for; the number is part of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A position in a batch's history.
    Watch = 1,
    /// The last payment of a page.
    Payments = 2,
    /// The last batch of a page.
    Batches = 3,
    /// The last refused row of a page.
    RefusedRows = 4,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not one of ours.
    #[error("not a token of this engine: start without one")]
    Invalid,
    /// It belongs to another batch or filter.
    #[error("the token belongs to another request: start without one, or ask as before")]
    Mismatch,
}

/// The first 8 bytes of the SHA-256 of what the token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound([u8; 8]);

impl Bound {
    /// Binds to these parts, in this order.
    pub fn to(parts: &[&[u8]]) -> Bound {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(part);
        }
        let mut bound = [0; 8];
        bound.copy_from_slice(&digest.finalize()[..8]);
        Bound(bound)
    }
}

/// The token of a position.
pub fn encode(kind: Kind, bound: Bound, position: u128) -> String {
    let mut bytes = Vec::with_capacity(BODY + CHECK);
    bytes.extend([VERSION, kind as u8]);
    bytes.extend(bound.0);
    bytes.extend(position.to_be_bytes());
    let check = Sha256::digest(&bytes);
    bytes.extend(&check[..CHECK]);
    hex::encode(bytes)
}

/// The position of a token.
pub fn decode(kind: Kind, bound: Bound, token: &str) -> Result<u128, Refusal> {
    let bytes = hex::decode(token).map_err(|_| Refusal::Invalid)?;
    let Ok(bytes) = <[u8; BODY + CHECK]>::try_from(bytes) else {
        return Err(Refusal::Invalid);
    };
    let (body, check) = bytes.split_at(BODY);
    if Sha256::digest(body)[..CHECK] != *check || body[0] != VERSION {
        return Err(Refusal::Invalid);
    }
    if body[1] != kind as u8 || body[2..10] != bound.0 {
        return Err(Refusal::Mismatch);
    }
    let position = body[10..].try_into().map_err(|_| Refusal::Invalid)?;
    Ok(u128::from_be_bytes(position))
}

/// What the cursor of a watch is bound to: the batch and whether only outcomes are shown.
pub fn watch_bound(batch: BatchId, outcomes_only: bool) -> Bound {
    Bound::to(&[&batch.as_u128().to_be_bytes(), &[u8::from(outcomes_only)]])
}

/// The cursor of a watch's position.
pub fn watch_cursor(bound: Bound, (lsn, row): Position) -> String {
    encode(Kind::Watch, bound, u128::from(lsn) << u32::BITS | u128::from(row))
}

/// The position of a watch's cursor; the batch's beginning when it is empty.
pub fn watch_position(bound: Bound, cursor: &str) -> Result<Position, Refusal> {
    if cursor.is_empty() {
        return Ok((0, 0));
    }
    let position = decode(Kind::Watch, bound, cursor)?;
    let lsn = Lsn::try_from(position >> u32::BITS).map_err(|_| Refusal::Invalid)?;
    let row = u32::try_from(position & u128::from(u32::MAX)).map_err(|_| Refusal::Invalid)?;
    Ok((lsn, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        let bound = watch_bound(BatchId::from_uuid(7 << 90), true);
        for position in [(42, 7), (u64::MAX, u32::MAX), (0, 0)] {
            let cursor = watch_cursor(bound, position);
            assert_eq!(watch_position(bound, &cursor), Ok(position));
        }
        assert_eq!(watch_position(bound, ""), Ok((0, 0)));
    }

    #[test]
    fn a_cursor_of_another_batch_filter_or_kind_is_refused() {
        let batch = BatchId::from_uuid(7 << 90);
        let cursor = watch_cursor(watch_bound(batch, true), (42, 7));
        let others = [watch_bound(BatchId::from_uuid(8 << 90), true), watch_bound(batch, false)];
        for bound in others {
            assert_eq!(watch_position(bound, &cursor), Err(Refusal::Mismatch));
        }
        let bound = watch_bound(batch, true);
        assert_eq!(decode(Kind::Payments, bound, &cursor), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        let bound = watch_bound(BatchId::from_uuid(7 << 90), false);
        let cursor = watch_cursor(bound, (42, 7));
        let changed = cursor.replacen("01", "02", 1);
        for text in ["x", "00", &cursor[2..], &changed, &format!("{cursor}00")] {
            assert_eq!(watch_position(bound, text), Err(Refusal::Invalid), "{text}");
        }
    }
}
