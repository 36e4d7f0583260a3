//! Macaroons as lnd bakes and checks them: binary format version 2, identifiers of the bakery
//! version 3, a root key per id, first-party caveats chained by HMAC-SHA256.

use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;

const FIELD_END: u8 = 0;
const FIELD_LOCATION: u8 = 1;
const FIELD_IDENTIFIER: u8 = 2;
const FIELD_VERIFICATION: u8 = 4;
const FIELD_SIGNATURE: u8 = 6;

/// An operation that a macaroon allows: `offchain` and `write`, or `uri` and a method's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    /// On what.
    pub entity: String,
    /// Doing what.
    pub action: String,
}

impl Permission {
    /// The permission to do `action` on `entity`.
    pub fn new(entity: &str, action: &str) -> Permission {
        Permission { entity: entity.into(), action: action.into() }
    }
}

/// A macaroon as it arrived, not yet checked against a root key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Macaroon {
    identifier: Vec<u8>,
    caveats: Vec<Vec<u8>>,
    signature: [u8; 32],
    /// Which root key it claims to be made with.
    pub root_key_id: String,
    /// What it allows.
    pub permissions: Vec<Permission>,
}

/// The bakery's identifier, after its version byte.
#[derive(Clone, PartialEq, prost::Message)]
struct Identifier {
    #[prost(bytes = "vec", tag = "1")]
    nonce: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    storage_id: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    ops: Vec<Op>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Op {
    #[prost(string, tag = "1")]
    entity: String,
    #[prost(string, repeated, tag = "2")]
    actions: Vec<String>,
}

/// Bakes a macaroon without caveats, in binary.
pub(crate) fn bake(
    root_key: &[u8; 32],
    root_key_id: &str,
    nonce: &[u8; 16],
    permissions: &[Permission],
) -> Vec<u8> {
    let mut ops: Vec<Op> = Vec::new();
    for Permission { entity, action } in permissions {
        match ops.iter_mut().find(|op| op.entity == *entity) {
            Some(op) => op.actions.push(action.clone()),
            None => ops.push(Op { entity: entity.clone(), actions: vec![action.clone()] }),
        }
    }
    let storage_id = root_key_id.as_bytes().to_vec();
    let mut identifier = vec![3];
    identifier.extend(Identifier { nonce: nonce.to_vec(), storage_id, ops }.encode_to_vec());
    let signature = chain(&derived_key(root_key), &identifier);
    let mut binary = vec![2];
    put_field(&mut binary, FIELD_LOCATION, b"lnd");
    put_field(&mut binary, FIELD_IDENTIFIER, &identifier);
    binary.extend([FIELD_END, FIELD_END]);
    put_field(&mut binary, FIELD_SIGNATURE, &signature);
    binary
}

impl Macaroon {
    /// Reads the binary form. `None` if it is none that lnd could have made.
    pub fn read(binary: &[u8]) -> Option<Macaroon> {
        let mut rest = binary.strip_prefix(&[2])?;
        let mut identifier = Vec::new();
        let mut caveats = Vec::new();
        loop {
            match take_field(&mut rest)? {
                (FIELD_END, _) => break,
                (FIELD_LOCATION, _) => {}
                (FIELD_IDENTIFIER, data) => identifier = data.to_vec(),
                _ => return None,
            }
        }
        while let (field @ 1.., data) = take_field(&mut rest)? {
            let mut caveat = (field == FIELD_IDENTIFIER).then(|| data.to_vec());
            loop {
                match take_field(&mut rest)? {
                    (FIELD_END, _) => break,
                    (FIELD_IDENTIFIER, data) => caveat = Some(data.to_vec()),
                    // A third party's caveat: lnd knows none.
                    (FIELD_VERIFICATION, _) => return None,
                    _ => return None,
                }
            }
            caveats.push(caveat?);
        }
        let (FIELD_SIGNATURE, signature) = take_field(&mut rest)? else {
            return None;
        };
        let parsed = Identifier::decode(identifier.strip_prefix(&[3])?).ok()?;
        let mut permissions = Vec::new();
        for op in parsed.ops {
            let entity = op.entity;
            permissions.extend(op.actions.iter().map(|action| Permission::new(&entity, action)));
        }
        Some(Macaroon {
            identifier,
            caveats,
            signature: signature.try_into().ok()?,
            root_key_id: String::from_utf8(parsed.storage_id).ok()?,
            permissions,
        })
    }

    /// Whether it was made with `root_key` and only caveats were added since.
    pub fn is_made_with(&self, root_key: &[u8; 32]) -> bool {
        let start = chain(&derived_key(root_key), &self.identifier);
        let end = self.caveats.iter().fold(start, |signature, caveat| chain(&signature, caveat));
        end == self.signature
    }

    /// Its caveats, as text.
    pub fn caveats(&self) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
        self.caveats.iter().map(|caveat| String::from_utf8_lossy(caveat))
    }
}

/// Adds a first-party caveat to a binary macaroon, as anyone who holds one may. `None` if it is
/// no macaroon.
pub fn add_caveat(binary: &[u8], caveat: &str) -> Option<Vec<u8>> {
    // The signature is the last 32 bytes; before it stand its field and the end of the caveats.
    let old: &[u8; 32] = binary.last_chunk()?;
    let head = binary[..binary.len() - 32].strip_suffix(&[FIELD_END, FIELD_SIGNATURE, 32])?;
    let mut longer = head.to_vec();
    put_field(&mut longer, FIELD_IDENTIFIER, caveat.as_bytes());
    longer.extend([FIELD_END, FIELD_END]);
    put_field(&mut longer, FIELD_SIGNATURE, &chain(old, caveat.as_bytes()));
    Some(longer)
}

fn derived_key(root_key: &[u8; 32]) -> [u8; 32] {
    chain(b"macaroons-key-generator", root_key)
}

/// HMAC-SHA256 of `data` under `key`.
fn chain(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any size");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn put_field(binary: &mut Vec<u8>, field: u8, data: &[u8]) {
    binary.push(field);
    prost::encoding::encode_varint(data.len() as u64, binary);
    binary.extend(data);
}

/// The next field; the end has no data.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (field, after) = rest.split_first()?;
    *rest = after;
    if *field == FIELD_END {
        return Some((FIELD_END, &[]));
    }
    let length = prost::encoding::decode_varint(rest).ok()?;
    let (data, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some((*field, data))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [5; 32];

    fn baked() -> Vec<u8> {
        let permissions = [
            Permission::new("offchain", "read"),
            Permission::new("offchain", "write"),
            Permission::new("uri", "/lnrpc.Lightning/GetInfo"),
        ];
        bake(&KEY, "17", &[9; 16], &permissions)
    }

    #[test]
    fn a_macaroon_keeps_its_signature_under_caveats_and_under_no_other_key() {
        let plain = Macaroon::read(&baked()).unwrap();
        assert!(plain.is_made_with(&KEY) && !plain.is_made_with(&[6; 32]));
        assert_eq!((plain.root_key_id.as_str(), plain.permissions.len()), ("17", 3));
        let once = add_caveat(&baked(), "time-before 2026-01-01T00:00:00Z").unwrap();
        let twice = add_caveat(&once, "ipaddr 127.0.0.1").unwrap();
        let read = Macaroon::read(&twice).unwrap();
        assert!(read.is_made_with(&KEY));
        let caveats: Vec<_> = read.caveats().collect();
        assert_eq!(caveats, ["time-before 2026-01-01T00:00:00Z", "ipaddr 127.0.0.1"]);
    }

    #[test]
    fn a_changed_caveat_breaks_the_signature() {
        let mut binary = add_caveat(&baked(), "time-before 2026-01-01T00:00:00Z").unwrap();
        let year = binary.windows(4).position(|four| four == b"2026").unwrap();
        binary[year] = b'9';
        assert!(!Macaroon::read(&binary).unwrap().is_made_with(&KEY));
    }

    #[test]
    fn a_torn_macaroon_is_none() {
        let binary = add_caveat(&baked(), "ipaddr 1.2.3.4").unwrap();
        for length in 0..binary.len() {
            assert!(Macaroon::read(&binary[..length]).is_none(), "{length}");
        }
    }
}
