//! Where the bytes of a file come from: read in pieces, counted and digested on the way, so that no
//! file is ever held whole in memory.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Larger files are not batches: 100,000 orders of 2,600 bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// How much is read at once, and how much is looked at to tell what a file is.
const PIECE: usize = 64 << 10;

/// The bytes of a file.
pub struct Source<R> {
    reader: R,
    piece: Vec<u8>,
    /// How much of the piece was taken.
    taken: usize,
    bytes: u64,
    ended: bool,
    digest: Sha256,
}

/// Why there are no more bytes although the file has not ended.
#[derive(Debug)]
pub enum Stopped {
    /// The file has more than [`FILE_BYTES_MAX`].
    TooLarge,
    /// What the operating system says.
    Failed(io::Error),
}

impl<R: Read> Source<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Source<R> {
        Source {
            reader,
            piece: Vec::new(),
            taken: 0,
            bytes: 0,
            ended: false,
            digest: Sha256::new(),
        }
    }

    /// The next bytes that were not taken; none at the end of the file.
    ///
    /// # Errors
    /// When the file is too large or cannot be read.
    pub fn peek(&mut self) -> Result<&[u8], Stopped> {
        // A terminal would have to end twice, if it were asked again.
        if self.taken == self.piece.len() && !self.ended {
            self.refill()?;
        }
        Ok(&self.piece[self.taken..])
    }

    /// Takes `count` of the bytes that [`Source::peek`] showed.
    pub fn take(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.piece.len());
    }

    fn refill(&mut self) -> Result<(), Stopped> {
        self.piece.clear();
        self.taken = 0;
        // Whole pieces, also of a pipe: what a file is, is told by its first one.
        let piece = self.reader.by_ref().take(PIECE as u64).read_to_end(&mut self.piece);
        self.ended = piece.map_err(Stopped::Failed)? < PIECE;
        self.bytes += self.piece.len() as u64;
        if self.bytes > FILE_BYTES_MAX {
            return Err(Stopped::TooLarge);
        }
        self.digest.update(&self.piece);
        Ok(())
    }

    /// `sha256-` and the digest of the bytes so far: of the file, once its end was seen.
    pub fn digest(self) -> String {
        format!("sha256-{}", hex::encode(self.digest.finalize()))
    }
}

/// Says what a file is that begins with `head` when it is no text, and what to do.
pub fn not_text(head: &[u8]) -> Option<&'static str> {
    const UTF_16: &str = "this is UTF-16; save it as UTF-8 (spreadsheets call it CSV UTF-8)";
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(UTF_16);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some("this is a spreadsheet or a ZIP file; export it as CSV UTF-8");
    }
    if head.starts_with(b"\x1f\x8b") {
        return Some("this is compressed; unpack it: gunzip -c FILE | fulgurite batch submit -");
    }
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if even + odd == 0 {
        return None;
    }
    // Half of every letter, and always the same half.
    let alternating = even.min(odd) == 0 && even.max(odd) * 4 > head.len();
    Some(if alternating { UTF_16 } else { "this is binary data, no CSV or NDJSON" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_all_bytes_however_they_come() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
        let mut source = Source::new(bytes.as_slice());
        let mut seen = Vec::new();
        loop {
            let some = source.peek().unwrap().iter().take(999).copied().collect::<Vec<_>>();
            if some.is_empty() {
                break;
            }
            source.take(some.len());
            seen.extend(some);
        }
        assert_eq!(seen, bytes);
        assert_eq!(source.digest(), format!("sha256-{}", hex::encode(Sha256::digest(&bytes))));
    }

    #[test]
    fn a_file_without_end_ends() {
        let mut source = Source::new(io::repeat(b'a'));
        let mut bytes = 0;
        let stopped = loop {
            match source.peek() {
                Ok(piece) => {
                    let count = piece.len();
                    bytes += count as u64;
                    source.take(count);
                }
                Err(stopped) => break stopped,
            }
        };
        assert!(matches!(stopped, Stopped::TooLarge), "{stopped:?}");
        assert_eq!(bytes, FILE_BYTES_MAX);
    }

    #[test]
    #[rustfmt::skip] // A table: one line is the beginning of one file.
    fn what_is_no_text_is_told_by_its_beginning() {
        let utf_16: Vec<u8> = "destination\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (head, expected) in [
            (&b"destination\nlnbc1\n"[..],       None),
            (b"",                                None),
            (b"\xff\xfed\0e\0",                  Some("UTF-16")),
            (&utf_16,                            Some("UTF-16")),
            (&utf_16[1..],                       Some("UTF-16")),
            (b"PK\x03\x04\0\0",                  Some("spreadsheet")),
            (b"\x1f\x8b\x08\0",                  Some("compressed")),
            (b"\x7fELF\x02\x01\x01\0\0\0",       Some("binary")),
            (b"destination\nlnbc1\0\n",          Some("binary")),
        ] {
            let found = not_text(head);
            assert_eq!(found.is_some(), expected.is_some(), "{head:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
    }
}
