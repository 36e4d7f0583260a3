//! What the doors see, whether a batch is open or long finished.

use fulgurite_core::{
    PaymentHash,
    batch::Batch,
    payment::{Payment, State},
};

use super::{
    Fixture,
    history::{self, History},
};
use crate::{Claim, Views};

/// A history of which much is finished and something is open, and its journal.
fn played(seed: u64) -> (Fixture, History) {
    let (fixture, mut history) = (Fixture::new(), History::new(seed));
    history.start(1, env!("CARGO_PKG_VERSION"));
    while history.finished.len() < 5 || history.book.batches.len() < 3 {
        fixture.play(&mut history, 100);
    }
    (fixture, history)
}

fn all(history: &History) -> Vec<Batch> {
    let open = history.book.batches.values().cloned();
    let mut all: Vec<Batch> = open.chain(history.finished.iter().cloned()).collect();
    all.sort_by_key(|batch| std::cmp::Reverse(batch.summary.accepted.batch));
    all
}

#[test]
fn every_payment_is_found_by_id_hash_reference_and_batch() {
    let (fixture, history) = played(1);
    let views = &fixture.opened.views;
    for batch in all(&history) {
        let id = batch.summary.accepted.batch;
        assert_eq!(views.batch(id).unwrap(), Some(batch.summary.clone()));
        let payments = views.payments_of_batch(id, 0, usize::MAX, |_| true).unwrap();
        assert_eq!(payments, batch.payments);
        for payment in &batch.payments {
            assert_eq!(views.payment(payment.id).unwrap().as_ref(), Some(payment));
            assert_eq!(views.by_hash(history::hash(payment.id)).unwrap(), [payment.id]);
            check_claim(views, payment);
            if let Some(reference) = &payment.order.reference {
                assert!(views.by_reference(&reference.bytes).unwrap().contains(&payment.id));
            }
        }
    }
    assert_eq!(views.by_reference(b"invoice").unwrap(), []);
}

#[test]
fn many_hashes_have_the_owners_that_each_has_alone_in_the_order_asked() {
    let (fixture, history) = played(6);
    let views = &fixture.opened.views;
    let payments = all(&history).into_iter().flat_map(|batch| batch.payments);
    let mut hashes: Vec<_> = payments.map(|payment| payment.order.payment_hash).collect();
    // Nobody's, between the others and twice.
    hashes.insert(1, PaymentHash([7; 32]));
    hashes.extend([PaymentHash([7; 32]), PaymentHash([0xff; 32])]);
    let third = hashes.len() / 3;
    hashes.rotate_left(third);
    let alone: Vec<_> = hashes.iter().map(|hash| views.hash_claim(*hash).unwrap()).collect();
    assert!(alone.iter().any(Option::is_some) && alone.iter().any(Option::is_none));
    assert_eq!(views.hash_claims(&hashes).unwrap(), alone);
    assert_eq!(views.hash_claims(&[]).unwrap(), []);
}

/// Failed and cancelled payments free their hash; all others own it (rule E2).
fn check_claim(views: &Views, payment: &Payment) {
    let paid = matches!(payment.state, State::Succeeded { .. });
    let expected = payment.claims_hash().then_some(Claim { payment: Some(payment.id), paid });
    assert_eq!(views.hash_claim(payment.order.payment_hash).unwrap(), expected);
}

#[test]
fn pages_of_payments_go_on_after_a_row_and_keep_their_filter() {
    let (fixture, history) = played(2);
    for batch in all(&history) {
        let (id, paid) = (batch.summary.accepted.batch, |state: &State| {
            matches!(state, State::Succeeded { .. })
        });
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = fixture.opened.views.payments_of_batch(id, after, 2, paid).unwrap();
            let Some(last) = page.last() else { break };
            after = last.id.row();
            found.extend(page);
        }
        let expected = batch.payments.iter().filter(|payment| paid(&payment.state));
        assert_eq!(found, expected.cloned().collect::<Vec<_>>());
    }
}

#[test]
fn a_watcher_sees_the_last_change_of_each_payment_in_order_and_without_a_seam() {
    let (fixture, history) = played(3);
    for batch in all(&history) {
        let id = batch.summary.accepted.batch;
        let mut expected: Vec<_> =
            batch.payments.iter().map(|payment| (payment.version, payment.id.row())).collect();
        expected.sort_unstable();
        let mut found = Vec::new();
        loop {
            let after = found.last().copied().unwrap_or((0, 0));
            let more = fixture.opened.views.changes_after(id, after, 3).unwrap();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn batches_are_listed_newest_first_with_or_without_single_payments() {
    let (fixture, history) = played(4);
    let views = &fixture.opened.views;
    for include_single in [false, true] {
        let mut found = Vec::new();
        loop {
            let before =
                found.last().map(|last: &fulgurite_core::batch::Summary| last.accepted.batch);
            let page = views.batches(before, 2, include_single, |_| true).unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        let expected = all(&history).into_iter().map(|batch| batch.summary);
        let expected = expected.filter(|summary| include_single || !summary.accepted.single);
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

#[test]
fn an_idempotency_key_leads_to_its_batch_for_ever() {
    let (fixture, history) = played(5);
    for batch in all(&history) {
        let accepted = &batch.summary.accepted;
        let find = |account| fixture.opened.views.batch_by_key(account, &accepted.idempotency_key);
        assert_eq!(find("default").unwrap(), Some(accepted.batch));
        assert_eq!(find("other").unwrap(), None);
    }
}
