//! Tables: which payment goes next, and when.

use super::*;
use crate::{
    event::{Event, PaymentChange},
    order::Order,
    payment::Input,
    testing::{NOW, attempt, batch, options, order},
};

fn payee(number: u8) -> Option<[u8; 33]> {
    Some([number; 33])
}

fn rows(count: u32) -> Vec<Order> {
    (1..=count).map(order).collect()
}

fn schedule(batch: &Batch) -> Schedule {
    Schedule::new(batch, RetryPolicy::default(), NOW)
}

fn apply(batch: &mut Batch, position: usize, change: PaymentChange) {
    let payment = batch.payments[position].id;
    batch.apply(&Event::Payment { payment, time: NOW, change }, 2);
}

fn take_all(schedule: &mut Schedule, batch: &Batch, now: UnixMs) -> Vec<u32> {
    std::iter::from_fn(|| schedule.take(&batch.payments, now)).collect()
}

#[test]
fn the_window_is_a_limit_on_what_is_placed_or_in_flight() {
    let options = BatchOptions { in_flight_max: 2, ..options() };
    let mut batch = batch(options, rows(4));
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0, 1]);
    assert_eq!((schedule.active(), schedule.has_ready()), (2, false));
    schedule.ended(&batch.payments[0]);
    schedule.returned(0);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0]);
    apply(&mut batch, 0, PaymentChange::AttemptStarted(attempt(1)));
    // After a restart what is in flight counts, what was placed does not.
    let mut restarted = self::schedule(&batch);
    assert_eq!(take_all(&mut restarted, &batch, NOW), [1]);
}

#[test]
fn a_long_payment_leaves_the_window_once_and_stays_with_its_payee() {
    let options = BatchOptions { in_flight_max: 2, per_destination_in_flight_max: 1, ..options() };
    let to = |row, number| Order { payee: payee(number), ..order(row) };
    let mut batch = batch(options, vec![to(1, 1), to(2, 2), to(3, 1), to(4, 3)]);
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0, 1]);
    apply(&mut batch, 0, PaymentChange::AttemptStarted(attempt(1)));
    schedule.left_window(&batch.payments[0]);
    schedule.left_window(&batch.payments[0]);
    assert_eq!((schedule.active(), schedule.has_ready()), (1, true));
    // The third is to the payee of the first, which is in flight still.
    assert_eq!(take_all(&mut schedule, &batch, NOW), [3]);
    schedule.ended(&batch.payments[0]);
    assert_eq!((schedule.active(), take_all(&mut schedule, &batch, NOW)), (2, vec![]));
    schedule.ended(&batch.payments[1]);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [2]);
    schedule.ended(&batch.payments[2]);
    schedule.ended(&batch.payments[3]);
    assert_eq!(schedule.active(), 0);
}

#[test]
fn the_rate_is_kept_whatever_the_window() {
    let options = BatchOptions { payments_per_second_max: 10, ..options() };
    let batch = batch(options, rows(30));
    let mut schedule = schedule(&batch);
    let mut started = Vec::new();
    let mut now = NOW;
    while now < NOW.plus_ms(1_000) {
        started.extend(take_all(&mut schedule, &batch, now));
        let wake_at = schedule.wake_at(now).expect("more is ready");
        assert!(wake_at > now, "it would wake up for nothing");
        now = wake_at;
    }
    assert_eq!(started.len(), 10);
}

#[test]
fn a_full_window_does_not_wake_up_for_the_rate() {
    let limited = BatchOptions { payments_per_second_max: 10, in_flight_max: 1, ..options() };
    let batch = batch(limited, rows(2));
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0]);
    let end = batch.payments[0].order.invoice_expiry.plus_ms(-15_000 + 1);
    assert_eq!(schedule.wake_at(NOW), Some(end));
}

#[test]
fn payments_to_one_payee_wait_for_each_other_and_hold_up_nobody_else() {
    let options = BatchOptions { per_destination_in_flight_max: 1, ..options() };
    let to = |row, number| Order { payee: payee(number), ..order(row) };
    let orders = vec![to(1, 1), to(2, 1), to(3, 2), to(4, 1), Order { payee: None, ..order(5) }];
    let batch = batch(options, orders);
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0, 2, 4]);
    schedule.ended(&batch.payments[2]);
    assert_eq!(take_all(&mut schedule, &batch, NOW), []);
    schedule.ended(&batch.payments[0]);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [1]);
    schedule.ended(&batch.payments[1]);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [3]);
}

#[test]
fn a_parked_payment_that_is_over_gives_its_turn_to_the_next() {
    let options = BatchOptions { per_destination_in_flight_max: 1, ..options() };
    let orders = (1..=3).map(|row| Order { payee: payee(1), ..order(row) }).collect();
    let mut batch = batch(options, orders);
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0]);
    apply(&mut batch, 1, PaymentChange::Cancelled);
    schedule.ended(&batch.payments[0]);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [2]);
}

#[test]
fn a_retry_waits_for_its_time_and_wakes_the_schedule() {
    let batch = batch(options(), rows(2));
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0, 1]);
    schedule.ended(&batch.payments[1]);
    let later = NOW.plus_ms(500);
    schedule.queued(1, &batch.payments[1], later, NOW);
    assert_eq!(schedule.wake_at(NOW), Some(later));
    assert_eq!(take_all(&mut schedule, &batch, NOW.plus_ms(499)), []);
    assert_eq!(take_all(&mut schedule, &batch, later), [1]);
}

#[test]
fn a_clock_that_is_set_back_holds_up_no_retry() {
    let longest = RetryPolicy::default().backoff_ms_max;
    // (the retry's moment, the clock, whether it is due), from now on
    let table = [(500, 499, false), (500, 500, true), (longest, 0, false), (longest, -1, true)];
    for (later, clock, due) in table {
        let mut batch = batch(options(), rows(1));
        let (mut schedule, later) = (schedule(&batch), NOW.plus_ms(later));
        let now = NOW.plus_ms(clock);
        assert_eq!(take_all(&mut schedule, &batch, NOW), [0]);
        schedule.ended(&batch.payments[0]);
        schedule.queued(0, &batch.payments[0], later, NOW);
        batch.payments[0].state = State::Queued { not_before: later };
        let start = Input::Start(attempt(1));
        let decided = batch.payments[0].decide(&start, &schedule.terms, now);
        assert_eq!(decided.is_ok(), due, "{later} at {now}");
        assert_eq!(schedule.wake_at(now), Some(if due { now } else { later }));
        assert_eq!(
            take_all(&mut schedule, &batch, now).len(),
            usize::from(due),
            "{later} at {now}"
        );
    }
}

#[test]
fn what_is_cancelled_while_it_waits_is_passed_over() {
    let mut batch = batch(options(), rows(3));
    let mut schedule = schedule(&batch);
    apply(&mut batch, 0, PaymentChange::Cancelled);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [1, 2]);
    assert_eq!(schedule.active(), 2);
}

#[test]
fn each_payment_expires_once_after_its_last_moment() {
    let at = |ms| Some(NOW.plus_ms(ms));
    let orders = vec![
        Order { deadline: at(20), ..order(1) },
        Order { deadline: at(10), ..order(2) },
        order(3),
    ];
    let batch = batch(options(), orders);
    let mut schedule = schedule(&batch);
    assert_eq!(schedule.wake_at(NOW), at(11));
    assert_eq!(schedule.expired(NOW.plus_ms(10)), None);
    assert_eq!(schedule.expired(NOW.plus_ms(21)), Some(1));
    assert_eq!(schedule.expired(NOW.plus_ms(21)), Some(0));
    assert_eq!(schedule.expired(NOW.plus_ms(21)), None);
}

#[test]
fn a_payment_whose_last_moment_passed_in_flight_expires_after_a_clock_that_steps_back() {
    let deadline = NOW.plus_ms(1_000);
    let orders = vec![Order { deadline: Some(deadline), ..order(1) }];
    let batch = batch(options(), orders);
    let mut schedule = schedule(&batch);
    assert_eq!(take_all(&mut schedule, &batch, NOW), [0]);
    // The actor finds it in flight and leaves it.
    assert_eq!(schedule.expired(deadline.plus_ms(1)), Some(0));
    schedule.ended(&batch.payments[0]);
    schedule.queued(0, &batch.payments[0], NOW, NOW);
    assert_eq!(schedule.expired(deadline.plus_ms(1)), Some(0));
}

#[test]
#[should_panic(expected = "what ends was active")]
fn nothing_ends_that_was_not_taken() {
    let batch = batch(options(), rows(1));
    schedule(&batch).ended(&batch.payments[0]);
}

#[test]
fn a_clock_that_steps_back_gives_no_extra_turns() {
    let mut rate = Rate::new(1, NOW);
    assert!(rate.allows(NOW));
    rate.take();
    assert!(!rate.allows(NOW.plus_ms(-10_000)));
    assert!(!rate.allows(NOW.plus_ms(-9_001)));
    assert!(rate.allows(NOW.plus_ms(-9_000)));
}
