//! `config`: reads configuration files and explains their keys.

use std::path::PathBuf;

use clap::Subcommand;
use fulgurite_config::{Config, Entry, manual};

use super::{
    exit::{Exit, Fault, problem_json},
    print_line, say, tell,
};

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Reads a file and says what is wrong with it. Exit code 78 if something is.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Explains a key, a section or, without one, everything.
    Explain {
        /// Such as `grpc.listen` or `sends`.
        key: Option<String>,
    },
}

/// Runs a command about configurations.
///
/// # Errors
/// [`Fault::Usage`] for a key that there is not.
pub fn run(command: ConfigCommand, json: bool) -> Result<Exit, Fault> {
    match command {
        ConfigCommand::Check { file } => match Config::load(&file) {
            Ok(config) => {
                warn_of_files(&config);
                let (file, nodes) = (file.display().to_string(), config.nodes.len());
                print_line(&match json {
                    true => serde_json::json!({ "file": file, "nodes": nodes }).to_string(),
                    false => format!("{file}: good, {nodes} nodes"),
                });
                Ok(Exit::SUCCESS)
            }
            Err(fault) => {
                let text = fault.to_string();
                if json {
                    let title = "the configuration is wrong";
                    let problem = problem_json("CONFIG", title, (&text, Exit::CONFIG));
                    tell(&problem);
                } else {
                    say(&text);
                }
                Ok(Exit::CONFIG)
            }
        },
        ConfigCommand::Explain { key } => explain(key.as_deref(), json),
    }
}

/// What the engine would wait for: it takes a node's files whenever they come.
fn warn_of_files(config: &Config) {
    for node in &config.nodes {
        for (key, path) in
            [("tls_cert_path", &node.tls_cert_path), ("macaroon_path", &node.macaroon_path)]
        {
            if let Err(fault) = std::fs::File::open(path) {
                let (name, path) = (&node.name, path.display());
                say(&format!("warning: node {name}: {key} {path}: {fault}"));
            }
        }
    }
    if config.nodes.is_empty() {
        say("warning: there is no [[node]]: orders are taken and wait");
    }
}

fn explain(key: Option<&str>, json: bool) -> Result<Exit, Fault> {
    let wanted = |entry: &Entry| {
        key.is_none_or(|key| entry.key == key || entry.key.starts_with(&format!("{key}.")))
    };
    let entries: Vec<Entry> = manual().into_iter().filter(wanted).collect();
    if entries.is_empty() {
        let key = key.unwrap_or_default();
        return Err(Fault::Usage(format!("there is no key {key}: `config explain` lists all")));
    }
    for entry in &entries {
        if json {
            let value = serde_json::json!({
                "key": entry.key, "default": entry.default, "comment": entry.comment,
            });
            print_line(&value.to_string());
        } else {
            print_line(&format!("{} = {}\n    {}", entry.key, entry.default, entry.comment));
        }
    }
    Ok(Exit::SUCCESS)
}
