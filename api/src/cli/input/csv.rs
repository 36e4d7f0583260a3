//! CSV: a header line in any order, then a line for each order.

use std::io::Read;

use super::{
    Rows, Unusable, clip,
    fields::Fields,
    records::{Found, Record, Records},
    source::Source,
};

/// The columns that there are.
const COLUMNS: [&str; 6] =
    ["destination", "amount_msat", "amount_sat", "fee_limit_msat", "reference", "deadline"];

/// Where each column of [`COLUMNS`] stands in the file.
type Places = [Option<usize>; COLUMNS.len()];

/// Reads header and rows.
pub(super) fn rows<R: Read>(source: Source<R>, rows: &mut Rows) -> Result<Source<R>, Unusable> {
    let mut records = Records::new(source, true);
    let mut record = Record::default();
    let mut header: Option<(Places, usize)> = None;
    loop {
        let found = match records.next(&mut record) {
            Ok(found) => found,
            Err(stopped) => return Err(Unusable::stopped(records.line(), stopped)),
        };
        let line = record.line;
        match (found, &header) {
            (Found::End, _) => return Ok(records.into_source()),
            (Found::NeverClosed, _) => {
                let message = "a quotation mark is opened here and never closed";
                return Err(Unusable::at(line, message));
            }
            (Found::TooLong, None) => return Err(Unusable::at(line, too_long())),
            (Found::TooLong, Some(_)) => rows.refuse(line, too_long())?,
            (Found::Record, None) => {
                let places = places(&record).map_err(|message| Unusable::at(line, message))?;
                header = Some((places, record.len()));
            }
            (Found::Record, Some(header)) => row(&record, header, rows)?,
        }
    }
}

/// What is wrong with a record of more than the limit.
pub(super) fn too_long() -> String {
    format!(
        "longer than {} bytes: no order is; is a line break missing?",
        super::records::RECORD_BYTES_MAX
    )
}

fn row(
    record: &Record,
    (places, width): &(Places, usize),
    rows: &mut Rows,
) -> Result<(), Unusable> {
    let texts: Option<Vec<&str>> =
        record.fields().map(|field| std::str::from_utf8(field).ok().map(str::trim)).collect();
    let Some(texts) = texts else {
        return rows.refuse(record.line, "this is not UTF-8".into());
    };
    // As spreadsheets leave them below the last row.
    if texts.iter().all(|text| text.is_empty()) {
        return Ok(());
    }
    if texts.len() != *width {
        let message = format!(
            "{} fields, but the header has {width}; a text with a comma needs quotation marks",
            texts.len()
        );
        return rows.refuse(record.line, message);
    }
    let field = |column: usize| {
        let text = places[column].and_then(|at| texts.get(at));
        text.copied().unwrap_or_default()
    };
    let fields = Fields {
        destination: field(0),
        amount_msat: field(1),
        amount_sat: field(2),
        fee_limit_msat: field(3),
        reference: field(4),
        deadline: field(5),
    };
    rows.push(record.line, fields.order())
}

/// Reads the header: every column known and there once.
fn places(header: &Record) -> Result<Places, String> {
    let mut places = Places::default();
    let columns = COLUMNS.join(", ");
    for (at, name) in header.fields().enumerate() {
        let Ok(name) = std::str::from_utf8(name) else {
            return Err("this is not UTF-8; save the file as UTF-8".into());
        };
        let name = name.trim();
        let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
            return Err(unknown_column(name, &columns));
        };
        if places[column].replace(at).is_some() {
            return Err(format!("column `{name}` is there twice"));
        }
    }
    if places[0].is_none() {
        return Err(format!("there is no column `destination`; the columns are {columns}"));
    }
    if places[1].is_some() && places[2].is_some() {
        return Err("amount_msat and amount_sat cannot both be there: drop one column".into());
    }
    Ok(places)
}

fn unknown_column(name: &str, columns: &str) -> String {
    let clipped = clip(name);
    if name.to_ascii_lowercase().starts_with("ln") && name.len() > 50 {
        return format!("the first line must name the columns, but it is `{clipped}`");
    }
    if let Some(other) = [';', '\t', '|'].into_iter().find(|other| name.contains(*other)) {
        return format!(
            "unknown column `{clipped}`: columns are separated by commas, not {other:?}"
        );
    }
    if name.starts_with('[') {
        return "this is a JSON array: NDJSON has one object a line, without brackets".into();
    }
    format!("unknown column `{clipped}`: the columns are {columns}")
}
