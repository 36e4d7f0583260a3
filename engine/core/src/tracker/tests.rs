//! Tables: one attempt at its node, report by report.

mod late;
mod news;
mod scene;
mod stuck;
mod suspended;

use self::scene::check;
use super::RESENDS_MAX;

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
