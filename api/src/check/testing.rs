//! Real signed invoices for the tests.

use std::time::Duration;

use bitcoin::{
    hashes::{Hash, sha256},
    secp256k1::{Message, PublicKey, Secp256k1, SecretKey, ecdsa::RecoverableSignature},
};
use fulgurite_core::UnixMs;
use lightning_invoice::{
    Currency, InvoiceBuilder, PaymentSecret, RawBolt11Invoice, RawTaggedField, TaggedField,
};

/// The time of every test.
pub const NOW: UnixMs = UnixMs(1_800_000_000_000);

/// What an invoice of a test is to say.
#[derive(Clone, Debug)]
pub struct Invoice {
    /// The network.
    pub currency: Currency,
    /// The amount, if any.
    pub amount_msat: Option<u64>,
    /// The preimage is this number, repeated.
    pub preimage: u8,
    /// Seconds after [`NOW`] at which it expires; at most 3,600.
    pub expires_in_s: u64,
    /// The final CLTV delta.
    pub final_cltv_delta: u64,
    /// Whether the payee's key is included.
    pub includes_payee: bool,
}

impl Default for Invoice {
    fn default() -> Invoice {
        Invoice {
            currency: Currency::Regtest,
            amount_msat: Some(1_000_000),
            preimage: 7,
            expires_in_s: 3_600,
            final_cltv_delta: 40,
            includes_payee: false,
        }
    }
}

/// The key that signs every invoice.
pub fn payee() -> [u8; 33] {
    PublicKey::from_secret_key(&Secp256k1::new(), &secret_key()).serialize()
}

fn secret_key() -> SecretKey {
    SecretKey::from_slice(&[42; 32]).expect("a key")
}

fn sign(message: &Message) -> RecoverableSignature {
    Secp256k1::new().sign_ecdsa_recoverable(message, &secret_key())
}

impl Invoice {
    /// The invoice as a payee would write it.
    pub fn text(&self) -> String {
        let created = Duration::from_millis(u64::try_from(NOW.0).expect("positive"));
        let created = created + Duration::from_secs(self.expires_in_s) - Duration::from_secs(3_600);
        let builder = InvoiceBuilder::new(self.currency.clone())
            .description("coffee".into())
            .payment_hash(sha256::Hash::hash(&[self.preimage; 32]))
            .payment_secret(PaymentSecret([9; 32]))
            .duration_since_epoch(created)
            .min_final_cltv_expiry_delta(self.final_cltv_delta)
            .expiry_time(Duration::from_secs(3_600));
        let builder = match self.amount_msat {
            Some(msat) => builder.amount_milli_satoshis(msat),
            None => builder,
        };
        let builder = if self.includes_payee {
            builder.payee_pub_key(PublicKey::from_slice(&payee()).expect("a key"))
        } else {
            builder
        };
        builder.build_signed(sign).expect("an invoice").to_string()
    }

    /// The invoice after `change`, signed again.
    pub fn changed(&self, change: impl FnOnce(&mut RawBolt11Invoice)) -> String {
        let signed = self.text().parse::<lightning_invoice::SignedRawBolt11Invoice>();
        let (mut raw, _, _) = signed.expect("an invoice").into_parts();
        change(&mut raw);
        raw.sign(|message| Ok::<_, ()>(sign(message))).expect("a signature").to_string()
    }

    /// The invoice without the tagged fields that `removes` picks.
    pub fn without(&self, removes: impl Fn(&TaggedField) -> bool) -> String {
        self.changed(|raw| {
            raw.data.tagged_fields.retain(|field| match field {
                RawTaggedField::KnownSemantics(known) => !removes(known),
                RawTaggedField::UnknownSemantics(_) => true,
            });
        })
    }
}
