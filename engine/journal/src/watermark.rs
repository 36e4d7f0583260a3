//! The file that remembers how far the journal was on disk.
//!
//! RocksDB takes an enlarged length in the last block of its log for a torn tail and says nothing:
//! acknowledged records would be gone in silence. So after each sync the position is written here,
//! and a recovered journal that ends below it refuses to open. The file is written, not synced:
//! the operating system keeps it when the process dies, and when the machine dies an older
//! position in it is still true.
//!
//! Two slots of 64 bytes are written in turn, so that one of them is always whole:
//!
//! ```text
//!  0  magic   "FULGMARK"      8  lsn  u64      16  chain [32]      48  crc32c u32      52  zeros
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::record::Position;

const MAGIC: &[u8; 8] = b"FULGMARK";
const SLOT_LEN: usize = 64;

/// The open file.
#[derive(Debug)]
pub struct WatermarkFile {
    file: File,
    path: PathBuf,
    /// The slot that is written next, 0 or 1.
    next: u64,
}

impl WatermarkFile {
    /// Opens or creates the file. The position is `None` when it holds none that is whole.
    pub fn open(path: &Path) -> io::Result<(WatermarkFile, Option<Position>)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [0, 1].map(|slot| read_slot(&file, slot));
        let [first, second] = slots.map(|slot| slot.map(|position| position.lsn));
        // The older slot is overwritten first.
        let next = u64::from(first > second);
        Ok((WatermarkFile { file, path: path.to_owned(), next }, newest(slots)))
    }

    /// The position in a file that is only read. `None` when there is no file or nothing whole.
    pub fn read(path: &Path) -> Option<Position> {
        let file = File::open(path).ok()?;
        newest([0, 1].map(|slot| read_slot(&file, slot)))
    }

    /// Errors out when the file is no longer where it was opened: whoever removes or moves a
    /// folder leaves us writing into files that no start will find.
    pub fn check_place(&self) -> io::Result<()> {
        let (opened, found) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if (opened.ino(), opened.dev()) == (found.ino(), found.dev()) {
            return Ok(());
        }
        let path = self.path.display();
        Err(io::Error::other(format!("{path} is not the file that was opened")))
    }

    /// Writes a position, without syncing it.
    pub fn write(&mut self, position: Position) -> io::Result<()> {
        let mut slot = [0; SLOT_LEN];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&position.lsn.to_le_bytes());
        slot[16..48].copy_from_slice(&position.chain);
        let checksum = crc32c::crc32c(&slot[..48]);
        slot[48..52].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&slot, self.next * SLOT_LEN as u64)?;
        self.next ^= 1;
        Ok(())
    }
}

fn newest(slots: [Option<Position>; 2]) -> Option<Position> {
    slots.into_iter().flatten().max_by_key(|position| position.lsn)
}

fn read_slot(file: &File, slot: u64) -> Option<Position> {
    let mut bytes = [0; SLOT_LEN];
    file.read_exact_at(&mut bytes, slot * SLOT_LEN as u64).ok()?;
    let checksum = u32::from_le_bytes(bytes[48..52].try_into().ok()?);
    if &bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..48]) != checksum {
        return None;
    }
    let lsn = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    Some(Position { lsn, chain: bytes[16..48].try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lsn: u64) -> Position {
        Position { lsn, chain: [lsn as u8; 32] }
    }

    #[test]
    fn the_newest_position_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        for lsn in 1..=5 {
            let (mut file, _) = WatermarkFile::open(&path).unwrap();
            file.write(at(2 * lsn)).unwrap();
            file.write(at(2 * lsn + 1)).unwrap();
            assert_eq!(WatermarkFile::read(&path), Some(at(2 * lsn + 1)));
        }
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        let (file, _) = WatermarkFile::open(&path).unwrap();
        file.check_place().unwrap();
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert_eq!(file.check_place().unwrap_err().kind(), io::ErrorKind::NotFound);
        let (another, _) = WatermarkFile::open(&path).unwrap();
        another.check_place().unwrap();
        assert!(file.check_place().unwrap_err().to_string().contains("not the file"));
    }

    #[test]
    fn a_torn_slot_leaves_the_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        let (mut file, position) = WatermarkFile::open(&path).unwrap();
        assert_eq!(position, None);
        file.write(at(1)).unwrap();
        file.write(at(2)).unwrap();
        file.file.write_all_at(&[255; 9], 64 + 10).unwrap();
        let (mut file, position) = WatermarkFile::open(&path).unwrap();
        assert_eq!(position, Some(at(1)));
        file.write(at(3)).unwrap();
        assert_eq!(WatermarkFile::read(&path), Some(at(3)), "the torn slot was overwritten");
    }
}
