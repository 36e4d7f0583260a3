//! Who owns a payment hash (rule E2): looked up in what is open first, in the views second.

use fulgurite_core::{
    PaymentHash, PaymentId,
    payment::{Payment, State},
};
use rocksdb::DBRawIterator;

use crate::{
    codec::DecodeError,
    keys,
    store::{Family, Store},
    views::{ViewFault, Views, rows_with},
};

/// Who owns a payment hash (rule E2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The payment; `None` when somebody else paid it, over one of the nodes (rule E18).
    pub payment: Option<PaymentId>,
    /// Whether it was paid; else it is open, and may be.
    pub paid: bool,
}

/// What a final payment's hash row says of it.
const SUCCEEDED: u8 = 1;
const NOT_PAID: u8 = 2;
/// Not paid, by a person's word: claimed for ever all the same.
const RESOLVED: u8 = 3;
/// Paid by somebody else, over one of the nodes.
pub(crate) const ELSEWHERE: u8 = 4;
/// Where the number of hashes that somebody else paid is kept, in [`Family::Meta`].
pub(crate) const ELSEWHERE_KEY: &[u8] = b"elsewhere";

/// How many hashes somebody else paid; `None` in a journal from before they were counted.
pub(crate) fn elsewhere_count(store: &Store) -> Result<Option<u64>, ViewFault> {
    let row = store.db().get_cf(store.family(Family::Meta), ELSEWHERE_KEY)?;
    let Some(row) = row else { return Ok(None) };
    match row.try_into() {
        Ok(count) => Ok(Some(u64::from_be_bytes(count))),
        Err(row) => Err(DecodeError::TrailingBytes(row.len()).into()),
    }
}

/// Begins to count, in views that contain nothing yet.
pub(crate) fn begin_elsewhere_count(store: &Store) -> Result<(), rocksdb::Error> {
    let (meta, none) = (store.family(Family::Meta), 0_u64.to_be_bytes());
    store.db().put_cf(meta, ELSEWHERE_KEY, none)
}

/// The value of a final payment's hash row.
pub(crate) fn hash_row(payment: &Payment) -> [u8; 1] {
    match payment.state {
        State::Succeeded { .. } => [SUCCEEDED],
        _ if payment.claims_hash() => [RESOLVED],
        _ => [NOT_PAID],
    }
}

impl Views {
    /// The payment that owns this hash; `None` when it is free: never ordered, or every payment
    /// with it failed or was cancelled.
    pub fn hash_claim(&self, hash: PaymentHash) -> Result<Option<Claim>, ViewFault> {
        Ok(self.hash_claims(&[hash])?.pop().flatten())
    }

    /// The same of each of these hashes, in their order.
    pub fn hash_claims(&self, hashes: &[PaymentHash]) -> Result<Vec<Option<Claim>>, ViewFault> {
        // All of memory first: an iterator sees what the views held when it was made.
        let mut claims: Vec<_> = hashes.iter().map(|hash| self.open_claim(*hash)).collect();
        let mut left: Vec<usize> = (0..hashes.len()).filter(|at| claims[*at].is_none()).collect();
        if left.is_empty() {
            return Ok(claims);
        }
        // An iterator costs more than a seek, and seeks that grow find their blocks at hand.
        left.sort_unstable_by_key(|at| hashes[*at]);
        let mut rows = self.prefix_iterator(Family::Hashes);
        for at in left {
            claims[at] = final_claim(&mut rows, hashes[at])?;
        }
        Ok(claims)
    }

    /// The open payment that owns this hash.
    fn open_claim(&self, hash: PaymentHash) -> Option<Claim> {
        self.model.by_hash(hash).into_iter().find_map(|payment| {
            let claim = self.model.batch(payment.batch(), |batch| {
                let found = batch.payment(payment).filter(|found| found.claims_hash())?;
                let paid = matches!(found.state, State::Succeeded { .. });
                Some(Claim { payment: Some(payment), paid })
            });
            claim.flatten()
        })
    }
}

/// The claim of a final payment on this hash, or of somebody else's.
fn final_claim(
    rows: &mut DBRawIterator<'_>,
    hash: PaymentHash,
) -> Result<Option<Claim>, ViewFault> {
    let mut claim = None;
    rows_with(rows, &hash.0, |key, value| {
        let payment = keys::payment_at_end(key);
        match value {
            [SUCCEEDED] => claim = Some(Claim { payment, paid: true }),
            [RESOLVED] => claim = Some(Claim { payment, paid: false }),
            // A payment of ours says more.
            [ELSEWHERE] => claim = Some(Claim { payment: None, paid: true }),
            _ => {}
        }
        Ok(claim.is_none_or(|claim| claim.payment.is_none()))
    })?;
    Ok(claim)
}
