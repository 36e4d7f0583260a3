//! Invoices that no node gives out: lnd must refuse them before it looks at its payments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use bitcoin::{
    bech32::Fe32,
    hashes::{Hash, sha256},
    secp256k1::{PublicKey, Secp256k1, SecretKey},
};
use lightning_invoice::{
    Currency, InvoiceBuilder, PayeePubKey, PaymentSecret, RawTaggedField, TaggedField,
};

use crate::regtest::Invoice;

/// The features of an AMP invoice: TLV onions (bit 8), payment addresses (14), AMP (31).
const AMP_FEATURES: u64 = 1 << 8 | 1 << 14 | 1 << 31;
/// BOLT 11's tag for features.
const FEATURES_TAG: u8 = 5;

/// What is wrong with an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It has no payment address.
    NoAddress,
    /// It is to be paid by AMP.
    Amp,
    /// It names a payee who did not sign it.
    NotSigned,
}

/// An invoice for regtest with this hash and this oddity, signed by a key that nobody has.
///
/// # Errors
/// When it cannot be written.
pub fn invoice(oddity: Oddity, payment_hash: [u8; 32]) -> Result<Invoice> {
    let amount_msat = 1_000_000;
    let builder = InvoiceBuilder::new(Currency::Regtest)
        .description("odd".to_owned())
        .payment_hash(sha256::Hash::from_byte_array(payment_hash))
        .payment_secret(PaymentSecret([7; 32]))
        .duration_since_epoch(SystemTime::now().duration_since(UNIX_EPOCH)?)
        .expiry_time(Duration::from_secs(3_600))
        .min_final_cltv_expiry_delta(80)
        .amount_milli_satoshis(amount_msat);
    let mut raw = builder.build_raw().map_err(|error| anyhow!("{error}"))?;
    let fields = &mut raw.data.tagged_fields;
    let keep = |field: &RawTaggedField, is_odd: fn(&TaggedField) -> bool| match field {
        RawTaggedField::KnownSemantics(field) => !is_odd(field),
        RawTaggedField::UnknownSemantics(_) => true,
    };
    let secp = Secp256k1::new();
    match oddity {
        Oddity::NoAddress => fields
            .retain(|field| keep(field, |field| matches!(field, TaggedField::PaymentSecret(_)))),
        Oddity::Amp => {
            fields.retain(|field| keep(field, |field| matches!(field, TaggedField::Features(_))));
            // Seven characters of five bits.
            let bits = (0..7).rev().map(|place| (AMP_FEATURES >> (5 * place)) as u8 & 31);
            let field = [FEATURES_TAG, 0, 7].into_iter().chain(bits);
            let field = field.map(Fe32::try_from).collect::<Result<Vec<_>, _>>()?;
            fields.push(RawTaggedField::UnknownSemantics(field));
        }
        Oddity::NotSigned => {
            let another = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[2; 32])?);
            let payee = TaggedField::PayeePubKey(PayeePubKey(another));
            fields.push(RawTaggedField::KnownSemantics(payee));
        }
    }
    let key = SecretKey::from_slice(&[1; 32])?;
    let signed = raw.sign(|hash| anyhow::Ok(secp.sign_ecdsa_recoverable(hash, &key)))?;
    Ok(Invoice { payment_request: signed.to_string(), payment_hash, amount_msat })
}
