//! Tables: a batch, request by request and payment by payment.

use super::*;
use crate::{
    event::{Contradiction, Failure, Next},
    order::{BatchOptions, RefusedRow, RowReason},
    port::FailureReason,
    testing::{
        AMOUNT, FEE_LIMIT, NOW, accepted, attempt, batch, batch_id, options, order, preimage,
    },
};

fn three(options: BatchOptions) -> Batch {
    batch(options, (1..=3).map(order).collect())
}

fn change(batch: &mut Batch, row: u32, change: PaymentChange) {
    let payment = batch_id().payment(row);
    batch.apply(&Event::Payment { payment, time: NOW, change }, batch.summary.version + 1);
}

fn follow_up(batch: &mut Batch) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = batch.follow_up(NOW) {
        batch.apply(&event, batch.summary.version + 1);
        events.push(event);
    }
    events
}

fn start(batch: &mut Batch, row: u32) {
    let number = batch.payment(batch_id().payment(row)).map_or(1, Payment::next_attempt);
    change(batch, row, PaymentChange::AttemptStarted(attempt(number)));
}

fn fail(batch: &mut Batch, row: u32) {
    let (reason, next) = (FailureReason::NoRoute, Next::Failed(Failure::NoRoute));
    change(batch, row, PaymentChange::AttemptFailed { attempt: 1, reason, next });
}

fn settle(batch: &mut Batch, row: u32) {
    let (preimage, fee_paid) = (preimage(row), FEE_LIMIT);
    change(batch, row, PaymentChange::AttemptSettled { attempt: 1, preimage, fee_paid });
}

fn contradict(batch: &mut Batch, row: u32) {
    let contradiction = Contradiction::SucceededAfterFinal;
    change(batch, row, PaymentChange::Contradicted { attempt: 1, contradiction });
}

#[test]
#[rustfmt::skip] // A table: one line is one request and the state or refusal that comes of it.
fn requests_are_idempotent_by_state() {
    let running = three(options());
    for (requests, last) in [
        (&[Input::Resume][..],                            "AlreadySo"),
        (&[Input::Pause],                                 "Paused(Requested)"),
        (&[Input::Pause, Input::Pause],                   "AlreadySo"),
        (&[Input::Pause, Input::Resume],                  "Running"),
        (&[Input::Cancel],                                "Cancelling"),
        (&[Input::Pause, Input::Cancel],                  "Cancelling"),
        (&[Input::Cancel, Input::Cancel],                 "AlreadySo"),
        (&[Input::Cancel, Input::Pause],                  "Cancelling"),
        (&[Input::Cancel, Input::Resume],                 "Cancelling"),
    ] {
        let mut batch = running.clone();
        let mut said = String::new();
        for request in requests {
            said = match batch.decide(*request, NOW) {
                Ok(event) => {
                    batch.apply(&event, 2);
                    format!("{:?}", batch.summary.state)
                }
                Err(refusal) => format!("{refusal:?}"),
            };
        }
        assert_eq!(said, last, "{requests:?}");
    }
}

#[test]
fn a_cancelled_batch_cancels_what_waits_and_ends_with_what_is_in_flight() {
    let mut batch = three(options());
    start(&mut batch, 2);
    batch.apply(&batch.decide(Input::Cancel, NOW).expect("it runs"), 5);
    let rows = Arc::new(vec![1, 3]);
    let cancelled = Event::PaymentsCancelled { batch: batch_id(), rows, time: NOW };
    assert_eq!(follow_up(&mut batch), [cancelled]);
    assert_eq!((batch.summary.counts.cancelled, batch.summary.counts.in_flight), (2, 1));
    assert_eq!(batch.payments[0].version, 6);
    settle(&mut batch, 2);
    let finished = Event::BatchFinished { batch: batch_id(), time: NOW };
    assert_eq!(follow_up(&mut batch), [finished]);
    assert_eq!((batch.summary.amount_succeeded, batch.summary.fee_paid), (AMOUNT, FEE_LIMIT));
    for request in [Input::Pause, Input::Resume, Input::Cancel] {
        assert_eq!(batch.decide(request, NOW), Err(Refusal::Finished));
    }
    assert_eq!(batch.follow_up(NOW), None);
}

#[test]
fn a_paused_batch_starts_nothing_and_still_finishes() {
    let mut batch = three(BatchOptions { start_paused: true, ..options() });
    assert_eq!(batch.summary.state, State::Paused(PauseReason::StartPaused));
    let retry = RetryPolicy::default();
    let begin = payment::Input::Start(attempt(1));
    let payment = batch_id().payment(1);
    let refused = Err(payment::Refusal::TooEarly);
    assert_eq!(batch.decide_payment(payment, &begin, retry, NOW), refused);
    batch.apply(&batch.decide(Input::Resume, NOW).expect("it is paused"), 2);
    assert!(batch.decide_payment(payment, &begin, retry, NOW).is_ok());
    let unknown = batch_id().payment(4);
    let refused = Err(payment::Refusal::AlreadyFinal);
    assert_eq!(batch.decide_payment(unknown, &begin, retry, NOW), refused);
    (1..=3).for_each(|row| start(&mut batch, row));
    batch.apply(&batch.decide(Input::Pause, NOW).expect("it runs"), 9);
    (1..=3).for_each(|row| settle(&mut batch, row));
    follow_up(&mut batch);
    assert_eq!(batch.summary.state, State::Finished);
}

#[test]
fn it_pauses_at_its_failure_threshold_and_counts_anew_after_a_resume() {
    let mut batch = three(BatchOptions { failed_count_max: 1, ..options() });
    start(&mut batch, 1);
    fail(&mut batch, 1);
    let reason = PauseReason::FailureThreshold;
    let paused = Event::BatchPaused { batch: batch_id(), reason, time: NOW };
    assert_eq!(follow_up(&mut batch), [paused]);
    batch.apply(&batch.decide(Input::Resume, NOW).expect("it is paused"), 9);
    assert_eq!(follow_up(&mut batch), []);
    start(&mut batch, 2);
    fail(&mut batch, 2);
    assert_eq!(follow_up(&mut batch).len(), 1);
}

#[test]
fn a_failed_payment_that_was_paid_after_all_is_no_longer_counted_as_failed() {
    let mut batch = three(BatchOptions { failed_count_max: 1, ..options() });
    start(&mut batch, 1);
    fail(&mut batch, 1);
    follow_up(&mut batch);
    batch.apply(&batch.decide(Input::Resume, NOW).expect("it is paused"), 9);
    contradict(&mut batch, 1);
    assert_eq!(follow_up(&mut batch), []);
    let counts = batch.summary.counts;
    assert_eq!((counts.failed, counts.unresolved, counts.total()), (0, 1, 3));
}

#[test]
fn the_share_of_failures_counts_from_twenty_on() {
    let options = BatchOptions { failed_percent_max: 50, ..options() };
    let mut batch = batch(options, (1..=30).map(order).collect());
    for row in 1..=19 {
        start(&mut batch, row);
        fail(&mut batch, row);
        assert_eq!(follow_up(&mut batch), [], "row {row}");
    }
    start(&mut batch, 20);
    settle(&mut batch, 20);
    assert_eq!(follow_up(&mut batch).len(), 1);
}

#[test]
fn refused_rows_are_counted_and_leave_gaps() {
    let refused = |reason| RefusedRow {
        row: 2,
        reference: None,
        reason,
        message: "".into(),
        field: "bolt11",
        payment: None,
        other_row: None,
    };
    let refused = vec![refused(RowReason::Expired), refused(RowReason::AmountMissing)];
    let accepted = Accepted { refused, ..accepted(options(), 3) };
    let rows = [(1, Arc::new(order(1))), (3, Arc::new(order(3)))];
    let mut batch = Batch::new(Arc::new(accepted), &rows, 1);
    assert_eq!((batch.summary.counts.refused, batch.summary.counts.total()), (1, 3));
    let position = |row| batch.position(batch_id().payment(row));
    assert_eq!(
        (position(1), position(2), position(3), position(4)),
        (Some(0), None, Some(1), None)
    );
    // Refused rows are final from the beginning: the batch ends without them.
    assert_eq!(follow_up(&mut batch), []);
    for row in [1, 3] {
        start(&mut batch, row);
        settle(&mut batch, row);
    }
    follow_up(&mut batch);
    assert_eq!(batch.summary.state, State::Finished);
}

#[test]
fn a_batch_of_refused_rows_is_finished_at_once_and_an_unresolved_payment_keeps_it_open() {
    let mut empty = batch(options(), Vec::new());
    assert_eq!(follow_up(&mut empty).len(), 1);
    let mut open = three(options());
    (1..=3).for_each(|row| start(&mut open, row));
    settle(&mut open, 1);
    fail(&mut open, 2);
    contradict(&mut open, 3);
    assert_eq!(follow_up(&mut open), []);
}
