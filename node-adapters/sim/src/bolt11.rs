//! Reads the facts of a BOLT 11 invoice that paying needs.
//!
//! [`glance`] walks the fields in under a microsecond and checks neither checksum nor signature:
//! enough for an invoice whose payment secret the factory has authenticated. [`parse`] checks
//! everything.

use std::str::FromStr;

use bitcoin::bech32::primitives::iter::Fe32IterExt;
use bitcoin::bech32::{Bech32, Fe32, Hrp};
use lightning_invoice::{
    Bolt11Invoice, Bolt11InvoiceDescriptionRef, Bolt11SemanticError, ParseOrSemanticError,
};

/// What paying an invoice needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `None` leaves the amount to the sender.
    pub amount_msat: Option<u64>,
    /// When it was made, in Unix seconds.
    pub timestamp: u64,
    /// How long it is valid, in seconds.
    pub expiry_secs: u64,
    /// What is paid.
    pub payment_hash: [u8; 32],
    /// The field `s`; lnd pays no invoice without.
    pub payment_secret: [u8; 32],
    /// Whether it is to be paid by AMP, which the fleet's own are not.
    pub is_amp: bool,
    /// The recipient's `min_final_cltv_expiry_delta`.
    pub cltv_expiry: u64,
}

/// What the fleet's own invoices ask for.
pub(crate) const CLTV_EXPIRY: u64 = 80;

/// An invoice with everything that DecodePayReq shows.
pub(crate) struct Parsed {
    /// What paying needs.
    pub facts: Facts,
    /// The recipient's public key, from the signature.
    pub payee: [u8; 33],
    /// The memo, empty if the invoice has a hash of it.
    pub description: String,
}

/// The value of each bech32 character, 255 for all others.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let alphabet = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let mut value = 0;
    while value < 32 {
        values[alphabet[value] as usize] = value as u8;
        values[alphabet[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
};

/// Characters of the signature and the checksum at the end.
const TAIL: usize = 104 + 6;

/// Reads a regtest invoice without checking checksum and signature. `None` if it is none, or has
/// no payment hash or secret, or is none that the factory would write.
pub(crate) fn glance(invoice: &str) -> Option<Facts> {
    let bytes = invoice.as_bytes();
    let rest = bytes.strip_prefix(b"lnbcrt").or_else(|| bytes.strip_prefix(b"LNBCRT"))?;
    let separator = rest.iter().rposition(|byte| *byte == b'1')?;
    let amount_msat = amount(&rest[..separator])?;
    let data = &rest[separator + 1..];
    let mut fields = data.get(..data.len().checked_sub(TAIL)?)?;
    let timestamp = number(fields.get(..7)?)?;
    fields = &fields[7..];
    let (mut payment_hash, mut payment_secret, mut expiry_secs) = (None, None, 3_600);
    while let [tag, high, low, after @ ..] = fields {
        let length = number(&[*high, *low])? as usize;
        let (field, next) = after.split_at_checked(length)?;
        match (tag.to_ascii_lowercase(), length) {
            (b'p', 52) => payment_hash = payment_hash.or(Some(bytes32(field)?)),
            (b's', 52) => payment_secret = payment_secret.or(Some(bytes32(field)?)),
            (b'x', ..13) => expiry_secs = number(field)?,
            _ => {}
        }
        fields = next;
    }
    let (payment_hash, payment_secret) = (payment_hash?, payment_secret?);
    Some(Facts {
        amount_msat,
        timestamp,
        expiry_secs,
        payment_hash,
        payment_secret,
        is_amp: false,
        cltv_expiry: CLTV_EXPIRY,
    })
}

/// Reads an invoice and checks everything, as lnd does before it pays.
///
/// # Errors
/// lnd's text for an invoice of another network or one that cannot be read.
pub(crate) fn parse(invoice: &str) -> Result<Parsed, String> {
    check_text(invoice)?;
    let parsed = Bolt11Invoice::from_str(invoice).map_err(|error| match error {
        ParseOrSemanticError::ParseError(error) => {
            format!("invalid bech32 string or invoice: {error}")
        }
        ParseOrSemanticError::SemanticError(Bolt11SemanticError::NoPaymentSecret) => {
            "payment request must contain either a payment address or blinded paths".into()
        }
        ParseOrSemanticError::SemanticError(Bolt11SemanticError::InvalidSignature) => {
            "invalid invoice signature".into()
        }
        ParseOrSemanticError::SemanticError(error) => error.to_string(),
    })?;
    let flags = parsed.features().map_or(&[][..], |features| features.le_flags());
    let facts = Facts {
        amount_msat: parsed.amount_milli_satoshis(),
        timestamp: parsed.duration_since_epoch().as_secs(),
        expiry_secs: parsed.expiry_time().as_secs(),
        payment_hash: *AsRef::<[u8; 32]>::as_ref(parsed.payment_hash()),
        payment_secret: parsed.payment_secret().0,
        // Bits 30 and 31.
        is_amp: flags.get(3).is_some_and(|byte| byte & 0b1100_0000 != 0),
        cltv_expiry: parsed.min_final_cltv_expiry_delta(),
    };
    let description = match parsed.description() {
        Bolt11InvoiceDescriptionRef::Direct(text) => text.to_string(),
        Bolt11InvoiceDescriptionRef::Hash(_) => String::new(),
    };
    let payee = parsed.get_payee_pub_key().serialize();
    Ok(Parsed { facts, payee, description })
}

/// Checks of an invoice what lnd checks first: that it is bech32, and of this network.
fn check_text(invoice: &str) -> Result<(), String> {
    if invoice.len() < 8 {
        return Err(format!("invalid bech32 string length {}", invoice.len()));
    }
    if let Some(odd) = invoice.chars().find(|character| !character.is_ascii_graphic()) {
        return Err(format!("invalid character in string: '{odd}'"));
    }
    let lower = invoice.to_ascii_lowercase();
    if invoice != lower && invoice != invoice.to_ascii_uppercase() {
        return Err("string not all lowercase or all uppercase".into());
    }
    let one = lower.rfind('1').filter(|one| *one > 0 && one + 7 <= lower.len());
    let (prefix, data) = lower.split_at(one.ok_or("invalid index of 1")?);
    let (data, checksum) = data[1..].split_at(data.len() - 7);
    let data: Result<Vec<Fe32>, _> = data.chars().map(Fe32::from_char).collect();
    let data = data.map_err(|error| format!("failed converting data to bytes: {error}"))?;
    let hrp = Hrp::parse(prefix).map_err(|error| error.to_string())?;
    let whole: String = data.into_iter().with_checksum::<Bech32>(&hrp).chars().collect();
    let expected = &whole[whole.len() - checksum.len()..];
    if expected != checksum {
        return Err(format!("checksum failed. Expected {expected}, got {checksum}."));
    }
    if !prefix.starts_with("lnbcrt") {
        return Err("invoice not for current active network 'regtest'".into());
    }
    Ok(())
}

/// The amount in a human readable part after the network: `Some(None)` if there is none.
fn amount(text: &[u8]) -> Option<Option<u64>> {
    let Some((last, digits)) = text.split_last() else {
        return Some(None);
    };
    let (digits, msat_times_10) = match last.to_ascii_lowercase() {
        b'm' => (digits, 1_000_000_000),
        b'u' => (digits, 1_000_000),
        b'n' => (digits, 1_000),
        b'p' => (digits, 1),
        b'0'..=b'9' => (text, 1_000_000_000_000),
        _ => return None,
    };
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    let tenths = value.checked_mul(msat_times_10)?;
    tenths.is_multiple_of(10).then_some(Some(tenths / 10))
}

/// Up to 12 characters as one number, most significant first.
fn number(characters: &[u8]) -> Option<u64> {
    characters.iter().try_fold(0_u64, |number, character| {
        let value = VALUES[usize::from(*character)];
        (value < 32).then_some(number << 5 | u64::from(value))
    })
}

/// 52 characters as 32 bytes; the last 4 bits are padding.
fn bytes32(characters: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (mut bits, mut count, mut next) = (0_u32, 0, 0);
    for character in characters {
        let value = VALUES[usize::from(*character)];
        if value >= 32 {
            return None;
        }
        bits = (bits & 0xff) << 5 | u32::from(value);
        count += 5;
        if count >= 8 && next < 32 {
            count -= 8;
            bytes[next] = (bits >> count) as u8;
            next += 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one amount and what it is in millisatoshi.
    fn amounts_are_read_as_bolt_11_writes_them() {
        for (text, msat) in [
            ("",       Some(None)),
            ("1",      Some(Some(100_000_000_000))),
            ("2500u",  Some(Some(250_000_000))),
            ("20m",    Some(Some(2_000_000_000))),
            ("10n",    Some(Some(1_000))),
            ("10p",    Some(Some(1))),
            ("1p",     None),
            ("10x",    None),
            ("u1u",    None),
        ] {
            assert_eq!(amount(text.as_bytes()), msat, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one text and lnd's words for it.
    fn a_text_is_refused_with_lnds_words() {
        for (text, words) in [
            ("lnbcrt1",               "invalid bech32 string length 7"),
            ("lnbcrt1qqqqq\u{e4}q",   "invalid character in string: '\u{e4}'"),
            ("lnbcrt1qqqqqqQ",        "string not all lowercase or all uppercase"),
            ("lnbcrtqqqqqqqq",        "invalid index of 1"),
            ("1qqqqqqqqqqq",          "invalid index of 1"),
            ("lnbcrtqq1qqqqq",        "invalid index of 1"),
            ("lnbcrt1bqqqqqq",        "failed converting data to bytes: "),
            ("lnbcrt1qqqqqqq",        "checksum failed. Expected "),
            // BIP 173's own strings have good checksums.
            ("a12uel5l",              "invoice not for current active network 'regtest'"),
            ("A12UEL5L",              "invoice not for current active network 'regtest'"),
        ] {
            let refused = check_text(text).unwrap_err();
            assert!(refused.starts_with(words), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_no_invoice_is_none() {
        for text in ["", "lnbcrt", "lnbc1", "lnbcrt1", "lnbcrt1qqqq", "lnbcrt1b", "ätsch"] {
            assert_eq!(glance(text), None, "{text}");
            assert!(parse(text).is_err());
        }
    }
}
