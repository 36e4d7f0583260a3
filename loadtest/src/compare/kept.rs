//! The kept results of `bench`: which came last, and what they say of the goals.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::measure::Spread;

/// What is read of a file of `bench`.
#[derive(Debug, Deserialize)]
struct Kept {
    runs: Vec<Started>,
    goals: Vec<Goal>,
}

#[derive(Debug, Deserialize)]
struct Started {
    #[serde(default)]
    started: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Goal {
    id: String,
    what: String,
    measured: Option<Spread>,
}

/// A goal in both files. Goals are not paired round by round: this says what was measured, and
/// not whether it differs.
#[derive(Debug, Serialize)]
pub(super) struct Both {
    id: String,
    what: String,
    a: Spread,
    b: Spread,
}

fn read(path: &Path) -> Result<Kept> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{} is not of bench", path.display()))
}

/// A result of `bench` and when its first run began.
#[derive(Debug)]
struct Dated {
    /// UTC as RFC 3339, so that later is greater; the name tells two apart that have no run.
    when: (String, PathBuf),
    goals: Vec<String>,
}

fn dated(path: PathBuf) -> Result<Dated> {
    let kept = read(&path)?;
    let started = kept.runs.first().map(|run| run.started.clone()).unwrap_or_default();
    let measured = kept.goals.into_iter().filter(|goal| goal.measured.is_some());
    Ok(Dated { when: (started, path), goals: measured.map(|goal| goal.id).collect() })
}

/// The file that `wanted` names, or the newest of the folder `wanted`, after the last one before it
/// that measured one of its goals.
///
/// # Errors
/// When there is none.
pub(super) fn last_two(wanted: &Path) -> Result<(PathBuf, PathBuf)> {
    let folder = if wanted.is_dir() { Some(wanted) } else { wanted.parent() };
    let folder = folder.filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    // Other files may lie there too: those that are not of bench are passed over.
    let all = paths.into_iter().filter(is_json).filter_map(|path| dated(path).ok());
    let mut all: Vec<Dated> = all.collect();
    all.sort_by(|a, b| a.when.cmp(&b.when));
    let new = if wanted.is_dir() {
        all.pop().with_context(|| format!("{} holds no result of bench", folder.display()))?
    } else {
        dated(wanted.to_owned())?
    };
    let older = all.into_iter().rev().filter(|old| old.when.0 < new.when.0);
    let mut alike = older.filter(|old| old.goals.iter().any(|goal| new.goals.contains(goal)));
    let Some(old) = alike.next() else {
        bail!(
            "{}: no result in {} is older and measured one of its goals",
            new.when.1.display(),
            folder.display()
        )
    };
    Ok((old.when.1, new.when.1))
}

/// The goals that both files measured.
///
/// # Errors
/// When one is not of `bench`.
pub(super) fn goals(a: &Path, b: &Path) -> Result<Vec<Both>> {
    let (a, b) = (read(a)?, read(b)?);
    let both = a.goals.into_iter().filter_map(|goal| {
        let other = b.goals.iter().find(|other| other.id == goal.id)?;
        let (a, b) = (goal.measured?, other.measured?);
        Some(Both { id: goal.id, what: goal.what, a, b })
    });
    Ok(both.collect())
}

/// A line for each goal; empty without one.
pub(super) fn text(goals: &[Both]) -> String {
    let mut text = String::new();
    if goals.is_empty() {
        return text;
    }
    text += "\ngoals: median [least-greatest] of A and of B, and B over A; not paired\n";
    for Both { id, what, a, b } in goals {
        let decimals = if a.max.abs() < 100.0 { 2 } else { 0 };
        let over = if a.median > 0.0 { format!("{:.3}", b.median / a.median) } else { "-".into() };
        let (a, b) = (a.text(decimals), b.text(decimals));
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {id:<5}{a:>22}{b:>22}{over:>8}  {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(folder: &Path, name: &str, started: &str, goal: &str, value: f64) -> PathBuf {
        let spread = serde_json::json!({ "median": value, "min": value, "max": value });
        let kept = serde_json::json!({
            "runs": [{ "started": started }],
            "goals": [{ "id": goal, "what": "a goal", "measured": spread }],
        });
        let path = folder.join(name);
        fs::write(&path, kept.to_string()).unwrap();
        path
    }

    #[test]
    fn the_last_result_is_the_one_that_began_before_and_measured_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = keep(folder, "2026-01-01-zz.json", "2026-01-01T08:00:00Z", "P1a", 10.0);
        let second = keep(folder, "2026-01-01-aa.json", "2026-01-01T09:00:00Z", "P1a", 11.0);
        keep(folder, "2026-01-01-bb.json", "2026-01-01T10:00:00Z", "P2a", 1.0);
        let last = keep(folder, "2026-01-02-cc.json", "2026-01-02T08:00:00Z", "P1a", 22.0);
        fs::write(folder.join("notes.json"), "{}").unwrap();
        assert_eq!(last_two(folder).unwrap(), (second.clone(), last.clone()));
        assert_eq!(last_two(&second).unwrap(), (first.clone(), second.clone()));
        let error = last_two(&first).unwrap_err().to_string();
        assert!(error.contains("is older and measured one of its goals"), "{error}");
        let goals = goals(&second, &last).unwrap();
        assert!(text(&goals).contains("2.000  a goal"), "{}", text(&goals));
        assert_eq!(text(&[]), "");
    }
}
