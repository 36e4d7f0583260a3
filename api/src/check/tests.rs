//! Every reason, every limit, the check's threads.

mod bolt11;

use std::sync::Arc;

use fulgurite_core::{
    FeePolicy, Msat, UnixMs,
    order::{RefusedRow, RowReason},
};
use fulgurite_proto::fulgurite::v1::{PaymentOrder, payment_order};
use lightning_invoice::{Currency, RawTaggedField, TaggedField};
use prost_types::Timestamp;

use super::{
    CheckedRow, Checker, Network, OwnNodes, Rules, Signatures, Terms, Unchecked,
    invoice::Reader,
    row::{Judge, Problem},
    testing::{Invoice, NOW, payee},
    upload::UploadCheck,
};
use crate::{doors::Limits, fingerprint::Fingerprint};

fn order(bolt11: impl Into<String>) -> PaymentOrder {
    let destination = Some(payment_order::Destination::Bolt11(bolt11.into()));
    PaymentOrder { destination, ..Default::default() }
}

fn amount(msat: i64) -> Option<payment_order::Amount> {
    Some(payment_order::Amount::AmountMsat(msat))
}

fn terms() -> Terms {
    let fee_policy = FeePolicy { base: Msat::from_sat_clamped(10), proportional_ppm: 5_000 };
    Terms { now: NOW, fee_policy, fee_policy_chosen: false }
}

fn rules(signatures: Signatures) -> Rules {
    Rules { network: Network::Regtest, signatures, limits: Limits::default() }
}

fn judge(signatures: Signatures) -> Judge {
    Judge {
        rules: Arc::new(rules(signatures)),
        own_nodes: OwnNodes::default(),
        reader: Reader::new(Network::Regtest, signatures),
    }
}

/// The reasons that an order is refused for; none when it is taken.
fn reasons(order: &PaymentOrder) -> Vec<RowReason> {
    match judge(Signatures::Door).check(order, &terms()).verdict {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|problem| problem.reason).collect(),
    }
}

/// An invoice with these feature bits beside the onion and the payment secret.
fn features(bits: &[usize]) -> String {
    Invoice::default().changed(|raw| {
        for field in &mut raw.data.tagged_fields {
            let RawTaggedField::KnownSemantics(TaggedField::Features(features)) = field else {
                continue;
            };
            for &bit in bits {
                let set = if bit % 2 == 0 {
                    features.set_required_feature_bit(bit)
                } else {
                    features.set_optional_feature_bit(bit)
                };
                set.expect("a feature bit");
            }
        }
    })
}

#[test]
fn a_good_order_becomes_valid_types() {
    for includes_payee in [false, true] {
        let text = Invoice { includes_payee, ..Default::default() }.text();
        let upper = order(text.to_ascii_uppercase());
        let checked = judge(Signatures::Door).check(&upper, &terms());
        let order = checked.verdict.expect("a good order");
        assert_eq!(*order.invoice, *text);
        assert_eq!(order.payee, Some(payee()));
        assert_eq!((order.amount.get(), order.amount_in_send), (1_000_000, false));
        assert_eq!(order.fee_limit.get(), 15_000);
        assert_eq!(order.invoice_expiry, NOW.plus_ms(3_600_000));
        assert_eq!(Some(order.payment_hash), checked.payment_hash);
    }
}

#[test]
fn with_signatures_checked_by_the_node_the_payee_is_unknown() {
    let text = forged();
    let order = judge(Signatures::Node).check(&order(text), &terms()).verdict.expect("taken");
    assert_eq!(order.payee, None);
}

/// The invoice with the payee's key included and another signature.
fn forged() -> String {
    let invoice = Invoice { includes_payee: true, ..Default::default() };
    let other = Invoice { preimage: 8, ..invoice.clone() }.text();
    let signature = other.parse::<lightning_invoice::SignedRawBolt11Invoice>().expect("an invoice");
    let signature = signature.into_parts().2;
    let signed = invoice.text().parse::<lightning_invoice::SignedRawBolt11Invoice>();
    let raw = signed.expect("an invoice").into_parts().0;
    raw.sign(|_| Ok::<_, ()>(signature.0)).expect("a signature").to_string()
}

#[test]
#[rustfmt::skip] // A table: one line is one order and the reason that it is refused for.
fn every_bad_order_is_refused_for_its_reason() {
    let good = Invoice::default().text();
    let free = Invoice { amount_msat: None, ..Default::default() }.text();
    let mut typo = good.clone();
    let last = if typo.pop() == Some('q') { 'p' } else { 'q' };
    typo.push(last);
    let past = Some(Timestamp { seconds: 1, nanos: 0 });
    let never = Some(Timestamp { seconds: -1, nanos: 0 });
    let hashless = Invoice::default().without(|f| matches!(f, TaggedField::PaymentHash(_)));
    let secretless = Invoice::default().without(|f| matches!(f, TaggedField::PaymentSecret(_)));
    let undescribed = Invoice::default().without(|f| matches!(f, TaggedField::Description(_)));
    let pico = Invoice::default().changed(|raw| {
        raw.hrp.raw_amount = Some(11);
        raw.hrp.si_prefix = Some(lightning_invoice::SiPrefix::Pico);
    });
    let table = [
        ("nothing", PaymentOrder::default(), RowReason::UnsupportedDestination),
        ("an address", order("max@example.org"), RowReason::UnsupportedDestination),
        ("an offer", order("lno1qqqq"), RowReason::UnsupportedDestination),
        ("a word", order("coffee"), RowReason::Malformed),
        ("a word with ln", order("lncoffee"), RowReason::Malformed),
        ("too long", order(format!("lnbcrt1{}", "q".repeat(7_089))), RowReason::Malformed),
        ("mixed case", order(format!("LN{}", &good[2..])), RowReason::Malformed),
        ("a prefix", order(format!("lightning:{good}")), RowReason::Malformed),
        ("no hash", order(hashless), RowReason::Malformed),
        ("no description", order(undescribed), RowReason::Malformed),
        ("a part of a msat", order(pico), RowReason::Malformed),
        ("zero", PaymentOrder { amount: amount(0), ..order(&free) }, RowReason::Malformed),
        ("less", PaymentOrder { amount: amount(-1), ..order(&free) }, RowReason::Malformed),
        ("a debt", PaymentOrder { fee_limit_msat: Some(-1), ..order(&good) }, RowReason::Malformed),
        ("a long name", PaymentOrder { reference: "x".repeat(256), ..order(&good) }, RowReason::Malformed),
        ("no time", PaymentOrder { deadline: never, ..order(&good) }, RowReason::Malformed),
        ("mainnet", order(Invoice { currency: Currency::Bitcoin, ..Default::default() }.text()), RowReason::WrongNetwork),
        ("a typo", order(typo), RowReason::BadChecksum),
        ("forged", order(forged()), RowReason::BadSignature),
        ("expired", order(Invoice { expires_in_s: 0, ..Default::default() }.text()), RowReason::Expired),
        ("nearly expired", order(Invoice { expires_in_s: 59, ..Default::default() }.text()), RowReason::ExpiresTooSoon),
        ("no amount", order(&free), RowReason::AmountMissing),
        ("another amount", PaymentOrder { amount: amount(999_999), ..order(&good) }, RowReason::AmountConflict),
        ("a fortune", PaymentOrder { amount: amount(10_000_000_001), ..order(&free) }, RowReason::AmountAboveLimit),
        ("a high fee", PaymentOrder { fee_limit_msat: Some(100_001), ..order(&good) }, RowReason::FeeLimitTooHigh),
        ("above the floor", PaymentOrder { amount: amount(1), fee_limit_msat: Some(10_001), ..order(&free) }, RowReason::FeeLimitTooHigh),
        ("a slow payee", order(Invoice { final_cltv_delta: 433, ..Default::default() }.text()), RowReason::CltvTooLong),
        ("too late", PaymentOrder { deadline: past, ..order(&good) }, RowReason::DeadlinePast),
        ("no secret", order(secretless), RowReason::FeatureUnsupported),
        ("AMP", order(features(&[30])), RowReason::FeatureUnsupported),
        ("AMP, optional", order(features(&[17, 31])), RowReason::FeatureUnsupported),
        ("trampoline", order(features(&[56])), RowReason::FeatureUnsupported),
        ("the unknown", order(features(&[200])), RowReason::FeatureUnsupported),
    ];
    for (name, order, reason) in table {
        assert_eq!(reasons(&order), [reason], "{name}");
    }
}

#[test]
#[rustfmt::skip] // A table: one line is one order that must be taken.
fn orders_at_the_limits_are_taken() {
    let good = Invoice::default().text();
    let free = Invoice { amount_msat: None, ..Default::default() }.text();
    let table = [
        ("the invoice's amount", PaymentOrder { amount: amount(1_000_000), ..order(&good) }),
        ("an amount of its own", PaymentOrder { amount: amount(1), ..order(&free) }),
        ("the most", PaymentOrder { amount: amount(10_000_000_000), ..order(&free) }),
        ("no fee", PaymentOrder { fee_limit_msat: Some(0), ..order(&good) }),
        ("the highest fee", PaymentOrder { fee_limit_msat: Some(100_000), ..order(&good) }),
        ("the floor of fees", PaymentOrder { amount: amount(1), fee_limit_msat: Some(10_000), ..order(&free) }),
        ("the longest delta", order(Invoice { final_cltv_delta: 432, ..Default::default() }.text())),
        ("the margin", order(Invoice { expires_in_s: 61, ..Default::default() }.text())),
        ("an unknown option", order(features(&[17, 201]))),
        ("payment metadata", order(features(&[16, 48]))),
    ];
    for (name, order) in table {
        assert_eq!(reasons(&order), [], "{name}");
    }
}

#[test]
fn the_engine_s_own_fee_policy_never_allows_more_than_the_rule() {
    let free = Invoice { amount_msat: None, ..Default::default() }.text();
    // The policy of the tests is 10 sat and 0.5 %, the rule at most 10 sat or 10 %.
    for (msat, limit) in [(1, 10_000), (101_000, 10_100), (106_000, 10_530), (1_000_000, 15_000)] {
        let small = PaymentOrder { amount: amount(msat), ..order(&free) };
        let order = judge(Signatures::Door).check(&small, &terms()).verdict.expect("taken");
        assert_eq!(order.fee_limit.get(), limit, "{msat}");
    }
}

#[test]
fn an_invoice_of_our_own_nodes_is_refused() {
    let judge = judge(Signatures::Door);
    judge.own_nodes.add(&hex::encode(payee()));
    judge.own_nodes.add("not a key");
    let problems = judge.check(&order(Invoice::default().text()), &terms()).verdict;
    let problems = problems.expect_err("refused");
    assert_eq!(problems[0].reason, RowReason::OwnInvoice);
}

#[test]
fn a_row_names_all_of_its_problems() {
    let text = Invoice { expires_in_s: 0, final_cltv_delta: 500, ..Default::default() }.text();
    let bad = PaymentOrder { reference: "x".repeat(300), ..order(text) };
    let expected = [RowReason::Malformed, RowReason::Expired, RowReason::CltvTooLong];
    assert_eq!(reasons(&bad), expected);
}

fn upload(orders: &[PaymentOrder], amount_max: u64) -> (Vec<u32>, Vec<RefusedRow>) {
    let judge = judge(Signatures::Door);
    let amount_max = Msat::new(amount_max).expect("an amount");
    let mut check = UploadCheck::new(Fingerprint::of_single(None), amount_max);
    let checked = orders.iter().map(|order| judge.check(order, &terms())).collect();
    let sorted = check.take(checked);
    (sorted.orders.iter().map(|(row, _)| *row).collect(), sorted.refused)
}

fn nth(preimage: u8, reference: &str) -> PaymentOrder {
    let text = Invoice { preimage, ..Default::default() }.text();
    PaymentOrder { reference: reference.into(), ..order(text) }
}

#[test]
fn a_hash_or_reference_that_came_before_names_the_other_row() {
    let orders = [nth(1, "a"), nth(2, "b"), nth(1, "c"), nth(3, "b"), nth(4, ""), nth(5, "")];
    let (rows, refused) = upload(&orders, 1 << 60);
    assert_eq!(rows, [1, 2, 5, 6]);
    let found: Vec<_> = refused.iter().map(|r| (r.row, r.reason, r.other_row)).collect();
    let expected =
        [(3, RowReason::DuplicateHash, Some(1)), (4, RowReason::DuplicateReference, Some(2))];
    assert_eq!(found, expected);
    let reference = refused[0].reference.as_ref().and_then(|sealed| sealed.text());
    assert_eq!(reference, Some("c"));
}

#[test]
fn rows_above_the_batch_s_limit_are_refused() {
    let (rows, refused) = upload(&[nth(1, ""), nth(2, ""), nth(3, "")], 2_000_000);
    assert_eq!(rows, [1, 2]);
    assert_eq!((refused[0].row, refused[0].reason), (3, RowReason::BatchAboveLimit));
}

#[tokio::test]
async fn the_thread_answers_chunks_and_single_orders() {
    let checks = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = Arc::clone(&checks);
    let record = move |_| {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let checker = Checker::start(rules(Signatures::Door), Arc::new(record)).expect("a thread");
    let chunk = vec![nth(1, "a"), order("coffee"), nth(2, "b")];
    let waiting = checker.send(chunk, terms()).await.expect("sent");
    let single = checker.check(&nth(3, "c"), &terms()).expect("checked");
    assert!(single.verdict.is_ok());
    let rows = waiting.rows().await.expect("checked");
    let good: Vec<bool> = rows.iter().map(|row| row.verdict.is_ok()).collect();
    assert_eq!(good, [true, false, true]);
    assert_eq!(checks.load(std::sync::atomic::Ordering::Relaxed), 4);
    assert_eq!(checker.waiting(), 0);
}

#[tokio::test]
async fn a_check_that_panics_fails_its_request_and_goes_on() {
    let checks = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = Arc::clone(&checks);
    let record = move |_| {
        let before = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(![1, 2].contains(&before), "the second and the third check are told to panic");
    };
    let checker = Checker::start(rules(Signatures::Door), Arc::new(record)).expect("a thread");
    let chunk = vec![nth(1, "a"), nth(2, "b"), nth(3, "c")];
    let waiting = checker.send(chunk, terms()).await.expect("sent");
    assert_eq!(waiting.rows().await.err(), Some(Unchecked::Failed));
    let single = |preimage| checker.check(&nth(preimage, "d"), &terms());
    assert_eq!(single(4).err(), Some(Unchecked::Failed));
    assert!(single(5).expect("checked").verdict.is_ok());
    assert_eq!(checker.waiting(), 0);
}
