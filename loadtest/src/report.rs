//! What every report begins with: the machine that it was measured on.

use std::{fs, num::NonZeroUsize, time::SystemTime};

use serde::{Deserialize, Serialize};

/// The machine, and how busy it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The program's version.
    pub version: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors this process may use.
    pub processors: usize,
    /// The load average of the last minute when the run began: what others did.
    pub load: f64,
}

impl Machine {
    /// This machine, now.
    pub fn now() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        Machine {
            version: env!("CARGO_PKG_VERSION").into(),
            processor: name.unwrap_or_else(|| "unknown processor".into()),
            processors: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            load: load.unwrap_or(0.0),
        }
    }

    /// One line.
    pub fn text(&self) -> String {
        format!(
            "fulgurite {}, {} x {}, load average {} when it began",
            self.version, self.processors, self.processor, self.load
        )
    }
}

/// The commit of the folder that the command was given in, `+` when files differ from it; `None`
/// outside of a repository or without git.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let differs = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if differs.is_empty() { commit } else { format!("{commit}+") })
}

/// A time as people and programs read it.
pub(crate) fn utc(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "before 1970".into(), |time| format!("{time:.0}"))
}

/// So many bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Prints a report: `text` for a person or `value` as one JSON object.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn print(json: bool, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(value)?);
    } else {
        println!("{text}");
    }
    Ok(())
}
