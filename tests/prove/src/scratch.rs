//! Folders that go away with their owner, or with the process when a person stops it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// A new folder, in memory where this machine has room for that: thousands of journals are
/// written and opened.
///
/// # Errors
/// What the operating system says.
pub fn in_memory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = |builder: &mut tempfile::Builder<'_, '_>, at: &Path| builder.tempdir_in(at);
    let made = builder(tempfile::Builder::new().prefix("fulgurite-prove-"), memory);
    made.map(known).or_else(|_| on_disk())
}

/// A new folder where temporary files go.
///
/// # Errors
/// What the operating system says.
pub fn on_disk() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("fulgurite-prove-").tempdir().map(known)
}

/// The folders that were made; most are gone.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn known(folder: TempDir) -> TempDir {
    MADE.lock().unwrap_or_else(PoisonError::into_inner).push(folder.path().to_owned());
    folder
}

/// Leaves a folder where it is, for a person to look at.
pub fn keep(folder: TempDir) -> PathBuf {
    let path = folder.keep();
    MADE.lock().unwrap_or_else(PoisonError::into_inner).retain(|made| *made != path);
    path
}

/// For how long a folder in which a process still writes is removed again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every folder that was made and not kept.
fn made() -> Vec<PathBuf> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn remove(folders: &[PathBuf]) {
    let until = Instant::now() + PATIENCE;
    for folder in folders {
        // Who was stopped with us may be at it yet: it is gone when nobody writes into it any more.
        while fs::remove_dir_all(folder).is_err() && folder.exists() && Instant::now() < until {
            thread::yield_now();
        }
    }
}

/// From now on Ctrl-C and SIGTERM end the process without leaving a folder behind. Not for a proof
/// that ends by itself then, with the page of what was done.
///
/// # Errors
/// What the operating system says.
pub fn remove_when_stopped() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        let stopped = runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted,
                _ = terminated.recv() => Ok(()),
            }
        });
        if stopped.is_ok() {
            remove(&made());
            // Nobody may listen any more.
            drop(writeln!(io::stderr(), "error: stopped: the proof was not run to its end"));
            std::process::exit(EXIT_STOPPED);
        }
    };
    thread::Builder::new().name("stopped".to_owned()).spawn(wait).map(drop)
}

/// The exit code of a proof that was not run to its end.
const EXIT_STOPPED: i32 = 74;

/// Removes what is in a folder, or makes it.
///
/// # Errors
/// What the operating system says.
pub fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir(folder)
}

/// Copies a folder that nobody writes to.
///
/// # Errors
/// What the operating system says.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stopped_proof_made_is_gone_but_for_what_it_kept() {
        let (disk, memory) = (on_disk().unwrap(), in_memory().unwrap());
        fs::write(disk.path().join("file"), "some").unwrap();
        let kept = keep(on_disk().unwrap());
        let ours = [disk.path().to_owned(), memory.path().to_owned()];
        assert!(ours.iter().all(|folder| made().contains(folder)) && !made().contains(&kept));
        remove(&ours);
        assert!(!disk.path().exists() && !memory.path().exists());
        fs::remove_dir(kept).unwrap();
    }
}
