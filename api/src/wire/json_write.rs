//! JSON as it is written: straight into text. A tree of values first would cost an allocation for
//! each name and each value, and answers are made for every payment, twice.

use std::{
    fmt::{self, Write},
    ops::Range,
};

use serde_json::Value;

/// A whole JSON value, as text. Names are sorted and there is no white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// The value as a tree, to be changed or looked at.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("what was written is JSON")
    }

    /// The text itself.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json(value.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the value of a field can be.
pub trait Field {
    /// Appends the value to `text`.
    fn write(self, text: &mut String);
}

impl Field for &str {
    fn write(self, text: &mut String) {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if self.bytes().all(is_plain) {
            text.push('"');
            text.push_str(self);
            text.push('"');
        } else {
            // Escapes are rare: whoever knows them all writes them.
            text.push_str(&Value::from(self).to_string());
        }
    }
}

impl Field for bool {
    fn write(self, text: &mut String) {
        text.push_str(if self { "true" } else { "false" });
    }
}

impl Field for i32 {
    fn write(self, text: &mut String) {
        write(text, format_args!("{self}"));
    }
}

impl Field for Value {
    fn write(self, text: &mut String) {
        write(text, format_args!("{self}"));
    }
}

impl Field for Json {
    fn write(self, text: &mut String) {
        text.push_str(&self.0);
    }
}

impl Field for Vec<Json> {
    fn write(self, text: &mut String) {
        text.push('[');
        for (at, item) in self.into_iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            item.write(text);
        }
        text.push(']');
    }
}

/// Appends what is formatted.
pub(super) fn write(text: &mut String, formatted: fmt::Arguments<'_>) {
    text.write_fmt(formatted).expect("a string takes everything");
}

/// An object under construction: its fields, and where they are in the text.
pub(super) struct Object {
    text: String,
    fields: Vec<(&'static str, Range<usize>)>,
}

impl Object {
    /// An object without fields.
    pub(super) fn new() -> Object {
        // A payment with its invoice has about 1,000 bytes in 20 fields.
        Object { text: String::with_capacity(1_024), fields: Vec::with_capacity(24) }
    }

    /// Adds a field whose value `write` appends. A name must not come twice.
    pub(super) fn with(mut self, name: &'static str, write: impl FnOnce(&mut String)) -> Object {
        let start = self.text.len();
        name.write(&mut self.text);
        self.text.push(':');
        write(&mut self.text);
        self.fields.push((name, start..self.text.len()));
        self
    }

    /// The object, its fields by name.
    pub(super) fn done(mut self) -> Json {
        self.fields.sort_unstable_by_key(|(name, _)| *name);
        let mut whole = String::with_capacity(self.text.len() + self.fields.len() + 2);
        whole.push('{');
        for (at, (_, place)) in self.fields.into_iter().enumerate() {
            if at > 0 {
                whole.push(',');
            }
            whole.push_str(&self.text[place]);
        }
        whole.push('}');
        Json(whole)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_written_as_a_tree_of_values_is() {
        let texts = ["", "plain", "ä\u{7f}€", "a \"quoted\\ text\"", "\n\u{0}\u{1f}\t/"];
        for text in texts {
            let inner = Object::new().with("text", |to| text.write(to)).done();
            let written = Object::new()
                .with("z", |to| text.write(to))
                .with("list", |to| vec![inner.clone(), inner.clone()].write(to))
                .with("empty", |to| Vec::new().write(to))
                .with("a_b", |to| i32::MIN.write(to))
                .with("a", |to| true.write(to))
                .with("value", |to| json!([text]).write(to))
                .done();
            let expected = json!({
                "z": text, "list": [{"text": text}, {"text": text}], "empty": [], "a_b": i32::MIN,
                "a": true, "value": [text],
            });
            assert_eq!(written.to_string(), expected.to_string());
            assert_eq!(written.value(), expected);
        }
        assert_eq!(Object::new().done().into_text(), "{}");
    }
}
