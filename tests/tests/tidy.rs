//! The layout: what the design asks of files, functions and folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fulgurite_tests::root;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_WIDTH_MAX: usize = 100;

/// Every Rust file of the workspace, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "bin" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn a_file_has_one_subject_and_at_most_400_lines() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", name(&path)))
    });
    none("files that are too long", long.collect());
}

#[test]
fn a_function_fits_on_a_screen() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        for (line, length) in function_lengths(&text) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{line}: {length} lines", name(&path)));
            }
        }
    }
    none("functions that are too long", long);
}

/// First line and length of every function, by its indentation: rustfmt closes a function where it
/// opened it.
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if !starts_a_function(body) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[at..].iter().position(|line| *line == close);
        let ends_at_once = body.ends_with(';') || body.ends_with("{}") || body.ends_with(" }");
        if let (false, Some(end)) = (ends_at_once, end) {
            found.push((at + 1, end + 1));
        }
    }
    found
}

/// `fn` behind whatever may stand before it.
fn starts_a_function(line: &str) -> bool {
    let mut words = line.split(' ');
    let before = |word: &&str| {
        ["pub", "const", "async", "unsafe"].contains(word) || word.starts_with("pub(")
    };
    words.find(|word| !before(word)) == Some("fn")
}

#[test]
fn the_function_counter_counts() {
    let text = "fn short() {}\n\nfn long() {\n    a();\n    b();\n}\n";
    assert_eq!(function_lengths(text), [(3, 4)]);
    for start in ["", "pub ", "pub(super) ", "pub(crate) async ", "const ", "unsafe "] {
        let text = format!("{start}fn long() {{\n    a();\n}}\n");
        assert_eq!(function_lengths(&text), [(1, 3)], "{start}");
    }
    assert_eq!(function_lengths("let fnord = {\n};\n"), []);
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    let mut wide = Vec::new();
    for (path, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            // Links and literals cannot always be broken.
            let literal = line.contains("http") || line.contains('"') || line.starts_with("row,");
            if line.chars().count() > LINE_WIDTH_MAX && !literal {
                wide.push(format!("{}:{}", name(&path), at + 1));
            }
        }
    }
    none("lines that are too wide", wide);
}

#[test]
fn the_rules_know_no_runtime_no_clock_and_no_randomness() {
    let forbidden = ["tokio", "actix", "Instant::", "SystemTime", "rand::", "std::fs", "std::net"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        if !name(&path).starts_with("engine/core/src") {
            continue;
        }
        for word in forbidden {
            if text.contains(word) {
                found.push(format!("{}: {word}", name(&path)));
            }
        }
    }
    none("words that engine/core must not contain", found);
}

#[test]
fn what_is_named_in_one_place_is_named_there_alone() {
    let owners = [
        ("actix::", "engine/runtime/"),
        ("use bincode", "engine/journal/src/codec"),
        ("cryptoki", "engine/signer/"),
        ("rocksdb::", "engine/journal/"),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        let file = name(&path);
        for (word, owner) in owners {
            if text.contains(word)
                && !file.starts_with(owner)
                && !file.starts_with("tests/tests/tidy")
            {
                found.push(format!("{file}: {word} belongs into {owner}"));
            }
        }
    }
    none("words outside their crate", found);
}

#[test]
fn main_is_short() {
    let text = fs::read_to_string(root().join("api/src/main.rs")).expect("the binary's main file");
    assert!(text.lines().count() < 100, "api/src/main.rs has {} lines", text.lines().count());
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // In halves: this file is looked through like any other.
    let words = [("to", "do!"), ("unimple", "mented!"), ("FIX", "ME"), ("#[ig", "nore")];
    let words = words.map(|(head, tail)| format!("{head}{tail}"));
    let mut found = Vec::new();
    for (path, text) in sources() {
        for word in &words {
            if text.contains(word) {
                found.push(format!("{}: {word}", name(&path)));
            }
        }
    }
    none("things left for later", found);
}

#[test]
fn the_readme_is_short_and_the_decisions_are_numbered_without_gaps() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    assert!(readme.lines().count() < 100, "README.md has {} lines", readme.lines().count());
    let mut numbers: Vec<usize> = fs::read_dir(root().join("docs/adr"))
        .expect("the decisions")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .map(|file| file[..4].parse().unwrap_or_else(|_| panic!("{file} has no number")))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}
