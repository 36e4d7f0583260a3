//! Refused rows: those that the command line cannot read and those that the engine refuses, as one
//! list, and how people see it.

use std::collections::BTreeMap;

use fulgurite_proto::fulgurite::v1 as proto;
use proto::refused_row::Reason;

use super::{
    human::{clean, grouped},
    input::{BadRow, Input},
    words,
};

/// So many problems are shown on a terminal; a results file has all.
const SHOWN_MAX: usize = 20;

/// Every problem of a file, by row: those of its reading, and of what the engine says only what the
/// reading does not already explain.
pub fn all_of(input: &Input, mut engine: Vec<proto::RefusedRow>) -> Vec<proto::RefusedRow> {
    engine.retain(|row| match bad_row(input, row.row) {
        Some(bad) => !follows_from_reading(bad, row),
        None => true,
    });
    engine.extend(of_reading(input));
    // Stable: of a row, what the engine says comes last.
    engine.sort_by_key(|row| (row.row, row.reason() != Reason::Malformed));
    engine
}

/// The rows that cannot be read.
pub fn of_reading(input: &Input) -> impl Iterator<Item = proto::RefusedRow> {
    input.bad.iter().flat_map(|bad| {
        bad.problems.iter().map(move |problem| proto::RefusedRow {
            row: i32::try_from(bad.row).unwrap_or(i32::MAX),
            reference: bad.reference.clone(),
            reason: Reason::Malformed.into(),
            message: problem.to_string(),
            field: problem.field.clone(),
            ..Default::default()
        })
    })
}

fn bad_row(input: &Input, row: i32) -> Option<&BadRow> {
    let row = usize::try_from(row).ok()?;
    let at = input.bad.binary_search_by_key(&row, |bad| bad.row).ok()?;
    input.bad.get(at)
}

/// A bad row is sent with an amount that is never paid, and perhaps without a destination.
fn follows_from_reading(bad: &BadRow, row: &proto::RefusedRow) -> bool {
    match row.field.as_str() {
        "amount_msat" => true,
        "destination" | "bolt11" => !bad.has_destination,
        _ => false,
    }
}

/// The list for a terminal: a line for each problem, and from some number on counts by reason.
pub fn in_words(rows: &[proto::RefusedRow], lines: &[u64]) -> Vec<String> {
    let mut told: Vec<String> = rows.iter().take(SHOWN_MAX).map(|row| line(row, lines)).collect();
    let mut folded: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows.iter().skip(SHOWN_MAX) {
        *folded.entry(words::row_reason(row)).or_default() += 1;
    }
    if !folded.is_empty() {
        let counts = folded.iter().map(|(reason, count)| format!("{} {reason}", grouped(*count)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        told.push(format!("and more: {counts}. --results FILE has them all"));
    }
    told
}

fn line(row: &proto::RefusedRow, lines: &[u64]) -> String {
    let (number, reason) = (row.row, words::row_reason(row));
    let place = match line_of(row.row, lines) {
        Some(line) => format!("row {number} (line {line})"),
        None => format!("row {number}"),
    };
    let payment = match row.payment_id.as_str() {
        id if row.message.contains(id) => String::new(),
        id => format!(" (payment {id})"),
    };
    format!("{place}: {reason}: {}{payment}", clean(&row.message))
}

/// The line of a row in its file.
pub fn line_of(row: i32, lines: &[u64]) -> Option<u64> {
    let at = usize::try_from(row).ok()?.checked_sub(1)?;
    lines.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(row: i32, reason: Reason, field: &str) -> proto::RefusedRow {
        proto::RefusedRow {
            row,
            reason: reason.into(),
            field: field.into(),
            message: format!("engine on {field}"),
            ..Default::default()
        }
    }

    #[test]
    fn one_list_has_what_is_unreadable_and_what_the_engine_refuses() {
        let file = b"destination,amount_sat\nlnbc1,x\nlnbc2,\n,5\nlnbc4,5\n";
        let input = Input::parse(&file[..], None).unwrap();
        let engine = vec![
            refused(1, Reason::Expired, "bolt11"),
            refused(1, Reason::Malformed, "amount_msat"),
            refused(2, Reason::BadChecksum, "bolt11"),
            refused(3, Reason::UnsupportedDestination, "destination"),
        ];
        let all = all_of(&input, engine);
        assert_eq!(
            in_words(&all, &input.lines),
            [
                "row 1 (line 2): malformed: amount_sat `x` is not a whole number of 0 to \
                 9223372036854775807",
                "row 1 (line 2): expired: engine on bolt11",
                "row 2 (line 3): bad_checksum: engine on bolt11",
                "row 3 (line 4): malformed: destination is empty; it must be a BOLT 11 invoice",
            ]
        );
    }

    #[test]
    fn a_long_list_is_folded() {
        let mut rows: Vec<_> = (1..=30).map(|row| refused(row, Reason::Expired, "")).collect();
        rows.push(refused(31, Reason::BadChecksum, ""));
        let told = in_words(&rows, &[]);
        assert_eq!(told.len(), SHOWN_MAX + 1);
        let last = "and more: 1 bad_checksum, 10 expired. --results FILE has them all";
        assert_eq!(told[SHOWN_MAX], last);
    }
}
