//! What an invoice costs at the door: its text, and its signature.

use std::hint::black_box;

use fulgurite_bench::{INVOICE, criterion, group::Group};
use lightning_invoice::{Bolt11Invoice, SignedRawBolt11Invoice};

fn main() {
    let mut criterion = criterion();
    invoice(&mut criterion);
    criterion.final_summary();
}

fn invoice(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "invoice");
    assert!(INVOICE.parse::<Bolt11Invoice>().is_ok(), "the invoice is valid");
    group.function("parsed", || black_box(INVOICE).parse::<SignedRawBolt11Invoice>());
    group.function("parsed and checked", || black_box(INVOICE).parse::<Bolt11Invoice>());
}
