//! Reads one BOLT 11 invoice.
//!
//! The signature is checked at most once: either the included key is verified, or the key is
//! recovered, which is a check and gives the payee (a second recovery would cost 38 us more). The
//! hash that is signed is computed from the text as it came: a parser that writes the invoice
//! again may write it differently and find another payee.

use bitcoin::{
    bech32::primitives::decode::CheckedHrpstringError,
    hashes::Hash,
    secp256k1::{Message, Secp256k1, VerifyOnly},
};
use fulgurite_core::{Msat, PaymentHash, UnixMs, order::RowReason};
use lightning_invoice::{
    Bolt11ParseError, Currency, RawBolt11Invoice, SignedRawBolt11Invoice, TaggedField,
};
use sha2::{Digest, Sha256};

use super::{Network, Signatures};

/// The longest invoice that is read, in characters (a QR code holds no more).
pub const CHARS_MAX: usize = 7_089;
/// BOLT 11: seconds until an invoice without `x` expires.
const EXPIRY_DEFAULT_S: u64 = 3_600;
/// BOLT 11: the final CLTV delta without `c`.
const FINAL_CLTV_DELTA_DEFAULT: u64 = 18;
/// Required feature bits that lnd can honour: the onion, payment secret, MPP, payment metadata.
const FEATURES_KNOWN: [usize; 4] = [8, 14, 16, 48];
/// lnd takes an invoice with either of the two bits for one to be paid by AMP.
const FEATURES_AMP: [usize; 2] = [30, 31];
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// The signature at the end of an invoice, in characters: 65 bytes.
const SIGNATURE_CHARS: usize = 104;
const CHECKSUM_CHARS: usize = 6;

/// What an invoice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The invoice in lower case.
    pub text: String,
    /// Whose preimage is bought.
    pub payment_hash: PaymentHash,
    /// The invoice's amount, if it has one.
    pub amount: Option<Msat>,
    /// When it expires.
    pub expiry: UnixMs,
    /// How many blocks the payee asks for.
    pub final_cltv_delta: u64,
    /// Who is paid; `None` when the node checks signatures.
    pub payee: Option<[u8; 33]>,
}

/// Why an invoice is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The reason.
    pub reason: RowReason,
    /// The same for a person.
    pub message: String,
}

fn bad<T>(reason: RowReason, message: impl Into<String>) -> Result<T, Bad> {
    Err(Bad { reason, message: message.into() })
}

/// Reads invoices; holds the tables of the signature check.
pub struct Reader {
    secp: Secp256k1<VerifyOnly>,
    network: Network,
    signatures: Signatures,
}

impl Reader {
    /// A reader of invoices of this network.
    pub fn new(network: Network, signatures: Signatures) -> Reader {
        Reader { secp: Secp256k1::verification_only(), network, signatures }
    }

    /// Reads an invoice, or says what is wrong with it.
    pub fn read(&self, text: &str) -> Result<Facts, Bad> {
        let text = normal(text)?;
        let signed = text.parse::<SignedRawBolt11Invoice>().or_else(|error| refuse(&error))?;
        let raw = signed.raw_invoice();
        self.check_network(raw)?;
        let payment_hash = payment_hash(raw)?;
        check_fields(raw)?;
        let amount = amount(raw)?;
        let payee = match self.signatures {
            Signatures::Door => Some(self.payee(&signed, &text)?),
            Signatures::Node => None,
        };
        let expiry = expiry(raw);
        let final_cltv_delta =
            raw.min_final_cltv_expiry_delta().map_or(FINAL_CLTV_DELTA_DEFAULT, |delta| delta.0);
        Ok(Facts { text, payment_hash, amount, expiry, final_cltv_delta, payee })
    }

    fn check_network(&self, raw: &RawBolt11Invoice) -> Result<(), Bad> {
        let found = match raw.currency() {
            Currency::Bitcoin => "mainnet",
            Currency::BitcoinTestnet => "testnet",
            Currency::Regtest => "regtest",
            Currency::Simnet => "simnet",
            Currency::Signet => "signet",
        };
        let ours = self.network.name();
        if found == ours {
            return Ok(());
        }
        bad(
            RowReason::WrongNetwork,
            format!("the invoice is for {found}, this engine pays on {ours}"),
        )
    }

    /// The payee's key; the only place where a signature is checked.
    fn payee(&self, signed: &SignedRawBolt11Invoice, text: &str) -> Result<[u8; 33], Bad> {
        let wrong = || Bad {
            reason: RowReason::BadSignature,
            message: "the invoice's signature is wrong; ask the payee for a new invoice".into(),
        };
        let message = Message::from_digest(signable_hash(text).ok_or_else(wrong)?);
        if let Some(included) = signed.raw_invoice().payee_pub_key() {
            let signature = signed.signature().to_standard();
            self.secp.verify_ecdsa(&message, &signature, included).map_err(|_| wrong())?;
            return Ok(included.serialize());
        }
        let key = self.secp.recover_ecdsa(&message, signed.signature()).map_err(|_| wrong())?;
        Ok(key.serialize())
    }
}

/// The invoice in lower case, or why it cannot be one.
fn normal(text: &str) -> Result<String, Bad> {
    if text.len() > CHARS_MAX {
        let message = format!("{} characters; an invoice has at most {CHARS_MAX}", text.len());
        return bad(RowReason::Malformed, message);
    }
    if text.trim() != text {
        return bad(
            RowReason::Malformed,
            "there is a blank before or behind the invoice: remove it",
        );
    }
    let lower = text.to_ascii_lowercase();
    if lower != text && text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return bad(RowReason::Malformed, "lower and upper case are mixed; copy the invoice again");
    }
    if lower.starts_with("lightning:") {
        return bad(RowReason::Malformed, "remove lightning: in front of the invoice");
    }
    let others = [
        ("lno1", "a BOLT 12 offer"),
        ("lni1", "a BOLT 12 invoice"),
        ("lnurl1", "an LNURL"),
        ("bitcoin:", "a Bitcoin address"),
    ];
    let other = others.iter().find(|(prefix, _)| lower.starts_with(prefix));
    let other = other.map(|(_, kind)| *kind);
    if let Some(kind) = other.or(lower.contains('@').then_some("a Lightning Address")) {
        let message = format!("{kind} cannot be paid yet; ask the payee for a BOLT 11 invoice");
        return bad(RowReason::UnsupportedDestination, message);
    }
    if !lower.starts_with("ln") {
        return bad(RowReason::Malformed, "not a BOLT 11 invoice: it does not start with ln");
    }
    Ok(lower)
}

fn refuse<T>(error: &Bolt11ParseError) -> Result<T, Bad> {
    match error {
        Bolt11ParseError::Bech32Error(CheckedHrpstringError::Checksum(_)) => bad(
            RowReason::BadChecksum,
            "the invoice's checksum is wrong: a character was changed or lost; copy it again",
        ),
        Bolt11ParseError::UnknownCurrency => {
            bad(RowReason::WrongNetwork, "the invoice is for an unknown network")
        }
        Bolt11ParseError::MalformedSignature(_) => bad(
            RowReason::BadSignature,
            "the invoice's signature cannot be read; ask the payee for a new invoice",
        ),
        error => bad(RowReason::Malformed, format!("not a BOLT 11 invoice: {error}")),
    }
}

fn payment_hash(raw: &RawBolt11Invoice) -> Result<PaymentHash, Bad> {
    let hashes = raw.known_tagged_fields().filter(|f| matches!(f, TaggedField::PaymentHash(_)));
    if hashes.count() > 1 {
        return bad(RowReason::Malformed, "the invoice has several payment hashes");
    }
    match raw.payment_hash() {
        Some(hash) => Ok(PaymentHash(hash.0.to_byte_array())),
        None => bad(RowReason::Malformed, "the invoice has no payment hash"),
    }
}

/// The fields that lnd asks for, and the features that it cannot honour.
fn check_fields(raw: &RawBolt11Invoice) -> Result<(), Bad> {
    let (described, hashed) = (raw.description().is_some(), raw.description_hash().is_some());
    if described == hashed {
        let message = "the invoice must have either a description or the hash of one";
        return bad(RowReason::Malformed, message);
    }
    let flags = raw.features().map_or(&[][..], |features| features.le_flags());
    let is_set = |bit: usize| flags.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0);
    if FEATURES_AMP.into_iter().any(is_set) {
        let message = "the invoice is to be paid by AMP, which is not supported; ask the payee for \
                       another one";
        return bad(RowReason::FeatureUnsupported, message);
    }
    let mut required = (0..flags.len() * 8).step_by(2).filter(|bit| is_set(*bit));
    if let Some(bit) = required.find(|bit| !FEATURES_KNOWN.contains(bit)) {
        let message = format!("the invoice requires the unknown feature bit {bit}");
        return bad(RowReason::FeatureUnsupported, message);
    }
    if raw.payment_secret().is_none() {
        let message = "the invoice has no payment secret; ask the payee for one of a newer wallet";
        return bad(RowReason::FeatureUnsupported, message);
    }
    Ok(())
}

fn amount(raw: &RawBolt11Invoice) -> Result<Option<Msat>, Bad> {
    if raw.hrp.raw_amount.is_none() {
        return Ok(None);
    }
    // BOLT 11: "If the p multiplier is used the last decimal of amount MUST be 0."
    match raw.amount_pico_btc() {
        Some(0) => bad(RowReason::Malformed, "the invoice's amount is zero"),
        Some(pico) if pico % 10 != 0 => {
            bad(RowReason::Malformed, "the invoice's amount is not a whole number of millisatoshi")
        }
        Some(pico) => match Msat::new(pico / 10) {
            Ok(amount) => Ok(Some(amount)),
            Err(error) => bad(RowReason::Malformed, format!("the invoice's amount: {error}")),
        },
        None => bad(RowReason::Malformed, "the invoice's amount is more than all bitcoin"),
    }
}

fn expiry(raw: &RawBolt11Invoice) -> UnixMs {
    let created_s = raw.data.timestamp.as_unix_timestamp();
    let expiry_s = raw.expiry_time().map_or(EXPIRY_DEFAULT_S, |expiry| expiry.as_seconds());
    let ms = created_s.saturating_add(expiry_s).saturating_mul(1_000);
    UnixMs(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// What an invoice's signature signs (BOLT 11): the human-readable part, then the data without
/// the signature as bytes, padded with zero bits.
fn signable_hash(text: &str) -> Option<[u8; 32]> {
    let (hrp, data) = text.rsplit_once('1')?;
    let end = data.len().checked_sub(SIGNATURE_CHARS + CHECKSUM_CHARS)?;
    let mut bytes = Vec::with_capacity(end * 5 / 8 + 1);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for char in data.as_bytes().get(..end)? {
        let value = u32::try_from(BECH32.iter().position(|known| known == char)?).ok()?;
        (bits, held) = ((bits << 5 | value) & 0xfff, held + 5);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    if held > 0 {
        bytes.push(u8::try_from(bits << (8 - held) & 0xff).ok()?);
    }
    Some(Sha256::new().chain_update(hrp).chain_update(bytes).finalize().into())
}
