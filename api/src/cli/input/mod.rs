//! Reads the files that batches are made of: CSV and NDJSON.
//!
//! A row is the number of an order, from 1; a line is a line of the file. Both are shown, because
//! people look at lines and the engine speaks of rows.

mod csv;
mod ndjson;

use std::{fmt, io::Read, path::Path};

use clap::ValueEnum;
use fulgurite_proto::fulgurite::v1 as proto;
use sha2::{Digest, Sha256};

use super::exit::Fault;

/// The most orders of a batch.
pub const ROWS_MAX: usize = 100_000;
/// Larger files are not batches: 100,000 of the longest invoices.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// So many problems are named; the rest is counted.
const PROBLEMS_MAX: usize = 20;

/// The orders of a file.
#[derive(Clone, Debug)]
pub struct Input {
    /// The orders: row 1 comes first.
    pub orders: Vec<proto::PaymentOrder>,
    /// The line of each order.
    pub lines: Vec<u64>,
    /// `sha256-` and the digest of the file's bytes.
    pub digest: String,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header line and a line for each order.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// Something that cannot be read as an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The row, from 1; 0 is the header.
    pub row: usize,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            0 => write!(f, "line {}: {}", self.line, self.message),
            row => write!(f, "row {row} (line {}): {}", self.line, self.message),
        }
    }
}

/// The rows of a file, before they are known to be good.
#[derive(Debug, Default)]
struct Rows {
    orders: Vec<proto::PaymentOrder>,
    lines: Vec<u64>,
    bad: Vec<BadRow>,
}

impl Rows {
    /// The next order, or why the row is none.
    fn push(&mut self, line: u64, order: Result<proto::PaymentOrder, String>) {
        self.lines.push(line);
        match order {
            Ok(order) => self.orders.push(order),
            Err(message) => self.bad.push(BadRow { row: self.lines.len(), line, message }),
        }
    }

    /// A problem of the file as a whole.
    fn refuse(&mut self, line: u64, message: String) {
        self.bad.push(BadRow { row: 0, line, message });
    }
}

impl Input {
    /// Reads the file at `path`, or standard input for `-`. The format follows from the name, or
    /// else from the first character.
    ///
    /// # Errors
    /// [`Fault::Usage`] without a readable file, [`Fault::Refused`] if a row of it is no order.
    pub fn read(path: &Path, format: Option<Format>) -> Result<Input, Fault> {
        let bytes = read_bytes(path)
            .map_err(|error| Fault::Usage(format!("{}: {error}", path.display())))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        let named = match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
            _ => None,
        };
        Input::parse(&bytes, format.or(named)).map_err(|bad| {
            let shown = bad.iter().take(PROBLEMS_MAX).map(BadRow::to_string);
            let mut lines: Vec<String> = shown.collect();
            if bad.len() > PROBLEMS_MAX {
                lines.push(format!("and {} more", bad.len() - PROBLEMS_MAX));
            }
            Fault::Refused(format!(
                "{}: nothing was sent\n  {}",
                path.display(),
                lines.join("\n  ")
            ))
        })
    }

    /// Reads `bytes`; without a format the first character decides.
    ///
    /// # Errors
    /// Everything that is not an order.
    pub fn parse(bytes: &[u8], format: Option<Format>) -> Result<Input, Vec<BadRow>> {
        // Spreadsheets begin a file with a byte order mark.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let guessed = if first == Some(&b'{') { Format::Ndjson } else { Format::Csv };
        let mut rows = match format.unwrap_or(guessed) {
            Format::Csv => csv::rows(text),
            Format::Ndjson => ndjson::rows(text),
        };
        if rows.bad.is_empty() && rows.orders.is_empty() {
            rows.refuse(1, "the file has no orders".into());
        }
        if rows.bad.is_empty() && rows.orders.len() > ROWS_MAX {
            let line = rows.lines[ROWS_MAX];
            rows.refuse(line, format!("a batch has at most {ROWS_MAX} orders: split the file"));
        }
        if !rows.bad.is_empty() {
            return Err(rows.bad);
        }
        Ok(Input { orders: rows.orders, lines: rows.lines, digest: digest(bytes) })
    }

    /// The key that a file has by itself: the same bytes are the same batch.
    pub fn default_key(&self) -> String {
        format!("file:{}", self.digest)
    }
}

fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("larger than 1 GiB"));
    }
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256-{}", hex::encode(Sha256::digest(bytes)))
}

/// An order whose fields are texts, as they stand in a file. Empty is unset.
#[derive(Debug, Default)]
struct Fields<'a> {
    destination: &'a str,
    amount_msat: &'a str,
    amount_sat: &'a str,
    fee_limit_msat: &'a str,
    reference: &'a str,
    deadline: &'a str,
}

impl Fields<'_> {
    fn order(&self) -> Result<proto::PaymentOrder, String> {
        if self.destination.is_empty() {
            return Err("destination is empty".into());
        }
        let amount_msat = match (self.amount_msat, self.amount_sat) {
            ("", "") => None,
            (msat, "") => Some(whole("amount_msat", msat)?),
            (_, sat) => {
                let msat = whole("amount_sat", sat)?.checked_mul(1_000);
                Some(msat.ok_or_else(|| format!("amount_sat: {sat} is too large"))?)
            }
        };
        if amount_msat == Some(0) {
            return Err("the amount is 0: leave it empty for the invoice's own".into());
        }
        let fee_limit = (!self.fee_limit_msat.is_empty()).then_some(self.fee_limit_msat);
        let deadline = (!self.deadline.is_empty()).then_some(self.deadline);
        Ok(proto::PaymentOrder {
            destination: Some(proto::payment_order::Destination::Bolt11(self.destination.into())),
            amount: amount_msat.map(proto::payment_order::Amount::AmountMsat),
            fee_limit_msat: fee_limit.map(|limit| whole("fee_limit_msat", limit)).transpose()?,
            deadline: deadline.map(timestamp).transpose()?,
            reference: self.reference.into(),
        })
    }
}

/// A whole number that is not negative.
fn whole(field: &str, text: &str) -> Result<i64, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Ok(number);
    }
    Err(format!("{field}: `{text}` is not a whole number of 0 to {}", i64::MAX))
}

/// A time such as `2030-01-31T12:00:00Z`.
///
/// # Errors
/// What the text should have been.
pub fn timestamp(text: &str) -> Result<prost_types::Timestamp, String> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("deadline: `{text}` is not a time such as 2030-01-31T12:00:00Z"))?;
    Ok(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

#[cfg(test)]
mod tests;
