//! Folders that go away with their owner.

use std::{fs, io, path::Path};

use tempfile::TempDir;

/// A new folder, in memory where this machine has room for that: thousands of journals are
/// written and opened.
///
/// # Errors
/// What the operating system says.
pub fn in_memory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = |builder: &mut tempfile::Builder<'_, '_>, at: &Path| builder.tempdir_in(at);
    builder(tempfile::Builder::new().prefix("fulgurite-prove-"), memory).or_else(|_| on_disk())
}

/// A new folder where temporary files go.
///
/// # Errors
/// What the operating system says.
pub fn on_disk() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("fulgurite-prove-").tempdir()
}

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
