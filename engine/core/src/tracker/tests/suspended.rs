//! Rule E19: only a proof counts of a node that is not believed.

use super::super::*;
use crate::{
    amount::Msat,
    testing::{AMOUNT, NOW, attempt, batch_id, hash, preimage},
};

fn context(number: &mut u64) -> Context<'_> {
    Context { now: NOW, expiry: NOW, connected: true, number }
}

/// An attempt of before a restart that its node had shown, asked for by call 1.
fn asked(why: Quarantine, number: &mut u64) -> Tracker {
    let payment = batch_id().payment(1);
    let tracker = Tracker::new(payment, hash(1), attempt(1), NOW).resumed(NOW).shown();
    let mut tracker = tracker;
    assert!(tracker.suspend(why, &context(number)));
    assert!(!tracker.suspend(why, &context(number)), "once");
    let asks = tracker.step(Input::Tick, &mut context(number));
    assert!(matches!(asks, Some(Action::Track(_))), "{asks:?}");
    tracker
}

fn payment(status: PaymentStatus) -> TrackReport {
    TrackReport::Payment(PaymentReport {
        status,
        amount: AMOUNT,
        first_hops: Vec::new(),
        htlc_expiry_height: 0,
        created: NOW,
    })
}

#[test]
fn a_proof_counts_and_a_failure_does_not() {
    let paid =
        |row| payment(PaymentStatus::Succeeded { preimage: preimage(row), fee_paid: Msat::ZERO });
    let failed = || payment(PaymentStatus::Failed(FailureReason::NoRoute));
    let (forgot, other) = (Quarantine::PaymentForgotten, Quarantine::IdentityChanged);
    for (why, report, over) in [
        (forgot, paid(1), true),
        (other, paid(1), true),
        (forgot, paid(2), false),
        (forgot, failed(), false),
        (forgot, payment(PaymentStatus::InFlight), false),
        (forgot, TrackReport::Unreachable("gone".into()), false),
        // It had shown it: it forgot it. Another node never knew it.
        (forgot, TrackReport::NotFound, true),
        (other, TrackReport::NotFound, false),
    ] {
        let mut number = 0;
        let mut tracker = asked(why, &mut number);
        let action = tracker.step(Input::Track(1, report.clone()), &mut context(&mut number));
        assert_eq!(matches!(action, Some(Action::Done(_))), over, "{report:?}: {action:?}");
        assert_eq!(tracker.phase() == Phase::Over, over, "{report:?}");
    }
}

#[test]
fn of_a_node_that_was_replaced_only_a_proof_counts_for_ever() {
    let proof = PaymentStatus::Succeeded { preimage: preimage(1), fee_paid: Msat::ZERO };
    for quarantined in [true, false] {
        let mut number = 0;
        let mut tracker = if quarantined {
            asked(Quarantine::PaymentForgotten, &mut number)
        } else {
            // Over a restart; nobody knows whether the node had shown it.
            number = 1;
            Tracker::new(batch_id().payment(1), hash(1), attempt(1), NOW).resumed(NOW).stuck()
        };
        tracker.believe_proofs_alone(&context(&mut number));
        assert!(tracker.was_trusted() && tracker.is_stuck());
        let later = NOW.plus_ms(60_000);
        for said in [TrackReport::NotFound, payment(PaymentStatus::Failed(FailureReason::NoRoute))]
        {
            let mut context =
                Context { now: later, expiry: later, connected: true, number: &mut number };
            tracker.step(Input::Tick, &mut context);
            let call = *context.number;
            assert_eq!(
                tracker.step(Input::Track(call, said.clone()), &mut context),
                None,
                "{said:?}"
            );
            assert!(!matches!(tracker.phase(), Phase::Over | Phase::Fencing { .. }), "{said:?}");
        }
        number += 1;
        let settled = tracker.step(Input::Track(number, payment(proof)), &mut context(&mut number));
        assert!(matches!(settled, Some(Action::Done(Outcome::Settled { .. }))), "{settled:?}");
    }
}

#[test]
fn trusted_again_its_word_counts_behind_the_fence() {
    let mut number = 0;
    let mut tracker = asked(Quarantine::PaymentForgotten, &mut number);
    assert!(!tracker.was_trusted());
    tracker.trust(&context(&mut number));
    let asks = tracker.step(Input::Tick, &mut context(&mut number));
    assert!(matches!(asks, Some(Action::Track(_))), "{asks:?}");
    let failed = payment(PaymentStatus::Failed(FailureReason::NoRoute));
    let action = tracker.step(Input::Track(2, failed), &mut context(&mut number));
    assert!(matches!(action, Some(Action::Fence(_))), "never sent again: {action:?}");
    assert!(tracker.was_trusted());
}
