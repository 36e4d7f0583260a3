//! The claims of an upload's rows: in memory first, all of them, then against the views (rule E2).

use std::sync::Arc;

use fulgurite_core::{BatchId, Order, order::RefusedRow};

use super::Upload;
use crate::claims::{Taken, claimed as refused};

/// What a claim came to.
pub(super) struct Claimed {
    /// Rows whose hash is this upload's now.
    pub(super) rows: Vec<(u32, Arc<Order>)>,
    /// Rows whose hash is another payment's.
    pub(super) refused: Vec<RefusedRow>,
}

impl Upload {
    /// Claims every row that a seal could accept; `Err` names another upload that has one of the
    /// hashes and may still come to nothing: nothing is claimed then.
    pub(super) fn claim(&self) -> Result<Claimed, BatchId> {
        let mut claimed = Claimed { rows: Vec::new(), refused: Vec::new() };
        if !self.refused.is_empty() && !self.header.options.accept_valid {
            // All is refused, and every problem is told: also of rows that are good but for this.
            let taken =
                self.orders.iter().filter_map(|(row, order)| self.engine.claimed(*row, order));
            claimed.refused.extend(taken);
            return Ok(claimed);
        }
        let mut mine = Vec::with_capacity(self.orders.len());
        for (row, order) in &self.orders {
            match self.claim_row(*row, order) {
                Ok(None) => mine.push((*row, Arc::clone(order))),
                Ok(Some(row)) => claimed.refused.push(row),
                Err(other) => {
                    self.unclaim(&mine);
                    return Err(other);
                }
            }
        }
        // Memory first, the views second: a claim leaves memory only for the views (E2).
        let hashes: Vec<_> = mine.iter().map(|(_, order)| order.payment_hash).collect();
        let owners = self.engine.owners(&hashes);
        claimed.rows.reserve(mine.len());
        for ((row, order), owner) in mine.into_iter().zip(owners) {
            let Some(owner) = owner else {
                claimed.rows.push((row, order));
                continue;
            };
            self.engine.shared.claims.unclaim(order.payment_hash, self.batch.payment(row));
            claimed.refused.push(refused(row, &order, owner.payment, owner.paid));
        }
        Ok(claimed)
    }

    /// Claims a row's hash in memory; a refusal rests on what the views say of its owner there.
    fn claim_row(&self, row: u32, order: &Order) -> Result<Option<RefusedRow>, BatchId> {
        let (engine, hash) = (&self.engine, order.payment_hash);
        let claims = &engine.shared.claims;
        let payment = self.batch.payment(row);
        while let Err(taken) = claims.claim(hash, payment) {
            let owner = match taken {
                Taken::By(owner) => owner,
                Taken::Elsewhere { written: true } => {
                    return Ok(Some(refused(row, order, None, true)));
                }
                Taken::Elsewhere { written: false } => return Err(self.batch),
            };
            if !owner.sealed && owner.payment.batch() != self.batch {
                return Err(owner.payment.batch());
            }
            if !engine.is_free(owner.payment) {
                let paid = engine.is_paid(owner.payment);
                return Ok(Some(refused(row, order, Some(owner.payment), paid)));
            }
            // The views know that it is not paid: it is only still to be swept.
            claims.unclaim(hash, owner.payment);
        }
        Ok(None)
    }

    pub(super) fn unclaim(&self, rows: &[(u32, Arc<Order>)]) {
        for (row, order) in rows {
            self.engine.shared.claims.unclaim(order.payment_hash, self.batch.payment(*row));
        }
    }
}
