//! The command line as a process: fed, read to its end, and measured.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::engine::program;

/// What a command said and what it took.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The most memory that it had, in MiB.
    pub peak_mib: u64,
}

impl Said {
    /// Both outputs as JSON, a value a line.
    ///
    /// # Errors
    /// The line that is none.
    pub fn objects(&self) -> Result<(Vec<Value>, Vec<Value>)> {
        let read = |text: &str| -> Result<Vec<Value>> {
            text.lines()
                .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
                .collect()
        };
        Ok((read(&self.out)?, read(&self.err)?))
    }
}

/// A command of the command line that finds no engine, and does not wait for one.
///
/// # Errors
/// When the program was not built.
pub fn without_engine(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    // Nobody listens on port 1.
    command.args(arguments).args(["--endpoint", "http://127.0.0.1:1", "--patience", "0"]);
    Ok(command)
}

/// Runs a command to its end, without standard input.
///
/// # Errors
/// What the operating system says.
pub fn run(command: &mut Command) -> Result<Said> {
    feed(command, |_| Ok(()))
}

/// Runs a command to its end and writes to its standard input, perhaps for ever: that it reads no
/// more ends the writing.
///
/// # Errors
/// What the operating system says.
pub fn feed(
    command: &mut Command,
    write: impl FnOnce(&mut ChildStdin) -> std::io::Result<()> + Send + 'static,
) -> Result<Said> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("standard input")?;
    let writer = thread::spawn(move || match write(&mut stdin).and_then(|()| stdin.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    });
    let out = read_all(child.stdout.take().context("standard output")?);
    let err = read_all(child.stderr.take().context("standard error")?);
    let (out, err) = (out.join(), err.join());
    let (status, peak_mib) = ended(&child)?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let text = |joined: thread::Result<std::io::Result<Vec<u8>>>| -> Result<String> {
        let bytes = joined.map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        Ok(String::from_utf8(bytes)?)
    };
    Ok(Said { code: status.code(), out: text(out)?, err: text(err)?, peak_mib })
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    })
}

/// Waits for a child: how it ended, and the most memory that it had, in MiB.
#[allow(unsafe_code)] // The standard library does not tell what a child has used.
fn ended(child: &Child) -> Result<(ExitStatus, u64)> {
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to our own memory, of the types that wait4 fills; zeros are a valid
    // rusage. The child is ours and nobody else waits for it.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    ensure!(waited == pid, "wait4: {}", std::io::Error::last_os_error());
    let status = std::os::unix::process::ExitStatusExt::from_raw(status);
    // Linux counts in KiB.
    Ok((status, u64::try_from(usage.ru_maxrss)? / 1_024))
}
