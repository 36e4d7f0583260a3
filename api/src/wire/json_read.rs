//! Orders from JSON (API.md 3): 64-bit integers as string or integer, times in RFC 3339, enums in
//! lower case. An unknown field is an error, and every error names its field by a JSON pointer.

use fulgurite_proto::fulgurite::v1::{self, batch_options, payment_order};
use prost_types::Timestamp;
use serde_json::{Map, Value};

use super::{json_text, time};
use crate::problem::Violation;

/// Reads a payment order with the `options` beside it, as `POST /v1/payments` takes it.
pub fn payment_request(
    text: &[u8],
) -> Result<(v1::PaymentOrder, Option<v1::BatchOptions>), Vec<Violation>> {
    let mut fields = Fields::parse(text)?;
    let order = order_of(&mut fields);
    let options = fields.object("options").map(|mut inner| {
        let options = options_of(&mut inner);
        fields.take_errors(inner);
        options
    });
    fields.finish((order, options))
}

/// Reads a payment order: a line of NDJSON.
pub fn payment_order(text: &[u8]) -> Result<v1::PaymentOrder, Vec<Violation>> {
    let mut fields = Fields::parse(text)?;
    let order = order_of(&mut fields);
    fields.finish(order)
}

/// Reads how a person says that a payment ended; its id is in the path.
pub fn resolution(text: &[u8]) -> Result<v1::ResolvePaymentRequest, Vec<Violation>> {
    use v1::resolve_payment_request::{NotPaid, Verdict};
    let mut fields = Fields::parse(text)?;
    let preimage = fields.text("preimage");
    let not_paid = fields.object("not_paid").map(|mut inner| {
        let reason = inner.text("reason").unwrap_or_default();
        let confirm = inner.truth("confirm").unwrap_or_default();
        let node_lost = inner.truth("node_lost").unwrap_or_default();
        fields.take_errors(inner);
        NotPaid { reason, confirm, node_lost }
    });
    let by = fields.text("by").unwrap_or_default();
    if preimage.is_some() && not_paid.is_some() {
        fields.refuse("not_paid", "is not allowed beside preimage");
    }
    let verdict = preimage.map(Verdict::Preimage).or(not_paid.map(Verdict::NotPaid));
    fields.finish(v1::ResolvePaymentRequest { verdict, by, ..Default::default() })
}

/// Reads who steers a node and, to trust it, what was checked.
pub fn steering(text: &[u8], trust: bool) -> Result<(String, String), Vec<Violation>> {
    let mut fields = Fields::parse(text)?;
    let by = fields.text("by").unwrap_or_default();
    let checked = if trust { fields.text("checked") } else { None };
    fields.finish((by, checked.unwrap_or_default()))
}

/// Reads who calls the payments of a lost node not paid.
pub fn node_resolution(text: &[u8]) -> Result<v1::ResolveNodeRequest, Vec<Violation>> {
    let mut fields = Fields::parse(text)?;
    let by = fields.text("by").unwrap_or_default();
    let reason = fields.text("reason").unwrap_or_default();
    let confirm = fields.truth("confirm").unwrap_or_default();
    fields.finish(v1::ResolveNodeRequest { name: String::new(), by, reason, confirm })
}

/// Reads an object that has no fields.
pub fn no_fields(text: &[u8]) -> Result<(), Vec<Violation>> {
    Fields::parse(text)?.finish(())
}

fn order_of(fields: &mut Fields) -> v1::PaymentOrder {
    v1::PaymentOrder {
        destination: fields.text("bolt11").map(payment_order::Destination::Bolt11),
        amount: fields.large("amount_msat").map(payment_order::Amount::AmountMsat),
        fee_limit_msat: fields.large("fee_limit_msat"),
        deadline: fields.time("deadline"),
        reference: fields.text("reference").unwrap_or_default(),
    }
}

fn options_of(fields: &mut Fields) -> v1::BatchOptions {
    let fee_policy = fields.object("fee_policy").map(|mut inner| {
        let policy = v1::FeePolicy {
            base_msat: inner.large("base_msat").unwrap_or_default(),
            proportional_ppm: inner.small("proportional_ppm").unwrap_or_default(),
        };
        fields.take_errors(inner);
        policy
    });
    v1::BatchOptions {
        start_paused: fields.truth("start_paused"),
        accept_valid: fields.truth("accept_valid"),
        priority: fields.priority("priority"),
        in_flight_max: fields.small("in_flight_max"),
        payments_per_second_max: fields.small("payments_per_second_max"),
        per_destination_in_flight_max: fields.small("per_destination_in_flight_max"),
        failed_count_max: fields.small("failed_count_max"),
        failed_percent_max: fields.small("failed_percent_max"),
        fee_policy,
        deadline: fields.time("deadline"),
        attempts_max: fields.small("attempts_max"),
        cltv_limit_blocks: fields.small("cltv_limit_blocks"),
    }
}

/// The fields of an object that nobody has taken yet.
struct Fields {
    left: Map<String, Value>,
    pointer: String,
    errors: Vec<Violation>,
}

impl Fields {
    fn parse(text: &[u8]) -> Result<Fields, Vec<Violation>> {
        let error = |message: String| vec![Violation { field: String::new(), message }];
        match json_text::parse(text) {
            Ok(Value::Object(left)) => {
                Ok(Fields { left, pointer: String::new(), errors: Vec::new() })
            }
            Ok(_) => Err(error("must be an object".into())),
            Err(fault) if fault.is_data() => Err(error(format!("cannot be read: {fault}"))),
            Err(fault) => Err(error(format!("is not JSON: {fault}"))),
        }
    }

    /// The value, when it was read well and every field was taken.
    fn finish<T>(mut self, value: T) -> Result<T, Vec<Violation>> {
        self.refuse_left();
        if self.errors.is_empty() { Ok(value) } else { Err(self.errors) }
    }

    fn take_errors(&mut self, mut inner: Fields) {
        inner.refuse_left();
        self.errors.append(&mut inner.errors);
    }

    fn refuse_left(&mut self) {
        for (name, _) in std::mem::take(&mut self.left) {
            self.refuse(&name, "is not a field that this engine knows");
        }
    }

    fn refuse(&mut self, name: &str, message: &str) {
        // RFC 6901, section 3.
        let name = name.replace('~', "~0").replace('/', "~1");
        let field = format!("{}/{name}", self.pointer);
        self.errors.push(Violation { field, message: message.to_owned() });
    }

    /// Takes a field; `null` reads as unset.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.refuse(name, "must be a string");
                None
            }
        }
    }

    fn truth(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(truth) => Some(truth),
            _ => {
                self.refuse(name, "must be true or false");
                None
            }
        }
    }

    fn large(&mut self, name: &str) -> Option<i64> {
        let value = match self.take(name)? {
            Value::Number(number) => integer(&number),
            // `parse` takes a plus sign, the contract does not.
            Value::String(text) if !text.starts_with('+') => text.parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.refuse(name, "must be an integer, as a number or a string");
        }
        value
    }

    fn small(&mut self, name: &str) -> Option<i32> {
        let value = match self.take(name)? {
            Value::Number(number) => integer(&number).and_then(|it| i32::try_from(it).ok()),
            _ => None,
        };
        if value.is_none() {
            self.refuse(name, "must be an integer below 2147483648");
        }
        value
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let stamp = time::parse(&text);
        if stamp.is_none() {
            self.refuse(name, "must be a time in RFC 3339, such as 2030-01-31T12:00:00Z");
        }
        stamp
    }

    fn priority(&mut self, name: &str) -> i32 {
        let priority = match self.text(name).as_deref() {
            None => batch_options::Priority::Unspecified,
            Some("low") => batch_options::Priority::Low,
            Some("normal") => batch_options::Priority::Normal,
            Some("high") => batch_options::Priority::High,
            Some(_) => {
                self.refuse(name, "must be low, normal or high");
                batch_options::Priority::Unspecified
            }
        };
        priority.into()
    }

    fn object(&mut self, name: &str) -> Option<Fields> {
        match self.take(name)? {
            Value::Object(left) => {
                let pointer = format!("{}/{name}", self.pointer);
                Some(Fields { left, pointer, errors: Vec::new() })
            }
            _ => {
                self.refuse(name, "must be an object");
                None
            }
        }
    }
}

/// An integer, also one that is written like 16.0, as far as JSON readers agree on it (2^53).
fn integer(number: &serde_json::Number) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_exact = |value: &f64| value.fract() == 0.0 && value.abs() <= EXACT_MAX;
    number.as_i64().or_else(|| number.as_f64().filter(is_exact).map(|value| value as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_with_its_options() {
        let text = br#"{"bolt11": "lnbc1", "amount_msat": "12", "fee_limit_msat": 0,
            "deadline": "2030-01-31T12:00:00Z", "reference": "a", "options":
            {"priority": "high", "attempts_max": 3, "fee_policy": {"base_msat": 1}}}"#;
        let (order, options) = payment_request(text).expect("an order");
        assert_eq!(order.amount, Some(payment_order::Amount::AmountMsat(12)));
        assert_eq!((order.fee_limit_msat, order.reference.as_str()), (Some(0), "a"));
        assert_eq!(order.deadline.map(|stamp| stamp.seconds), Some(1_896_091_200));
        let options = options.expect("options");
        assert_eq!(options.attempts_max, Some(3));
        assert_eq!(options.fee_policy.map(|policy| policy.base_msat), Some(1));
        assert_eq!(options.start_paused, None);
    }

    #[test]
    fn an_integer_may_be_written_in_each_way_that_means_one() {
        for (text, expected) in [
            ("16", Some(16)),
            ("16.0", Some(16)),
            ("1.6e1", Some(16)),
            ("\"16\"", Some(16)),
            ("9223372036854775807", Some(i64::MAX)),
            ("16.5", None),
            ("1e300", None),
            ("9223372036854775808", None),
            ("\"16.0\"", None),
        ] {
            let read = payment_order(format!("{{\"amount_msat\": {text}}}").as_bytes());
            let amount = read.ok().and_then(|order| order.amount);
            assert_eq!(amount, expected.map(payment_order::Amount::AmountMsat), "{text}");
        }
    }

    #[test]
    fn every_bad_field_is_named_by_its_pointer() {
        let text =
            br#"{"bolt11": 1, "amount_msat": "+1", "x/y": 1, "options": {"attempts_max": "3",
            "fee_policy": {"base": 1}}, "fee_limit_msat": 1.5}"#;
        let errors = payment_request(text).expect_err("refused");
        let mut fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        fields.sort_unstable();
        let expected = [
            "/amount_msat",
            "/bolt11",
            "/fee_limit_msat",
            "/options/attempts_max",
            "/options/fee_policy/base",
            "/x~1y",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "1", "{", "null"] {
            assert!(payment_order(text.as_bytes()).is_err(), "{text}");
        }
        // A name that is there twice: readers differ in which one they take.
        assert!(payment_order(br#"{"bolt11": "x", "bolt11": "y"}"#).is_err());
        // `options` are not part of a line of a file.
        assert!(payment_order(br#"{"bolt11": "x", "options": {}}"#).is_err());
    }
}
