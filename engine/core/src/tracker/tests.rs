//! Tables: one attempt at its node, report by report.
//!
//! Sends and calls share one row of numbers. Send `n` expires at second `n`, what a predecessor
//! sent at second 0; `fence 1` is the fence up to second 1.

use super::*;
use crate::{
    amount::Msat,
    testing::{AMOUNT, FEE_LIMIT, NOW, attempt, batch_id, hash, preimage},
};

struct Scene {
    tracker: Tracker,
    number: u32,
    now: UnixMs,
    connected: bool,
}

fn second(number: u32) -> UnixMs {
    NOW.plus_ms(1_000 * i64::from(number))
}

fn payment(status: PaymentStatus) -> PaymentReport {
    PaymentReport {
        status,
        amount: AMOUNT,
        htlcs_in_flight: 0,
        htlc_expiry_height: 0,
        created: NOW,
    }
}

fn report(what: &str) -> Option<PaymentReport> {
    let paid = PaymentStatus::Succeeded { preimage: preimage(1), fee_paid: FEE_LIMIT };
    Some(match what {
        "in flight" => payment(PaymentStatus::InFlight),
        "failed" => payment(PaymentStatus::Failed(FailureReason::NoRoute)),
        "refused" => payment(PaymentStatus::Failed(FailureReason::IncorrectPaymentDetails)),
        "paid" => payment(paid),
        "paid another amount" => PaymentReport { amount: Msat::ZERO, ..payment(paid) },
        "paid long ago" => PaymentReport { created: NOW.plus_ms(-120_001), ..payment(paid) },
        "paid just before" => PaymentReport { created: NOW.plus_ms(-120_000), ..payment(paid) },
        _ => return None,
    })
}

fn end(what: &str) -> SendEnd {
    match what {
        "completed" => SendEnd::Completed,
        "not handed over" => SendEnd::NotHandedOver,
        "exists" => SendEnd::Refused(Refused::AlreadyExists),
        "invoice expired" => SendEnd::Refused(Refused::InvoiceExpired),
        "macaroon expired" => SendEnd::Refused(Refused::MacaroonExpired),
        "to itself" => SendEnd::Refused(Refused::SelfPayment),
        "invalid" => SendEnd::Refused(Refused::Invalid),
        "deadline" | "lost" | "permission denied" => SendEnd::Lost(what.into()),
        _ => panic!("no such end: {what}"),
    }
}

impl Scene {
    fn step(&mut self, input: Input) -> String {
        let expiry = second(self.number + 1);
        let mut context =
            Context { now: self.now, expiry, connected: self.connected, number: &mut self.number };
        match self.tracker.step(input, &mut context) {
            None => "-".into(),
            Some(Action::Send(send, expiry)) => {
                assert_eq!(expiry, second(send.number));
                format!("send {}", send.number)
            }
            Some(Action::Track(call)) => {
                assert_eq!(call.payment_hash, hash(1));
                format!("track {}", call.number)
            }
            Some(Action::AskPermission) => "ask".into(),
            Some(Action::Fence(expiry)) => format!("fence {}", expiry.since(NOW) / 1_000),
            Some(Action::Done(Outcome::Settled { .. })) => "Settled".into(),
            Some(Action::Done(Outcome::Failed(reason))) => format!("Failed({reason:?})"),
            Some(Action::Done(Outcome::NeverSent(cause))) => format!("NeverSent({cause:?})"),
            Some(Action::Done(Outcome::Contradicted(what))) => format!("Contradicted({what:?})"),
        }
    }

    fn hear(&mut self, what: &str) -> String {
        let mut words = what.splitn(3, ' ');
        let (kind, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest = words.next().unwrap_or("");
        let number: u32 = number.parse().unwrap_or(0);
        match kind {
            "start" => self.step(Input::Start),
            "tick" => self.step(Input::Tick),
            "yes" => self.step(Input::Permission(true)),
            "no" => self.step(Input::Permission(false)),
            "fence" => self.step(Input::Fence(second(number))),
            "connection" => {
                self.connected = rest == "back";
                "-".into()
            }
            "later" => {
                self.now = self.now.plus_ms(1_000);
                self.step(Input::Tick)
            }
            "send" => self.step(Input::Send(
                number,
                match report(rest) {
                    Some(report) => SendReport::Payment(report),
                    None => SendReport::Ended(end(rest)),
                },
            )),
            "track" => self.step(Input::Track(
                number,
                match (report(rest), rest) {
                    (Some(report), _) => TrackReport::Payment(report),
                    (None, "not found") => TrackReport::NotFound,
                    (None, "unreachable") => TrackReport::Unreachable(String::new()),
                    (None, _) => panic!("no such report: {rest}"),
                },
            )),
            _ => panic!("no such input: {what}"),
        }
    }
}

fn play(tracker: Tracker, table: &[(&str, &str)]) {
    let mut scene = Scene { tracker, number: 0, now: NOW, connected: true };
    for (line, (input, outcome)) in (1..).zip(table) {
        assert_eq!(scene.hear(input), *outcome, "line {line}: {input}");
    }
}

fn tracker() -> Tracker {
    Tracker::new(batch_id().payment(1), hash(1), attempt(1), NOW)
}

fn check(table: &[(&str, &str)]) {
    play(tracker(), table);
}

fn check_resumed(table: &[(&str, &str)]) {
    play(tracker().resumed(NOW), table);
}

#[test]
#[rustfmt::skip] // A table: one line is one input and what must come of it.
fn an_attempt_that_goes_well_needs_one_send() {
    check(&[
        ("start",            "send 1"),
        ("send 1 in flight", "-"),
        ("send 1 in flight", "-"),
        ("send 1 paid",      "Settled"),
        ("send 1 completed", "-"),
        ("send 1 paid",      "-"),
    ]);
    check(&[
        ("start",            "send 1"),
        ("send 1 in flight", "-"),
        ("send 1 failed",    "Failed(NoRoute)"),
        ("tick",             "-"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_lost_stream_and_failed_by_track_needs_the_fence() {
    check(&[
        ("start",            "send 1"),
        ("send 1 lost",      "track 2"),
        ("track 2 failed",   "ask"),
        ("no",               "fence 1"),
        ("tick",             "-"),
        ("fence 0",          "-"),
        ("fence 1",          "track 3"),
        ("track 3 failed",   "Failed(NoRoute)"),
    ]);
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("no",                "fence 1"),
        ("fence 1",           "track 3"),
        ("track 3 not found", "NeverSent(Withdrawn)"),
    ]);
    // A fence that is not high enough fences nothing.
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("fence 0",           "-"),
        ("no",                "fence 1"),
    ]);
    // What arrived late is seen behind the fence.
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("no",                "fence 1"),
        ("fence 1",           "track 3"),
        ("track 3 in flight", "-"),
        ("track 3 paid",      "Settled"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_may_still_start_is_sent_again_to_the_same_node() {
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("yes",               "send 3"),
        ("send 3 in flight",  "-"),
        ("send 3 failed",     "fence 1"),
        ("send 3 completed",  "-"),
        ("fence 1",           "track 4"),
        ("track 4 in flight", "-"),
        ("track 4 paid",      "Settled"),
    ]);
}

#[test]
#[rustfmt::skip]
fn after_the_last_resend_it_ends_behind_the_fence() {
    assert_eq!(RESENDS_MAX, 1, "the tables of this file send once more");
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "ask"),
        ("yes",               "send 3"),
        ("send 3 lost",       "track 4"),
        ("track 4 not found", "fence 3"),
        ("fence 2",           "-"),
        ("fence 3",           "track 5"),
        // Nothing is left to wait for: no more sends, no more questions.
        ("track 5 not found", "NeverSent(NotDelivered)"),
        ("yes",               "-"),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_expired_invoice_says_nothing_about_an_earlier_send() {
    check(&[
        ("start",                  "send 1"),
        ("send 1 invoice expired", "track 2"),
        ("track 2 not found",      "NeverSent(InvoiceExpired)"),
    ]);
    check(&[
        ("start",                  "send 1"),
        ("send 1 lost",            "track 2"),
        ("track 2 not found",      "ask"),
        ("yes",                    "send 3"),
        ("send 3 invoice expired", "track 4"),
        ("track 4 not found",      "fence 1"),
        ("fence 1",                "track 5"),
        ("track 5 not found",      "NeverSent(InvoiceExpired)"),
    ]);
    check(&[
        ("start",                  "send 1"),
        ("send 1 lost",            "track 2"),
        ("track 2 not found",      "ask"),
        ("yes",                    "send 3"),
        ("send 3 invoice expired", "track 4"),
        ("track 4 paid",           "Settled"),
    ]);
}

#[test]
#[rustfmt::skip]
fn refusals_are_followed_by_the_nodes_own_books() {
    for (refusal, then) in [
        ("send 1 macaroon expired", "ask"),
        ("send 1 to itself",        "NeverSent(SelfPayment)"),
        ("send 1 invalid",          "NeverSent(Invalid)"),
        ("send 1 exists",           "ask"),
    ] {
        check(&[("start", "send 1"), (refusal, "track 2"), ("track 2 not found", then)]);
    }
    check(&[
        ("start",                   "send 1"),
        ("send 1 macaroon expired", "track 2"),
        ("track 2 not found",       "ask"),
        ("no",                      "NeverSent(Withdrawn)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_payment_that_the_node_had_before_our_first_send_is_not_ours() {
    for (track, then) in [
        ("track 2 paid another amount", "Contradicted(PaidBefore)"),
        ("track 2 paid long ago",       "Contradicted(PaidBefore)"),
        ("track 2 paid just before",    "Settled"),
        ("track 2 paid",                "Settled"),
    ] {
        check(&[("start", "send 1"), ("send 1 exists", "track 2"), (track, then)]);
    }
    // After a lost send it may well be ours.
    check(&[
        ("start",                       "send 1"),
        ("send 1 lost",                 "track 2"),
        ("track 2 not found",           "ask"),
        ("yes",                         "send 3"),
        ("send 3 exists",               "track 4"),
        ("track 4 paid",                "Settled"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_node_that_forgets_a_payment_contradicts_itself() {
    check(&[
        ("start",             "send 1"),
        ("send 1 in flight",  "-"),
        ("send 1 lost",       "track 2"),
        ("track 2 not found", "Contradicted(Forgotten)"),
    ]);
    // An answer from before the first message proves nothing: asked again.
    check(&[
        ("start",             "send 1"),
        ("send 1 lost",       "track 2"),
        ("send 1 in flight",  "-"),
        ("track 2 not found", "track 3"),
        ("track 3 not found", "Contradicted(Forgotten)"),
    ]);
}

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
