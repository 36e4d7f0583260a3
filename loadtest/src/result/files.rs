//! The folder of a report.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Report, html};

/// The report for programs.
const JSON: &str = "report.json";
/// The report for people.
const PAGE: &str = "report.html";

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

/// Reads one back: a folder, or the file itself.
///
/// # Errors
/// When it is not a report of this program.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let file = if path.is_dir() { path.join(JSON) } else { path.to_owned() };
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let read: Report =
        serde_json::from_str(&text).with_context(|| format!("{} is no report", file.display()))?;
    let Report { machine, commit, scenario, runs, .. } = read;
    // An older report has its bare client, but not the comparison with it.
    Ok(Report::new(machine, commit, scenario, runs))
}
