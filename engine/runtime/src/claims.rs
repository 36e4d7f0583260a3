//! Who owns which payment hash (rule E2): one payment, over all nodes, batches and clients.

use std::{collections::VecDeque, sync::Arc};

use dashmap::{DashMap, mapref::entry::Entry};
use fulgurite_core::{
    Lsn, Order, PaymentHash, PaymentId,
    order::{RefusedRow, RowReason},
};
use parking_lot::Mutex;

/// The claims that are in memory. Claims of payments that are final and in the views are looked up
/// there.
#[derive(Default)]
pub struct Claims {
    owners: DashMap<PaymentHash, Owner>,
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

impl Claims {
    /// Claims the hash for a payment whose batch is not sealed yet. `Err` says who has it.
    pub fn claim(&self, hash: PaymentHash, payment: PaymentId) -> Result<(), Owner> {
        match self.owners.entry(hash) {
            Entry::Occupied(owner) => Err(*owner.get()),
            Entry::Vacant(free) => {
                free.insert(Owner { payment, sealed: false });
                Ok(())
            }
        }
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
pub(crate) fn claimed(row: u32, order: &Order, owner: PaymentId, paid: bool) -> RefusedRow {
    let hash = order.payment_hash;
    let (reason, message) = if paid {
        (RowReason::AlreadyPaid, format!("this invoice ({hash}) was already paid by {owner}"))
    } else {
        (
            RowReason::HashClaimed,
            format!("this invoice ({hash}) belongs to {owner}, open or resolved: look at that one"),
        )
    };
    RefusedRow {
        row,
        reference: order.reference.clone(),
        reason,
        message: message.into(),
        field: "bolt11",
        payment: Some(owner),
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
        let owned = |payment, sealed| Err(Owner { payment, sealed });
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
}
