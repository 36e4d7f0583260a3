//! What every report begins with: the machine that it was measured on.

use std::{
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    sync::OnceLock,
    time::SystemTime,
};

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
    /// Its memory in MiB; 0 when that is not known.
    #[serde(default)]
    pub memory_mib: f64,
    /// The kernel and its release; empty when that is not known.
    #[serde(default)]
    pub system: String,
    /// The load average of the last minute when the run began: what others did.
    pub load: f64,
}

impl Machine {
    /// This machine, now.
    pub fn now() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = memory.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        Machine {
            version: env!("CARGO_PKG_VERSION").into(),
            processor: name.unwrap_or_else(|| "unknown processor".into()),
            processors: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            memory_mib: kib.map_or(0.0, |kib| mib(kib << 10)),
            system: format!("Linux {}", release.trim()).trim_end().to_owned(),
            load: load.unwrap_or(0.0),
        }
    }

    /// One line.
    pub fn text(&self) -> String {
        let Machine { version, processor, processors, load, .. } = self;
        let mut text = format!("fulgurite {version}, {processors} x {processor}");
        if self.memory_mib > 0.0 {
            text += &format!(", {:.1} GiB", self.memory_mib / 1024.0);
        }
        if !self.system.is_empty() {
            text += &format!(", {}", self.system);
        }
        text + &format!(", load average {load} when it began")
    }
}

/// What the program was built from.
static COMMIT: OnceLock<String> = OnceLock::new();

/// The program says what it was built from; the first word counts.
pub fn built_from(commit: Option<&str>) {
    if let Some(commit) = commit.filter(|commit| !["", "unknown"].contains(commit)) {
        COMMIT.get_or_init(|| commit.to_owned());
    }
}

/// The commit that was built, `+` when files differed from it; `None` for a build outside of git.
/// That of the folder in which somebody measures says nothing of the program.
pub(crate) fn commit() -> Option<String> {
    COMMIT.get().cloned()
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
/// When it cannot be written.
pub fn print(json: bool, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string(value)? } else { text.to_owned() };
    match writeln!(io::stdout(), "{text}") {
        // Whoever reads it has seen enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}
