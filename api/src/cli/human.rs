//! How people are shown things: amounts, times, tables and blocks that fit on 80 columns.

use prost_types::Timestamp;

use crate::wire;

/// The width that everything is laid out for.
const COLUMNS: usize = 80;

/// A number with commas between its thousands.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount in satoshi, with millisatoshi as decimals where there are some.
pub fn sat(msat: i64) -> String {
    let whole = grouped(msat / 1_000);
    match msat % 1_000 {
        0 => whole,
        rest => format!("{whole}.{:03}", rest.abs()),
    }
}

/// A time such as `2026-11-21 23:04:12`, in UTC; empty when it is unset.
pub fn time(stamp: Option<&Timestamp>) -> String {
    let text = stamp.map(wire::time::proto_text).unwrap_or_default();
    text.get(..19).unwrap_or_default().replace('T', " ")
}

/// A text without control characters, which a terminal would obey: references and messages come
/// from others.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A text whose lines break between words, so that a terminal does not break them within. What is
/// indented stays as it is: commands to copy.
pub fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.chars().count() <= COLUMNS || line.starts_with(' ') {
            lines.push(line.to_owned());
            continue;
        }
        let mut width = COLUMNS + 1;
        for word in line.split(' ') {
            let length = word.chars().count();
            match lines.last_mut() {
                Some(last) if width + 1 + length <= COLUMNS => {
                    last.push(' ');
                    last.push_str(word);
                    width += 1 + length;
                }
                Some(_) if width <= COLUMNS => {
                    lines.push(format!("  {word}"));
                    width = 2 + length;
                }
                Some(_) | None => {
                    lines.push(word.to_owned());
                    width = length;
                }
            }
            // What is longer than the line stands alone; the next word begins another one.
            width = width.min(COLUMNS);
        }
    }
    lines.join("\n")
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A column: its name, its least width and its side.
pub type Column = (&'static str, usize, Side);

/// One line of a table. The last cell may be of any width.
pub fn row<const N: usize>(columns: &[Column; N], cells: [String; N]) -> String {
    let mut line = String::new();
    for ((_, width, side), cell) in columns.iter().zip(cells) {
        if !line.is_empty() {
            line.push(' ');
        }
        let cell = clean(&cell);
        match side {
            Side::Left => line += &format!("{cell:<width$}"),
            Side::Right => line += &format!("{cell:>width$}"),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The header of a table.
pub fn header<const N: usize>(columns: &[Column; N]) -> String {
    row(columns, columns.map(|(name, _, _)| name.to_owned()))
}

/// Names and values, one a line; what is empty is left out, and what is too long for the line
/// stands below its name.
pub fn block(pairs: &[(&str, String)]) -> String {
    let shown = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    let lines = shown().map(|(name, value)| {
        let value = clean(value);
        if width + value.chars().count() > COLUMNS {
            format!("{name}\n  {value}")
        } else {
            format!("{name:<width$}{value}")
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one amount.
    fn amounts_are_readable() {
        for (msat, expected) in [
            (0,              "0"),
            (999,            "0.999"),
            (1_000,          "1"),
            (50_303_658_001, "50,303,658.001"),
            (i64::MAX,       "9,223,372,036,854,775.807"),
        ] {
            assert_eq!(sat(msat), expected);
        }
        assert_eq!([grouped(-1_000), grouped(100), grouped(12_345)], ["-1,000", "100", "12,345"]);
    }

    #[test]
    fn a_table_is_aligned_and_obeys_nobody() {
        let columns = [("NAME", 6, Side::Left), ("SAT", 7, Side::Right), ("NOTE", 0, Side::Left)];
        assert_eq!(header(&columns), "NAME       SAT NOTE");
        let line = row(&columns, ["a".into(), "1,000".into(), "\u{1b}[2Jx".into()]);
        assert_eq!(line, "a        1,000 ?[2Jx");
    }

    #[test]
    fn a_long_line_breaks_between_words() {
        let word = "word ".repeat(30);
        let command = format!("  fulgurite batch watch --key {}", "k".repeat(90));
        assert_eq!(wrapped(&command), command);
        let text = wrapped(&format!("short\n{}{}", word, "x".repeat(100)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "short");
        assert!(lines[1].starts_with("word word") && lines[2].starts_with("  word"), "{text}");
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= COLUMNS), "{text}");
        assert_eq!(lines[lines.len() - 1].trim(), "x".repeat(100));
        assert_eq!(text.split_whitespace().count(), 32);
    }

    #[test]
    fn a_block_leaves_out_what_is_empty_and_breaks_what_is_long() {
        let long = "x".repeat(76);
        let text = block(&[("state", "failed".into()), ("node", String::new()), ("key", long)]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with("state  failed\nkey\n  xxx"), "{text}");
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
    }
}
