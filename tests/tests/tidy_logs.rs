//! The fields and the lines of the log are those that docs/logs.md lists.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Where programs log that users run.
const FOLDERS: [&str; 4] = ["engine", "api/src", "node-adapters", "config/src"];
const LEVELS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !["tests", "benches", "examples"].contains(&name) {
            sources(&path, all)?;
        } else if name.ends_with(".rs") && !name.contains("tests") {
            all.push(path);
        }
    }
    Ok(())
}

/// What stands between the parenthesis that was opened before `text` and the one that closes it,
/// cut at the commas outside of everything.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut all = vec![String::new()];
    for letter in text.chars() {
        let outside = !quoted;
        match letter {
            '"' if !escaped => quoted = !quoted,
            '(' | '[' | '{' if outside => depth += 1,
            ')' | ']' | '}' if outside && depth == 0 => break,
            ')' | ']' | '}' if outside => depth -= 1,
            ',' if outside && depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = quoted && letter == '\\' && !escaped;
        if let Some(last) = all.last_mut() {
            last.push(letter);
        }
    }
    all.iter().map(|argument| argument.trim().to_owned()).collect()
}

/// The fields and the messages of every line that is logged in `text`.
fn logged(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut fields, mut messages) = (BTreeSet::new(), Vec::new());
    for level in LEVELS {
        for (at, _) in text.match_indices(level) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
                continue;
            }
            for argument in arguments(&text[at + level.len()..]) {
                if let Some(message) = argument.strip_prefix('"') {
                    messages.push(message.trim_end_matches('"').to_owned());
                    break;
                }
                let name = argument.trim_start_matches(['%', '?']);
                let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                fields.insert(name[..end.unwrap_or(name.len())].to_owned());
            }
        }
    }
    (fields, messages)
}

#[test]
fn the_page_has_every_field_and_every_line_exists() -> Result<()> {
    let root = fulgurite_tests::root();
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut files)?;
    }
    let (mut fields, mut messages) = (BTreeSet::new(), String::new());
    for file in files {
        let (more, said) = logged(&fs::read_to_string(&file)?);
        fields.extend(more);
        messages += &said.join("\n");
        messages.push('\n');
    }
    let page = fs::read_to_string(root.join("docs/logs.md"))?;
    let row = |line: &str| line.strip_prefix("| `")?.split('`').next().map(str::to_owned);
    let listed: BTreeSet<String> = page.lines().filter_map(row).collect();
    assert!(fields.len() > 15, "the code was not read: {fields:?}");
    assert_eq!(fields, listed, "left: the code's fields, right: docs/logs.md");

    let lines =
        page.lines().filter(|line| ["| ERROR", "| WARN"].iter().any(|l| line.starts_with(l)));
    let mut count = 0;
    for line in lines {
        let message = line.split('`').nth(1).unwrap_or_default();
        assert!(messages.contains(message), "nothing logs {message:?}");
        count += 1;
    }
    assert!(count > 5, "the page has no lines to act on");
    Ok(())
}

#[test]
fn what_is_logged_is_found() {
    let (fields, messages) = logged(
        "tracing::warn!(%node, age = f(a, \"b,c)\"), ?who, \"node (gone), {x}\", x);\n\
         debug!(\"plain\"); my_info!(no, \"no\")",
    );
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), ["age", "node", "who"]);
    assert_eq!(messages, ["node (gone), {x}", "plain"]);
}
