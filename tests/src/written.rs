//! Invoices as a test writes them: signed, and right but for what the test changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use bitcoin::{
    hashes::{Hash, sha256},
    secp256k1::{Secp256k1, SecretKey},
};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret, RawTaggedField, TaggedField};

/// What an invoice says.
#[derive(Clone, Debug)]
pub struct Written {
    /// The network.
    pub currency: Currency,
    /// The amount; `None` leaves it to the payer.
    pub amount_msat: Option<u64>,
    /// The preimage is this number.
    pub preimage: u32,
    /// How many seconds ago it was written.
    pub age_s: u64,
    /// How many seconds after that it expires.
    pub expiry_s: u64,
    /// The final CLTV delta.
    pub final_cltv_delta: u64,
    /// A feature bit beside those that every invoice has.
    pub feature: Option<usize>,
}

impl Default for Written {
    fn default() -> Written {
        Written {
            currency: Currency::Regtest,
            amount_msat: Some(1_000_000),
            preimage: 0,
            age_s: 0,
            expiry_s: 3_600,
            final_cltv_delta: 80,
            feature: None,
        }
    }
}

impl Written {
    /// The invoice's payment hash.
    #[must_use]
    pub fn payment_hash(&self) -> [u8; 32] {
        let mut preimage = [0; 32];
        preimage[..4].copy_from_slice(&self.preimage.to_le_bytes());
        sha256::Hash::hash(&preimage).to_byte_array()
    }

    /// The invoice, signed by a key that nobody has.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn text(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let builder = InvoiceBuilder::new(self.currency.clone())
            .description("written".to_owned())
            .payment_hash(sha256::Hash::from_byte_array(self.payment_hash()))
            .payment_secret(PaymentSecret([7; 32]))
            .duration_since_epoch(now - Duration::from_secs(self.age_s))
            .expiry_time(Duration::from_secs(self.expiry_s))
            .min_final_cltv_expiry_delta(self.final_cltv_delta);
        let builder = match self.amount_msat {
            Some(msat) => builder.amount_milli_satoshis(msat),
            None => builder,
        };
        let mut raw = builder.build_raw().map_err(|error| anyhow!("{error}"))?;
        for field in &mut raw.data.tagged_fields {
            if let RawTaggedField::KnownSemantics(TaggedField::Features(features)) = field
                && let Some(bit) = self.feature
            {
                let set = features.set_required_feature_bit(bit);
                set.map_err(|()| anyhow!("no feature bit"))?;
            }
        }
        let (secp, key) = (Secp256k1::signing_only(), SecretKey::from_slice(&[1; 32])?);
        let signed = raw.sign(|hash| anyhow::Ok(secp.sign_ecdsa_recoverable(hash, &key)))?;
        Ok(signed.to_string())
    }
}
