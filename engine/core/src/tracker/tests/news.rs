//! Tables: attempts of which the node says nothing for long.

use super::{
    super::*,
    scene::{check, tracker},
};
use crate::testing::NOW;

#[test]
#[rustfmt::skip] // A table: one line is one input and what must come of it.
fn silence_is_asked_about_once_in_its_limit() {
    check(&[
        ("start",              "send 1"),
        // The stream of a send ends by its deadline.
        ("later 100",          "-"),
        ("silence 60",         "-"),
        ("send 1 in flight",   "-"),
        ("send 1 deadline",    "track 2"),
        // No answer: it is asked again, after the limit and not before.
        ("later 59",           "-"),
        ("silence 60",         "-"),
        ("later 1",            "-"),
        ("silence 60",         "track 3"),
        ("silence 60",         "-"),
        ("later 60",           "-"),
        ("silence 60",         "track 4"),
        // An answer to an older call is none; one to the last is news.
        ("track 3 paid",       "-"),
        ("track 4 in flight",  "-"),
        ("later 59",           "-"),
        ("silence 60",         "-"),
        ("later 1",            "-"),
        ("silence 60",         "track 5"),
        ("track 5 paid",       "Settled"),
        ("silence 0",          "-"),
    ]);
    // A node that is away is asked when it is back.
    check(&[
        ("start",              "send 1"),
        ("send 1 lost",        "track 2"),
        ("track 2 in flight",  "-"),
        ("connection is away", "-"),
        ("later 60",           "-"),
        ("silence 60",         "-"),
        ("connection is back", "-"),
        ("tick",               "track 3"),
    ]);
    // Behind a fence there is nothing to ask before it is up.
    check(&[
        ("start",              "send 1"),
        ("send 1 lost",        "track 2"),
        ("track 2 failed",     "ask"),
        ("later 60",           "-"),
        ("silence 60",         "-"),
        ("no",                 "fence 1"),
        ("later 60",           "-"),
        ("silence 60",         "-"),
    ]);
}

#[test]
fn what_was_asked_in_vain_says_since_when_nothing_was_heard() {
    let (mut tracker, mut number) = (tracker(), 0);
    let mut step = |tracker: &mut Tracker, after_s: i64, input| {
        let now = NOW.plus_ms(after_s * 1_000);
        let mut context = Context { now, expiry: now, connected: true, number: &mut number };
        tracker.step(input, &mut context)
    };
    let silent = |tracker: &Tracker, after_s: i64| {
        tracker.silent_since(NOW.plus_ms(after_s * 1_000), 60_000)
    };
    step(&mut tracker, 0, Input::Start);
    step(&mut tracker, 1, Input::Send(1, SendReport::Ended(SendEnd::Lost("cut".into()))));
    assert_eq!(silent(&tracker, 60), None, "it may still answer");
    assert_eq!(silent(&tracker, 61), Some(NOW), "it never said anything");
    let report = PaymentReport {
        status: PaymentStatus::InFlight,
        amount: tracker.attempt().amount,
        first_hops: vec![7],
        htlc_expiry_height: 0,
        created: NOW,
    };
    step(&mut tracker, 70, Input::Track(2, TrackReport::Payment(report)));
    assert_eq!(tracker.heard(), NOW.plus_ms(70_000));
    assert_eq!(silent(&tracker, 1_000), None, "it was not asked since");
    step(&mut tracker, 140, Input::Silence(60_000));
    assert_eq!(silent(&tracker, 141), Some(NOW.plus_ms(70_000)));
}
