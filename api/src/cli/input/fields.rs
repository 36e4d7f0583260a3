//! An order whose fields are texts, as they stand in a file.

use fulgurite_proto::fulgurite::v1 as proto;

use super::{BadOrder, Problem, clip};

/// The fields of an order. Empty is unset.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) destination: &'a str,
    pub(super) amount_msat: &'a str,
    pub(super) amount_sat: &'a str,
    pub(super) fee_limit_msat: &'a str,
    pub(super) reference: &'a str,
    pub(super) deadline: &'a str,
}

impl Fields<'_> {
    /// The order, or everything that is wrong with it.
    pub(super) fn order(&self) -> Result<proto::PaymentOrder, Box<BadOrder>> {
        let mut problems = Vec::new();
        let mut note = |field: &str, message: String| {
            problems.push(Problem { field: field.into(), message });
        };
        if self.destination.is_empty() {
            note("destination", "is empty; it must be a BOLT 11 invoice".into());
        }
        let amount_msat = self.amount_msat().unwrap_or_else(|(field, message)| {
            note(field, message);
            None
        });
        let fee_limit_msat = optional(self.fee_limit_msat, whole).unwrap_or_else(|message| {
            note("fee_limit_msat", message);
            None
        });
        let deadline = optional(self.deadline, timestamp).unwrap_or_else(|message| {
            note("deadline", message);
            None
        });
        let destination = (!self.destination.is_empty())
            .then(|| proto::payment_order::Destination::Bolt11(self.destination.into()));
        let order = proto::PaymentOrder {
            destination,
            amount: amount_msat.map(proto::payment_order::Amount::AmountMsat),
            fee_limit_msat,
            deadline,
            reference: self.reference.into(),
        };
        if problems.is_empty() { Ok(order) } else { Err(Box::new(BadOrder { order, problems })) }
    }

    fn amount_msat(&self) -> Result<Option<i64>, (&'static str, String)> {
        let (field, text, factor) = match (self.amount_msat, self.amount_sat) {
            (msat, "") => ("amount_msat", msat, 1),
            (_, sat) => ("amount_sat", sat, 1_000),
        };
        let amount = optional(text, whole).map_err(|message| (field, message))?;
        match amount {
            None => Ok(None),
            Some(0) => Err((field, "is 0; leave it empty for the invoice's own amount".into())),
            Some(amount) => match amount.checked_mul(factor) {
                Some(msat) => Ok(Some(msat)),
                None => Err((field, format!("{amount} is too large"))),
            },
        }
    }
}

/// Reads a field that may be empty.
fn optional<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// A whole number that is not negative.
fn whole(text: &str) -> Result<i64, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Ok(number);
    }
    Err(format!("`{}` is not a whole number of 0 to {}", clip(text), i64::MAX))
}

/// A time such as `2030-01-31T12:00:00Z`.
///
/// # Errors
/// What the text should have been.
pub fn timestamp(text: &str) -> Result<prost_types::Timestamp, String> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("`{}` is not a time such as 2030-01-31T12:00:00Z", clip(text)))?;
    Ok(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}
