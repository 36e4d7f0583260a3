//! Splits a text into records: lines of NDJSON, or records of CSV (RFC 4180) with their fields.
//!
//! Why not the csv crate: it gathers a record of any length, and a quotation mark that is never
//! closed is one of the whole file. Here a record has a limit, and each knows its line.

use std::{io::Read, ops::Range};

use super::source::{Source, Stopped};

/// Longer records are no orders: the longest invoice has 7,089 characters, a reference 255 bytes.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// The fields of a record and where it begins.
#[derive(Debug, Default)]
pub struct Record {
    /// The line that it begins on, from 1.
    pub line: u64,
    bytes: Vec<u8>,
    fields: Vec<Range<usize>>,
    /// The size of the record as it stands in the file.
    size: usize,
}

impl Record {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Its fields, without quotation marks.
    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|range| &self.bytes[range.clone()])
    }

    /// All of it; the line, where there are no fields to split.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn begin(&mut self, line: u64) {
        *self = Record { line, bytes: std::mem::take(&mut self.bytes), ..Record::default() };
        self.bytes.clear();
    }

    fn end_field(&mut self) {
        let start = self.fields.last().map_or(0, |range| range.end);
        self.fields.push(start..self.bytes.len());
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record,
    /// One that is longer than [`RECORD_BYTES_MAX`]; it was skipped.
    TooLong,
    /// A quotation mark that nobody closes: what follows cannot be told apart any more.
    NeverClosed,
    /// The file has ended.
    End,
}

/// Where in a record a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quotation mark in a quoted field: the end of it, or the first half of one.
    QuoteInQuoted,
}

/// Reads record after record.
pub struct Records<R> {
    source: Source<R>,
    /// The line of the next byte, from 1.
    line: u64,
    /// The last record ended with a carriage return: a line feed belongs to it.
    after_return: bool,
    /// Fields are separated by commas and may be quoted; otherwise a line is a record.
    has_fields: bool,
}

impl<R: Read> Records<R> {
    /// The records of `source`, with fields or without.
    pub fn new(source: Source<R>, has_fields: bool) -> Records<R> {
        Records { source, line: 1, after_return: false, has_fields }
    }

    /// The line of the next byte, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The source, after its end.
    pub fn into_source(self) -> Source<R> {
        self.source
    }

    /// Reads the next record into `record`; blank lines are skipped.
    ///
    /// # Errors
    /// When the source has an end of its own.
    pub fn next(&mut self, record: &mut Record) -> Result<Found, Stopped> {
        record.begin(self.line);
        let mut at = At::FieldStart;
        loop {
            let piece = self.source.peek()?;
            if piece.is_empty() {
                return Ok(match at {
                    At::Quoted => Found::NeverClosed,
                    _ => self.end(record),
                });
            }
            let (mut taken, mut ended) = (0, false);
            for byte in piece.iter().copied() {
                taken += 1;
                // CR LF is one break, and so is CR alone, where records are CSV.
                let is_return = byte == b'\r' && self.has_fields && at != At::Quoted;
                let is_break = byte == b'\n' || is_return;
                let is_second = byte == b'\n' && self.after_return;
                self.after_return = is_return;
                if is_second {
                    continue;
                }
                self.line += u64::from(is_break);
                if is_break && at != At::Quoted {
                    if record.size == 0 {
                        record.line = self.line;
                        continue;
                    }
                    ended = true;
                    break;
                }
                record.size += 1;
                if record.size <= RECORD_BYTES_MAX {
                    at = if self.has_fields { step(record, at, byte) } else { plain(record, byte) };
                } else if at == At::Quoted {
                    break;
                }
            }
            self.source.take(taken);
            if ended {
                return Ok(self.end(record));
            }
            if at == At::Quoted && record.size > RECORD_BYTES_MAX {
                return Ok(Found::NeverClosed);
            }
        }
    }

    fn end(&self, record: &mut Record) -> Found {
        record.end_field();
        match record.size {
            0 => Found::End,
            size if size > RECORD_BYTES_MAX => Found::TooLong,
            _ => Found::Record,
        }
    }
}

fn plain(record: &mut Record, byte: u8) -> At {
    record.bytes.push(byte);
    At::Plain
}

fn step(record: &mut Record, at: At, byte: u8) -> At {
    match (at, byte) {
        (At::FieldStart, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::QuoteInQuoted,
        (At::FieldStart | At::Plain | At::QuoteInQuoted, b',') => {
            record.end_field();
            At::FieldStart
        }
        (At::Quoted, _) | (At::QuoteInQuoted, b'"') => {
            record.bytes.push(byte);
            At::Quoted
        }
        (At::FieldStart | At::Plain | At::QuoteInQuoted, _) => plain(record, byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], has_fields: bool) -> (Vec<(u64, Vec<String>)>, Found) {
        let mut records = Records::new(Source::new(text), has_fields);
        let mut record = Record::default();
        let mut read = Vec::new();
        loop {
            match records.next(&mut record).unwrap() {
                Found::Record => {
                    let field = |field| String::from_utf8_lossy(field).into_owned();
                    read.push((record.line, record.fields().map(field).collect()));
                }
                Found::TooLong => read.push((record.line, vec!["too long".into()])),
                end => return (read, end),
            }
        }
    }

    #[test]
    fn records_are_those_of_the_csv_crate() {
        for text in [
            "a,b\nc,d\n",
            "a,b\r\nc,d",
            "a,b\rc,d\r",
            "\n\r\n\na,b\n\n\nc\n",
            "\"a\",\"b,c\"\n\"d\"\"e\",\"\"\n",
            "a\"b,c\"\n",
            "\"a\"b,c\n\"\"\"\"\n",
            "\"two\nlines\",x\n\"three\r\n\r\nlines\",y\n",
            ",\n,,\n a , b \n",
            "\"x\"",
            "",
            "\n",
        ] {
            let mut theirs = csv::ReaderBuilder::new();
            let mut theirs = theirs.has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = theirs
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .collect();
            let (ours, end) = read(text.as_bytes(), true);
            let ours: Vec<Vec<String>> = ours.into_iter().map(|(_, fields)| fields).collect();
            assert_eq!((ours, end), (expected, Found::End), "{text:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one text and the lines that its records begin on.
    fn a_record_knows_its_line() {
        for (text, has_fields, expected) in [
            ("a\nb\nc",             true,  &[1, 2, 3][..]),
            ("a\r\nb\r\n\r\nc\r\n", true,  &[1, 2, 4]),
            ("a\rb\r\rc\r",         true,  &[1, 2, 4]),
            ("\n\na\n\"b\nb\"\nc",  true,  &[3, 4, 6]),
            ("a\r\n\r\nb",          false, &[1, 2, 3]),
            ("\"a\n\nb,\"",         false, &[1, 3]),
        ] {
            let (read, end) = read(text.as_bytes(), has_fields);
            let lines: Vec<u64> = read.iter().map(|(line, _)| *line).collect();
            assert_eq!((lines.as_slice(), end), (expected, Found::End), "{text:?}");
        }
    }

    #[test]
    fn a_record_has_a_limit() {
        let most = "x".repeat(RECORD_BYTES_MAX);
        let long = format!("a\n{most}\n{most}x\nb\n");
        let (lines, end) = read(long.as_bytes(), true);
        let short: Vec<usize> = lines.iter().map(|(_, fields)| fields[0].len()).collect();
        assert_eq!(short, [1, RECORD_BYTES_MAX, 8, 1]);
        assert_eq!((lines[3].0, end), (4, Found::End));
        // In quotation marks nobody knows where it should have ended.
        let open = format!("a\n\"{most}x\nb\n");
        assert_eq!(read(open.as_bytes(), true).1, Found::NeverClosed);
        assert_eq!(read(b"a\n\"b\nc\n", true).1, Found::NeverClosed);
    }
}
