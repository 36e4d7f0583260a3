//! A node's book: the file that lives on when the node is killed.
//!
//! Records are appended and never changed, written without fsync: they survive the death of the
//! process, not of the machine. A record is a length (4 bytes), a kind (1 byte) and its fields,
//! all little endian. The half record that a kill may leave at the end is cut off at the start.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fault::SimFault;
use crate::record::Record;

/// The name of the book in the node's directory.
pub(crate) const BOOK_FILE: &str = "book.dat";

/// An open book. Dropping it loses what was not flushed, as a kill does.
pub(crate) struct Book {
    file: File,
    path: PathBuf,
    /// Appended but not yet written.
    waiting: Vec<u8>,
    /// Where the first waiting byte will stand.
    written: u64,
}

impl Book {
    /// Opens the book in `dir`, empty if there is none, and hands every record in it to `read`
    /// with its place.
    ///
    /// # Errors
    /// [`SimFault::Io`] for the file, [`SimFault::Book`] for a record that is none of ours.
    pub fn open(dir: &Path, read: impl FnMut(u64, Record<'_>)) -> Result<Book, SimFault> {
        let path = dir.join(BOOK_FILE);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|error| SimFault::io(&path, error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| SimFault::io(&path, error))?;
        let written = read_records(&path, &bytes, read)?;
        file.set_len(written).map_err(|error| SimFault::io(&path, error))?;
        Ok(Book { file, path, waiting: Vec::with_capacity(1 << 16), written })
    }

    /// Appends a record; it is in the file after the next [`Book::flush`]. Returns where it
    /// begins.
    pub fn append(&mut self, record: &Record) -> u64 {
        let at = self.written + self.waiting.len() as u64;
        let start = self.waiting.len();
        self.waiting.extend([0; 4]);
        record.write(&mut self.waiting);
        let length = u32::try_from(self.waiting.len() - start - 4).expect("records are small");
        self.waiting[start..start + 4].copy_from_slice(&length.to_le_bytes());
        at
    }

    /// Writes what waits. Nothing that rests on a record may leave the node before.
    ///
    /// # Errors
    /// [`SimFault::Io`]: the node must stop.
    pub fn flush(&mut self) -> Result<(), SimFault> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let write = self.file.write_all_at(&self.waiting, self.written);
        write.map_err(|error| SimFault::io(&self.path, error))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Reads `length` bytes back from `at`, waiting or written. Zeros if the file has lost them.
    pub fn read_back(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        match at.checked_sub(self.written) {
            Some(offset) => {
                let offset = usize::try_from(offset).expect("within memory");
                bytes.copy_from_slice(&self.waiting[offset..offset + length]);
            }
            None => {
                // A node without its book has no better answer.
                let _ = self.file.read_exact_at(&mut bytes, at);
            }
        }
        bytes
    }
}

/// Hands all whole records in `bytes` to `read`; returns where the last one ends.
fn read_records(
    path: &Path,
    bytes: &[u8],
    mut read: impl FnMut(u64, Record<'_>),
) -> Result<u64, SimFault> {
    let mut at = 0;
    while let Some((length, rest)) = bytes[at..].split_first_chunk::<4>() {
        let Some(body) = rest.get(..u32::from_le_bytes(*length) as usize) else {
            break;
        };
        let record = Record::read(body)
            .ok_or_else(|| SimFault::Book { path: path.to_owned(), offset: at as u64 })?;
        read(at as u64, record);
        at += 4 + body.len();
    }
    Ok(at as u64)
}

/// Hands every whole record of the book in `dir` from the place `from` on to `read`, without
/// changing the file; returns where the last one ends. A missing book has none.
///
/// # Errors
/// [`SimFault::Io`] for the file, [`SimFault::Book`] for a record that is none of ours.
pub(crate) fn read_offline(
    dir: &Path,
    from: u64,
    mut read: impl FnMut(u64, Record<'_>),
) -> Result<u64, SimFault> {
    let path = dir.join(BOOK_FILE);
    let mut bytes = Vec::new();
    let read_on = File::open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes)
    });
    match read_on {
        Ok(_) => {
            let end = read_records(&path, &bytes, |at, record| read(from + at, record))?;
            Ok(from + end)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(from),
        Err(error) => Err(SimFault::io(&path, error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(id: u64) -> Record<'static> {
        Record::RootKey { id, key: [id as u8; 32] }
    }

    fn ids(dir: &Path) -> Vec<u64> {
        let mut ids = Vec::new();
        read_offline(dir, 0, |_, record| match record {
            Record::RootKey { id, .. } => ids.push(id),
            other => panic!("{other:?}"),
        })
        .unwrap();
        ids
    }

    #[test]
    fn flushed_records_survive_and_waiting_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path(), |_, _| panic!("empty")).unwrap();
        book.append(&key(1));
        book.append(&key(2));
        book.flush().unwrap();
        let at = book.append(&key(3));
        assert_eq!(book.read_back(at + 5, 8), 3_u64.to_le_bytes());
        assert_eq!(book.read_back(5, 8), 1_u64.to_le_bytes());
        drop(book);
        assert_eq!(ids(dir.path()), [1, 2]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path(), |_, _| ()).unwrap();
        for id in 1..4 {
            book.append(&key(id));
        }
        book.flush().unwrap();
        drop(book);
        let path = dir.path().join(BOOK_FILE);
        let bytes = std::fs::read(&path).unwrap();
        for torn in 1..45 {
            std::fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
            let mut book = Book::open(dir.path(), |_, _| ()).unwrap();
            book.append(&key(9));
            book.flush().unwrap();
            assert_eq!(ids(dir.path()), [1, 2, 9], "{torn}");
        }
        std::fs::write(&path, [1, 0, 0, 0, 99]).unwrap();
        assert!(matches!(read_offline(dir.path(), 0, |_, _| ()), Err(SimFault::Book { .. })));
    }
}
