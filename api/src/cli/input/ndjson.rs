//! NDJSON: an order a line, as the HTTP API takes it.

use serde::{Deserialize, Deserializer, de};

use super::{Fields, Rows};

/// An order as the HTTP API takes it; 64-bit integers are numbers or texts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    bolt11: String,
    #[serde(deserialize_with = "number_or_text")]
    amount_msat: String,
    #[serde(deserialize_with = "number_or_text")]
    fee_limit_msat: String,
    reference: String,
    deadline: String,
}

pub(super) fn rows(text: &[u8]) -> Rows {
    let mut rows = Rows::default();
    for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        rows.push(line, order(bytes.trim_ascii()));
    }
    rows
}

fn order(bytes: &[u8]) -> Result<fulgurite_proto::fulgurite::v1::PaymentOrder, String> {
    let order: Order = serde_json::from_slice(bytes).map_err(|error| problem(&error))?;
    let fields = Fields {
        destination: order.bolt11.trim(),
        amount_msat: &order.amount_msat,
        fee_limit_msat: &order.fee_limit_msat,
        reference: &order.reference,
        deadline: &order.deadline,
        ..Fields::default()
    };
    fields.order().map_err(|message| message.replacen("destination", "bolt11", 1))
}

/// The reader counts lines of its own: always one.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("{what} (column {column})"),
        None => text,
    }
}

fn number_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) if !text.is_empty() => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(de::Error::custom(format!("`{other}` is not a whole number"))),
    }
}
