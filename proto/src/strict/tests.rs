//! Unknown fields at every depth, and what is left to prost.

use super::*;
use crate::fulgurite::v1::{
    BatchOptions, CreatePaymentRequest, FeePolicy, PaymentOrder, UploadBatchRequest,
    payment_order::{Amount, Destination},
    upload_batch_request::{Content, Header, Orders},
};

/// A field with these bytes, as it is on the wire.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    assert!(length < 128, "the length is one byte");
    let tag = u32::from(number) << 3 | 2;
    let mut wire = Vec::new();
    prost::encoding::encode_varint(tag.into(), &mut wire);
    wire.push(length);
    wire.extend(bytes);
    wire
}

fn order() -> PaymentOrder {
    PaymentOrder {
        destination: Some(Destination::Bolt11("lnbcrt1".into())),
        amount: Some(Amount::AmountMsat(i64::MIN)),
        fee_limit_msat: Some(0),
        deadline: Some(prost_types::Timestamp { seconds: -1, nanos: 999_999_999 }),
        reference: "a".repeat(300),
    }
}

fn options() -> BatchOptions {
    BatchOptions {
        start_paused: Some(false),
        accept_valid: Some(true),
        priority: 3,
        in_flight_max: Some(-1),
        payments_per_second_max: Some(0),
        per_destination_in_flight_max: Some(1),
        failed_count_max: Some(1),
        failed_percent_max: Some(1),
        fee_policy: Some(FeePolicy { base_msat: 1, proportional_ppm: i32::MAX }),
        deadline: Some(prost_types::Timestamp::default()),
        attempts_max: Some(1),
        cltv_limit_blocks: Some(i32::MAX),
    }
}

fn path(name: &str, bytes: &[u8]) -> String {
    match check(name, bytes) {
        Ok(()) => "known".to_owned(),
        Err(unknown) => unknown.path,
    }
}

#[test]
fn what_this_version_has_is_known() {
    let header = Header {
        idempotency_key: "k".into(),
        options: Some(options()),
        description: "d".into(),
        metadata: [("a".into(), "b".into()), ("c".into(), String::new())].into(),
        validate_only: true,
        order_count: 1,
        content_digest: "x".into(),
    };
    let orders = Orders { first_row: 1, orders: vec![order(), order()] };
    for content in [Content::Header(header), Content::Orders(orders)] {
        let bytes = UploadBatchRequest { content: Some(content) }.encode_to_vec();
        assert_eq!(path("fulgurite.v1.UploadBatchRequest", &bytes), "known");
    }
    let request = CreatePaymentRequest {
        idempotency_key: "k".into(),
        order: Some(order()),
        options: Some(options()),
        validate_only: false,
    };
    let bytes = request.encode_to_vec();
    assert_eq!(path("fulgurite.v1.CreatePaymentRequest", &bytes), "known");
}

#[test]
fn an_unknown_field_is_named_wherever_it_is() {
    let mut fiat = order().encode_to_vec();
    fiat.extend(field(11, b"EUR"));
    let unknown = check("fulgurite.v1.PaymentOrder", &fiat).expect_err("unknown");
    assert_eq!(unknown.path, "11");
    let said = unknown.to_string();
    assert!(said.contains("field 11 of fulgurite.v1.PaymentOrder is kept for later"), "{said}");
    assert!(said.contains("fiat"), "{said}");

    let good = order().encode_to_vec();
    let mut orders = vec![8, 1];
    for bytes in [&good, &good, &fiat] {
        prost::encoding::encode_varint(2 << 3 | 2, &mut orders);
        prost::encoding::encode_varint(bytes.len() as u64, &mut orders);
        orders.extend(bytes);
    }
    assert_eq!(path("fulgurite.v1.UploadBatchRequest.Orders", &orders), "orders[2].11");
    for (name, bytes, at) in [
        ("fulgurite.v1.CreatePaymentRequest", field(3, &field(13, b"")), "options.13"),
        (
            "fulgurite.v1.CreatePaymentRequest",
            field(3, &field(9, &[24, 1])),
            "options.fee_policy.3",
        ),
        ("fulgurite.v1.CreatePaymentRequest", field(2, &field(16, &[24, 1])), "order.deadline.3"),
        ("fulgurite.v1.UploadBatchRequest", field(1, &field(4, &[24, 1])), "header.metadata[0].3"),
        ("fulgurite.v1.GetBatchRequest", vec![0x98, 0x06, 0], "99"),
        // An empty group, which prost skips.
        ("fulgurite.v1.PaymentOrder", vec![0x9b, 0x06, 0x9c, 0x06], "99"),
        ("fulgurite.v1.GetEngineRequest", vec![8, 1], "1"),
    ] {
        assert_eq!(path(name, &bytes), at, "{name}");
    }
}

#[test]
fn every_request_of_every_method_is_strict() {
    assert!(SHAPES.requests.len() >= 14, "{}", SHAPES.requests.len());
    for name in SHAPES.requests.keys() {
        // Field 2,047: no message will have it soon.
        assert_eq!(path(name, &[0xf8, 0x7f, 1]), "2047", "{name}");
    }
    assert!(!SHAPES.requests.contains_key("fulgurite.v1.Payment"));
}

#[test]
fn what_is_not_well_formed_is_left_to_prost() {
    let whole = field(2, &order().encode_to_vec()[..100]);
    for bytes in [&whole[..50], &[0x12, 0x7f], &[0xff; 12], &[0x0b], &[0x0f], &[0x08]] {
        assert_eq!(path("fulgurite.v1.CreatePaymentRequest", bytes), "known", "{bytes:?}");
        assert!(CreatePaymentRequest::decode(bytes).is_err(), "{bytes:?}");
    }
}
