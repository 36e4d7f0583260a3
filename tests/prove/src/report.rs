//! What a proof prints at its end: one page for people, or one JSON object.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Map, Value};

/// One page: named tables of lines, what was wrong, and what it does not claim.
#[derive(Clone, Debug, Default)]
pub struct Page {
    title: String,
    tables: Vec<(String, Vec<(String, Value)>)>,
    wrong: Vec<String>,
    unfinished: Option<String>,
    notes: Vec<String>,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Page {
        Page { title: title.into(), ..Page::default() }
    }

    /// Adds a table of lines: what, and how much.
    pub fn table(
        &mut self,
        name: &str,
        lines: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>,
    ) {
        let lines = lines.into_iter().map(|(what, value)| (what.into(), value.into()));
        self.tables.push((name.to_owned(), lines.collect()));
    }

    /// Adds something that must not be.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    /// Says that less was run than was asked for, and why.
    pub fn unfinished(&mut self, why: impl Into<String>) {
        self.unfinished = Some(why.into());
    }

    /// Adds a line of prose.
    pub fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The number in a table's line; 0 when there is none.
    pub fn count(&self, table: &str, line: &str) -> u64 {
        let lines = self.tables.iter().find(|(name, _)| name == table).map(|(_, lines)| lines);
        let found = lines.and_then(|lines| lines.iter().find(|(what, _)| what == line));
        found.and_then(|(_, value)| value.as_u64()).unwrap_or(0)
    }

    /// The page as text.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for (name, lines) in &self.tables {
            text += &format!("\n{name}\n");
            let width = lines.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
            for (what, value) in lines {
                let value = match value {
                    Value::String(value) => value.clone(),
                    Value::Object(counts) => {
                        let each = counts.iter().map(|(name, count)| format!("{count:>5} {name}"));
                        each.collect::<Vec<_>>().join(", ")
                    }
                    value => value.to_string(),
                };
                text += &format!("  {what:width$}  {value}\n");
            }
        }
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        if let Some(why) = &self.unfinished {
            text += &format!("\nUNFINISHED: {why}\n");
        }
        if !self.wrong.is_empty() {
            text += &format!("\nWRONG ({}):\n", self.wrong.len());
            self.wrong.iter().take(20).for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }

    /// The page as one JSON object.
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("title".into(), self.title.clone().into());
        for (name, lines) in &self.tables {
            all.insert(name.clone(), Value::Object(lines.iter().cloned().collect()));
        }
        // Their line breaks are for a terminal.
        let notes: Vec<String> = self.notes.iter().map(|note| note.replace('\n', " ")).collect();
        all.insert("notes".into(), notes.into());
        all.insert("unfinished".into(), self.unfinished.clone().into());
        all.insert("wrong".into(), self.wrong.clone().into());
        Value::Object(all)
    }

    /// 0 when all was run and right, 1 when something was wrong, 74 when not all was run.
    fn exit_code(&self) -> u8 {
        match (self.is_clean(), &self.unfinished) {
            (false, _) => 1,
            (true, Some(_)) => 74,
            (true, None) => 0,
        }
    }

    /// Writes it; the exit code says whether all was run and right.
    ///
    /// # Errors
    /// When it cannot be written: nobody has read what was wrong.
    pub fn write(&self, as_json: bool, to: &mut impl Write) -> io::Result<ExitCode> {
        let page = if as_json { format!("{}\n", self.json()) } else { self.text() };
        to.write_all(page.as_bytes())?;
        to.flush()?;
        Ok(ExitCode::from(self.exit_code()))
    }
}

/// How often each thing was seen.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Counts) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often this was seen.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl IntoIterator for Counts {
    type Item = (String, u64);
    type IntoIter = std::collections::btree_map::IntoIter<String, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_written_is_an_error_and_json_has_numbers() {
        let mut page = Page::new("flips");
        page.table("by file", [("log", serde_json::json!({"refused": 7, "SILENT": 0}))]);
        page.note("one\nline");
        let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert!(page.write(false, &mut full).is_err());
        let mut written = Vec::new();
        page.write(true, &mut written).unwrap();
        let json: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(json["by file"]["log"]["refused"], 7);
        assert_eq!(json["notes"][0], "one line");
        assert!(page.text().contains("7 refused"), "{}", page.text());
    }

    #[test]
    fn a_run_that_was_interrupted_is_no_success() {
        let mut page = Page::new("crash");
        assert_eq!(page.exit_code(), 0);
        page.unfinished("interrupted after 8 of 100 cycles");
        assert_eq!(page.exit_code(), 74);
        assert!(page.text().contains("UNFINISHED: interrupted after 8 of 100"));
        assert_eq!(page.json()["unfinished"], "interrupted after 8 of 100 cycles");
        page.wrong("LOST");
        assert_eq!(page.exit_code(), 1);
    }
}
