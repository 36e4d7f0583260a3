//! Reads the record of what a process did to its files.

use std::{ops::Range, path::PathBuf};

use anyhow::{Context, Result, bail};
use fulgurite_core::Lsn;

/// One call, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file came into being.
    Create(u64, PathBuf),
    /// A folder was opened.
    Folder(u64, PathBuf),
    /// A folder was made.
    MakeFolder(PathBuf),
    /// Bytes of the record were written at an offset of a file.
    Write(u64, u64, Range<usize>),
    /// A file was cut or extended to a length.
    Cut(u64, u64),
    /// A sync of a file or folder began: what was called before it will be on disk.
    SyncBegins(u64),
    /// It ended.
    SyncEnds(u64),
    /// A file was renamed.
    Rename(PathBuf, PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// Everything up to this event was acknowledged.
    Acknowledged(Lsn),
}

/// The calls of a record.
///
/// # Errors
/// When it is not a record.
pub fn read(bytes: &[u8]) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes[at..].iter().position(|byte| *byte == b'\n').context("no end of line")?;
        let line = std::str::from_utf8(&bytes[at..at + end])?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [what, inode, offset, length, path, to] = fields[..] else {
            bail!("not a line of a record: {line}");
        };
        let (inode, offset) = (inode.parse()?, offset.parse()?);
        let content = at + end + 1..at + end + 1 + length.parse::<usize>()?;
        at = content.end;
        calls.push(match what {
            "create" => Call::Create(inode, path.into()),
            "folder" => Call::Folder(inode, path.into()),
            "mkdir" => Call::MakeFolder(path.into()),
            "write" => Call::Write(inode, offset, content),
            "cut" => Call::Cut(inode, offset),
            "begin" => Call::SyncBegins(inode),
            "sync" => Call::SyncEnds(inode),
            "rename" => Call::Rename(path.into(), to.into()),
            "unlink" => Call::Remove(path.into()),
            "acknowledged" => {
                let lsn = bytes.get(content).and_then(|bytes| bytes.try_into().ok());
                Call::Acknowledged(lsn.map(Lsn::from_le_bytes).context("no event's number")?)
            }
            other => bail!("an unknown call: {other}"),
        });
    }
    Ok(calls)
}
