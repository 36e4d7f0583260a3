//! `perf` of Linux, which asks a process many times a second where it is.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};

use super::stacks::Stacks;

/// How much of a stack is kept with each sample, in bytes. Ours are as deep as async code is.
const STACK: u32 = 16_384;

/// A recording that runs; dropping it ends it.
#[derive(Debug)]
pub(super) struct Recording {
    perf: Child,
    data: PathBuf,
    said: PathBuf,
}

/// Records process `pid` into `folder`, `frequency` times a second of its processor time. The
/// clock of the processor is used, which virtual machines have too.
///
/// # Errors
/// When there is no `perf`.
pub(super) fn record(pid: u32, frequency: u32, folder: &Path) -> Result<Recording> {
    let (data, said) = (folder.join("perf.data"), folder.join("perf.said"));
    let mut command = Command::new("perf");
    command.args(["record", "-e", "cpu-clock", "--call-graph", &format!("dwarf,{STACK}")]);
    command.args(["-F", &frequency.to_string(), "-p", &pid.to_string(), "-o"]).arg(&data);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
    // A process group of its own: Ctrl-C is for the run, which then ends the recording.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let perf = command.spawn().context("perf does not start; scripts/flamegraph installs it")?;
    Ok(Recording { perf, data, said })
}

impl Recording {
    /// Ends the recording and reads it.
    ///
    /// # Errors
    /// What `perf` says, such as that it is not allowed.
    pub fn read(mut self) -> Result<Stacks> {
        // When it has ended already it has said why.
        if self.perf.try_wait()?.is_none() {
            let pid = i32::try_from(self.perf.id()).ok().and_then(Pid::from_raw);
            rustix::process::kill_process(pid.context("no process")?, Signal::INT)?;
            self.perf.wait()?;
        }
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        ensure!(
            self.data.exists(),
            "perf recorded nothing; it needs kernel.perf_event_paranoid at 1 or below, or root:\n\
             {said}"
        );
        let mut script = Command::new("perf");
        script.args(["script", "--no-inline", "-F", "comm,tid,ip,sym", "-i"]).arg(&self.data);
        script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = script.spawn().context("perf script")?;
        let output = script.stdout.take().context("perf script has no output")?;
        let stacks = Stacks::read(BufReader::new(output))?;
        let ended = script.wait()?;
        ensure!(ended.success() && stacks.all.count > 0, "perf script: {ended}, no sample\n{said}");
        Ok(stacks)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Both fail when it has ended, as it should have.
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}
