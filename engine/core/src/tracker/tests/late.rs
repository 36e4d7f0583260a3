//! Tables: what comes late, out of order or from before a restart.

use super::{
    super::*,
    scene::{check, check_resumed},
};
use crate::testing::{NOW, attempt, batch_id, hash};

#[test]
#[rustfmt::skip]
fn what_was_never_handed_over_is_never_sent() {
    check(&[
        ("start",                  "send 1"),
        ("send 1 not handed over", "NeverSent(NotDelivered)"),
    ]);
    // Of a later send it says nothing about the first.
    check(&[
        ("start",                  "send 1"),
        ("send 1 lost",            "track 2"),
        ("track 2 not found",      "ask"),
        ("yes",                    "send 3"),
        ("send 3 not handed over", "-"),
        ("tick",                   "track 4"),
        ("track 4 not found",      "fence 1"),
    ]);
    // Once its stream ended as lost, a second end changes nothing.
    check(&[
        ("start",                  "send 1"),
        ("send 1 lost",            "track 2"),
        ("send 1 not handed over", "-"),
        ("track 2 not found",      "ask"),
        ("no",                     "fence 1"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_deadline_after_the_first_message_leaves_nothing_unaccounted() {
    check(&[
        ("start",             "send 1"),
        ("send 1 in flight",  "-"),
        ("send 1 deadline",   "track 2"),
        ("track 2 in flight", "-"),
        ("track 2 failed",    "Failed(NoRoute)"),
    ]);
    // In order, but without a message: nothing proves that it started.
    check(&[
        ("start",             "send 1"),
        ("send 1 completed",  "track 2"),
        ("track 2 failed",    "ask"),
        ("no",                "fence 1"),
    ]);
    check(&[
        ("start",                    "send 1"),
        ("send 1 permission denied", "track 2"),
        ("track 2 not found",        "ask"),
        ("no",                       "fence 1"),
    ]);
}

#[test]
#[rustfmt::skip]
fn only_answers_to_calls_made_after_the_fence_count() {
    // The fence rises for somebody else while a question is out, or an answer waits.
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("fence 1",           "-"),
        ("track 2 failed",    "track 3"),
        ("track 3 failed",    "Failed(NoRoute)"),
    ]);
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 in flight", "-"),
        ("fence 1",           "-"),
        ("track 2 failed",    "track 3"),
        ("track 3 in flight", "-"),
        ("track 3 failed",    "Failed(NoRoute)"),
    ]);
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("fence 1",           "-"),
        ("no",                "track 3"),
        ("track 3 not found", "NeverSent(Withdrawn)"),
    ]);
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("yes",               "send 3"),
        ("fence 1",           "-"),
        ("send 3 failed",     "track 4"),
        ("track 4 in flight", "-"),
        ("track 4 paid",      "Settled"),
    ]);
}

#[test]
#[rustfmt::skip]
fn answers_to_old_calls_are_ignored() {
    check(&[
        ("start",               "send 1"),
        ("send 1 lost",         "track 2"),
        ("track 2 unreachable", "-"),
        ("tick",                "-"),
        ("later",               "track 3"),
        ("track 2 not found",   "-"),
        ("track 2 failed",      "-"),
        ("send 9 failed",       "-"),
        ("yes",                 "-"),
        ("start",               "-"),
        ("track 3 not found",   "ask"),
        ("track 3 not found",   "-"),
        ("yes",                 "send 4"),
        ("yes",                 "-"),
        ("send 1 failed",       "-"),
        ("track 3 failed",      "-"),
        ("send 4 failed",       "Failed(NoRoute)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn succeeded_wins_in_every_phase() {
    let lost = [("start", "send 1"), ("send 1 lost", "track 2")];
    for between in [
        &[][..],
        &[("track 2 not found", "ask")],
        &[("track 2 not found", "ask"), ("yes", "send 3")],
        &[("track 2 not found", "ask"), ("no", "fence 1")],
        &[("track 2 unreachable", "-")],
        &[("track 2 in flight", "-")],
    ] {
        check(&[&lost[..], between, &[("send 1 paid", "Settled")]].concat());
    }
}

#[test]
#[rustfmt::skip]
fn without_a_connection_it_waits_and_asks_when_it_is_back() {
    check(&[
        ("start",               "send 1"),
        ("connection is gone",  "-"),
        ("send 1 lost",         "-"),
        ("later",               "-"),
        ("connection is back",  "-"),
        ("tick",                "track 2"),
        ("tick",                "-"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_recipient_that_refuses_is_not_asked_again() {
    check(&[
        ("start",            "send 1"),
        ("send 1 lost",      "track 2"),
        ("track 2 refused",  "fence 1"),
        ("fence 1",          "track 3"),
        ("track 3 refused",  "Failed(IncorrectPaymentDetails)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_resumed_attempt_asks_and_waits_for_its_predecessors_sends() {
    check_resumed(&[
        ("start",             "-"),
        ("tick",              "track 1"),
        ("track 1 failed",    "ask"),
        ("no",                "fence 0"),
        ("fence 0",           "track 2"),
        ("track 2 failed",    "Failed(NoRoute)"),
    ]);
    check_resumed(&[
        ("tick",                   "track 1"),
        ("track 1 not found",      "ask"),
        ("yes",                    "send 2"),
        ("send 2 not handed over", "-"),
        ("tick",                   "track 3"),
        ("track 3 not found",      "fence 0"),
    ]);
    // Whoever knew the hash at its first send may have been its predecessor.
    check_resumed(&[
        ("tick",                        "track 1"),
        ("track 1 not found",           "ask"),
        ("yes",                         "send 2"),
        ("send 2 exists",               "track 3"),
        ("track 3 paid another amount", "Settled"),
    ]);
    // Behind the fence too: what it has sent may run.
    check_resumed(&[
        ("tick",                   "track 1"),
        ("track 1 not found",      "ask"),
        ("fence 0",                "-"),
        ("yes",                    "send 2"),
        ("send 2 not handed over", "-"),
        ("tick",                   "track 3"),
        ("track 3 in flight",      "-"),
        ("track 3 paid",           "Settled"),
    ]);
    check_resumed(&[
        ("tick",                        "track 1"),
        ("track 1 not found",           "ask"),
        ("fence 0",                     "-"),
        ("yes",                         "send 2"),
        ("send 2 exists",               "track 3"),
        ("track 3 paid another amount", "Settled"),
    ]);
}

#[test]
fn a_clock_that_is_set_back_delays_no_question() {
    let before = NOW.plus_ms(3_600_000);
    let mut number = 0;
    let mut tracker =
        Tracker::new(batch_id().payment(1), hash(1), attempt(1), before).resumed(before);
    for (wait_ms, input, asks) in [
        (0, Input::Tick, true),
        (0, Input::Track(1, TrackReport::Unreachable("down".into())), false),
        (0, Input::Tick, false),
        (ASK_AGAIN_MS, Input::Tick, true),
    ] {
        let now = NOW.plus_ms(wait_ms);
        let mut context = Context { now, expiry: now, connected: true, number: &mut number };
        let action = tracker.step(input.clone(), &mut context);
        assert_eq!(
            matches!(action, Some(Action::Track(_))),
            asks,
            "{input:?} at {now}: {action:?}"
        );
    }
}

#[test]
fn numbers_go_on_beyond_32_bits() {
    let mut number = u64::from(u32::MAX);
    let mut tracker = Tracker::new(batch_id().payment(1), hash(1), attempt(1), NOW);
    let mut context = Context { now: NOW, expiry: NOW, connected: true, number: &mut number };
    let Some(Action::Send(send, _)) = tracker.step(Input::Start, &mut context) else {
        panic!("it is sent");
    };
    assert_eq!(send.number, u64::from(u32::MAX) + 1);
    let lost = SendReport::Ended(SendEnd::Lost("cut".into()));
    let asks = tracker.step(Input::Send(send.number, lost), &mut context);
    assert!(matches!(asks, Some(Action::Track(call)) if call.number > send.number), "{asks:?}");
}
