//! What deciding and applying cost: pure functions over one payment.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion};
use fulgurite_bench::{NOW, PREIMAGE, attempt, in_flight, queued, settled, terms};
use fulgurite_core::{
    Msat,
    event::PaymentChange,
    payment::{Input, Payment},
};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    decide(&mut criterion);
    apply(&mut criterion);
    criterion.final_summary();
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let (queued, in_flight, terms) = (queued(), in_flight(), terms());
    let start = Input::Start(attempt());
    group.bench_function("start", |bencher| {
        bencher.iter(|| queued.decide(black_box(&start), &terms, NOW));
    });
    let settled = Input::Settled {
        attempt: 1,
        preimage: PREIMAGE,
        amount: in_flight.order.amount,
        fee_paid: Msat::from_sat_clamped(25),
    };
    group.bench_function("settled", |bencher| {
        bencher.iter(|| in_flight.decide(black_box(&settled), &terms, NOW));
    });
    group.finish();
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    let started = PaymentChange::AttemptStarted(attempt());
    group.bench_function("started", |bencher| {
        let apply = |mut payment: Payment| {
            payment.apply(black_box(&started), NOW, 2);
            payment
        };
        bencher.iter_batched(queued, apply, BatchSize::SmallInput);
    });
    let settled = settled();
    group.bench_function("settled", |bencher| {
        let apply = |mut payment: Payment| {
            payment.apply(black_box(&settled), NOW, 3);
            payment
        };
        bencher.iter_batched(in_flight, apply, BatchSize::SmallInput);
    });
    group.finish();
}
