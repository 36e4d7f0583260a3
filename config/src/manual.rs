//! Reads `default.toml` as the manual that it is: each key with its comment.

use crate::DEFAULT_TOML;

/// A key of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key with its section, such as `grpc.listen`.
    pub key: String,
    /// The default, as TOML.
    pub default: String,
    /// What it means, its unit and its range.
    pub comment: String,
}

/// Every key, in the order of the file. The keys of a node are named `node.`, without defaults
/// where they are required.
pub fn manual() -> Vec<Entry> {
    let (mut entries, mut section, mut comment) = (Vec::new(), String::new(), Vec::new());
    for line in DEFAULT_TOML.lines() {
        // The example of a node is commented out with `#|`, its comments with `#| #`.
        let line = line.strip_prefix("#|").map_or(line, str::trim_start);
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(|c| c == '[' || c == ']').to_owned();
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let (key, default) = (format!("{section}.{key}"), value.to_owned());
            entries.push(Entry { key, default, comment: comment.join(" ") });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    entries
}
