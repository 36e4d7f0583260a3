//! NDJSON: an order a line, read as the HTTP API reads it.

use std::io::Read;

use fulgurite_proto::fulgurite::v1 as proto;
use serde_json::Value;

use super::{
    BadOrder, Problem, Rows, Unusable, clip,
    csv::too_long,
    records::{Found, Record, Records},
    source::Source,
};
use crate::{problem::Violation, wire::json_read};

/// So many problems of one line are named.
const PROBLEMS_MAX: usize = 8;

/// Reads the rows.
pub(super) fn rows<R: Read>(source: Source<R>, rows: &mut Rows) -> Result<Source<R>, Unusable> {
    let mut records = Records::new(source, false);
    let mut record = Record::default();
    loop {
        let found = match records.next(&mut record) {
            Ok(found) => found,
            Err(stopped) => return Err(Unusable::stopped(records.line(), stopped)),
        };
        match found {
            Found::End => return Ok(records.into_source()),
            Found::Record => {
                let line = record.bytes().trim_ascii();
                if !line.is_empty() {
                    let order = json_read::payment_order(line);
                    rows.push(record.line, order.map_err(|faults| bad_order(line, &faults)))?;
                }
            }
            // Nothing is quoted here.
            Found::TooLong | Found::NeverClosed => rows.refuse(record.line, too_long())?,
        }
    }
}

/// What can be read of a line that is no order, for what else may be wrong with it.
fn bad_order(line: &[u8], violations: &[Violation]) -> Box<BadOrder> {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let order = proto::PaymentOrder {
        destination: text("bolt11")
            .map(|text| proto::payment_order::Destination::Bolt11(text.to_owned())),
        reference: text("reference").unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let problems = violations.iter().take(PROBLEMS_MAX).map(problem).collect();
    Box::new(BadOrder { order, problems })
}

fn problem(violation: &Violation) -> Problem {
    let field = clip(violation.field.trim_start_matches('/'));
    let message = match field.as_str() {
        "destination" => "is called `bolt11` in NDJSON, as in the HTTP API".into(),
        "amount_sat" => "is not known in NDJSON: it has amount_msat alone".into(),
        _ => violation.message.replace(" at line 1 column ", " at column "),
    };
    Problem { field, message }
}
