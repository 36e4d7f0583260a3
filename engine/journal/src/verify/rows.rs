//! Whether the views agree with each other: where records are removed, they alone know what was
//! paid. Every block is read, so RocksDB's checksums are checked too.

use rocksdb::{IteratorMode, ReadOptions};

use crate::{
    codec,
    hash_claims::elsewhere_count,
    keys,
    store::Family,
    stored::Broken,
    views::{ViewFault, Views},
};

/// Every final payment has its hash, its reference and nothing else has; every finished batch has
/// all of its payments and its idempotency key; what others paid is as many hashes as were counted.
pub(super) fn check(views: &Views) -> Result<(), Broken> {
    let payments = payments(views)?;
    hashes(views, payments)?;
    batches(views)
}

/// How many final payments there are.
fn payments(views: &Views) -> Result<u64, Broken> {
    let mut count = 0;
    each(views, Family::Payments, |key, row| {
        let payment = codec::decode_payment(row).map_err(ViewFault::from)?;
        if keys::payment_at_end(key) != Some(payment.id) {
            return Err(Broken::Differs(format!("{} is stored as another payment", payment.id)));
        }
        count += 1;
        views.check_found(&payment)
    })?;
    Ok(count)
}

/// Each payment has a hash; as many hashes as payments means that no hash is of a lost one.
fn hashes(views: &Views, payments: u64) -> Result<(), Broken> {
    let (mut of_payments, mut elsewhere) = (0, 0);
    each(views, Family::Hashes, |key, _| {
        match keys::payment_at_end(key) {
            Some(_) => of_payments += 1,
            None => elsewhere += 1,
        }
        Ok(())
    })?;
    if of_payments != payments {
        let what = format!("{of_payments} hashes are of payments, and there are {payments}");
        return Err(Broken::Differs(what));
    }
    match elsewhere_count(&views.store)? {
        Some(counted) if counted != elsewhere => {
            let what =
                format!("{elsewhere} hashes were paid elsewhere, and {counted} were counted");
            Err(Broken::Differs(what))
        }
        _ => Ok(()),
    }
}

fn batches(views: &Views) -> Result<(), Broken> {
    let (mut batches, mut keys) = (0_u64, 0_u64);
    each(views, Family::Keys, |_, _| {
        keys += 1;
        Ok(())
    })?;
    each(views, Family::Batches, |_, row| {
        batches += 1;
        let summary = codec::decode_summary(row).map_err(ViewFault::from)?;
        let id = summary.accepted.batch;
        let all = u64::from(summary.counts.total() - summary.counts.refused);
        let found = views.count_final(id)?;
        if found != all {
            let what = format!("{id} has {found} payments where it had {all}");
            return Err(Broken::Differs(what));
        }
        views.check_key(&summary)
    })?;
    match batches == keys {
        true => Ok(()),
        false => Err(Broken::Differs(format!("{keys} idempotency keys are of {batches} batches"))),
    }
}

fn each(
    views: &Views,
    family: Family,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    // Across all prefixes, where the family has some.
    options.set_total_order_seek(true);
    let family = views.store.family(family);
    for found in views.store.db().iterator_cf_opt(family, options, IteratorMode::Start) {
        let (key, value) = found.map_err(ViewFault::from)?;
        row(&key, &value)?;
    }
    Ok(())
}
