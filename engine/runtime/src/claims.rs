//! Who owns which payment hash (rule E2): one payment, over all nodes, batches and clients.

use std::{collections::VecDeque, sync::Arc};

use dashmap::{DashMap, mapref::entry::Entry};
use fulgurite_core::{Lsn, PaymentHash, PaymentId};
use parking_lot::Mutex;

/// The claims that are in memory. Claims of payments that are final and in the views are looked up
/// there.
#[derive(Default)]
pub struct Claims {
    owners: DashMap<PaymentHash, PaymentId>,
    /// Claims that leave once the views have passed their LSN.
    leaving: Arc<Mutex<VecDeque<(Lsn, PaymentHash, PaymentId)>>>,
}

impl Claims {
    /// Claims the hash for a payment. `Err` names the payment that has it.
    pub fn claim(&self, hash: PaymentHash, payment: PaymentId) -> Result<(), PaymentId> {
        match self.owners.entry(hash) {
            Entry::Occupied(owner) => Err(*owner.get()),
            Entry::Vacant(free) => {
                free.insert(payment);
                Ok(())
            }
        }
    }

    /// The payment that has the hash, as far as memory knows.
    pub fn owner(&self, hash: PaymentHash) -> Option<PaymentId> {
        self.owners.get(&hash).map(|owner| *owner)
    }

    /// Takes a claim back that led to nothing.
    pub fn unclaim(&self, hash: PaymentHash, payment: PaymentId) {
        self.owners.remove_if(&hash, |_, owner| *owner == payment);
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

#[cfg(test)]
mod tests {
    use fulgurite_core::BatchId;

    use super::*;

    #[test]
    fn a_claim_stays_until_the_views_know_what_became_of_it() {
        let claims = Claims::default();
        let (hash, batch) = (PaymentHash([7; 32]), BatchId::from_uuid(1 << 80));
        let (one, two) = (batch.payment(1), batch.payment(2));
        assert_eq!(claims.claim(hash, one), Ok(()));
        assert_eq!(claims.claim(hash, two), Err(one));
        claims.leaves(10, hash, one);
        claims.sweep(9);
        assert_eq!(claims.claim(hash, two), Err(one));
        claims.sweep(10);
        assert_eq!(claims.claim(hash, two), Ok(()));
        claims.unclaim(hash, one);
        assert_eq!(claims.claim(hash, one), Err(two));
    }
}
