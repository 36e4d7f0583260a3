//! Reads the files that batches are made of: CSV and NDJSON.
//!
//! A row is the number of an order, from 1; a line is a line of the file. Both are shown, because
//! people look at lines and the engine speaks of rows.
//!
//! A row that is no order keeps its number: it goes to the engine as an order that cannot be paid,
//! so that the engine judges what else can be read of it, and every other row beside it.

mod csv;
mod fields;
mod ndjson;
mod records;
mod source;
#[cfg(test)]
mod tests;

use std::{fmt, io::Read, path::Path};

use clap::ValueEnum;
use fulgurite_proto::fulgurite::v1 as proto;

use super::exit::Fault;
use source::{Source, Stopped};

pub use fields::timestamp;

/// The most orders of a batch.
pub const ROWS_MAX: usize = 100_000;
/// So many problems are named where a file is given up; the rest is counted.
const PROBLEMS_MAX: usize = 20;
/// So much of a text of the file is shown.
const CLIP_CHARS: usize = 40;
/// An amount that the engine refuses whatever else an order says.
const NEVER_PAID_MSAT: i64 = -1;

/// The orders of a file.
#[derive(Clone, Debug)]
pub struct Input {
    /// What goes to the engine: row 1 comes first. Bad rows stand in it as orders that the engine
    /// refuses.
    pub orders: Vec<proto::PaymentOrder>,
    /// The line of each row.
    pub lines: Vec<u64>,
    /// The rows that are no orders, by row.
    pub bad: Vec<BadRow>,
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

/// One thing that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The column or field; empty when it is the row as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A row that cannot be read as an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The row, from 1.
    pub row: usize,
    /// Its reference, as far as there is one.
    pub reference: String,
    /// Its destination was read, so that what the engine says of it counts.
    pub has_destination: bool,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// What can be read of a row that is no order.
#[derive(Debug, Default)]
struct BadOrder {
    order: proto::PaymentOrder,
    problems: Vec<Problem>,
}

/// Why a file as a whole cannot be used.
#[derive(Debug, PartialEq, Eq)]
struct Unusable {
    /// The line, from 1.
    line: u64,
    message: String,
}

impl Unusable {
    fn at(line: u64, message: impl Into<String>) -> Unusable {
        Unusable { line, message: message.into() }
    }

    fn stopped(line: u64, stopped: Stopped) -> Unusable {
        let message = match stopped {
            Stopped::TooLarge => {
                let most = source::FILE_BYTES_MAX >> 20;
                format!("the file is larger than {most} MiB: split it")
            }
            Stopped::Failed(error) => format!("it cannot be read: {error}"),
        };
        Unusable { line, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}", self.message),
            field => write!(f, "{field} {}", self.message),
        }
    }
}

/// The rows of a file so far.
#[derive(Debug, Default)]
struct Rows {
    orders: Vec<proto::PaymentOrder>,
    lines: Vec<u64>,
    bad: Vec<BadRow>,
}

impl Rows {
    /// The next order, or why the row is none.
    fn push(
        &mut self,
        line: u64,
        order: Result<proto::PaymentOrder, Box<BadOrder>>,
    ) -> Result<(), Unusable> {
        if self.lines.len() == ROWS_MAX {
            let row = ROWS_MAX + 1;
            let message =
                format!("row {row}: a batch has at most {ROWS_MAX} orders: split the file");
            return Err(Unusable::at(line, message));
        }
        self.lines.push(line);
        self.orders.push(order.unwrap_or_else(|bad| {
            let row = self.lines.len();
            let has_destination = bad.order.destination.is_some();
            let reference = bad.order.reference.clone();
            self.bad.push(BadRow { row, reference, has_destination, problems: bad.problems });
            never_paid(bad.order)
        }));
        Ok(())
    }

    /// A row of which nothing can be read.
    fn refuse(&mut self, line: u64, message: String) -> Result<(), Unusable> {
        let problems = vec![Problem { field: String::new(), message }];
        self.push(line, Err(Box::new(BadOrder { problems, ..BadOrder::default() })))
    }

    /// The problems so far for a person, and then why the file was given up.
    fn given_up(&self, unusable: &Unusable) -> String {
        let all = self.bad.iter().flat_map(|bad| {
            let (row, line) = (bad.row, self.lines[bad.row - 1]);
            bad.problems.iter().map(move |problem| format!("row {row} (line {line}): {problem}"))
        });
        let mut told: Vec<String> = all.clone().take(PROBLEMS_MAX).collect();
        let more = all.count() - told.len();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told.push(format!("line {}: {}", unusable.line, unusable.message));
        told.join("\n  ")
    }
}

/// An order that the engine refuses, with what else can be judged of it.
fn never_paid(order: proto::PaymentOrder) -> proto::PaymentOrder {
    let amount = Some(proto::payment_order::Amount::AmountMsat(NEVER_PAID_MSAT));
    proto::PaymentOrder { amount, ..order }
}

impl Input {
    /// Reads the file at `path`, or standard input for `-`. The format follows from the name, or
    /// else from the first character.
    ///
    /// # Errors
    /// [`Fault::Usage`] without a readable file, [`Fault::Refused`] if it is no file of orders.
    pub fn read(path: &Path, format: Option<Format>) -> Result<Input, Fault> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let named = match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
            _ => None,
        };
        let format = format.or(named);
        let parsed = if path == Path::new("-") {
            Input::parse(std::io::stdin().lock(), format)
        } else {
            let unreadable =
                |error: std::io::Error| Fault::Usage(format!("{}: {error}", path.display()));
            let file = std::fs::File::open(path).map_err(unreadable)?;
            if file.metadata().map_err(unreadable)?.is_dir() {
                return Err(Fault::Usage(format!("{} is a folder", path.display())));
            }
            Input::parse(file, format)
        };
        parsed.map_err(|text| {
            let path = path.display();
            Fault::Refused(format!("{path} cannot be used; nothing was sent\n  {text}"))
        })
    }

    /// Reads orders; without a format the first character decides.
    ///
    /// # Errors
    /// Why this is no file of orders, with every problem found before: one a line.
    pub fn parse(reader: impl Read, format: Option<Format>) -> Result<Input, String> {
        let mut rows = Rows::default();
        let digest = match parse(reader, format, &mut rows) {
            Ok(digest) => digest,
            Err(unusable) => return Err(rows.given_up(&unusable)),
        };
        let Rows { orders, lines, bad } = rows;
        Ok(Input { orders, lines, bad, digest })
    }

    /// The key that a file has by itself: the same bytes are the same batch.
    pub fn default_key(&self) -> String {
        format!("file:{}", self.digest)
    }
}

/// Reads the rows and returns the digest of the bytes.
fn parse(reader: impl Read, format: Option<Format>, rows: &mut Rows) -> Result<String, Unusable> {
    let mut source = Source::new(reader);
    let head = source.peek().map_err(|stopped| Unusable::stopped(1, stopped))?;
    if head.is_empty() {
        return Err(Unusable::at(1, "the file is empty"));
    }
    if let Some(what) = source::not_text(head) {
        return Err(Unusable::at(1, what));
    }
    // Spreadsheets begin a file with a byte order mark.
    let mark = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let first = head[mark..].iter().find(|byte| !byte.is_ascii_whitespace());
    let guessed = if first == Some(&b'{') { Format::Ndjson } else { Format::Csv };
    source.take(mark);
    let source = match format.unwrap_or(guessed) {
        Format::Csv => csv::rows(source, rows),
        Format::Ndjson => ndjson::rows(source, rows),
    }?;
    if rows.lines.is_empty() {
        return Err(Unusable::at(1, "the file has no orders"));
    }
    Ok(source.digest())
}

/// A text of a file, short and without control characters, which a terminal would obey.
fn clip(text: &str) -> String {
    let mut clipped: String =
        text.chars().take(CLIP_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(CLIP_CHARS).is_some() {
        clipped.push('…');
    }
    clipped
}
