//! Whether the rows of the views are what they must be: asked where records that could say it
//! again are about to go, are gone, or are read once more.

use fulgurite_core::{
    PaymentHash, PaymentId,
    batch::{Batch, Summary},
    payment::Payment,
};

use rocksdb::ReadOptions;

use crate::{
    codec, hash_claims,
    hash_claims::hash_row,
    keys,
    store::Family,
    views::{ViewFault, Views},
};

/// Why the rows of the views are not what they must be.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A row cannot be read.
    #[error("{0}")]
    Unreadable(#[from] ViewFault),
    /// A row is missing, or says something else; which, and what.
    #[error("{0}")]
    Differs(String),
}

impl Views {
    /// A final payment's row.
    pub(crate) fn stored_payment(&self, id: PaymentId) -> Result<Option<Payment>, ViewFault> {
        let row = self.stored_row(Family::Payments, &keys::payment(id))?;
        Ok(row.map(|row| codec::decode_payment(&row)).transpose()?)
    }

    /// A finished batch's row.
    pub(crate) fn stored_batch(
        &self,
        batch: fulgurite_core::BatchId,
        single: bool,
    ) -> Result<Option<Summary>, ViewFault> {
        let row = self.stored_row(Family::Batches, &keys::batch(batch, single))?;
        Ok(row.map(|row| codec::decode_summary(&row)).transpose()?)
    }

    /// The hash and the reference of a final payment must lead to it.
    pub(crate) fn check_found(&self, payment: &Payment) -> Result<(), Broken> {
        let (id, hash) = (payment.id, payment.order.payment_hash);
        let row = self.stored_row(Family::Hashes, &keys::hash(hash, id))?;
        if row.as_deref() != Some(&hash_row(payment)) {
            return Err(Broken::Differs(format!("{id} is not what hash {hash} says")));
        }
        if let Some(reference) = &payment.order.reference
            && self
                .stored_row(Family::References, &keys::reference(&reference.bytes, id))?
                .is_none()
        {
            return Err(Broken::Differs(format!("{id} is not found by its reference")));
        }
        Ok(())
    }

    /// The idempotency key of a finished batch must lead to it.
    pub(crate) fn check_key(&self, summary: &Summary) -> Result<(), Broken> {
        let accepted = &summary.accepted;
        let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
        let row = self.stored_row(Family::Keys, &key)?;
        if row.and_then(|row| keys::batch_at_end(&row)) != Some(accepted.batch) {
            let what = format!("{} is not found by its idempotency key", accepted.batch);
            return Err(Broken::Differs(what));
        }
        Ok(())
    }

    /// What somebody else paid must be refused for ever (rule E18).
    pub(crate) fn check_elsewhere(&self, hash: PaymentHash) -> Result<(), Broken> {
        match self.is_elsewhere(hash)? {
            true => Ok(()),
            false => Err(Broken::Differs(format!("hash {hash} was paid elsewhere"))),
        }
    }

    /// Whether this hash has the row of one that somebody else paid.
    pub(crate) fn is_elsewhere(&self, hash: PaymentHash) -> Result<bool, ViewFault> {
        let row = self.stored_row(Family::Hashes, &keys::hash_elsewhere(hash))?;
        Ok(row.as_deref() == Some(&[hash_claims::ELSEWHERE]))
    }

    /// A final payment must be stored as it is.
    pub(crate) fn check_payment(&self, payment: &Payment) -> Result<(), Broken> {
        if self.stored_payment(payment.id)?.as_ref() != Some(payment) {
            return Err(Broken::Differs(format!("{} is stored as something else", payment.id)));
        }
        self.check_found(payment)
    }

    /// A payment that was final so must be stored as it was, or as it became since then: what
    /// failed may have been paid after all. Its rows may be written anew between two looks.
    pub(crate) fn check_ended(&self, payment: &Payment) -> Result<(), Broken> {
        self.check_ended_once(payment).or_else(|_| self.check_ended_once(payment))
    }

    fn check_ended_once(&self, payment: &Payment) -> Result<(), Broken> {
        match self.stored_payment(payment.id)? {
            Some(stored) if stored == *payment || stored.version > payment.version => {
                self.check_found(&stored)
            }
            _ => Err(Broken::Differs(format!("{} is stored as something else", payment.id))),
        }
    }

    /// A finished batch must be stored as it is, with all of its payments.
    pub(crate) fn check_finished(&self, batch: &Batch) -> Result<(), Broken> {
        let accepted = &batch.summary.accepted;
        let stored = self.stored_batch(accepted.batch, accepted.single)?;
        if stored.as_ref() != Some(&batch.summary) {
            return Err(Broken::Differs(format!("{} is stored as something else", accepted.batch)));
        }
        self.check_key(&batch.summary)?;
        batch.payments.iter().try_for_each(|payment| self.check_payment(payment))
    }

    fn stored_row(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<rocksdb::DBPinnableSlice<'_>>, ViewFault> {
        let mut options = ReadOptions::default();
        // Everything is looked at once: that must not push out what the doors read.
        options.fill_cache(false);
        Ok(self.store.db().get_pinned_cf_opt(self.store.family(family), key, &options)?)
    }
}
