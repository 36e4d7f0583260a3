//! Where RocksDB's log is damaged: RocksDB says that it is, and not where; of some damage it says
//! nothing, because it never gets past it.
//!
//! A log, and a MANIFEST too, is blocks of 32 KiB; a block holds fragments, none across its end:
//!
//! ```text
//!  0  crc32c, masked   u32   over type and payload      4  length  u16      6  type  u8
//!  7  payload
//! ```

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    iter,
    path::{Path, PathBuf},
};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// A checksum of bytes that hold checksums is weak, so RocksDB turns it and adds this.
const MASK: u32 = 0xa282_ead8;

/// A fragment of a block.
struct Fragment {
    /// Where it begins.
    at: usize,
    kind: u8,
    /// It is what was written.
    is_whole: bool,
    /// It is what was written, but for a length that reaches past the end of its block's bytes.
    is_overlong: bool,
}

/// What RocksDB does not notice by itself.
pub(crate) enum Unnoticed {
    /// A type that no fragment of this program's has.
    Type,
    /// A length that the fragment was not written with.
    Length,
}

/// The first damaged place of the logs in a database's folder: file and byte.
pub(crate) fn first_damage(database: &Path) -> Option<(PathBuf, usize)> {
    let is_bad = |fragment: &Fragment| !fragment.is_whole;
    logs(database).ok()?.into_iter().find_map(|log| {
        let at = first(&log, is_bad).ok()??;
        Some((log, at))
    })
}

/// The first damage, in a database's logs and its MANIFEST, that RocksDB never gets past or does
/// not notice: file and byte.
///
/// - A fragment that claims to be in a file that was used before. This program reuses no file, so a
///   bit flipped there; and behind a fragment of another type RocksDB's reader stays at it for
///   ever (`ReadPhysicalRecord` of RocksDB 11.8: it neither refuses nor skips it).
/// - A fragment of the MANIFEST that says to be longer than the file. RocksDB takes it for the torn
///   end that a kill leaves and drops it, with whatever is behind it: tables are missing then. Of a
///   torn end the checksum is wrong for each length; of a flipped length it is right for one. (A
///   log may be cut as well, but what was acknowledged in it is known: `watermark`.)
///
/// Nothing is looked for behind a fragment that is damaged otherwise: what is behind may be no
/// fragment, and RocksDB refuses, or takes it for a torn end.
pub(crate) fn first_unnoticed(database: &Path) -> io::Result<Option<(PathBuf, usize, Unnoticed)>> {
    for log in logs(database)? {
        if let Some(at) = first_if_there(&log, |fragment| is_recycled(fragment.kind))? {
            return Ok(Some((log, at, Unnoticed::Type)));
        }
    }
    // A name that cannot be read is RocksDB's to refuse.
    let Ok(name) = fs::read_to_string(database.join("CURRENT")) else {
        return Ok(None);
    };
    let manifest = database.join(name.trim_end());
    if let Some(at) = first_if_there(&manifest, |fragment| is_recycled(fragment.kind))? {
        return Ok(Some((manifest, at, Unnoticed::Type)));
    }
    let overlong = first_if_there(&manifest, |fragment| fragment.is_overlong)?;
    Ok(overlong.map(|at| (manifest, at, Unnoticed::Length)))
}

/// None also when the file is not there: another process has the journal open, or it is damaged;
/// RocksDB says which.
fn first_if_there(file: &Path, is_it: impl Fn(&Fragment) -> bool) -> io::Result<Option<usize>> {
    match first(file, is_it) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

/// Whether RocksDB gives this type to fragments of files that were used before, and to no other.
fn is_recycled(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// The logs in a database's folder, oldest first. None when there is no folder yet.
fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(database) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// Where the first fragment of a file is for which `is_it` says yes. Looks no further than the
/// first that is not whole.
fn first(file: &Path, is_it: impl Fn(&Fragment) -> bool) -> io::Result<Option<usize>> {
    let mut file = File::open(file)?;
    let mut block = Vec::with_capacity(BLOCK);
    for start in (0..).step_by(BLOCK) {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        for fragment in fragments(&block) {
            if is_it(&fragment) {
                return Ok(Some(start + fragment.at));
            }
            if !fragment.is_whole {
                return Ok(None);
            }
        }
        if block.len() < BLOCK {
            break;
        }
    }
    Ok(None)
}

/// The fragments of a block, to the first that is not whole.
fn fragments(block: &[u8]) -> impl Iterator<Item = Fragment> {
    let mut next = Some(0);
    iter::from_fn(move || {
        let at = next.take()?;
        // The end of a block that is too short for a header, and room that was never used.
        let header = block.get(at..at + HEADER)?;
        let (length, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
        if length == 0 && kind == 0 {
            return None;
        }
        let end = at + HEADER + length;
        let said = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let is_whole = block.get(at + 6..end).is_some_and(|content| masked(content) == said);
        let is_overlong = end > block.len() && fits_a_length(&block[at + 6..], said);
        next = is_whole.then_some(end);
        Some(Fragment { at, kind, is_whole, is_overlong })
    })
}

/// Whether a checksum is that of the type, which comes first, and some bytes behind it.
fn fits_a_length(content: &[u8], said: u32) -> bool {
    let mut checksum = 0;
    content.iter().any(|byte| {
        checksum = crc32c::crc32c_append(checksum, &[*byte]);
        mask(checksum) == said
    })
}

fn masked(content: &[u8]) -> u32 {
    mask(crc32c::crc32c(content))
}

fn mask(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(kind: u8, payload: &[u8]) -> Vec<u8> {
        let content = [&[kind], payload].concat();
        let length = u16::try_from(payload.len()).unwrap();
        [&masked(&content).to_le_bytes()[..], &length.to_le_bytes(), &content].concat()
    }

    /// Where a log with this content is damaged, and where it claims to be in a used file.
    fn found(log: &[u8]) -> (Option<usize>, Option<usize>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("000004.log"), log).unwrap();
        let at = |place: Option<(PathBuf, usize)>| place.map(|(_, at)| at);
        let unnoticed = first_unnoticed(folder.path()).unwrap().map(|(_, at, _)| at);
        (at(first_damage(folder.path())), unnoticed)
    }

    /// Where a MANIFEST with this content has a length that it was not written with.
    fn overlong(manifest: &[u8]) -> Option<usize> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("MANIFEST-000005"), manifest).unwrap();
        fs::write(folder.path().join("CURRENT"), "MANIFEST-000005\n").unwrap();
        first_unnoticed(folder.path()).unwrap().map(|(_, at, unnoticed)| {
            assert!(matches!(unnoticed, Unnoticed::Length));
            at
        })
    }

    #[test]
    fn a_flipped_length_is_found_and_a_torn_end_is_not_one() {
        let first = fragment(1, &[7; 100]);
        let manifest = [first.clone(), fragment(1, b"an edit"), fragment(1, b"the last")].concat();
        assert_eq!(overlong(&manifest), None);
        for torn in first.len()..manifest.len() {
            assert_eq!(overlong(&manifest[..torn]), None, "cut at {torn}");
        }
        let last = manifest.len() - HEADER - b"the last".len();
        for fragment in [first.len(), last] {
            for bit in 5..16 {
                let mut flipped = manifest.clone();
                flipped[fragment + 4 + bit / 8] ^= 1 << (bit % 8);
                assert_eq!(overlong(&flipped), Some(fragment), "bit {bit} of the length");
            }
        }
    }

    #[test]
    fn a_whole_log_has_no_bad_fragment_and_a_flipped_bit_has_its_own() {
        let first = fragment(1, &[7; 100]);
        let log = [first.clone(), fragment(1, &[8; 50]), vec![0; 40]].concat();
        assert_eq!(found(&log), (None, None));
        for at in 0..first.len() + HEADER + 50 {
            let mut flipped = log.clone();
            flipped[at] ^= 1;
            let expected = if at < first.len() { 0 } else { first.len() };
            assert_eq!(found(&flipped), (Some(expected), None), "byte {at}");
        }
    }

    #[test]
    fn a_block_that_has_no_room_for_a_header_is_skipped() {
        let mut log = fragment(1, &vec![9; BLOCK - HEADER - 3]);
        log.extend([0; 3]);
        log.extend(fragment(1, b"next"));
        assert_eq!(found(&log), (None, None));
        log.truncate(log.len() - 1);
        assert_eq!(found(&log), (Some(BLOCK), None), "cut off");
    }

    #[test]
    fn types_of_used_files_are_found_and_a_torn_end_is_not_one() {
        let first = fragment(1, &[7; 100]);
        for kind in 0..=u8::MAX {
            let log = [first.clone(), fragment(kind, &[8; 50])].concat();
            let expected = [5, 6, 7, 8, 11, 131].contains(&kind).then_some(first.len());
            assert_eq!(found(&log).1, expected, "type {kind}");
        }
        let mut flipped = [first.clone(), fragment(1, b"next")].concat();
        flipped[first.len() + 6] ^= 4;
        assert_eq!(found(&flipped), (Some(first.len()), Some(first.len())), "1 read as 5");
        // What is behind a damaged fragment may be anything.
        let torn = [&first[..50], &[5; 60]].concat();
        assert_eq!(found(&torn), (Some(0), None));
    }
}
