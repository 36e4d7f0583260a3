//! Child processes that cannot outlive the test, and the free ports they listen on.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::wait::until;

/// How long a program may take to end after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A program that runs in the background, its output in a file. It is killed when this is dropped,
/// and by the kernel when the test process ends in any other way.
#[derive(Debug)]
pub(super) struct Daemon {
    command: Vec<String>,
    home: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// Describes a program; `home` is its home directory, where its output goes too.
    pub(super) fn new(program: &Path, arguments: Vec<String>, home: &Path) -> Self {
        let mut command = vec![program.display().to_string()];
        command.extend(arguments);
        Self { command, home: home.to_path_buf(), child: Mutex::new(None) }
    }

    /// Starts it. An error if it runs already.
    pub(super) fn start(&self) -> Result<()> {
        let mut slot = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            bail!("{} runs already", self.command[0]);
        }
        let output = File::options().create(true).append(true).open(self.output())?;
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = spawn(command).with_context(|| format!("starting {}", self.command[0]))?;
        *slot = Some(child);
        Ok(())
    }

    /// The process id while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }

    /// Whether it was started and has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        let mut slot = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Ends it at once with SIGKILL. Nothing if it does not run.
    pub(super) fn kill9(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            // It may have ended by itself: then there is nothing to kill, and `wait` reaps it.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Waits until it has ended, after something asked it to.
    pub(super) async fn wait_stopped(&self) -> Result<()> {
        until("the program to end", STOP_MAX, async || {
            Ok((self.pid().is_none() || self.has_ended()).then_some(()))
        })
        .await
        .with_context(|| self.command[0].clone())?;
        // It has ended: this makes room for the next one.
        self.kill9();
        Ok(())
    }

    /// The last `lines` lines of its output.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = std::fs::read(self.output()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn output(&self) -> PathBuf {
        self.home.join("output.log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
    }
}

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// The kernel's death signal belongs to the *thread* that started the child, and test threads end
/// early: so one thread that lives as long as the process starts all of them.
static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for Order { mut command, reply } in inbox {
            die_with_parent(&mut command);
            // Nobody waits any more: the child is dropped, and dies with this process.
            reply.send(command.spawn()).ok();
        }
    });
    orders
});

fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    SPAWNER.send(Order { command, reply }).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe functions may run; `prctl` is a plain
    // system call, and the closure touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Below the range the kernel takes for outgoing connections, so that a node which restarts finds
/// its port still free.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

static NEXT_PORT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new((std::process::id().wrapping_mul(97) % 65_536) as u16));

/// A port of the loopback interface that is free now and not handed out before by this process.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..PORTS {
        let port = PORT_FIRST + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}
