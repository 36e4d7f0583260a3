//! The preload library: what a process under proof does to its disk and its sockets is recorded,
//! made to fail, or ends it. The shipped program runs; nothing of this is in it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

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

/// Makes `command` reserve no room for its files, with the library in `home`.
///
/// # Errors
/// When the library cannot be written.
pub fn lean(command: &mut Command, home: &Path) -> io::Result<()> {
    let library = home.join("preload.so");
    fs::write(&library, LIBRARY)?;
    command.env("LD_PRELOAD", library).env("FULGURITE_PRELOAD_LEAN", "1");
    Ok(())
}

/// Which calls on the watched folder fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// None.
    None = 0,
    /// Every sync: EIO.
    Sync = 1,
    /// Every write: EIO.
    Write = 2,
    /// Everything that needs room: ENOSPC.
    Full = 3,
    /// Everything that changes the disk: EROFS.
    ReadOnly = 4,
    /// Every file that is opened: EMFILE.
    Files = 5,
}

/// Where the process is killed. Each is a call of the operating system, just before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Point {
    /// Before a record is written to the journal's log.
    BeforeWrite = 1,
    /// Written, not synced.
    BeforeSync = 2,
    /// Synced, not acknowledged.
    AfterSync = 3,
    /// The watermark file has it; acknowledging is next.
    AfterWatermark = 4,
    /// An answer went to a client.
    AfterAnswer = 5,
    /// Before bytes go to a node.
    BeforeDispatch = 6,
    /// They went; the node may act before it says anything.
    AfterDispatch = 7,
    /// A node spoke; before the next record is written.
    BeforeResultWrite = 8,
    /// That record is written, not synced.
    BeforeResultSync = 9,
    /// That record is synced, not acknowledged.
    AfterResultSync = 10,
    /// Before rows of views are written.
    InProjection = 11,
    /// Before rows of a snapshot are written.
    InSnapshot = 12,
    /// RocksDB writes a table.
    InFlush = 13,
    /// RocksDB writes its MANIFEST.
    InManifest = 14,
    /// RocksDB renames a file.
    BeforeRename = 15,
    /// Any change of the disk while the journal is recovered.
    InRecovery = 16,
}

impl Point {
    /// Every point.
    #[rustfmt::skip] // A table.
    pub const ALL: [Point; 16] = [
        Point::BeforeWrite,       Point::BeforeSync,       Point::AfterSync,
        Point::AfterWatermark,    Point::AfterAnswer,      Point::BeforeDispatch,
        Point::AfterDispatch,     Point::BeforeResultWrite, Point::BeforeResultSync,
        Point::AfterResultSync,   Point::InProjection,     Point::InSnapshot,
        Point::InFlush,           Point::InManifest,       Point::BeforeRename,
        Point::InRecovery,
    ];

    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Point::BeforeWrite => "before a write",
            Point::BeforeSync => "between write and sync",
            Point::AfterSync => "after a sync, before acknowledging",
            Point::AfterWatermark => "after the watermark, before acknowledging",
            Point::AfterAnswer => "after an answer to a client",
            Point::BeforeDispatch => "before a request to a node",
            Point::AfterDispatch => "after a request, before the node's first message",
            Point::BeforeResultWrite => "before a result's write",
            Point::BeforeResultSync => "before a result's sync",
            Point::AfterResultSync => "after a result's sync",
            Point::InProjection => "in a projection",
            Point::InSnapshot => "in a snapshot",
            Point::InFlush => "in a table of RocksDB",
            Point::InManifest => "in RocksDB's MANIFEST",
            Point::BeforeRename => "before a rename of RocksDB",
            Point::InRecovery => "in recovery",
        }
    }

    /// Whether it is passed while the journal is opened, not while it works.
    pub fn is_of_start(self) -> bool {
        let of_start = [Point::InFlush, Point::InManifest, Point::BeforeRename, Point::InRecovery];
        of_start.contains(&self)
    }
}

/// The strings on a process that runs with the library.
#[derive(Debug)]
pub struct Strings {
    library: PathBuf,
    folder: PathBuf,
    path: PathBuf,
    control: File,
}

// Where things lie in `struct control` of preload/state.h.
const FAULT: u64 = 0;
const FAILED: u64 = 4;
const SYNCS: u64 = 8;
const POINT: u64 = 12;
const COUNTDOWN: u64 = 16;
const DOORS: u64 = 20;
const NODES: u64 = 32;
const PASSED: u64 = 64;
const LENGTH: u64 = 192;

impl Strings {
    /// Strings for processes that watch `folder`; library and control lie in `home`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(home: &Path, folder: &Path) -> io::Result<Strings> {
        let (library, path) = (home.join("preload.so"), home.join("preload.control"));
        fs::write(&library, LIBRARY)?;
        let options =
            File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let control = options?;
        control.set_len(LENGTH)?;
        Ok(Strings { library, folder: folder.to_owned(), path, control })
    }

    /// The environment of such a process.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FULGURITE_PRELOAD_FOLDER", self.folder.clone().into()),
            ("FULGURITE_PRELOAD_CONTROL", self.path.clone().into()),
        ]
    }

    /// Calls fail from now on, or no longer.
    ///
    /// # Errors
    /// When the control cannot be written.
    pub fn set_fault(&self, fault: Fault) -> io::Result<()> {
        self.put(FAILED, 0)?;
        self.put(SYNCS, 0)?;
        self.put(FAULT, fault as u32)
    }

    /// Kills the process when it comes to `point` for the so-many-th time from now on.
    ///
    /// # Errors
    /// When the control cannot be written.
    pub fn arm(&self, point: Point, countdown: u32) -> io::Result<()> {
        self.put(COUNTDOWN, countdown)?;
        self.put(POINT, point as u32)
    }

    /// Kills it nowhere.
    ///
    /// # Errors
    /// When the control cannot be written.
    pub fn disarm(&self) -> io::Result<()> {
        self.put(POINT, 0)
    }

    /// Says which ports are the doors (at most 3) and which are nodes (at most 8).
    ///
    /// # Errors
    /// When the control cannot be written.
    pub fn set_ports(&self, doors: &[u16], nodes: &[u16]) -> io::Result<()> {
        for (base, ports) in
            [(DOORS, &doors[..doors.len().min(3)]), (NODES, &nodes[..nodes.len().min(8)])]
        {
            for (at, port) in (0..).zip(ports) {
                self.put(base + 4 * at, u32::from(*port))?;
            }
        }
        Ok(())
    }

    /// How many calls failed since the fault was set.
    ///
    /// # Errors
    /// When the control cannot be read.
    pub fn failed(&self) -> io::Result<u32> {
        self.get(FAILED)
    }

    /// How many syncs were asked for after the first call that failed.
    ///
    /// # Errors
    /// When the control cannot be read.
    pub fn syncs_after(&self) -> io::Result<u32> {
        self.get(SYNCS)
    }

    /// How often a point was passed, over all processes.
    ///
    /// # Errors
    /// When the control cannot be read.
    pub fn passed(&self, point: Point) -> io::Result<u32> {
        self.get(PASSED + 4 * point as u64)
    }

    fn put(&self, at: u64, value: u32) -> io::Result<()> {
        self.control.write_all_at(&value.to_ne_bytes(), at)
    }

    fn get(&self, at: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, at)?;
        Ok(u32::from_ne_bytes(bytes))
    }
}
