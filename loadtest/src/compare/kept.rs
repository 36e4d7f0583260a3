//! The kept results of `bench`: which came last, and what they say of the goals.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{measure::Spread, result::files};

/// What is read of a file of `bench`.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    /// When it began, UTC; an older file has only the times of its runs.
    #[serde(default)]
    began: Option<String>,
    runs: Vec<Started>,
    goals: Vec<Goal>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Started {
    started: String,
    goal: Option<String>,
    seconds: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Goal {
    id: String,
    what: String,
    measured: Option<Spread>,
    /// As the table of `bench` has it.
    #[serde(default)]
    verdict: String,
}

/// A goal in both files. Goals are not paired round by round: this says what was measured, and
/// not whether it differs.
#[derive(Debug, Serialize)]
pub(super) struct Both {
    id: String,
    what: String,
    a: Spread,
    b: Spread,
    verdict_a: String,
    verdict_b: String,
}

/// Reads a file of `bench`; `None` for one of something else.
///
/// # Errors
/// When it is damaged.
pub(super) fn read(path: &Path) -> Result<Option<Kept>> {
    let file = files::file_of(path);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let damaged = || format!("{} is damaged", file.display());
    let value: Value = serde_json::from_str(&text).with_context(damaged)?;
    if value.get("goals").is_none() {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).with_context(damaged)
}

/// A result of `bench` and when its first run began.
#[derive(Debug)]
struct Dated {
    /// UTC as RFC 3339, so that later is greater; the name tells two of one second apart.
    when: (String, PathBuf),
    goals: Vec<String>,
    /// Of each run that has a goal: which, and how long payments were due.
    lasted: Vec<(String, f64)>,
}

impl Dated {
    /// Whether it measured a goal of `new`, and none of them for another time: `bench-full` takes
    /// longer than `bench`, and the two are not compared.
    fn is_like(&self, new: &Dated) -> bool {
        let other = |(goal, seconds): &(String, f64)| {
            let of_new = new.lasted.iter().filter(|(of_new, _)| of_new == goal);
            of_new.into_iter().any(|(_, of_new)| (of_new - seconds).abs() > 0.001)
        };
        self.goals.iter().any(|goal| new.goals.contains(goal)) && !self.lasted.iter().any(other)
    }
}

/// `None` for a file of something else.
fn dated(path: PathBuf) -> Result<Option<Dated>> {
    let Some(kept) = read(&path)? else { return Ok(None) };
    let first = || kept.runs.first().map(|run| run.started.clone());
    let started = kept.began.clone().or_else(first).unwrap_or_default();
    let lasted = kept.runs.iter().filter_map(|run| Some((run.goal.clone()?, run.seconds)));
    let lasted = lasted.collect();
    let measured = kept.goals.into_iter().filter(|goal| goal.measured.is_some());
    let goals = measured.map(|goal| goal.id).collect();
    Ok(Some(Dated { when: (started, path), goals, lasted }))
}

/// The file that `wanted` names, or the newest of the folder `wanted`, after the last one before it
/// that measured one of its goals in runs as long.
///
/// # Errors
/// When there is none, or a file of the folder is damaged.
pub(super) fn last_two(wanted: &Path) -> Result<(PathBuf, PathBuf)> {
    let folder = if wanted.is_dir() { Some(wanted) } else { wanted.parent() };
    let folder = folder.filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    // Other files may lie there too: those that are of something else are passed over. One that is
    // damaged may be the one that is meant.
    let all = paths.into_iter().filter(is_json).filter_map(|path| dated(path).transpose());
    let mut all: Vec<Dated> = all.collect::<Result<_>>()?;
    all.sort_by(|a, b| a.when.cmp(&b.when));
    let new = if wanted.is_dir() {
        all.pop().with_context(|| format!("{} holds no result of bench", folder.display()))?
    } else {
        let of_bench = dated(wanted.to_owned())?;
        of_bench.with_context(|| format!("{} is not of bench", wanted.display()))?
    };
    let older = all.into_iter().rev().filter(|old| old.when.0 < new.when.0);
    let mut alike = older.filter(|old| old.is_like(&new));
    let Some(old) = alike.next() else {
        bail!(
            "{}: no result in {} is older and measured one of its goals as long; `compare A B` takes \
             any two",
            new.when.1.display(),
            folder.display()
        )
    };
    Ok((old.when.1, new.when.1))
}

/// The goals that both files measured, and those that only one did.
pub(super) fn both(a: &Kept, b: &Kept) -> (Vec<Both>, Vec<String>) {
    let mut ids: Vec<&str> = Vec::new();
    for goal in a.goals.iter().chain(&b.goals) {
        if !ids.contains(&goal.id.as_str()) {
            ids.push(&goal.id);
        }
    }
    let of = |kept: &Kept, id: &str| {
        let goal = kept.goals.iter().find(|goal| goal.id == id)?.clone();
        goal.measured.map(|measured| (goal, measured))
    };
    let (mut both, mut left_out) = (Vec::new(), Vec::new());
    for id in ids {
        match (of(a, id), of(b, id)) {
            (Some((goal, a)), Some((other, b))) => both.push(Both {
                id: goal.id,
                what: goal.what,
                a,
                b,
                verdict_a: goal.verdict,
                verdict_b: other.verdict,
            }),
            (Some(_), None) => left_out.push(format!("{id} was measured only in A")),
            (None, Some(_)) => left_out.push(format!("{id} was measured only in B")),
            (None, None) => left_out.push(format!("{id} was measured in neither")),
        }
    }
    (both, left_out)
}

/// A line for each goal; empty without one.
pub(super) fn text(goals: &[Both], left_out: &[String]) -> String {
    let mut text = String::new();
    if !goals.is_empty() {
        text += "\ngoals: median [least-greatest] of A and of B, and B over A; not paired\n";
    }
    for Both { id, what, a, b, verdict_a, verdict_b } in goals {
        let decimals = if a.max.abs() < 100.0 { 2 } else { 0 };
        let over = if a.median > 0.0 { format!("{:.3}", b.median / a.median) } else { "-".into() };
        let (a, b) = (a.text(decimals), b.text(decimals));
        // Writing to a String does not fail.
        let _ = write!(text, "  {id:<5}{a:>22}{b:>22}{over:>8}  {what}");
        for (side, verdict) in [("A", verdict_a), ("B", verdict_b)] {
            if ["invalid", "failed", "not_measured"].contains(&verdict.as_str()) {
                let _ = write!(text, "; {} in {side}", verdict.replace('_', " "));
            }
        }
        text += "\n";
    }
    for why in left_out {
        let _ = writeln!(text, "  left out: {why}");
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
            "goals": [{ "id": goal, "what": "a goal", "measured": spread, "verdict": "invalid" }],
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
        assert!(error.contains("is older and measured one of its goals as long"), "{error}");
        let of = |path: &Path| read(path).unwrap().unwrap();
        let (goals, left_out) = both(&of(&second), &of(&last));
        let told = text(&goals, &left_out);
        assert!(told.contains("2.000  a goal; invalid in A; invalid in B"), "{told}");
        assert!(left_out.is_empty(), "{left_out:?}");
        assert_eq!(text(&[], &[]), "");
    }

    #[test]
    fn a_result_of_longer_runs_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let lasting = |path: PathBuf, seconds: f64| {
            let mut kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            kept["runs"][0]["goal"] = "P1".into();
            kept["runs"][0]["seconds"] = seconds.into();
            fs::write(&path, kept.to_string()).unwrap();
            path
        };
        let first = keep(folder, "a.json", "2026-01-01T08:00:00Z", "P1a", 10.0);
        let first = lasting(first, 20.0);
        lasting(keep(folder, "b.json", "2026-01-01T09:00:00Z", "P1a", 11.0), 60.0);
        let last = lasting(keep(folder, "c.json", "2026-01-01T10:00:00Z", "P1a", 12.0), 20.0);
        assert_eq!(last_two(folder).unwrap(), (first, last));
    }

    #[test]
    fn a_goal_that_only_one_measured_is_named_and_a_damaged_file_is_never_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = keep(folder, "a.json", "2026-01-01T08:00:00Z", "P5", 10.0);
        let second = keep(folder, "b.json", "2026-01-01T09:00:00Z", "P10a", 11.0);
        let of = |path: &Path| read(path).unwrap().unwrap();
        let (goals, left_out) = both(&of(&first), &of(&second));
        assert!(goals.is_empty());
        assert_eq!(left_out, ["P5 was measured only in A", "P10a was measured only in B"]);
        let half = fs::read_to_string(&first).unwrap();
        fs::write(folder.join("c.json"), &half[..half.len() / 2]).unwrap();
        let error = format!("{:#}", last_two(folder).unwrap_err());
        assert!(error.contains("c.json is damaged: "), "{error}");
    }
}
