//! Macaroons in the v2 binary format, as lnd writes them, and the one thing that we do to them:
//! adding a caveat that lets them expire (rule E6 (a)).
//!
//! Whoever holds a macaroon may narrow it: the new signature is the HMAC of the caveat under the
//! old signature, so the issuer can verify the chain and nobody can take a caveat off again.

use fulgurite_core::time::UnixMs;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const VERSION: u8 = 2;
const END_OF_SECTION: u8 = 0;
const LOCATION: u8 = 1;
const IDENTIFIER: u8 = 2;
const VERIFICATION_ID: u8 = 4;
const SIGNATURE: u8 = 6;

/// A macaroon that can be sent and narrowed. It is a secret: never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Macaroon {
    /// Everything up to the mark that ends the caveats.
    head: Vec<u8>,
    signature: [u8; 32],
}

/// The bytes are not a macaroon in the v2 binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a macaroon in the v2 binary format")]
pub struct NotAMacaroon;

impl Macaroon {
    /// Reads the bytes of a macaroon file.
    pub fn parse(bytes: &[u8]) -> Result<Macaroon, NotAMacaroon> {
        let mut reader = Reader { rest: bytes };
        if reader.byte()? != VERSION {
            return Err(NotAMacaroon);
        }
        reader.section()?;
        while reader.rest.first() != Some(&END_OF_SECTION) {
            reader.section()?;
        }
        let head = bytes[..bytes.len() - reader.rest.len()].to_vec();
        reader.byte()?;
        let (SIGNATURE, signature) = reader.field()? else {
            return Err(NotAMacaroon);
        };
        let signature = signature.try_into().map_err(|_| NotAMacaroon)?;
        if reader.rest.is_empty() { Ok(Macaroon { head, signature }) } else { Err(NotAMacaroon) }
    }

    /// This macaroon, refused from `expiry` on by the clock of the node that checks it.
    pub fn expiring_at(&self, expiry: UnixMs) -> Macaroon {
        self.with_caveat(time_before(expiry).as_bytes())
    }

    /// This macaroon with one more first-party caveat.
    pub fn with_caveat(&self, caveat: &[u8]) -> Macaroon {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.signature)
            .expect("HMAC takes a key of any length");
        mac.update(caveat);
        let mut head = self.head.clone();
        head.push(IDENTIFIER);
        push_varint(&mut head, caveat.len());
        head.extend_from_slice(caveat);
        head.push(END_OF_SECTION);
        Macaroon { head, signature: mac.finalize().into_bytes().into() }
    }

    /// The macaroon in the v2 binary format.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        bytes.extend_from_slice(&[END_OF_SECTION, SIGNATURE, 32]);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// The macaroon in hex, as lnd wants it in the metadata `macaroon`.
    pub fn to_hex(&self) -> String {
        hex::encode(self.to_bytes())
    }
}

impl std::fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Macaroon(..)")
    }
}

/// The condition `time-before`, with RFC 3339 in UTC and milliseconds. Times outside the years
/// -9999 to 9999 become the nearest end.
fn time_before(expiry: UnixMs) -> String {
    let latest = if expiry.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let time = jiff::Timestamp::from_millisecond(expiry.0).unwrap_or(latest);
    format!("time-before {time:.3}")
}

fn push_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads fields (type, length, bytes) from what is left.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, NotAMacaroon> {
        let (&first, rest) = self.rest.split_first().ok_or(NotAMacaroon)?;
        self.rest = rest;
        Ok(first)
    }

    fn varint(&mut self) -> Result<usize, NotAMacaroon> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(NotAMacaroon)
    }

    fn field(&mut self) -> Result<(u8, &'a [u8]), NotAMacaroon> {
        let kind = self.byte()?;
        let length = self.varint()?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(NotAMacaroon)?;
        self.rest = rest;
        Ok((kind, value))
    }

    /// An identifier, with a location before it or a verification id behind it.
    fn section(&mut self) -> Result<(), NotAMacaroon> {
        let mut last = 0;
        while self.rest.first() != Some(&END_OF_SECTION) {
            let (kind, _) = self.field()?;
            if kind <= last || ![LOCATION, IDENTIFIER, VERIFICATION_ID].contains(&kind) {
                return Err(NotAMacaroon);
            }
            last = kind;
        }
        self.byte()?;
        if last >= IDENTIFIER { Ok(()) } else { Err(NotAMacaroon) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with the Go library that lnd uses: gopkg.in/macaroon.v2.
    const HEAD: &str = "0201036c6e640211030a10616e206964656e746966696572120000";
    const PLAIN: &str = "e5866530718e705d8ee522795c01d1d0624ba4cd4eb45ff655f04bc9bc11e91f";
    const TIME_BEFORE: &str =
        "022474696d652d6265666f726520323032362d31312d32315431363a34383a34332e3132335a00";
    const WITH_TIME_BEFORE: &str =
        "124f267159b1f01ee87abd5b33e0260c1eaa5ee867a81605432b633947d137e2";
    const WITH_LONG_CAVEAT: &str =
        "277e4e24a99b9078ffb7b539399fcd38d20efd7dfe38a9af851e248d228bc328";
    const THIRD_PARTY: &str = "0109656c736577686572650205746869726404020102000006";

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn plain() -> Macaroon {
        Macaroon::parse(&hex(&format!("{HEAD}0620{PLAIN}"))).unwrap()
    }

    #[test]
    fn a_macaroon_is_written_as_it_was_read() {
        assert_eq!(plain().to_hex(), format!("{HEAD}0620{PLAIN}"));
        let third_party = format!("{}{THIRD_PARTY}20{PLAIN}", &HEAD[..HEAD.len() - 2]);
        assert_eq!(Macaroon::parse(&hex(&third_party)).unwrap().to_hex(), third_party);
    }

    #[test]
    fn an_expiry_is_added_as_the_go_library_does() {
        let expiring = plain().expiring_at(UnixMs(1_795_279_723_123));
        let head = &HEAD[..HEAD.len() - 2];
        assert_eq!(expiring.to_hex(), format!("{head}{TIME_BEFORE}000620{WITH_TIME_BEFORE}"));
        assert_eq!(Macaroon::parse(&expiring.to_bytes()), Ok(expiring.clone()));
        let long = expiring.with_caveat(format!("ipaddr {}", "1".repeat(200)).as_bytes());
        assert!(long.to_hex().ends_with(&format!("000620{WITH_LONG_CAVEAT}")));
        assert_eq!(Macaroon::parse(&long.to_bytes()), Ok(long));
    }

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "time-before 1970-01-01T00:00:00.000Z"),
            (1_767_225_600_000, "time-before 2026-01-01T00:00:00.000Z"),
            (1_767_225_600_010, "time-before 2026-01-01T00:00:00.010Z"),
            (-1, "time-before 1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(time_before(UnixMs(ms)), text);
        }
    }

    #[test]
    fn what_is_not_a_macaroon_is_refused() {
        let good = plain().to_bytes();
        for length in 0..good.len() {
            assert_eq!(Macaroon::parse(&good[..length]), Err(NotAMacaroon), "{length} bytes");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(Macaroon::parse(&longer), Err(NotAMacaroon));
        let mut version_1 = good;
        version_1[0] = 1;
        assert_eq!(Macaroon::parse(&version_1), Err(NotAMacaroon));
        assert_eq!(Macaroon::parse(b"0021location lnd"), Err(NotAMacaroon));
    }
}
