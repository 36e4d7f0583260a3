//! Processes that the demo starts: they never outlive it.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A process of the cast. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    /// Its name on the page.
    pub name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts this same program with `arguments`. What it says goes to `log`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(
        name: &str,
        log: PathBuf,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> io::Result<Process> {
        let mut arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        arguments.push("--parent".into());
        arguments.push(std::process::id().to_string().into());
        let program = std::env::current_exe()?;
        let mut process = Process { name: name.to_owned(), program, arguments, log, child: None };
        process.spawn()?;
        Ok(process)
    }

    /// Kills it as `kill -9` does: it cannot tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after it was killed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A process group of its own: Ctrl-C is for the demo, which then ends the others.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// The code that it ended with by itself; `None` while it runs.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(status.to_string())
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes the kernel kill this process when its parent ends, even by SIGKILL. Ends it at once when
/// `parent` is already gone.
#[allow(unsafe_code)]
pub fn die_with_parent(parent: u32) {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number, changes nothing in memory and concerns this
    // process alone.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if done != 0 || std::os::unix::process::parent_id() != parent {
        std::process::exit(1);
    }
}
