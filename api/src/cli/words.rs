//! The words of the contract, as the HTTP API and the results files write them.

use fulgurite_proto::fulgurite::v1 as proto;
use serde_json::Value;

use crate::wire;

/// The lower-case word of an enum value, such as `in_flight`; empty when it is unset.
pub fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase();
    if word == "unspecified" { String::new() } else { word }
}

/// A payment's state, such as `in_flight`.
pub fn payment_state(payment: &proto::Payment) -> String {
    word(payment.state().as_str_name(), "STATE_")
}

/// A batch's state, such as `running`.
pub fn batch_state(batch: &proto::Batch) -> String {
    word(batch.state().as_str_name(), "STATE_")
}

/// Why a row was refused, such as `bad_checksum`.
pub fn row_reason(row: &proto::RefusedRow) -> String {
    word(row.reason().as_str_name(), "REASON_")
}

/// Why a payment failed, such as `no_route`.
pub fn failure_reason(failure: &proto::Failure) -> String {
    word(failure.reason().as_str_name(), "REASON_")
}

/// A refused row with its line in the file, when there is one.
pub fn refused_row(row: &proto::RefusedRow, line: Option<u64>) -> Value {
    let mut value = wire::json::refused_row(row).value();
    if let Some(line) = line {
        value["line"] = line.into();
    }
    value
}
