//! What the nodes have paid, read from their books while they run.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::auth::Guard;
use crate::book::read_offline;
use crate::config::node_name;
use crate::fault::SimFault;
use crate::network::Network;
use crate::payment::{FailureReason, Payment, Payments, Status};
use crate::restore::Restored;

/// The books of more nodes are not looked for.
const NODES_MAX: usize = 1_000;

/// One payment in a node's own book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// The node, `node-2`.
    pub node: String,
    /// What was paid.
    pub payment_hash: [u8; 32],
    /// Where it stands at this node.
    pub status: Status,
    /// Why it failed, [`FailureReason::None`] if it did not.
    pub reason: FailureReason,
    /// What the recipient got or would get, in millisatoshi.
    pub amount_msat: u64,
    /// What the route cost, in millisatoshi; 0 unless it succeeded.
    pub fee_msat: u64,
    /// lnd's `payment_index`, from 1.
    pub payment_index: u64,
    /// When it began by the node's clock, in nanoseconds since 1970.
    pub created_ns: i64,
}

/// Reads the books of all nodes under `dir`, which may be running: what they have written so far.
/// A hash that one node was asked to pay again has its latest entry only, as in lnd.
///
/// # Errors
/// [`SimFault::Io`] or [`SimFault::Book`] for a book that cannot be read.
pub fn read_books(dir: &Path) -> Result<Vec<BookEntry>, SimFault> {
    BookReader::new(dir).read()
}

/// Reads the books of nodes that run, again and again: each time only what they have added.
pub struct BookReader {
    dir: PathBuf,
    books: BTreeMap<usize, Reading>,
}

impl fmt::Debug for BookReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BookReader").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// One book, as far as it was read.
struct Reading {
    restored: Restored,
    network: Network,
    /// Where the next record begins.
    at: u64,
    /// What was told of each payment.
    told: Vec<Status>,
}

impl BookReader {
    /// Nothing was read yet of the nodes under `dir`.
    pub fn new(dir: &Path) -> BookReader {
        BookReader { dir: dir.to_owned(), books: BTreeMap::new() }
    }

    /// The payments that are new, or stand elsewhere than when they were told last. One of a hash
    /// that its node has told before replaces that.
    ///
    /// # Errors
    /// [`SimFault::Io`] or [`SimFault::Book`] for a book that cannot be read.
    pub fn read(&mut self) -> Result<Vec<BookEntry>, SimFault> {
        let mut entries = Vec::new();
        // With one process per node the first may be missing, but not for long.
        for index in 0..NODES_MAX {
            let node_dir = self.dir.join(node_name(index));
            if self.books.contains_key(&index) || node_dir.is_dir() {
                let reading = self.books.entry(index).or_insert_with(|| Reading::of(index));
                reading.read_on(&node_dir)?;
                reading.tell(&mut entries);
            }
        }
        Ok(entries)
    }
}

impl Reading {
    fn of(owner: usize) -> Reading {
        let (payments, channels, guard) = (Payments::default(), Vec::new(), Guard::default());
        let restored = Restored { owner, payments, channels, guard, open: HashMap::new() };
        Reading { restored, network: Network::default(), at: 0, told: Vec::new() }
    }

    fn read_on(&mut self, node_dir: &Path) -> Result<(), SimFault> {
        let Reading { restored, network, .. } = self;
        let apply = |at, record: crate::record::Record<'_>| restored.apply(at, record, network);
        self.at = read_offline(node_dir, self.at, apply)?;
        Ok(())
    }

    fn tell(&mut self, entries: &mut Vec<BookEntry>) {
        for (place, payment) in self.restored.payments.all().iter().enumerate() {
            let told = self.told.get(place).copied();
            if told.is_none() {
                self.told.push(payment.status);
            }
            if !payment.superseded && told != Some(payment.status) {
                self.told[place] = payment.status;
                entries.push(entry(self.restored.owner, place, payment));
            }
        }
    }
}

fn entry(owner: usize, place: usize, payment: &Payment) -> BookEntry {
    let succeeded = payment.status == Status::Succeeded;
    BookEntry {
        node: node_name(owner),
        payment_hash: payment.payment_hash,
        status: payment.status,
        reason: payment.reason,
        amount_msat: payment.amount_msat,
        fee_msat: if succeeded { payment.shards.fee_msat() } else { 0 },
        payment_index: place as u64 + 1,
        created_ns: payment.created_ns,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::payment::Recipient;
    use crate::record::Record;

    fn started(hash: u8) -> Record<'static> {
        let (amount_msat, created_ns, recipient) = (1_000, 5, Recipient::Node);
        let payment_hash = [hash; 32];
        Record::Started { payment_hash, amount_msat, created_ns, recipient, invoice: b"lnbcrt1" }
    }

    fn ended(slot: u32, reason: FailureReason) -> Record<'static> {
        Record::Ended { slot, reason, resolved_ns: 9, preimage: [7; 32] }
    }

    fn told(reader: &mut BookReader) -> Vec<(u8, Status)> {
        let entries = reader.read().unwrap();
        entries.iter().map(|entry| (entry.payment_hash[0], entry.status)).collect()
    }

    #[test]
    fn each_reading_tells_what_is_new_and_all_of_them_what_the_book_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = BookReader::new(dir.path());
        assert_eq!(told(&mut reader), []);
        let node_dir = dir.path().join(node_name(1));
        std::fs::create_dir(&node_dir).unwrap();
        assert_eq!(told(&mut reader), [], "it has no book yet");
        let mut book = Book::open(&node_dir, |_, _| ()).unwrap();
        book.append(&started(1));
        book.append(&started(2));
        book.flush().unwrap();
        assert_eq!(told(&mut reader), [(1, Status::Initiated), (2, Status::Initiated)]);
        assert_eq!(told(&mut reader), []);
        book.append(&ended(1, FailureReason::NoRoute));
        book.flush().unwrap();
        // A killed node leaves half a record; its next life writes over it.
        let whole = std::fs::read(node_dir.join(crate::book::BOOK_FILE)).unwrap();
        std::fs::write(node_dir.join(crate::book::BOOK_FILE), [&whole[..], &[9, 0, 0]].concat())
            .unwrap();
        assert_eq!(told(&mut reader), [(2, Status::Failed)]);
        let mut book = Book::open(&node_dir, |_, _| ()).unwrap();
        book.append(&started(2));
        book.append(&ended(0, FailureReason::None));
        book.flush().unwrap();
        assert_eq!(told(&mut reader), [(1, Status::Succeeded), (2, Status::Initiated)]);
        let whole = read_books(dir.path()).unwrap();
        let whole: Vec<_> = whole.iter().map(|entry| (entry.payment_index, entry.status)).collect();
        assert_eq!(whole, [(1, Status::Succeeded), (3, Status::Initiated)]);
    }
}
