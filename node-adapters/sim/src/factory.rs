//! Invoices of a simulated network of recipients, all derived from the fleet's seed.
//!
//! The payment secret of a factory invoice is a tag: `index (6 bytes) ++ payee (2) ++ HMAC (24)`
//! over everything that paying needs. A node that knows the seed recognises the invoice by one
//! HMAC, without a table, a signature check or the process that made it, and derives the preimage
//! by another. Every node of the fleet can settle it, even twice: a payment made over two nodes
//! shows in the books of both.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey, SignOnly};
use hmac::{Hmac, KeyInit, Mac};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use sha2::{Digest, Sha256};

use crate::bolt11::{CLTV_EXPIRY, Facts};
use crate::decide::scramble;
use crate::fault::SimFault;

/// Which invoices to make.
#[derive(Clone, Debug)]
pub struct InvoiceOrder {
    /// The seed of the fleet that is to pay them.
    pub seed: u64,
    /// The number of the first; with the seed it decides preimage, hash and amount. Below 2^48.
    pub first_index: u64,
    /// How many.
    pub count: usize,
    /// What they ask for, in millisatoshi; rounded down to whole satoshi if above one.
    pub amount_msat: RangeInclusive<u64>,
    /// How long they are valid.
    pub expiry: Duration,
    /// When they were made, in Unix seconds.
    pub created_at: u64,
    /// How many different recipients sign them, at least 1.
    pub payees: u16,
}

impl Default for InvoiceOrder {
    fn default() -> InvoiceOrder {
        InvoiceOrder {
            seed: 1,
            first_index: 0,
            count: 1,
            amount_msat: 1_000_000..=1_000_000,
            expiry: Duration::from_secs(86_400),
            created_at: crate::clock::unix_now().as_secs(),
            payees: 16,
        }
    }
}

/// An invoice of the factory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// The text to pay.
    pub bolt11: String,
    /// What is paid, SHA-256 of the preimage.
    pub payment_hash: [u8; 32],
    /// How much, in millisatoshi.
    pub amount_msat: u64,
}

/// Makes the invoices of `order`, on all processors (34 us each on one).
///
/// # Errors
/// [`SimFault::Config`] if the order has no payee, too large an index or an empty amount range.
pub fn make_invoices(order: &InvoiceOrder) -> Result<Vec<Invoice>, SimFault> {
    let last = order.first_index.checked_add(order.count as u64);
    if order.payees == 0 || order.amount_msat.is_empty() || last.is_none_or(|end| end >= 1 << 48) {
        return Err(SimFault::Config("payees >= 1, index < 2^48, an amount range".into()));
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = order.count.div_ceil(threads).max(1);
    let parts: Vec<Result<Vec<Invoice>, SimFault>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..order.count)
            .step_by(share)
            .map(|start| {
                let end = (start + share).min(order.count);
                scope.spawn(move || make_range(order, start as u64, end as u64))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut invoices = Vec::with_capacity(order.count);
    for part in parts {
        invoices.extend(part?);
    }
    Ok(invoices)
}

fn make_range(order: &InvoiceOrder, start: u64, end: u64) -> Result<Vec<Invoice>, SimFault> {
    let factory = Factory::new(order.seed);
    let secp = Secp256k1::signing_only();
    let keys: Vec<_> = (0..order.payees).map(|payee| factory.payee_key(payee)).collect();
    let sign = |index| sign(order, &factory, &secp, (&keys, order.first_index + index));
    (start..end).map(sign).collect()
}

/// The amount, payee and text of one invoice.
fn sign(
    order: &InvoiceOrder,
    factory: &Factory,
    secp: &Secp256k1<SignOnly>,
    (keys, index): (&[SecretKey], u64),
) -> Result<Invoice, SimFault> {
    let draw = scramble(order.seed ^ scramble(index));
    let (low, high) = (*order.amount_msat.start(), *order.amount_msat.end());
    let drawn = low + ((u128::from(draw) * u128::from(high - low + 1)) >> 64) as u64;
    let amount_msat = if drawn > 1_000 { (drawn / 1_000 * 1_000).max(low) } else { drawn };
    let payee = (scramble(draw) % keys.len() as u64) as u16;
    let payment_hash: [u8; 32] = Sha256::digest(factory.preimage(index)).into();
    let facts = Facts {
        amount_msat: Some(amount_msat),
        timestamp: order.created_at,
        expiry_secs: order.expiry.as_secs(),
        payment_hash,
        payment_secret: [0; 32],
        is_amp: false,
        cltv_expiry: CLTV_EXPIRY,
    };
    let key = &keys[usize::from(payee)];
    let bolt11 = InvoiceBuilder::new(Currency::Regtest)
        .description(String::new())
        .payment_hash(sha256::Hash::from_byte_array(payment_hash))
        .payment_secret(PaymentSecret(factory.tag(&facts, index, payee)))
        .duration_since_epoch(Duration::from_secs(order.created_at))
        .expiry_time(Duration::from_secs(facts.expiry_secs))
        .min_final_cltv_expiry_delta(CLTV_EXPIRY)
        .amount_milli_satoshis(amount_msat)
        .basic_mpp()
        .build_signed(|message| secp.sign_ecdsa_recoverable(message, key))
        .map_err(|error| SimFault::Config(format!("invoice {index}: {error}")))?
        .to_string();
    Ok(Invoice { bolt11, payment_hash, amount_msat })
}

/// The seed's secrets.
#[derive(Clone)]
pub(crate) struct Factory {
    mac: Hmac<Sha256>,
}

impl Factory {
    /// The factory of the fleet with this seed.
    pub fn new(seed: u64) -> Factory {
        let mac = Hmac::new_from_slice(&seed.to_be_bytes()).expect("HMAC takes keys of any size");
        Factory { mac }
    }

    /// Who gets the payment, if this factory made the invoice: (index, payee).
    pub fn recognise(&self, facts: &Facts) -> Option<(u64, u16)> {
        let mut index = [0; 8];
        index[2..].copy_from_slice(&facts.payment_secret[..6]);
        let index = u64::from_be_bytes(index);
        let payee = u16::from_be_bytes([facts.payment_secret[6], facts.payment_secret[7]]);
        (self.tag(facts, index, payee) == facts.payment_secret).then_some((index, payee))
    }

    /// The preimage of invoice `index`.
    pub fn preimage(&self, index: u64) -> [u8; 32] {
        self.derive(b"preimage", &[&index.to_be_bytes()])
    }

    /// The key with which payee number `payee` signs.
    pub fn payee_key(&self, payee: u16) -> SecretKey {
        self.secret_key(b"payee", u64::from(payee))
    }

    /// The secret key number `index` for `purpose`.
    pub fn secret_key(&self, purpose: &[u8], index: u64) -> SecretKey {
        let bytes = self.derive(purpose, &[&index.to_be_bytes()]);
        SecretKey::from_slice(&bytes).expect("1 of 2^128 hashes is no secp256k1 key")
    }

    /// 32 bytes for `purpose` that only the seed gives.
    pub fn derive(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(purpose);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The payment secret of an invoice; `facts.payment_secret` is not looked at.
    fn tag(&self, facts: &Facts, index: u64, payee: u16) -> [u8; 32] {
        // One update of 51 bytes with the purpose: one compression and the closing ones.
        let mut text = [0; 8 + 8 + 2 + 8 + 8 + 8];
        text[..8].copy_from_slice(b"secret-1");
        text[8..16].copy_from_slice(&index.to_be_bytes());
        text[16..18].copy_from_slice(&payee.to_be_bytes());
        text[18..26].copy_from_slice(&facts.amount_msat.unwrap_or(u64::MAX).to_be_bytes());
        text[26..34].copy_from_slice(&facts.timestamp.to_be_bytes());
        text[34..].copy_from_slice(&facts.expiry_secs.to_be_bytes());
        let mut secret = self.derive(&text, &[]);
        secret.copy_within(..24, 8);
        secret[..6].copy_from_slice(&index.to_be_bytes()[2..]);
        secret[6..8].copy_from_slice(&payee.to_be_bytes());
        secret
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bolt11;

    fn order() -> InvoiceOrder {
        InvoiceOrder {
            seed: 7,
            first_index: 1 << 40,
            count: 50,
            amount_msat: 1_000_000..=9_000_000,
            created_at: 1_700_000_000,
            expiry: Duration::from_secs(90_000),
            payees: 3,
        }
    }

    #[test]
    fn an_invoice_is_recognised_at_a_glance_and_parses_to_the_same() {
        let factory = Factory::new(7);
        for (index, invoice) in make_invoices(&order()).unwrap().iter().enumerate() {
            let facts = bolt11::glance(&invoice.bolt11).unwrap();
            let parsed = bolt11::parse(&invoice.bolt11).unwrap();
            assert_eq!(facts, parsed.facts);
            assert_eq!(facts.amount_msat, Some(invoice.amount_msat));
            assert_eq!((facts.timestamp, facts.expiry_secs), (1_700_000_000, 90_000));
            let (found, payee) = factory.recognise(&facts).unwrap();
            assert_eq!(found, (1 << 40) + index as u64);
            let payee = factory.payee_key(payee).public_key(&Secp256k1::signing_only());
            assert_eq!(payee.serialize(), parsed.payee);
            assert_eq!(Sha256::digest(factory.preimage(found))[..], invoice.payment_hash);
            assert!(Factory::new(8).recognise(&facts).is_none());
            let dearer = Facts { amount_msat: Some(invoice.amount_msat + 1), ..facts };
            assert!(factory.recognise(&dearer).is_none());
        }
    }

    #[test]
    fn the_same_order_gives_the_same_invoices_whatever_the_batch() {
        let all = make_invoices(&order()).unwrap();
        let tail = InvoiceOrder { first_index: (1 << 40) + 20, count: 30, ..order() };
        assert_eq!(all[20..], make_invoices(&tail).unwrap());
        assert!(make_invoices(&InvoiceOrder { payees: 0, ..order() }).is_err());
        assert!(make_invoices(&InvoiceOrder { count: 0, ..order() }).unwrap().is_empty());
    }
}
