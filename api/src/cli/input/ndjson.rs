//! NDJSON: an order a line, read as the HTTP API reads it.

use super::Rows;
use crate::{problem::Violation, wire::json_read};

pub(super) fn rows(text: &[u8]) -> Rows {
    let mut rows = Rows::default();
    for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let order = json_read::payment_order(bytes.trim_ascii());
        rows.push(line, order.map_err(|violations| in_words(&violations)));
    }
    rows
}

fn in_words(violations: &[Violation]) -> String {
    let problems = violations.iter().map(|violation| {
        let field = violation.field.trim_start_matches('/');
        let message = violation.message.replace(" at line 1 column ", " at column ");
        if field.is_empty() { message } else { format!("{field} {message}") }
    });
    problems.collect::<Vec<_>>().join("; ")
}
