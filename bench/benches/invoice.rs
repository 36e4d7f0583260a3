//! What an invoice costs at the door: its text, and its signature.

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use fulgurite_bench::INVOICE;
use lightning_invoice::{Bolt11Invoice, SignedRawBolt11Invoice};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    invoice(&mut criterion);
    criterion.final_summary();
}

fn invoice(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("invoice");
    assert!(INVOICE.parse::<Bolt11Invoice>().is_ok(), "the invoice is valid");
    group.bench_function("parsed", |bencher| {
        bencher.iter(|| black_box(INVOICE).parse::<SignedRawBolt11Invoice>());
    });
    group.bench_function("parsed and checked", |bencher| {
        bencher.iter(|| black_box(INVOICE).parse::<Bolt11Invoice>());
    });
    group.finish();
}
