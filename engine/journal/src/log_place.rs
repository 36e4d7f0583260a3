//! Where RocksDB's log is damaged: RocksDB says that it is, and not where.
//!
//! A log is blocks of 32 KiB; a block holds fragments, none across its end:
//!
//! ```text
//!  0  crc32c, masked   u32   over type and payload      4  length  u16      6  type  u8
//!  7  payload
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// A checksum of bytes that hold checksums is weak, so RocksDB turns it and adds this.
const MASK: u32 = 0xa282_ead8;

/// The first damaged place of the logs in a database's folder: file and byte.
pub(crate) fn first_damage(database: &Path) -> Option<(PathBuf, usize)> {
    let mut logs: Vec<PathBuf> = fs::read_dir(database)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort_unstable();
    logs.into_iter().find_map(|log| {
        let at = bad_fragment(&fs::read(&log).ok()?)?;
        Some((log, at))
    })
}

/// Where the first fragment is that is not what was written.
fn bad_fragment(log: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = log.get(at..at + HEADER) {
        let room = BLOCK - at % BLOCK;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        // The end of a block that is too short for a header, and room that was never used.
        if room < HEADER || (length == 0 && header[6] == 0) {
            at += room;
            continue;
        }
        let end = at + HEADER + length;
        let said = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        match log.get(at + 6..end) {
            Some(content) if HEADER + length <= room && masked(content) == said => at = end,
            _ => return Some(at),
        }
    }
    None
}

fn masked(content: &[u8]) -> u32 {
    crc32c::crc32c(content).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(payload: &[u8]) -> Vec<u8> {
        let content = [&[1], payload].concat();
        let length = u16::try_from(payload.len()).unwrap();
        [&masked(&content).to_le_bytes()[..], &length.to_le_bytes(), &content].concat()
    }

    #[test]
    fn a_whole_log_has_no_bad_fragment_and_a_flipped_bit_has_its_own() {
        let first = fragment(&[7; 100]);
        let log = [first.clone(), fragment(&[8; 50]), vec![0; 40]].concat();
        assert_eq!(bad_fragment(&log), None);
        for at in 0..first.len() + HEADER + 50 {
            let mut flipped = log.clone();
            flipped[at] ^= 1;
            let expected = if at < first.len() { 0 } else { first.len() };
            assert_eq!(bad_fragment(&flipped), Some(expected), "byte {at}");
        }
    }

    #[test]
    fn a_block_that_has_no_room_for_a_header_is_skipped() {
        let mut log = fragment(&vec![9; BLOCK - HEADER - 3]);
        log.extend([0; 3]);
        log.extend(fragment(b"next"));
        assert_eq!(bad_fragment(&log), None);
        log.truncate(log.len() - 1);
        assert_eq!(bad_fragment(&log), Some(BLOCK), "cut off");
    }
}
