//! Tests of the whole journal: what is appended is recovered, and what is damaged is noticed.

mod codec;
mod damage;
pub(crate) mod history;
mod lookups;
mod recovery;
mod retention;
mod retention_starts;

use std::{collections::BTreeSet, ffi::OsString, path::Path};

use fulgurite_core::{Event, Lsn, UnixMs, port::Journal};
use rocksdb::WriteBatch;
use tempfile::TempDir;

use crate::{Fault, JournalOptions, OpenError, Opened, Store, open};

use history::History;

/// When the tests begin.
const NOW: UnixMs = UnixMs(1_790_000_000_000);

fn options(folder: &Path) -> JournalOptions {
    JournalOptions {
        snapshot_every_events: 40,
        ring_events_max: 64,
        projector_groups_max: 4,
        clock: || NOW.plus_ms(60_000),
        fault: Fault(|message| panic!("{message}")),
        ..JournalOptions::new(folder)
    }
}

/// An open journal in a folder that goes away with it.
struct Fixture {
    folder: TempDir,
    opened: Opened,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: TempDir) -> Fixture {
        Fixture::keeping(folder, 0)
    }

    /// Removes records that are older than this; a history's events are a millisecond apart.
    fn keeping(folder: TempDir, keep_ms: i64) -> Fixture {
        let options = JournalOptions { keep_ms, ..options(folder.path()) };
        Fixture { opened: open(options, NOW).unwrap(), folder }
    }

    /// A journal that writes no snapshots and has no rows of views behind its last records, and
    /// its last LSN, as a killed engine leaves it.
    fn killed_after_records() -> (TempDir, Lsn) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        options.snapshot_every_events = u64::MAX;
        let opened = open(options, NOW).unwrap();
        let (fixture, mut history) = (Fixture { folder, opened }, History::new(7));
        history.start(1, env!("CARGO_PKG_VERSION"));
        fixture.play(&mut history, 20);
        for _ in 0..3 {
            let last = fixture.opened.journal.append_many([Event::Barrier]);
            fixture.opened.views.projected().block_until(last);
        }
        (fixture.killed(), fixture.last())
    }

    /// Appends steps of a history, in groups as they come, and waits until all are in the views.
    fn play(&self, history: &mut History, steps: usize) {
        let events = history.steps(steps);
        let last = self.opened.journal.append_many(events);
        assert_eq!(last, history.book.lsn);
        self.opened.views.projected().block_until(last);
    }

    /// A copy of the folder as a killed engine would leave it.
    fn killed(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        copy
    }

    fn close(self) -> TempDir {
        let Fixture { folder, opened } = self;
        opened.running.close();
        folder
    }

    fn last(&self) -> Lsn {
        self.opened.journal.last()
    }
}

/// Why a journal that must not be opened is not.
fn refused(folder: &Path) -> OpenError {
    refused_keeping(folder, 0)
}

/// The same of an engine that removes records so old.
fn refused_keeping(folder: &Path, keep_ms: i64) -> OpenError {
    match open(JournalOptions { keep_ms, ..options(folder) }, NOW) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// Changes a stopped journal's rows behind its back.
fn tamper(folder: &Path, change: impl FnOnce(&Store, &mut WriteBatch)) {
    let store = Store::open(folder).unwrap();
    let mut batch = WriteBatch::default();
    change(&store, &mut batch);
    store.write_synced(batch).unwrap();
}

/// Copies a folder that may be in use: begins again when RocksDB added or removed a file meanwhile.
fn copy_folder(from: &Path, to: &Path) {
    loop {
        let before = names(from);
        match try_copy_folder(from, to) {
            Ok(()) if names(from) == before => return,
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
        std::fs::remove_dir_all(to).unwrap();
        std::fs::create_dir(to).unwrap();
    }
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    let files = std::fs::read_dir(folder.join("rocksdb")).unwrap();
    files.map(|file| file.unwrap().file_name()).collect()
}

fn try_copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            try_copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
