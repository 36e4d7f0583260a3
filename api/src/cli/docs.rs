//! docs/cli.md and the help texts are about the commands that there are, and about no others.

use std::{collections::BTreeSet, fs, path::PathBuf};

use clap::{Command, CommandFactory};

use super::Cli;

fn page() -> String {
    // Asked at run time: clones share compiled tests.
    let api = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    fs::read_to_string(PathBuf::from(api).join("../docs/cli.md")).expect("docs/cli.md")
}

/// Every command that does something, by its words.
fn leaves() -> Vec<(String, Command)> {
    let mut cli = Cli::command();
    cli.build();
    let (mut open, mut found) = (vec![(String::from("fulgurite"), cli)], Vec::new());
    while let Some((name, command)) = open.pop() {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let below: Vec<_> =
            below.map(|below| (format!("{name} {}", below.get_name()), below.clone())).collect();
        if below.is_empty() {
            found.push((name, command));
        }
        open.extend(below);
    }
    assert!(found.len() > 20, "{} commands", found.len());
    found
}

/// The section of each command: what follows its heading.
fn sections(page: &str) -> Vec<(String, String)> {
    let headings = page.split("\n### `").skip(1);
    headings
        .map(|part| {
            let (name, rest) = part.split_once('`').expect("a heading ends");
            let section = rest.split("\n## ").next().unwrap_or_default();
            (name.to_owned(), section.to_owned())
        })
        .collect()
}

/// The options that a text speaks of: `--name` in backquotes or a code block.
fn options_in(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_some_and(|before| " `|".contains(before))
    });
    starts
        .map(|(at, _)| {
            let name = text[at + 2..].chars();
            name.take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>()
        })
        .filter(|name| !name.trim_matches('-').is_empty())
        .collect()
}

fn options_of(command: &Command) -> BTreeSet<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

const GLOBAL: [&str; 4] = ["endpoint", "json", "patience", "help"];

#[test]
fn every_command_and_every_option_is_described_and_nothing_else() {
    let page = page();
    let sections = sections(&page);
    let described: BTreeSet<&str> = sections.iter().map(|(name, _)| name.as_str()).collect();
    let leaves = leaves();
    let known: BTreeSet<&str> = leaves.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(described, known, "the headings of docs/cli.md are the commands");
    for (name, section) in &sections {
        let (_, command) = leaves.iter().find(|(leaf, _)| leaf == name).expect("a command");
        assert!(section.contains(name), "{name} has an example");
        let options = options_of(command);
        let told = options_in(section);
        let own = options.iter().filter(|option| !GLOBAL.contains(&option.as_str()));
        for option in own {
            assert!(told.contains(option), "{name}: --{option} is not described");
        }
        for option in &told {
            assert!(options.contains(option), "{name}: --{option} is described, but there is none");
        }
        for argument in command.get_positionals() {
            let value = argument.get_value_names().and_then(<[_]>::first).expect("a name");
            assert!(section.contains(value.as_str()), "{name}: {value} is not described");
        }
    }
    for option in GLOBAL {
        let before = page.split("\n### `").next().unwrap_or_default();
        assert!(before.contains(&format!("`--{option}")), "--{option} is not described");
    }
}

#[test]
fn help_fits_on_80_columns() {
    let mut wide = Vec::new();
    for (name, mut command) in leaves() {
        let help = command.render_long_help().to_string();
        let long = help.lines().filter(|line| line.chars().count() > 80);
        // One word can be longer than the line.
        wide.extend(long.map(|line| format!("{name}: {line}")));
    }
    let top = Cli::command().render_long_help().to_string();
    wide.extend(top.lines().filter(|line| line.chars().count() > 80).map(str::to_owned));
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn the_command_line_has_no_contradiction() {
    Cli::command().debug_assert();
}
