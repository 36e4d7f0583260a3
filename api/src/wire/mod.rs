//! Between the rules' types and what travels: proto messages, JSON and times.

pub mod batch;
pub mod event;
pub mod json;
pub mod json_read;
pub mod json_text;
pub mod json_write;
pub mod node;
pub mod options;
pub mod payment;
pub mod time;

/// A count as the wire has it; counts are below 2^31.
pub(crate) fn count(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A large number as the wire has it.
pub(crate) fn large(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
