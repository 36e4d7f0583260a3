//! Finds the line of a key, and the key at a place.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::fault::Problem;

/// What the TOML reader refused, with its place.
pub(crate) fn problem(text: &str, error: &toml::de::Error) -> Problem {
    let start = error.span().map(|span| span.start);
    let key = start.and_then(|at| key_at(text, at)).unwrap_or_default();
    let message = error.message().replace('\n', "; ");
    Problem { line: start.map(|at| line_of(text, at)), key, message }
}

/// A problem of the value of `key`, such as `grpc.listen` or `node[0].name`.
pub(crate) fn named(text: &str, key: String, message: String) -> Problem {
    let line = DeTable::parse(text).ok().and_then(|table| {
        let mut found = None;
        walk(table.get_ref(), "", &mut |name, span| {
            // What lacks a key is shown where its table begins.
            if name == key || (found.is_none() && key.starts_with(&format!("{name}."))) {
                found = Some(span.start);
            }
        });
        found
    });
    Problem { line: line.map(|at| line_of(text, at)), key, message }
}

/// The innermost key whose name or value covers the byte at `at`.
fn key_at(text: &str, at: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut found: Option<(usize, String)> = None;
    walk(table.get_ref(), "", &mut |name, span| {
        let narrower = found.as_ref().is_none_or(|(length, _)| span.len() <= *length);
        if span.contains(&at) && narrower {
            found = Some((span.len(), name.to_owned()));
        }
    });
    found.map(|(_, name)| name)
}

/// Shows every key, with the span from its name to the end of its value.
fn walk(table: &DeTable<'_>, prefix: &str, see: &mut dyn FnMut(&str, std::ops::Range<usize>)) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let span = key.span().start.min(value.span().start)..value.span().end.max(key.span().end);
        see(&name, span);
        within(value, &name, see);
    }
}

fn within(
    value: &Spanned<DeValue<'_>>,
    name: &str,
    see: &mut dyn FnMut(&str, std::ops::Range<usize>),
) {
    if let Some(inner) = value.get_ref().as_table() {
        walk(inner, &format!("{name}."), see);
    }
    for (index, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
        let name = format!("{name}[{index}]");
        see(&name, item.span());
        within(item, &name, see);
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
