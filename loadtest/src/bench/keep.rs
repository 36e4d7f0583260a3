//! The file of a bench: written after each goal, and never over that of another one.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::goals::{Line, Measured};
use crate::{
    report::{self, Machine},
    result::{Report, RunResult},
    run::scenario::Scenario,
};

/// More files of one day and commit than anybody keeps.
const FILES_MAX: u32 = 10_000;

/// What is kept: a report that `compare` reads, and the goals.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    /// UTC: several goals have no run in the report that would say it.
    pub began: String,
    #[serde(flatten)]
    pub report: Report,
    pub goals: Vec<Line>,
    pub took_s: f64,
}

/// Writes what is known so far.
pub(super) struct Keeper {
    folder: Option<PathBuf>,
    /// The file, as soon as there is one.
    file: Option<PathBuf>,
    machine: Machine,
    commit: Option<String>,
    started: Instant,
    began: String,
}

impl Keeper {
    /// Nothing is written without a folder, and none is made before something is measured.
    pub fn new(folder: Option<PathBuf>) -> Keeper {
        let (machine, commit) = (Machine::now(), report::commit());
        let (started, began) = (Instant::now(), report::utc(SystemTime::now()));
        Keeper { folder, file: None, machine, commit, started, began }
    }

    /// Replaces what it wrote before.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&mut self, measured: &Measured, runs: &[RunResult]) -> Result<Kept> {
        let scenario = Scenario {
            name: "bench".into(),
            description: "The goals of docs/performance.md; each run has a load of its own.".into(),
            ..Scenario::default()
        };
        let (machine, commit) = (self.machine.clone(), self.commit.clone());
        let report = Report::new(machine, commit, scenario, runs.to_vec());
        let took_s = self.started.elapsed().as_secs_f64();
        let began = self.began.clone();
        let kept = Kept { began, report, goals: measured.lines(), took_s };
        let Some(folder) = self.folder.clone().filter(|_| !kept.goals.is_empty()) else {
            return Ok(kept);
        };
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = self.new_file(&folder)?;
                eprintln!("kept in {}, after each goal", file.display());
                self.file.insert(file).clone()
            }
        };
        // Whoever is interrupted here has the file as it was before.
        let part = file.with_extension("part");
        let text = serde_json::to_string_pretty(&kept)?;
        let written = fs::write(&part, text + "\n").and_then(|()| fs::rename(&part, &file));
        if written.is_err() {
            let _ = fs::remove_file(&part);
            // Nothing was kept before: an empty file would be taken for a damaged one.
            if fs::metadata(&file).is_ok_and(|found| found.len() == 0) {
                let _ = fs::remove_file(&file);
            }
        }
        written.with_context(|| file.display().to_string())?;
        Ok(kept)
    }

    /// `DATE-COMMIT.json`, or `DATE-COMMIT-2.json` and so on: the first that nobody has.
    fn new_file(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let today = report::utc(SystemTime::now());
        let day = today.split('T').next().unwrap_or_default();
        let commit = self.commit.as_deref().unwrap_or("unknown");
        for number in 1..=FILES_MAX {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let file = folder.join(format!("{day}-{commit}{suffix}.json"));
            match File::create_new(&file) {
                Ok(_) => return Ok(file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context(file.display().to_string()),
            }
        }
        bail!("{}: {FILES_MAX} files of this day and commit", folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::files;

    #[test]
    fn each_bench_has_a_file_of_its_own_and_replaces_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let mut measured = Measured::default();
        let mut first = Keeper::new(Some(folder.path().to_owned()));
        first.keep(&measured, &[]).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        measured.add("P2a", 1.0);
        first.keep(&measured, &[]).unwrap();
        let goal = Some("P2".to_owned());
        let (target, seconds) = ("http".to_owned(), 1.0);
        let run = RunResult { goal, target, seconds, ..RunResult::default() };
        first.keep(&measured, &[run]).unwrap();
        let kept = first.file.clone().unwrap();
        Keeper::new(Some(folder.path().to_owned())).keep(&measured, &[]).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert_eq!(files::read(&kept).unwrap().runs[0].goal.as_deref(), Some("P2"));
    }
}
