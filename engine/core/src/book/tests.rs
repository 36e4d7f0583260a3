//! Tables: the journal's events, read back.

use super::*;
use crate::{
    event::PaymentChange,
    testing::{NOW, accepted, attempt, batch_id, options, order},
};

fn started(epoch: u32) -> Event {
    Event::EngineStarted { epoch, time: NOW, version: "test".into() }
}

fn rows(from: u32, to: u32) -> Event {
    let orders = (from..=to).map(|row| (row, Arc::new(order(row)))).collect();
    Event::OrdersAdded { batch: batch_id(), orders: Arc::new(orders) }
}

fn seal() -> Event {
    Event::BatchAccepted(Arc::new(accepted(options(), 3)))
}

fn book(events: &[Event]) -> Book {
    let mut book = Book::default();
    for (lsn, event) in (1..).zip(events) {
        book.apply(event, lsn);
    }
    book
}

#[test]
fn a_batch_exists_from_its_seal_on_with_the_rows_before_it() {
    let (batch, end) = (batch_id(), started(2));
    assert!(book(&[started(1), rows(1, 2), rows(3, 3)]).batches.is_empty());
    let sealed = book(&[started(1), rows(1, 2), rows(3, 3), seal()]);
    assert_eq!(sealed.batches[&batch].payments.len(), 3);
    assert_eq!((sealed.lsn, sealed.epoch, sealed.time), (4, 1, NOW));
    // What had no seal when its engine died, or was dropped, is forgotten.
    assert!(book(&[started(1), rows(1, 2), end]).uploads.is_empty());
    let dropped = Event::UploadDropped { batch };
    assert!(book(&[started(1), rows(1, 2), dropped]).uploads.is_empty());
}

#[test]
fn every_event_says_what_it_changed() {
    let (batch, time) = (batch_id(), NOW.plus_ms(7));
    let payment = batch.payment(2);
    let start = PaymentChange::AttemptStarted(attempt(1));
    let mut book = book(&[started(1), rows(1, 3)]);
    let all = Arc::new(vec![1, 3]);
    let reason = crate::event::PauseReason::Requested;
    for (event, changed) in [
        (seal(), Changed::Accepted(batch)),
        (Event::BatchPaused { batch, reason, time }, Changed::Batch(batch)),
        (Event::BatchResumed { batch, time }, Changed::Batch(batch)),
        (Event::Payment { payment, time, change: start }, Changed::Payment(batch, 2)),
        (Event::Barrier, Changed::Nothing),
        (Event::BatchCancelRequested { batch, time }, Changed::Batch(batch)),
        (Event::PaymentsCancelled { batch, rows: all, time }, Changed::Payments(batch)),
    ] {
        assert_eq!(book.apply(&event, book.lsn + 1), changed, "{event:?}");
    }
    assert_eq!(book.time, time);
    assert_eq!(book.batches[&batch].payments[1].version, 6);
}

#[test]
#[should_panic(expected = "the journal has no gaps")]
fn a_gap_in_the_journal_stops_the_engine() {
    Book::default().apply(&Event::Barrier, 2);
}

#[test]
#[should_panic(expected = "left == right")]
fn an_open_batch_is_not_forgotten() {
    book(&[started(1), rows(1, 3), seal()]).forget(batch_id());
}

#[test]
fn a_journal_that_is_not_alone_is_so_until_a_person_takes_over() {
    let (node, time): (NodeName, _) = ("alice".into(), NOW);
    let refused = |epoch| Event::NotAlone { node: Arc::clone(&node), epoch, time };
    let alone = book(&[started(1)]);
    assert_eq!(alone.not_alone, None);
    let known = book(&[started(1), refused(7), started(8), started(9)]);
    let told = NotAlone { lsn: 2, node: Arc::clone(&node), time };
    assert_eq!((known.not_alone, known.epoch), (Some(told), 9), "restarts change nothing");
    // The next start has a newer key than the other engine.
    assert_eq!(book(&[started(1), refused(7)]).epoch, 7);
    assert_eq!(book(&[started(3), refused(0)]).epoch, 3);
    let taken = [started(1), refused(7), started(8), Event::TakenOver { time }];
    assert_eq!(book(&taken).not_alone, None);
}
