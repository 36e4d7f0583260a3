//! The preload library: what a process under proof does to its disk and its sockets is recorded,
//! made to fail, or ends it. The shipped program runs; nothing of this is in it.

use std::{fs, io, path::Path, process::Command};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preload.so"));

/// Makes `command` record every change of the files in `folder`, in one order, to `record`.
///
/// # Errors
/// When the library cannot be written beside `record`.
pub fn record(command: &mut Command, folder: &Path, record: &Path) -> io::Result<()> {
    let library = record.with_extension("so");
    fs::write(&library, LIBRARY)?;
    command
        .env("LD_PRELOAD", library)
        .env("FULGURITE_PRELOAD_FOLDER", folder)
        .env("FULGURITE_PRELOAD_RECORD", record);
    Ok(())
}
