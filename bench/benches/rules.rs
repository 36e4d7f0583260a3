//! What deciding and applying cost: pure functions over one payment.

use std::hint::black_box;

use fulgurite_bench::{
    NOW, PREIMAGE, attempt, criterion, group::Group, in_flight, queued, settled, terms,
};
use fulgurite_core::{
    Msat,
    event::PaymentChange,
    payment::{Input, Payment},
};

fn main() {
    let mut criterion = criterion();
    decide(&mut criterion);
    apply(&mut criterion);
    criterion.final_summary();
}

fn decide(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "decide");
    let (queued, in_flight, terms) = (queued(), in_flight(), terms());
    let start = Input::Start(attempt());
    group.function("start", || queued.decide(black_box(&start), &terms, NOW));
    let settled = Input::Settled {
        attempt: 1,
        preimage: PREIMAGE,
        amount: in_flight.order.amount,
        fee_paid: Msat::from_sat_clamped(25),
    };
    group.function("settled", || in_flight.decide(black_box(&settled), &terms, NOW));
}

fn apply(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "apply");
    let started = PaymentChange::AttemptStarted(attempt());
    group.with("started", queued, |mut payment: Payment| {
        payment.apply(black_box(&started), NOW, 2);
        payment
    });
    let settled = settled();
    group.with("settled", in_flight, |mut payment: Payment| {
        payment.apply(black_box(&settled), NOW, 3);
        payment
    });
}
