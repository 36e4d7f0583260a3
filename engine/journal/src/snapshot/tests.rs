//! The bytes of a snapshot's rows, as they were released.
//!
//! `tests/golden/journal/snapshot_v1.txt` has a row on each line, in hex. It is never changed:
//! `GOLDEN_ADD=1` writes it when it is missing.

use std::{collections::BTreeSet, fs, path::Path};

use fulgurite_core::standing::Quarantine;

use super::{
    load::{Loading, last_row},
    *,
};
use crate::tests::history::History;

/// The rows of a snapshot of this book, the last one too.
fn rows(book: &Book) -> Vec<Vec<u8>> {
    let mut snapshots = Snapshots::new(1, false, None);
    snapshots.start(book, Position { lsn: book.lsn, chain: [7; 32] });
    let mut job = snapshots.job.expect("it was started");
    let encode = |row: Row| {
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        bytes
    };
    let mut rows: Vec<_> = job.rows.by_ref().map(encode).collect();
    job.count = u32::try_from(rows.len()).expect("a short history");
    rows.push(job.last_row());
    rows
}

/// What is read from a row, written again.
fn written_again(row: &[u8]) -> Vec<u8> {
    if let Some(last) = last_row(row).expect("it is read") {
        let job = Job {
            end: last.end,
            epoch: last.epoch,
            time: last.time,
            send_bounds: last.send_bounds,
            installation: last.installation,
            born: last.born,
            rows: Vec::new().into_iter(),
            count: last.count,
        };
        return job.last_row();
    }
    let mut loading = Loading::new(Book::default());
    loading.add(row).expect("it is read");
    let summaries = loading.summaries.into_values().map(Row::Batch);
    let payments = loading.payments.into_values().flatten().map(Row::Payment);
    let Book { uploads, nodes, compared, not_alone, .. } = loading.book;
    let uploads = uploads.into_iter().flat_map(|(batch, orders)| {
        orders.into_iter().map(move |(row, order)| Row::Upload(batch, row, order))
    });
    let nodes = nodes.into_iter().map(|(name, standing)| Row::Node(name, standing));
    let compared = compared.into_iter().map(|(name, seen)| Row::Compared(name, seen));
    let found = summaries.chain(payments).chain(uploads).chain(nodes).chain(compared);
    let mut found = found.chain(not_alone.map(Row::NotAlone));
    let mut bytes = Vec::new();
    found.next().expect("a row holds something").encode(&mut bytes);
    assert!(found.next().is_none(), "one thing");
    bytes
}

/// A history that has something of every kind open.
fn varied() -> Book {
    let mut history = History::new(5);
    history.start(3, "0.1.0");
    for _ in 0..2_000 {
        history.steps(1);
        let book = &history.book;
        if book.batches.len() > 1 && !book.uploads.is_empty() && !book.compared.is_empty() {
            let standing = Standing {
                identity_pubkey: [2; 33].into(),
                quarantine: Some(Quarantine::PaymentForgotten),
                draining: true,
                contradicted: book.batches.keys().map(|batch| batch.payment(1)).collect(),
                replaced: Some(book.time),
            };
            let node: NodeName = "alice".into();
            let told = NotAlone { lsn: 7, node: Arc::clone(&node), time: book.time };
            history.book.not_alone = Some(told);
            history.book.nodes.insert(node, standing);
            return history.book;
        }
    }
    unreachable!("2000 steps");
}

#[test]
fn every_row_of_a_released_snapshot_is_read_and_written_as_it_was() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/journal/snapshot_v1.txt");
    if std::env::var_os("GOLDEN_ADD").is_some() && !path.exists() {
        let lines = rows(&varied()).iter().map(|row| hex::encode(row) + "\n").collect::<String>();
        fs::write(&path, lines).expect("the file can be written");
    }
    let golden = fs::read_to_string(&path).expect("the golden file is here");
    let mut kinds = BTreeSet::new();
    for line in golden.lines() {
        let row = hex::decode(line).expect("hex");
        kinds.insert(row[0]);
        assert_eq!(hex::encode(written_again(&row)), line, "a row of kind {}", row[0]);
    }
    assert_eq!(kinds, (BATCH..=NOT_ALONE).collect(), "every kind of row");
    let new: BTreeSet<u8> = rows(&varied()).iter().map(|row| row[0]).collect();
    assert_eq!(new, kinds, "a new kind of row needs a golden one");
}
