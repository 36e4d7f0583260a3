//! Processes that a run starts: they never outlive it.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

/// The kernel counts processor time in hundredths of a second for whoever reads `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// A process of the program `fulgurite`. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts the program `fulgurite` with `arguments`: `FULGURITE_BIN`, or the one beside this
    /// program. What it says goes to `log`.
    ///
    /// # Errors
    /// When there is no such program, or what the operating system says.
    pub fn start(name: &'static str, log: PathBuf, arguments: Vec<OsString>) -> Result<Process> {
        let program = match std::env::var_os("FULGURITE_BIN") {
            Some(named) => PathBuf::from(named),
            None => std::env::current_exe()?.with_file_name("fulgurite"),
        };
        let mut process = Process { name, program, arguments, log, child: None };
        process.spawn()?;
        Ok(process)
    }

    /// Starts it, again after it was killed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        ensure!(self.program.is_file(), "{}: no such program", self.program.display());
        let mut command = Command::new(&self.program);
        // The program asks the kernel to end it with its parent, even when that is killed.
        command.args(&self.arguments).arg("--parent").arg(std::process::id().to_string());
        // What the user's own engine is told is not meant for this one.
        command.env_remove("FULGURITE_CONFIG").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A process group of its own: Ctrl-C is for the run, which then ends the others.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn();
        self.child = Some(child.with_context(|| format!("{}", self.program.display()))?);
        Ok(())
    }

    /// From now on it gives way to others by so many steps of `nice` (setpriority(2)).
    ///
    /// # Errors
    /// When it is gone.
    pub fn give_way(&self, nice: u8) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw);
        // Of the group, which is this process alone: of a process it would be its first thread's.
        rustix::process::setpriority_pgrp(pid, nice.into())?;
        Ok(())
    }

    /// Kills it as `kill -9` does: it cannot tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Fails when it has ended by itself.
    ///
    /// # Errors
    /// How it ended, and what it said last.
    pub fn still_runs(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { bail!("{} was killed", self.name) };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.last_words()),
        }
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The processor time that it used so far, its own and the system's for it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.pid()?.to_string())
    }

    /// The most memory that it ever had resident, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rss_bytes_max(&self) -> Result<u64> {
        rss_bytes_max(self.pid()?)
    }

    /// The memory that it has resident now, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rss_bytes(&self) -> Result<u64> {
        rss_bytes(self.pid()?)
    }

    /// What stops it for a while and lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn handle(&self) -> Result<Handle> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw);
        Ok(Handle(pid.context("a process without a number")?))
    }

    /// Its number.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} does not run", self.name))?.id())
    }
}

/// A process that can be frozen. It must not outlive its [`Process`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle(Pid);

impl Handle {
    /// Stops it as a machine stops that hangs: its connections stay open and say nothing.
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(self) -> Result<()> {
        Ok(rustix::process::kill_process(self.0, Signal::STOP)?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn thaw(self) -> Result<()> {
        Ok(rustix::process::kill_process(self.0, Signal::CONT)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processor time that this process used so far.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

/// The processor time that process `pid` used so far.
///
/// # Errors
/// When there is none.
pub(crate) fn cpu_of(pid: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu(&stat).context("/proc has no processor time")
}

/// The most memory that process `pid` ever had resident, in bytes.
///
/// # Errors
/// When there is none.
pub(crate) fn rss_bytes_max(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM")
}

/// The memory that process `pid` has resident now, in bytes.
///
/// # Errors
/// When there is none.
pub(crate) fn rss_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS")
}

fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("no {name} in /proc"))?.trim().parse()?;
    Ok(kib << 10)
}

/// `utime` and `stime`, without those of children (proc(5)). The second field is a name in
/// parentheses that may hold anything.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * (user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_is_without_that_of_children() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 9 9 9 9 150 50 4000 4000 20 0 5 0";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(2)));
        assert!(own_cpu().is_ok());
    }
}
