//! The fingerprint of what a client ordered (API.md, I5): the same key with the same fingerprint
//! is a repetition, with another one a mistake.
//!
//! SHA-256 over the values that the client set, after decoding, so that neither the door nor the
//! order of fields on the wire matters. A value is written as its field number (1 byte), its
//! length (4 bytes, little endian) and its bytes; numbers are 8 bytes, little endian. What is
//! unset adds nothing, so that a later field changes no old fingerprint. The whole is
//! `SHA-256(kind ‖ SHA-256(header) ‖ SHA-256(row 1) ‖ SHA-256(row 2) ‖ …)`.

use fulgurite_proto::fulgurite::v1;
use sha2::{Digest, Sha256};

/// A fingerprint that grows row by row.
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of an upload that starts with this header.
    pub fn of_batch(header: &v1::upload_batch_request::Header) -> Fingerprint {
        let mut fields = Fields::default();
        fields.options(1, header.options.as_ref());
        fields.text(2, &header.description);
        let mut pairs: Vec<_> = header.metadata.iter().collect();
        pairs.sort_unstable();
        for (key, value) in pairs {
            fields.value(3, key.as_bytes());
            fields.value(4, value.as_bytes());
        }
        Fingerprint::start(b'b', fields)
    }

    /// Of one payment that comes alone.
    pub fn of_single(options: Option<&v1::BatchOptions>) -> Fingerprint {
        let mut fields = Fields::default();
        fields.options(1, options);
        Fingerprint::start(b's', fields)
    }

    fn start(kind: u8, header: Fields) -> Fingerprint {
        let mut whole = Sha256::new();
        whole.update([kind]);
        whole.update(header.0.finalize());
        Fingerprint(whole)
    }

    /// Adds the next row, by its [`of_order`].
    pub fn add(&mut self, order: &[u8; 32]) {
        self.0.update(order);
    }

    /// The fingerprint of everything that was added.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The digest of one order.
pub fn of_order(order: &v1::PaymentOrder) -> [u8; 32] {
    let mut fields = Fields::default();
    match &order.destination {
        Some(v1::payment_order::Destination::Bolt11(invoice)) => {
            fields.value(1, invoice.to_ascii_lowercase().as_bytes());
        }
        None => {}
    }
    match order.amount {
        Some(v1::payment_order::Amount::AmountMsat(amount)) => fields.number(10, Some(amount)),
        None => {}
    }
    fields.number(15, order.fee_limit_msat);
    fields.time(16, order.deadline.as_ref());
    fields.text(17, &order.reference);
    fields.0.finalize().into()
}

#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn value(&mut self, number: u8, bytes: &[u8]) {
        self.0.update([number]);
        self.0.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, number: u8, text: &str) {
        if !text.is_empty() {
            self.value(number, text.as_bytes());
        }
    }

    fn number(&mut self, number: u8, value: Option<i64>) {
        if let Some(value) = value {
            self.value(number, &value.to_le_bytes());
        }
    }

    fn time(&mut self, number: u8, time: Option<&prost_types::Timestamp>) {
        if let Some(time) = time {
            let mut bytes = [0; 12];
            bytes[..8].copy_from_slice(&time.seconds.to_le_bytes());
            bytes[8..].copy_from_slice(&time.nanos.to_le_bytes());
            self.value(number, &bytes);
        }
    }

    fn options(&mut self, number: u8, options: Option<&v1::BatchOptions>) {
        let Some(options) = options else { return };
        let mut fields = Fields::default();
        fields.number(1, options.start_paused.map(i64::from));
        fields.number(2, options.accept_valid.map(i64::from));
        let priority = Some(options.priority).filter(|priority| *priority != 0);
        fields.number(3, priority.map(i64::from));
        fields.number(4, options.in_flight_max.map(i64::from));
        fields.number(5, options.payments_per_second_max.map(i64::from));
        fields.number(6, options.per_destination_in_flight_max.map(i64::from));
        fields.number(7, options.failed_count_max.map(i64::from));
        fields.number(8, options.failed_percent_max.map(i64::from));
        if let Some(policy) = &options.fee_policy {
            let mut policy_fields = Fields::default();
            policy_fields.number(1, Some(policy.base_msat));
            policy_fields.number(2, Some(i64::from(policy.proportional_ppm)));
            fields.value(9, &policy_fields.0.finalize());
        }
        fields.time(10, options.deadline.as_ref());
        fields.number(11, options.attempts_max.map(i64::from));
        fields.number(12, options.cltv_limit_blocks.map(i64::from));
        // Options that set nothing are no options.
        if *options != v1::BatchOptions::default() {
            self.value(number, &fields.0.finalize());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> v1::PaymentOrder {
        v1::PaymentOrder {
            destination: Some(v1::payment_order::Destination::Bolt11("LNBC1".into())),
            ..Default::default()
        }
    }

    fn whole(header: &v1::upload_batch_request::Header, orders: &[v1::PaymentOrder]) -> [u8; 32] {
        let mut fingerprint = Fingerprint::of_batch(header);
        orders.iter().for_each(|order| fingerprint.add(&of_order(order)));
        fingerprint.finish()
    }

    #[test]
    fn what_is_unset_adds_nothing() {
        let plain = v1::upload_batch_request::Header::default();
        let empty = v1::upload_batch_request::Header {
            options: Some(v1::BatchOptions::default()),
            idempotency_key: "another".into(),
            order_count: 1,
            content_digest: "sha256-00".into(),
            ..Default::default()
        };
        assert_eq!(whole(&plain, &[order()]), whole(&empty, &[order()]));
    }

    #[test]
    fn every_value_counts() {
        let header = v1::upload_batch_request::Header::default();
        let base = whole(&header, &[order()]);
        let zero = v1::PaymentOrder { fee_limit_msat: Some(0), ..order() };
        let named = v1::PaymentOrder { reference: "a".into(), ..order() };
        let amount = Some(v1::payment_order::Amount::AmountMsat(1));
        let with_amount = v1::PaymentOrder { amount, ..order() };
        for other in [zero, named, with_amount] {
            assert_ne!(base, whole(&header, &[other]));
        }
        assert_ne!(base, whole(&header, &[order(), order()]));
        let described =
            v1::upload_batch_request::Header { description: "x".into(), ..header.clone() };
        assert_ne!(base, whole(&described, &[order()]));
    }

    #[test]
    fn a_single_payment_is_not_a_batch_of_one() {
        let mut single = Fingerprint::of_single(None);
        single.add(&of_order(&order()));
        let header = v1::upload_batch_request::Header::default();
        assert_ne!(single.finish(), whole(&header, &[order()]));
    }

    #[test]
    fn the_case_of_an_invoice_does_not_count() {
        let destination = Some(v1::payment_order::Destination::Bolt11("lnbc1".into()));
        let lower = v1::PaymentOrder { destination, ..Default::default() };
        assert_eq!(of_order(&order()), of_order(&lower));
    }
}
