//! Who owns which payment hash (rule E2): one payment, over all nodes, batches and clients.

use std::{collections::VecDeque, sync::Arc};

use dashmap::{DashMap, mapref::entry::Entry};
use fulgurite_core::{
    Lsn, Order, PaymentHash, PaymentId,
    map::RandomState,
    order::{RefusedRow, RowReason},
};
use parking_lot::Mutex;

/// The claims that are in memory. Claims of payments that are final and in the views are looked up
/// there.
#[derive(Default)]
pub struct Claims {
    owners: DashMap<PaymentHash, Owner, RandomState>,
    /// What somebody else paid, until the views know it: with the LSN that says so, or the highest
    /// there is while that event is not in the journal. A hash is added under the lock of its entry
    /// above, so that nobody claims it meanwhile; its LSN comes, and it leaves, without that lock.
    elsewhere: DashMap<PaymentHash, Lsn, RandomState>,
    /// Claims that leave once the views have passed their LSN.
    leaving: Arc<Mutex<VecDeque<(Lsn, PaymentHash, PaymentId)>>>,
}

/// Who has a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The payment.
    pub payment: PaymentId,
    /// Its batch's seal is in the journal. Until then the claim may lead to nothing, and no refusal
    /// rests on it (rules E1, E3).
    pub sealed: bool,
}

/// Why a hash cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A payment has it.
    By(Owner),
    /// Somebody else paid it, over one of the nodes (rule E18).
    Elsewhere {
        /// The event that says so is in the journal.
        written: bool,
    },
}

impl Claims {
    /// Claims the hash for a payment whose batch is not sealed yet. `Err` says who has it.
    pub fn claim(&self, hash: PaymentHash, payment: PaymentId) -> Result<(), Taken> {
        match self.owners.entry(hash) {
            Entry::Occupied(owner) => Err(Taken::By(*owner.get())),
            Entry::Vacant(free) => {
                if let Some(lsn) = self.elsewhere.get(&hash) {
                    return Err(Taken::Elsewhere { written: *lsn < Lsn::MAX });
                }
                free.insert(Owner { payment, sealed: false });
                Ok(())
            }
        }
    }

    /// Claims the hash for nobody: it was paid elsewhere. `Err` says which payment has it.
    pub fn claim_elsewhere(&self, hash: PaymentHash) -> Result<(), Owner> {
        match self.owners.entry(hash) {
            Entry::Occupied(owner) => Err(*owner.get()),
            Entry::Vacant(_) => {
                self.elsewhere.insert(hash, Lsn::MAX);
                Ok(())
            }
        }
    }

    /// The event that says that these were paid elsewhere is in the journal.
    pub fn written_elsewhere(&self, hashes: &[PaymentHash], lsn: Lsn) {
        for hash in hashes {
            self.elsewhere.insert(*hash, lsn);
        }
    }

    /// Somebody else paid it, as far as memory knows.
    pub fn is_elsewhere(&self, hash: PaymentHash) -> bool {
        self.elsewhere.contains_key(&hash)
    }

    /// The payment whose claim on the hash is in the journal, as far as memory knows.
    pub fn sealed(&self, hash: PaymentHash) -> Option<PaymentId> {
        self.owners.get(&hash).filter(|owner| owner.sealed).map(|owner| owner.payment)
    }

    /// The seal of the payment's batch is in the journal.
    pub fn seal(&self, hash: PaymentHash, payment: PaymentId) {
        self.owners.insert(hash, Owner { payment, sealed: true });
    }

    /// Takes a claim back that led to nothing, or that the views replace.
    pub fn unclaim(&self, hash: PaymentHash, payment: PaymentId) {
        self.owners.remove_if(&hash, |_, owner| owner.payment == payment);
    }

    /// The payment became final with the event `lsn`: its claim leaves when the views know it.
    pub fn leaves(&self, lsn: Lsn, hash: PaymentHash, payment: PaymentId) {
        self.leaving.lock().push_back((lsn, hash, payment));
    }

    /// Lets go what the views cover.
    pub fn sweep(&self, projected: Lsn) {
        if !self.elsewhere.is_empty() {
            self.elsewhere.retain(|_, lsn| *lsn > projected);
        }
        loop {
            let next = {
                let mut leaving = self.leaving.lock();
                match leaving.front() {
                    Some((lsn, _, _)) if *lsn <= projected => leaving.pop_front(),
                    Some(_) | None => None,
                }
            };
            let Some((_, hash, payment)) = next else {
                return;
            };
            self.unclaim(hash, payment);
        }
    }
}

/// The refusal of a row whose payment hash is `owner`'s.
pub(crate) fn claimed(row: u32, order: &Order, owner: Option<PaymentId>, paid: bool) -> RefusedRow {
    let hash = order.payment_hash;
    let (reason, message) = match owner {
        None => (
            RowReason::AlreadyPaid,
            format!("this invoice ({hash}) was paid over one of the nodes, not by this engine"),
        ),
        Some(owner) if paid => {
            (RowReason::AlreadyPaid, format!("this invoice ({hash}) was already paid by {owner}"))
        }
        Some(owner) => (
            RowReason::HashClaimed,
            format!("this invoice ({hash}) belongs to {owner}, open or resolved: look at that one"),
        ),
    };
    RefusedRow {
        row,
        reference: order.reference.clone(),
        reason,
        message: message.into(),
        field: "bolt11",
        payment: owner,
        other_row: None,
    }
}

#[cfg(test)]
mod tests {
    use fulgurite_core::BatchId;

    use super::*;

    #[test]
    fn a_claim_stays_until_the_views_know_what_became_of_it() {
        let claims = Claims::default();
        let (hash, batch) = (PaymentHash([7; 32]), BatchId::from_uuid(1 << 80));
        let (one, two) = (batch.payment(1), batch.payment(2));
        let owned = |payment, sealed| Err(Taken::By(Owner { payment, sealed }));
        assert_eq!(claims.claim(hash, one), Ok(()));
        assert_eq!(claims.claim(hash, two), owned(one, false));
        claims.seal(hash, one);
        claims.leaves(10, hash, one);
        claims.sweep(9);
        assert_eq!(claims.claim(hash, two), owned(one, true));
        claims.sweep(10);
        assert_eq!(claims.claim(hash, two), Ok(()));
        claims.unclaim(hash, one);
        assert_eq!(claims.claim(hash, one), owned(two, false));
    }

    #[test]
    fn what_was_paid_elsewhere_is_claimed_for_nobody_until_the_views_know_it() {
        let claims = Claims::default();
        let (hash, payment) = (PaymentHash([7; 32]), BatchId::from_uuid(1 << 80).payment(1));
        assert_eq!(claims.claim_elsewhere(hash), Ok(()));
        assert_eq!(claims.claim(hash, payment), Err(Taken::Elsewhere { written: false }));
        claims.sweep(u64::MAX - 1);
        claims.written_elsewhere(&[hash], 10);
        assert_eq!(claims.claim(hash, payment), Err(Taken::Elsewhere { written: true }));
        claims.sweep(9);
        assert!(claims.is_elsewhere(hash));
        claims.sweep(10);
        assert_eq!(claims.claim(hash, payment), Ok(()));
        assert_eq!(claims.claim_elsewhere(hash), Err(Owner { payment, sealed: false }));
    }
}
