//! One record: the envelope around the events of one group commit. Coded by hand, so that it can
//! be read in a hundred years without any library.
//!
//! ```text
//!  0  length       u32   of everything after the checksum
//!  4  crc32c       u32   over everything after itself
//!  8  format       u8    of this envelope: 1
//!  9  flags        u8    none yet: 0
//! 10  schema       u16   of the payload
//! 12  shard        u32   whose journal it is
//! 16  epoch        u32   the start of the engine that wrote it
//! 20  count        u32   of events
//! 24  first_lsn    u64   of the first event; the others follow without a gap
//! 32  chain        [32]  SHA-256 over the previous record's chain, bytes 8 to 31 and the payload
//! 64  payload
//! ```
//!
//! All numbers are little-endian. The first record's previous chain is all zeros.

use fulgurite_core::Lsn;
use sha2::{Digest, Sha256};

use crate::codec;

/// A link of the hash chain: it stands for its record and all records before it.
pub type Chain = [u8; 32];

/// The format of the envelope that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
/// How long the envelope is, in bytes.
pub const ENVELOPE_LEN: usize = 64;

/// A place in the journal and everything before it: an event and its record's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last event of a record; 0 before the first.
    pub lsn: Lsn,
    /// That record's chain; zeros before the first.
    pub chain: Chain,
}

/// What the envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The schema of the payload.
    pub schema: u16,
    /// Whose journal it is.
    pub shard: u32,
    /// The start of the engine that wrote it.
    pub epoch: u32,
    /// How many events follow; at least 1.
    pub count: u32,
    /// The first event.
    pub first_lsn: Lsn,
    /// The record's chain.
    pub chain: Chain,
}

impl Header {
    /// The place after this record.
    pub fn end(&self) -> Position {
        Position { lsn: self.first_lsn + u64::from(self.count) - 1, chain: self.chain }
    }
}

/// Why bytes are no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Cut off, or with something behind it.
    #[error("the record is {found} bytes long and says {said}")]
    Length {
        /// How long it is.
        found: usize,
        /// How long it says that it is.
        said: usize,
    },
    /// A bit is not what it was.
    #[error("the checksum is wrong")]
    Checksum,
    /// A newer program wrote it.
    #[error("format {0} is newer than this program knows")]
    NewerFormat(u8),
    /// No program wrote it.
    #[error("the envelope holds impossible values")]
    Envelope,
    /// It is whole, but not the successor of the record before it.
    #[error("it does not continue the chain of the records before it")]
    Chain,
    /// It belongs to another journal.
    #[error("it belongs to shard {0}")]
    Shard(u32),
    /// Its first event is not the one that must follow.
    #[error("its first event is {found} where {expected} must follow")]
    Gap {
        /// What must follow.
        expected: Lsn,
        /// What is there.
        found: Lsn,
    },
    /// There is no record where one must be.
    #[error("it is missing")]
    Missing,
    /// It says something else than its place in the store.
    #[error("it is stored under another event's number")]
    Misplaced,
    /// An older engine wrote after a newer one.
    #[error("epoch {found} follows epoch {before}")]
    Epoch {
        /// The epoch of the record before.
        before: u32,
        /// The epoch of this one.
        found: u32,
    },
    /// The payload is not what its schema says.
    #[error("its events: {0}")]
    Payload(#[from] codec::DecodeError),
    /// RocksDB itself found it damaged.
    #[error("storage: {0}")]
    Storage(#[from] rocksdb::Error),
}

/// Starts a record: room for the envelope, behind which the events are appended.
pub fn start(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(ENVELOPE_LEN, 0);
}

/// Fills in the envelope of a record that [`start`] began, as the successor of `previous`.
pub fn seal(bytes: &mut [u8], header: &mut Header, previous: &Chain) {
    let length = u32::try_from(bytes.len() - 8).expect("the writer ends records far earlier");
    bytes[0..4].copy_from_slice(&length.to_le_bytes());
    bytes[8] = FORMAT;
    bytes[9] = 0;
    bytes[10..12].copy_from_slice(&header.schema.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.shard.to_le_bytes());
    bytes[16..20].copy_from_slice(&header.epoch.to_le_bytes());
    bytes[20..24].copy_from_slice(&header.count.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.first_lsn.to_le_bytes());
    header.chain = chain(previous, bytes);
    bytes[32..64].copy_from_slice(&header.chain);
    let checksum = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a record that is whole in itself; whether it continues the chain is another question:
/// [`continues`].
pub fn read(bytes: &[u8]) -> Result<(Header, &[u8]), Damage> {
    let Some((envelope, payload)) = bytes.split_first_chunk::<ENVELOPE_LEN>() else {
        return Err(Damage::Length { found: bytes.len(), said: ENVELOPE_LEN });
    };
    let said = u32_at(envelope, 0) as usize + 8;
    if said != bytes.len() {
        return Err(Damage::Length { found: bytes.len(), said });
    }
    if crc32c::crc32c(&bytes[8..]) != u32_at(envelope, 4) {
        return Err(Damage::Checksum);
    }
    // The checksum is right: what is strange from here on was written so.
    match envelope[8] {
        FORMAT => {}
        0 => return Err(Damage::Envelope),
        newer => return Err(Damage::NewerFormat(newer)),
    }
    let header = Header {
        schema: u16::from_le_bytes([envelope[10], envelope[11]]),
        shard: u32_at(envelope, 12),
        epoch: u32_at(envelope, 16),
        count: u32_at(envelope, 20),
        first_lsn: u64::from(u32_at(envelope, 24)) | u64::from(u32_at(envelope, 28)) << 32,
        chain: *envelope.last_chunk().expect("64 bytes end with 32"),
    };
    let impossible = header.count == 0
        || header.first_lsn == 0
        || header.first_lsn.checked_add(u64::from(header.count)).is_none();
    if impossible || envelope[9] != 0 {
        return Err(Damage::Envelope);
    }
    Ok((header, payload))
}

/// Whether the record, read with [`read`], is the successor of the record with this chain.
pub fn continues(bytes: &[u8], header: &Header, previous: &Chain) -> bool {
    chain(previous, bytes) == header.chain
}

fn chain(previous: &Chain, bytes: &[u8]) -> Chain {
    let mut sha256 = Sha256::new();
    sha256.update(previous);
    sha256.update(&bytes[8..32]);
    sha256.update(&bytes[ENVELOPE_LEN..]);
    sha256.finalize().into()
}

fn u32_at(bytes: &[u8; ENVELOPE_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(payload: &[u8], previous: &Chain) -> (Vec<u8>, Header) {
        let mut bytes = Vec::new();
        start(&mut bytes);
        bytes.extend(payload);
        let mut header =
            Header { schema: 1, shard: 7, epoch: 3, count: 2, first_lsn: 40, chain: [0; 32] };
        seal(&mut bytes, &mut header, previous);
        (bytes, header)
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let (bytes, header) = record(b"two events", &[9; 32]);
        assert_eq!(read(&bytes), Ok((header, &b"two events"[..])));
        assert_eq!(header.end().lsn, 41);
        assert!(continues(&bytes, &header, &[9; 32]));
        assert!(!continues(&bytes, &header, &[8; 32]));
    }

    #[test]
    fn a_cut_or_longer_record_is_refused() {
        let (mut bytes, _) = record(b"two events", &[0; 32]);
        bytes.push(0);
        assert_eq!(read(&bytes), Err(Damage::Length { found: 75, said: 74 }));
        assert_eq!(read(&bytes[..73]), Err(Damage::Length { found: 73, said: 74 }));
        assert_eq!(read(&bytes[..10]), Err(Damage::Length { found: 10, said: 64 }));
    }

    #[test]
    fn a_newer_format_is_refused_as_such() {
        let (mut bytes, _) = record(b"two events", &[0; 32]);
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read(&bytes), Err(Damage::NewerFormat(2)));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8) {
            let (mut bytes, _) = record(&payload, &[0; 32]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
