//! CSV: a header line in any order, then a line for each order.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Fields, Rows};

/// The columns that there are.
const COLUMNS: [&str; 6] =
    ["destination", "amount_msat", "amount_sat", "fee_limit_msat", "reference", "deadline"];

/// Where each column of [`COLUMNS`] stands in the file.
type Places = [Option<usize>; COLUMNS.len()];

pub(super) fn rows(text: &[u8]) -> Rows {
    let mut rows = Rows::default();
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text);
    let places = match reader.headers() {
        Ok(header) => places(header),
        Err(error) => Err(error.to_string()),
    };
    let places = match places {
        Ok(places) => places,
        Err(message) => {
            rows.refuse(1, message);
            return rows;
        }
    };
    let width = reader.headers().map_or(0, StringRecord::len);
    let starts = LineStarts::new(text);
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = starts.line_at(record.position());
                rows.push(line, order(&record, (&places, width)));
            }
            Err(error) => {
                let line = starts.line_at(error.position());
                rows.push(line, Err(problem(&error)));
            }
        }
    }
    rows
}

fn problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "this is not UTF-8".into(),
        _ => error.to_string(),
    }
}

/// Reads the header: every column known and there once.
fn places(header: &StringRecord) -> Result<Places, String> {
    let mut places = Places::default();
    for (at, name) in header.iter().enumerate() {
        let known = COLUMNS.iter().position(|column| *column == name);
        let Some(column) = known else {
            let columns = COLUMNS.join(", ");
            return Err(format!("unknown column `{name}`: the columns are {columns}"));
        };
        if places[column].replace(at).is_some() {
            return Err(format!("column `{name}` is there twice"));
        }
    }
    if places[0].is_none() {
        return Err("there is no column `destination`".into());
    }
    if places[1].is_some() && places[2].is_some() {
        return Err("amount_msat and amount_sat cannot both be there: drop one column".into());
    }
    Ok(places)
}

fn order(
    record: &StringRecord,
    (places, width): (&Places, usize),
) -> Result<fulgurite_proto::fulgurite::v1::PaymentOrder, String> {
    if record.len() != width {
        return Err(format!("{} fields instead of {width}", record.len()));
    }
    let field = |column: usize| places[column].and_then(|at| record.get(at)).unwrap_or_default();
    let fields = Fields {
        destination: field(0),
        amount_msat: field(1),
        amount_sat: field(2),
        fee_limit_msat: field(3),
        reference: field(4),
        deadline: field(5),
    };
    fields.order()
}

/// Where the lines begin. The reader's own count is of the line that a record's blank lines
/// before it begin at.
struct LineStarts<'a> {
    text: &'a [u8],
    newlines: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    fn new(text: &'a [u8]) -> LineStarts<'a> {
        let newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        LineStarts { text, newlines: newlines.map(|(at, _)| at).collect() }
    }

    /// The line, from 1, of the record that begins at `position`, blank lines skipped.
    fn line_at(&self, position: Option<&csv::Position>) -> u64 {
        let start = position.map_or(0, csv::Position::byte);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.text.len());
        let blank = self.text[start..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.newlines.partition_point(|at| *at < start + blank) as u64 + 1
    }
}
