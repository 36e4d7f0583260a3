//! What is recovered is what was.

use fulgurite_core::{Event, book::Book, port::Journal};

use super::{Fixture, NOW, history::History, options};
use crate::{Verdict, open, open_if, verify};

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn a_new_journal_begins_with_its_start() {
    let fixture = Fixture::new();
    assert_eq!((fixture.opened.epoch, fixture.opened.book.lsn), (1, 1));
    assert_eq!((fixture.last(), fixture.opened.journal.durable()), (1, 1));
    let folder = fixture.close();
    let fixture = Fixture::in_folder(folder);
    assert_eq!((fixture.opened.epoch, fixture.opened.book.lsn), (2, 2));
}

#[test]
fn a_start_that_is_refused_writes_nothing() {
    let folder = Fixture::new().close();
    for _ in 0..3 {
        let refuses = |book: &Book| if book.epoch == 1 { Err("no") } else { Ok(()) };
        let refused = open_if(options(folder.path()), NOW, refuses).expect("it is sound");
        assert_eq!(refused.err(), Some("no"));
    }
    let fixture = Fixture::in_folder(folder);
    assert_eq!((fixture.opened.epoch, fixture.opened.book.lsn), (2, 2));
}

#[test]
fn a_recovered_book_is_the_original_after_stops_and_kills() {
    for seed in seeds(12) {
        let mut history = History::new(seed);
        let mut fixture = Fixture::new();
        for start in 1..=5 {
            history.start(start, env!("CARGO_PKG_VERSION"));
            assert_eq!(fixture.opened.book, history.book, "SEED={seed}, start {start}");
            fixture.play(&mut history, 120);
            assert_eq!(fixture.opened.views.read_open(Clone::clone), history.book, "SEED={seed}");
            let killed = (seed + u64::from(start)) % 2 == 0;
            let folder = if killed { fixture.killed() } else { fixture.close() };
            assert_eq!(verify(folder.path()).verdict, Verdict::Clean, "SEED={seed}");
            fixture = Fixture::in_folder(folder);
        }
    }
}

#[test]
fn a_batch_that_fills_many_rows_at_once_is_recovered() {
    let (mut history, mut fixture) = (History::new(1), Fixture::new());
    for start in 1..=2 {
        history.start(start, env!("CARGO_PKG_VERSION"));
        assert_eq!(fixture.opened.book, history.book, "start {start}");
        let last = fixture.opened.journal.append_many(history.large_batch(1_200));
        fixture.opened.views.projected().block_until(last);
        let batch = history.finished.last().unwrap();
        for payment in &batch.payments {
            assert_eq!(fixture.opened.views.payment(payment.id).unwrap().as_ref(), Some(payment));
        }
        fixture = Fixture::in_folder(fixture.killed());
    }
}

#[test]
fn views_that_lag_are_caught_up_before_the_doors_open() {
    for seed in seeds(6) {
        let mut history = History::new(seed);
        let mut options = options(tempfile::tempdir().unwrap().keep().as_path());
        // No snapshot: everything is read again, and every view row was already written once.
        options.snapshot_every_events = u64::MAX;
        let opened = open(options.clone(), NOW).unwrap();
        history.start(1, env!("CARGO_PKG_VERSION"));
        let last = opened.journal.append_many(history.steps(400));
        opened.journal.watermark().block_until(last);
        opened.running.close();
        drop((opened.views, opened.journal));
        let opened = open(options.clone(), NOW).unwrap();
        history.start(2, env!("CARGO_PKG_VERSION"));
        assert_eq!(opened.book, history.book, "SEED={seed}");
        opened.running.close();
        std::fs::remove_dir_all(&options.folder).unwrap();
    }
}

#[test]
fn appends_from_many_threads_keep_their_order_and_their_numbers() {
    let fixture = Fixture::new();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let journal = fixture.opened.journal.clone();
            std::thread::spawn(move || {
                (0..2_000).map(|_| journal.append(Event::Barrier)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut lsns: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    lsns.sort_unstable();
    assert_eq!(lsns, (2..=8_001).collect::<Vec<_>>());
    fixture.opened.views.projected().block_until(8_001);
    assert_eq!(fixture.opened.journal.durable(), 8_001);
    let totals = fixture.opened.journal.totals();
    assert_eq!(totals.events, 8_001);
    assert!(totals.commits < 8_001, "events share commits");
    let report = verify(fixture.close().path());
    assert_eq!((report.verdict, report.last_lsn), (Verdict::Clean, 8_001));
}
