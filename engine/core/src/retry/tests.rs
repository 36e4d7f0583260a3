//! Tables: what follows an attempt that is over.

use super::*;
use crate::testing::{NOW, batch_id, order, terms};

fn next(why: FailureReason, attempts: u16, terms: Terms) -> Next {
    terms.after_failure(
        batch_id().payment(1),
        &order(1),
        Over { why, counted: attempts, made: attempts },
        NOW,
    )
}

#[test]
#[rustfmt::skip] // A table: one line is one reason and what the payment fails with.
fn the_last_attempt_gives_the_payment_its_reason() {
    for (why, failure) in [
        (FailureReason::NoRoute,                 Failure::NoRoute),
        (FailureReason::InsufficientBalance,     Failure::InsufficientLiquidity),
        (FailureReason::IncorrectPaymentDetails, Failure::RecipientRefused),
        (FailureReason::Timeout,                 Failure::AttemptsExhausted),
        (FailureReason::Error,                   Failure::AttemptsExhausted),
        (FailureReason::Canceled,                Failure::AttemptsExhausted),
        (FailureReason::Unknown,                 Failure::AttemptsExhausted),
    ] {
        assert_eq!(next(why, 3, terms()), Next::Failed(failure), "{why:?}");
        let again = next(why, 2, terms());
        let for_ever = why == FailureReason::IncorrectPaymentDetails;
        assert_eq!(matches!(again, Next::Retry { .. }), !for_ever, "{why:?}");
    }
}

#[test]
#[rustfmt::skip]
fn an_attempt_that_was_never_sent_is_made_again_unless_the_node_refuses_it_for_ever() {
    let again = |why, attempts| {
        let over = Over { why, counted: attempts, made: attempts };
        terms().after_never_sent(batch_id().payment(1), &order(1), over, NOW)
    };
    for (why, failure) in [
        (NeverSent::InvoiceExpired, Failure::InvoiceExpired),
        (NeverSent::SelfPayment,    Failure::NodeRefused),
        (NeverSent::Invalid,        Failure::NodeRefused),
    ] {
        assert_eq!(again(why, 1), Next::Failed(failure), "{why:?}");
    }
    for why in [NeverSent::Withdrawn, NeverSent::NotDelivered] {
        assert!(matches!(again(why, 2), Next::Retry { .. }), "{why:?}");
        assert_eq!(again(why, 3), Next::Failed(Failure::AttemptsExhausted), "{why:?}");
    }
}

#[test]
fn waits_double_up_to_the_longest_and_spread_by_a_quarter() {
    let terms = Terms { attempts_max: u16::MAX, ..terms() };
    for attempts in 1..2_000 {
        let full = (250_i64 << i64::from(attempts - 1).min(20)).min(30_000);
        let Next::Retry { not_before } = next(FailureReason::NoRoute, attempts, terms) else {
            panic!("attempt {attempts} is followed by another");
        };
        let wait = not_before.since(NOW);
        assert!((full - full / 4..=full).contains(&wait), "{wait} after attempt {attempts}");
    }
    let waits = (1..=50).map(|row| terms.backoff_ms(batch_id().payment(row), 8));
    let different: std::collections::HashSet<i64> = waits.collect();
    assert!(different.len() > 40, "payments that failed together do not return together");
}

#[test]
#[rustfmt::skip]
fn the_earliest_end_decides_and_gives_the_reason() {
    let at = |ms: i64| Some(NOW.plus_ms(ms));
    for (own, batch, until, failure) in [
        (None,           None,           3_585_000, Failure::InvoiceExpired),
        (at(10),         None,           10,        Failure::DeadlinePassed),
        (None,           at(20),         20,        Failure::DeadlinePassed),
        (at(10),         at(20),         10,        Failure::DeadlinePassed),
        (at(30),         at(20),         20,        Failure::DeadlinePassed),
        (at(3_585_000),  None,           3_585_000, Failure::DeadlinePassed),
        (at(3_585_001),  None,           3_585_000, Failure::InvoiceExpired),
    ] {
        let order = Order { deadline: own, ..order(1) };
        let terms = Terms { deadline: batch, ..terms() };
        assert_eq!(terms.start_until(&order), (NOW.plus_ms(until), failure), "{own:?} {batch:?}");
    }
}

#[test]
fn a_retry_that_would_be_too_late_is_not_made() {
    let terms = Terms { deadline: Some(NOW.plus_ms(180)), ..terms() };
    let failed = next(FailureReason::NoRoute, 1, terms);
    assert_eq!(failed, Next::Failed(Failure::DeadlinePassed));
    let cancelling = Terms { cancelling: true, ..terms };
    assert_eq!(next(FailureReason::NoRoute, 1, cancelling), Next::Failed(Failure::CancelRequested));
    let withdrawn = Over { why: NeverSent::Withdrawn, counted: 0, made: 1 };
    let next = cancelling.after_never_sent(batch_id().payment(1), &order(1), withdrawn, NOW);
    assert_eq!(next, Next::Cancelled);
}
