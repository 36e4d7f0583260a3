//! The folder of a report.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{Report, html};

/// The report for programs.
const JSON: &str = "report.json";
/// The report for people.
const PAGE: &str = "report.html";

/// The folder of `--out`. Dropped with nothing in it, what was made of it goes.
#[derive(Debug)]
pub(crate) struct OutFolder {
    path: PathBuf,
    /// The folders that were made, the innermost first.
    made: Vec<PathBuf>,
}

impl OutFolder {
    /// Makes it, and finds out now, and not after the run, whether it can be written.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(path: &Path) -> Result<OutFolder> {
        let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
        let made = parts.take_while(|part| !part.exists()).map(Path::to_owned).collect();
        let folder = OutFolder { path: path.to_owned(), made };
        let why = || format!("--out {}: the report cannot be written there", path.display());
        ensure!(
            !has_report(path),
            "--out {}: it has the report of an earlier run, or its .hlog files; another folder, or \
             remove this one",
            path.display()
        );
        fs::create_dir_all(path).with_context(why)?;
        can_write(path).with_context(why)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OutFolder {
    fn drop(&mut self) {
        for part in &self.made {
            // One that holds something stays, and those around it.
            if fs::remove_dir(part).is_err() {
                return;
            }
        }
    }
}

/// Whether a run has written into `folder`, to its end or not.
fn has_report(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_of_run = |path: PathBuf| {
        path.ends_with(JSON) || path.extension().is_some_and(|extension| extension == "hlog")
    };
    names.into_iter().any(is_of_run)
}

/// Whether a file can be made in `folder`; none is left.
///
/// # Errors
/// What the operating system says.
pub(crate) fn can_write(folder: &Path) -> Result<()> {
    let probe = folder.join(format!(".fulgurite-loadtest-{}", std::process::id()));
    fs::File::create(&probe)?;
    Ok(fs::remove_file(&probe)?)
}

/// Writes what is not there yet: the interval logs grew with the runs.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write(folder: &Path, report: &Report) -> Result<()> {
    fs::write(folder.join(JSON), serde_json::to_string_pretty(report)?)?;
    fs::write(folder.join(PAGE), html::page(report))?;
    eprintln!("the report is {}", folder.join(PAGE).display());
    Ok(())
}

/// Writes the page of a report that was read back, beside it; where it is.
///
/// # Errors
/// What the operating system says.
pub(crate) fn write_page(path: &Path, report: &Report) -> Result<PathBuf> {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let page = folder.unwrap_or(Path::new("")).join(PAGE);
    fs::write(&page, html::page(report)).with_context(|| page.display().to_string())?;
    Ok(page)
}

/// The file of a report: of a folder the one in it.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(JSON) } else { path.to_owned() }
}

/// Reads one back: a folder, or the file itself.
///
/// # Errors
/// When it is not a report of this program.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let file = file_of(path);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let why = || format!("{} is no report of this program, or damaged", file.display());
    let read: Report = serde_json::from_str(&text).with_context(why)?;
    let Report { machine, commit, scenario, runs, .. } = read;
    for (number, run) in (1..).zip(&runs) {
        // What an older report lacks has a default; without these it is no run.
        ensure!(!run.target.is_empty(), "{}: run {number} has no target", why());
        ensure!(run.seconds > 0.0, "{}: run {number} lasted {} s", why(), run.seconds);
        let (offered, ended) = (run.counts.offered, run.counts.ended());
        ensure!(
            offered == ended,
            "{}: run {number} offered {offered} payments, and {ended} ended",
            why()
        );
    }
    ensure!(!runs.is_empty(), "{}: it has no runs", why());
    // An older report has its bare client, but not the comparison with it.
    Ok(Report::new(machine, commit, scenario, runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_which_nothing_was_written_goes_and_one_that_was_there_stays() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a/b");
        drop(OutFolder::new(&path).unwrap());
        assert!(!outer.path().join("a").exists());
        drop(OutFolder::new(outer.path()).unwrap());
        assert!(outer.path().exists());
        let folder = OutFolder::new(&path).unwrap();
        fs::write(folder.path().join("report.json"), "{}").unwrap();
        drop(folder);
        assert!(path.join("report.json").exists());
        // A second run does not write over it.
        let error = format!("{:#}", OutFolder::new(&path).unwrap_err());
        assert!(error.contains("the report of an earlier run"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_found_before_the_run() {
        let outer = tempfile::tempdir().unwrap();
        let file = outer.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = format!("{:#}", OutFolder::new(&path).unwrap_err());
            assert!(error.contains("the report cannot be written there"), "{error}");
        }
    }
}
