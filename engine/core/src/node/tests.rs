//! Tables: the health of one node.

use super::*;
use crate::testing::{AMOUNT, FEE_LIMIT, NOW, preimage};

fn node() -> Node {
    let limits = Limits {
        window: window::Limits { start: 4, min: 2, max: 8 },
        breaker: breaker::Limits { faults: 2, open_ms: 1_000, probes: 1 },
        payments_per_second_max: 0,
    };
    Node::new(limits, NOW)
}

#[test]
fn a_node_that_is_not_connected_has_no_room() {
    let mut node = node();
    assert_eq!((node.room(NOW), node.is_usable(NOW)), (0, false));
    node.connection(true);
    assert_eq!((node.room(NOW), node.is_usable(NOW)), (4, true));
    node.started();
    node.started();
    assert_eq!((node.room(NOW), node.in_flight()), (2, 2));
    node.connection(false);
    assert_eq!((node.room(NOW), node.in_flight()), (0, 2));
}

#[test]
#[rustfmt::skip] // A table: one line is how two attempts ended, then breaker and window.
fn only_faults_of_the_node_open_its_breaker_and_only_overload_shrinks_its_window() {
    let settled = Outcome::Settled { preimage: preimage(1), amount: AMOUNT, fee_paid: FEE_LIMIT };
    for (outcome, breaker, window) in [
        (settled,                                                  "closed", 4),
        (Outcome::Failed(FailureReason::NoRoute),                  "closed", 4),
        (Outcome::Failed(FailureReason::IncorrectPaymentDetails),  "closed", 4),
        (Outcome::Failed(FailureReason::InsufficientBalance),      "closed", 3),
        (Outcome::Failed(FailureReason::Timeout),                  "closed", 3),
        (Outcome::NeverSent(NeverSent::NotDelivered),              "open",   3),
        (Outcome::NeverSent(NeverSent::Invalid),                   "open",   4),
        (Outcome::NeverSent(NeverSent::InvoiceExpired),            "closed", 4),
        (Outcome::NeverSent(NeverSent::SelfPayment),               "closed", 4),
        (Outcome::NeverSent(NeverSent::Withdrawn),                 "closed", 4),
        (Outcome::Contradicted(crate::event::Contradiction::PaidBefore), "closed", 4),
    ] {
        let mut node = node();
        node.connection(true);
        (0..4).for_each(|_| node.started());
        node.ended(&outcome, NOW);
        node.ended(&outcome, NOW);
        assert_eq!((node.breaker().name(), node.window()), (breaker, window), "{outcome:?}");
        assert_eq!(node.in_flight(), 2);
    }
}

#[test]
fn lost_sends_open_the_breaker_until_an_answer_or_a_probe() {
    let mut node = node();
    node.connection(true);
    node.lost(NOW);
    node.answered();
    node.lost(NOW);
    assert!(node.is_usable(NOW));
    node.lost(NOW);
    assert_eq!((node.room(NOW), node.is_usable(NOW)), (0, false));
    let later = NOW.plus_ms(1_000);
    assert_eq!(node.room(later), 1);
    node.started();
    assert_eq!(node.room(later), 0);
    node.ended(&Outcome::Failed(FailureReason::NoRoute), later);
    assert_eq!(node.room(later), 4);
}

#[test]
fn a_long_attempt_leaves_its_place_to_another_and_says_nothing_of_the_window() {
    let settled = Outcome::Settled { preimage: preimage(1), amount: AMOUNT, fee_paid: FEE_LIMIT };
    let outcomes = [settled, Outcome::Failed(FailureReason::InsufficientBalance), Outcome::Stuck];
    for outcome in outcomes {
        let mut node = node();
        node.connection(true);
        (0..4).for_each(|_| node.started());
        assert_eq!(node.room(NOW), 0);
        node.left_window();
        assert_eq!((node.room(NOW), node.in_flight()), (1, 3));
        node.ended_late(&outcome, NOW);
        assert_eq!((node.room(NOW), node.in_flight(), node.window()), (1, 3, 4), "{outcome:?}");
        assert!(node.measured_rate(NOW) > 0.0, "it ended all the same");
    }
}

#[test]
#[should_panic(expected = "what is withdrawn was started")]
fn nothing_ends_that_was_not_started() {
    node().withdrawn();
}

#[test]
fn the_rate_counts_what_started() {
    let limits = Limits {
        window: window::Limits { start: 100, min: 1, max: 100 },
        breaker: breaker::Limits { faults: 5, open_ms: 1_000, probes: 1 },
        payments_per_second_max: 10,
    };
    let mut node = Node::new(limits, NOW);
    node.connection(true);
    assert!(node.rate_allows(NOW));
    node.started();
    assert!(!node.rate_allows(NOW));
    let next = node.rate_next().expect("the rate is in the way");
    assert!(!node.rate_allows(next.plus_ms(-2)));
    assert!(node.rate_allows(next));
    assert_eq!(node.rate_next(), None);
}
