//! docs/contract.md says which test shows each line of the contract, docs/exactly-once.md which
//! shows each rule: those tests exist.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Where tests are.
const FOLDERS: [&str; 7] =
    ["api", "config", "engine", "loadtest", "node-adapters", "proto", "tests"];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, all)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    Ok(())
}

/// The names of the test functions of a file.
fn tests(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.contains("::test]") || line.contains("::test(") {
            marked = true;
        } else if let (true, Some((_, rest))) = (marked, line.split_once("fn ")) {
            names.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        }
    }
    names
}

/// What a file is called in the table: its path without the ending.
fn file_name(root: &Path, path: &Path) -> String {
    let name = path.strip_prefix(root).unwrap_or(path).with_extension("");
    name.display().to_string()
}

/// The test functions of each file.
struct Known(HashMap<String, Vec<String>>);

impl Known {
    fn read(root: &Path) -> Result<Known> {
        let mut files = Vec::new();
        for folder in FOLDERS {
            sources(&root.join(folder), &mut files)?;
        }
        let mut known = HashMap::new();
        for path in files {
            known.insert(file_name(root, &path), tests(&fs::read_to_string(&path)?));
        }
        Ok(Known(known))
    }

    /// Whether there is a test of this path and name.
    fn has(&self, test: &str) -> bool {
        let (file, name) = test.rsplit_once("::").unwrap_or((test, ""));
        self.0.get(file).is_some_and(|tests| tests.iter().any(|known| known == name))
    }
}

#[test]
fn every_rule_has_a_test_and_what_the_page_names_exists() -> Result<()> {
    let root = fulgurite_tests::root();
    let known = Known::read(&root)?;
    let page = fs::read_to_string(root.join("docs/exactly-once.md"))?;
    let (rules, shown) = page.split_once("## Which test shows which rule").unwrap_or_default();
    let numbers = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("| E"));
        lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    assert_eq!(numbers(rules), numbers(shown), "the rules, and those with tests");
    let named = page.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    let (there, missing): (Vec<_>, Vec<_>) = named.partition(|test| known.has(test));
    assert!(missing.is_empty(), "no such test: {missing:#?}");
    assert!(there.len() > 60, "only {} tests", there.len());
    Ok(())
}

#[test]
fn every_line_of_the_contract_has_a_test() -> Result<()> {
    let root = fulgurite_tests::root();
    let known = Known::read(&root)?;
    let page = fs::read_to_string(root.join("docs/contract.md"))?;
    let (mut lines, mut missing) = (0, Vec::new());
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| line")) {
        lines += 1;
        let shown = line.rsplit('|').nth(1).unwrap_or_default();
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            missing.push(format!("no test: {line}"));
        }
        for test in named {
            if !known.has(test) {
                missing.push(format!("no such test: {test}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(lines > 100, "only {lines} lines");
    Ok(())
}

#[test]
fn tests_are_found_by_their_mark() {
    let text = "#[test]\nfn one() {}\nfn helper() {}\n#[tokio::test(flavor = \"x\")]\n\
                async fn two() {}\n    #[actix::test]\n    #[rustfmt::skip]\n    async fn three() {}";
    assert_eq!(tests(text), ["one", "two", "three"]);
}
