//! Tables: one payment, input by input.

use super::*;
use crate::{
    event::{Failure, NeverSent, Resolution, Verdict},
    order::Sealed,
    port::FailureReason,
    testing::{AMOUNT, FEE_LIMIT, NOW, attempt, batch_id, hash, order, preimage, terms},
};

fn payment(order: Order) -> Payment {
    Payment::new(batch_id().payment(1), Arc::new(order), NOW, 1)
}

fn input(what: &str) -> Input {
    let mut words = what.split(' ');
    let (kind, number) = (words.next().unwrap_or(""), words.next().unwrap_or("0"));
    let number: u16 = number.parse().unwrap_or(0);
    let settled =
        |preimage, amount, fee_paid| Input::Settled { attempt: number, preimage, amount, fee_paid };
    let more = Msat::from_sat_clamped(1);
    match kind {
        "start" => Input::Start(attempt(number)),
        "cheap" => Input::Start(Arc::new(AttemptStarted {
            fee_limit: Msat::ZERO,
            ..(*attempt(1)).clone()
        })),
        "dear" => {
            let fee_limit = FEE_LIMIT.saturating_add(more);
            Input::Start(Arc::new(AttemptStarted { fee_limit, ..(*attempt(1)).clone() }))
        }
        "larger" => {
            let amount = AMOUNT.saturating_add(more);
            Input::Start(Arc::new(AttemptStarted { amount, ..(*attempt(1)).clone() }))
        }
        "settled" => settled(preimage(1), AMOUNT, FEE_LIMIT),
        "forged" => settled(preimage(2), AMOUNT, FEE_LIMIT),
        "overpaid" => settled(preimage(1), AMOUNT.saturating_add(more), FEE_LIMIT),
        "overcharged" => settled(preimage(1), AMOUNT, FEE_LIMIT.saturating_add(more)),
        "failed" => Input::Failed { attempt: number, reason: FailureReason::NoRoute },
        "refused" => {
            let reason = FailureReason::IncorrectPaymentDetails;
            Input::Failed { attempt: number, reason }
        }
        "unsent" => Input::NeverSent { attempt: number, cause: NeverSent::NotDelivered },
        "stale" => Input::NeverSent { attempt: number, cause: NeverSent::InvoiceExpired },
        "contradicted" => {
            Input::Contradicted { attempt: number, contradiction: Contradiction::Forgotten }
        }
        "paid" => resolve(Verdict::Paid(preimage(1))),
        "misproved" => resolve(Verdict::Paid(preimage(2))),
        "unpaid" => resolve(Verdict::NotPaid),
        "stuck" => Input::Stuck { attempt: number },
        "cancel" => Input::Cancel,
        "expire" => Input::Expire,
        _ => panic!("no such input: {what}"),
    }
}

fn resolve(verdict: Verdict) -> Input {
    let (by, reason) = (Sealed::plain("ada"), Sealed::plain("looked at the channels"));
    Input::Resolve(Arc::new(Resolution { verdict, by, reason }))
}

/// Each input comes a minute after the one before, so that no retry is too early.
fn play(order: Order, terms: &Terms, table: &[(&str, &str)]) -> Payment {
    let mut payment = payment(order);
    let mut now = NOW;
    for (line, (what, outcome)) in (1..).zip(table) {
        let decided = payment.decide(&input(what), terms, now);
        let said = match decided {
            Ok(change) => match payment.apply(&change, now, line) {
                Some(Effect::Send(attempt)) => format!("send {}", attempt.number),
                Some(Effect::Wait { .. }) => "wait".into(),
                Some(Effect::Finished) => payment.state.name().into(),
                Some(Effect::Alarm) => match &payment.state {
                    State::Unresolved { contradiction, .. } => format!("{contradiction:?}"),
                    state => panic!("an alarm in {state:?}"),
                },
                other => format!("{other:?}"),
            },
            Err(refusal) => format!("{refusal:?}"),
        };
        assert_eq!(said, *outcome, "line {line}: {what}");
        now = now.plus_ms(60_000);
    }
    payment
}

fn check(table: &[(&str, &str)]) {
    play(order(1), &terms(), table);
}

#[test]
#[rustfmt::skip] // A table: one line is one input and what must come of it.
fn a_payment_that_settles_at_the_second_attempt() {
    check(&[
        ("start 2",   "DoesNotFit"),
        ("larger 1",  "DoesNotFit"),
        ("dear 1",    "DoesNotFit"),
        ("expire",    "NotExpired"),
        ("failed 1",  "StaleAttempt(1)"),
        ("unsent 1",  "StaleAttempt(1)"),
        ("start 1",   "send 1"),
        ("start 2",   "InFlight"),
        ("cancel",    "InFlight"),
        ("expire",    "InFlight"),
        ("failed 2",  "StaleAttempt(2)"),
        ("unsent 0",  "StaleAttempt(0)"),
        ("contradicted 2", "StaleAttempt(2)"),
        ("contradicted 0", "StaleAttempt(0)"),
        ("failed 1",  "wait"),
        ("failed 1",  "StaleAttempt(1)"),
        ("start 1",   "DoesNotFit"),
        ("start 2",   "send 2"),
        ("failed 1",  "StaleAttempt(1)"),
        ("settled 2", "succeeded"),
        ("settled 2", "AlreadyFinal"),
        ("failed 2",  "AlreadyFinal"),
        ("contradicted 2", "AlreadyFinal"),
        ("start 3",   "AlreadyFinal"),
        ("cancel",    "AlreadyFinal"),
        ("expire",    "AlreadyFinal"),
    ]);
}

#[test]
#[rustfmt::skip]
fn attempts_end_with_the_last_or_with_a_refusal_for_ever() {
    check(&[
        ("start 1", "send 1"), ("failed 1", "wait"),
        // What was never sent does not count.
        ("start 2", "send 2"), ("unsent 2", "wait"),
        ("start 3", "send 3"), ("failed 3", "wait"),
        ("start 4", "send 4"), ("failed 4", "failed"),
    ]);
    check(&[("start 1", "send 1"), ("refused 1", "failed"), ("start 2", "AlreadyFinal")]);
    check(&[("start 1", "send 1"), ("stale 1", "failed")]);
    check(&[("cheap 1", "send 1"), ("unsent 1", "wait"), ("cancel", "cancelled")]);
    check(&[("cancel", "cancelled"), ("start 1", "AlreadyFinal"), ("cancel", "AlreadyFinal")]);
}

#[test]
#[rustfmt::skip]
fn a_hash_is_free_again_only_after_failed_or_cancelled() {
    for (table, claims) in [
        (&[][..],                                               true),
        (&[("start 1", "send 1")],                              true),
        (&[("start 1", "send 1"), ("failed 1", "wait")],        true),
        (&[("start 1", "send 1"), ("settled 1", "succeeded")],  true),
        (&[("start 1", "send 1"), ("forged 1", "WrongPreimage")], true),
        (&[("start 1", "send 1"), ("refused 1", "failed")],     false),
        (&[("cancel", "cancelled")],                            false),
    ] {
        assert_eq!(play(order(1), &terms(), table).claims_hash(), claims, "{table:?}");
    }
}

#[test]
#[rustfmt::skip]
fn what_cannot_be_makes_it_unresolved_for_good() {
    for (what, contradiction) in [
        ("forged 1",       "WrongPreimage"),
        ("overpaid 1",     "PaidTooMuch"),
        ("overcharged 1",  "PaidTooMuch"),
        ("contradicted 1", "Forgotten"),
    ] {
        let payment = play(order(1), &terms(), &[
            ("start 1",   "send 1"),
            (what,        contradiction),
            ("start 2",   "Unresolved"),
            ("settled 1", "Unresolved"),
            ("failed 1",  "Unresolved"),
            ("cancel",    "Unresolved"),
            ("expire",    "Unresolved"),
        ]);
        assert!(payment.claims_hash() && !payment.is_final());
        assert_eq!(payment.resume(), None);
    }
}

#[test]
#[rustfmt::skip]
fn a_person_ends_what_is_unresolved_and_nothing_else() {
    for (what, state, claims) in [("paid", "succeeded", true), ("unpaid", "failed", true)] {
        let again = ("settled 1", if what == "paid" { "AlreadyFinal" } else { "SucceededAfterFinal" });
        let table = [
            (what,        "NotUnresolved"),
            ("start 1",   "send 1"),
            (what,        "NotUnresolved"),
            ("forged 1",  "WrongPreimage"),
            ("misproved", "WrongPreimage"),
            (what,        state),
            ("start 2",   "AlreadyFinal"),
            (what,        "AlreadyFinal"),
        ];
        let payment = play(order(1), &terms(), &table);
        assert_eq!(payment.claims_hash(), claims, "{what}: for ever");
        let kept = AttemptEnd::Contradicted(Contradiction::WrongPreimage);
        assert_eq!(payment.attempts[0].end, kept, "what the node said stays on record");
        // A person can be wrong: a proof that comes later is a contradiction.
        play(order(1), &terms(), &[&table[..], &[again]].concat());
    }
    let payment = play(order(1), &terms(), &[
        ("start 1", "send 1"), ("stuck 1", "Some(Stuck)"), ("misproved", "WrongPreimage"),
        ("unpaid", "failed"),
    ]);
    assert_eq!(payment.state, State::Failed(Failure::OperatorDecision));
    assert_eq!(payment.attempts[0].end, AttemptEnd::Resolved);
}

#[test]
#[rustfmt::skip]
fn a_success_after_the_end_is_a_contradiction() {
    check(&[("start 1", "send 1"), ("refused 1", "failed"), ("settled 1", "SucceededAfterFinal")]);
    check(&[("start 1", "send 1"), ("failed 1", "wait"), ("settled 1", "SucceededAfterFinal")]);
    check(&[("cancel", "cancelled"), ("settled 1", "SucceededAfterFinal")]);
    // While the next attempt is in flight, the proof is worth as much from the last one.
    check(&[
        ("start 1",   "send 1"),
        ("failed 1",  "wait"),
        ("start 2",   "send 2"),
        ("settled 1", "succeeded"),
    ]);
}

#[test]
#[rustfmt::skip]
fn no_attempt_starts_after_the_deadline_or_near_the_expiry_or_while_cancelling() {
    let in_two_minutes = NOW.plus_ms(120_000);
    let late = Order { deadline: Some(in_two_minutes), ..order(1) };
    let table = [
        ("start 1", "send 1"), ("failed 1", "wait"), ("expire", "NotExpired"),
        ("start 2", "TooLate"), ("expire", "failed"),
    ];
    let payment = play(late, &terms(), &table);
    assert_eq!(payment.state, State::Failed(Failure::DeadlinePassed));
    let short = Order { invoice_expiry: NOW.plus_ms(135_000), ..order(1) };
    let payment = play(short, &terms(), &table);
    assert_eq!(payment.state, State::Failed(Failure::InvoiceExpired));
    let cancelling = Terms { cancelling: true, ..terms() };
    play(order(1), &cancelling, &[("start 1", "TooLate"), ("cancel", "cancelled")]);
}

#[test]
fn a_retry_is_not_too_early_and_a_cancelled_batch_has_none() {
    let mut payment = payment(order(1));
    let start = PaymentChange::AttemptStarted(attempt(1));
    payment.apply(&start, NOW, 1);
    let cancelling = Terms { cancelling: true, ..terms() };
    let change = payment.decide(&input("failed 1"), &cancelling, NOW).expect("the open attempt");
    let next = Next::Failed(Failure::CancelRequested);
    let reason = FailureReason::NoRoute;
    assert_eq!(change, PaymentChange::AttemptFailed { attempt: 1, reason, next });
    let change = payment.decide(&input("failed 1"), &terms(), NOW).expect("the open attempt");
    payment.apply(&change, NOW, 2);
    assert_eq!(payment.decide(&input("start 2"), &terms(), NOW), Err(Refusal::TooEarly));
    let State::Queued { not_before } = payment.state else { panic!("it waits") };
    assert!(payment.decide(&input("start 2"), &terms(), not_before).is_ok());
}

#[test]
fn an_attempt_that_its_batch_withdrew_does_not_count() {
    let mut payment = payment(order(1));
    for number in 1..=9 {
        let State::Queued { not_before } = payment.state else { panic!("it waits: {number}") };
        payment.apply(&PaymentChange::AttemptStarted(attempt(number)), not_before, 1);
        let input = Input::NeverSent { attempt: number, cause: NeverSent::Withdrawn };
        let change = payment.decide(&input, &terms(), NOW).expect("the open attempt");
        payment.apply(&change, NOW, 2);
    }
    assert!(payment.is_queued(), "nine pauses are no reason to fail: {:?}", payment.state);
}

#[test]
fn a_stuck_payment_takes_whatever_its_node_says_later() {
    let stuck = || {
        let mut payment = payment(order(1));
        payment.apply(&PaymentChange::AttemptStarted(attempt(1)), NOW, 1);
        let change = payment.decide(&Input::Stuck { attempt: 1 }, &terms(), NOW);
        let effect = payment.apply(&change.expect("in flight"), NOW, 2);
        assert_eq!((effect, payment.state.name()), (Some(Effect::Stuck), "unresolved"));
        payment
    };
    let refused = stuck().decide(&Input::Stuck { attempt: 1 }, &terms(), NOW);
    assert_eq!(refused, Err(Refusal::Unresolved), "once is enough");
    assert_eq!(stuck().decide(&input("cancel"), &terms(), NOW), Err(Refusal::InFlight));
    assert_eq!(stuck().decide(&input("start 2"), &terms(), NOW), Err(Refusal::InFlight));
    for (said, state) in [("settled 1", "succeeded"), ("failed 1", "queued")] {
        let mut payment = stuck();
        let change = payment.decide(&input(said), &terms(), NOW).expect("its node's word");
        payment.apply(&change, NOW, 3);
        assert_eq!(payment.state.name(), state, "{said}");
    }
    let id = AttemptId { payment: stuck().id, number: 1 };
    assert_eq!(stuck().resume(), Some(Effect::Ask(id)), "a restart asks for it");
    assert!(stuck().claims_hash());
}

#[test]
fn a_restart_asks_for_what_is_in_flight_and_sends_nothing() {
    let mut payment = payment(order(1));
    assert_eq!(payment.resume(), Some(Effect::Wait { not_before: NOW }));
    payment.apply(&PaymentChange::AttemptStarted(attempt(1)), NOW, 1);
    let id = AttemptId { payment: payment.id, number: 1 };
    assert_eq!(payment.resume(), Some(Effect::Ask(id)));
    assert_eq!(payment.order.payment_hash, hash(1));
}

/// What no journal may hold: applying it must stop the engine, not change the payment.
#[test]
fn events_that_break_an_invariant_are_not_applied() {
    let settled = |row| PaymentChange::AttemptSettled {
        attempt: 1,
        preimage: preimage(row),
        fee_paid: FEE_LIMIT,
    };
    let (reason, next) = (FailureReason::NoRoute, Next::Cancelled);
    let failed = |attempt| PaymentChange::AttemptFailed { attempt, reason, next };
    let unsent = PaymentChange::AttemptNeverSent { attempt: 2, cause: NeverSent::Invalid, next };
    let start = |number| PaymentChange::AttemptStarted(attempt(number));
    for history in [
        vec![start(1), start(2)],
        vec![start(1), PaymentChange::Cancelled],
        vec![start(1), PaymentChange::Failed(Failure::NoRoute)],
        vec![start(1), settled(2)],
        vec![start(1), failed(2)],
        vec![start(1), unsent],
        vec![settled(1)],
        vec![failed(1)],
        vec![start(1), settled(1), settled(1)],
        vec![start(1), settled(1), start(2)],
        vec![PaymentChange::Cancelled, PaymentChange::Cancelled],
        vec![start(1), failed(1), failed(1)],
    ] {
        let (last, before) = history.split_last().expect("not empty");
        let mut payment = payment(order(1));
        before.iter().for_each(|change| {
            payment.apply(change, NOW, 1);
        });
        let apply = std::panic::AssertUnwindSafe(|| payment.apply(last, NOW, 2));
        assert!(std::panic::catch_unwind(apply).is_err(), "{history:?}");
    }
}
