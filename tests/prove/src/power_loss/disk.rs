//! A disk with a cache that may be lost: what was synced is on it; of the rest, any part may be.
//!
//! The model is POSIX at its strictest, not one file system: a file's sync saves its bytes and not
//! its name; names change with their folder's sync; what was not synced may reach the disk in any
//! order, by page, and a last sector may hold anything.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use fulgurite_core::Lsn;

use super::log::Call;
use crate::random::Random;

const PAGE: usize = 4_096;
const SECTOR: usize = 512;

/// How what was not synced is kept, by file and by folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it.
    Nothing,
    /// All of it.
    Everything,
    /// The calls up to one that is kept in part, with a torn last sector.
    TornPrefix,
    /// Some of the pages that were written; the length may be ahead of them.
    SomePages,
    /// Each of these for each file by chance, and names in any order.
    Mixed,
}

impl Loss {
    /// Every kind.
    pub const ALL: [Loss; 5] =
        [Loss::Nothing, Loss::Everything, Loss::TornPrefix, Loss::SomePages, Loss::Mixed];

    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Nothing => "unsynced writes dropped",
            Loss::Everything => "unsynced writes kept",
            Loss::TornPrefix => "kept in part, last sector torn",
            Loss::SomePages => "some pages kept, in any order",
            Loss::Mixed => "all of these by chance, names too",
        }
    }

    fn of_one(self, random: &mut Random) -> Loss {
        match self {
            Loss::Mixed => Loss::ALL[random.below(4)],
            other => other,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, std::ops::Range<usize>),
    Cut(u64),
}

#[derive(Clone, Debug)]
enum Name {
    File(PathBuf, usize),
    Folder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug)]
enum Node {
    File(usize),
    Folder,
}

/// What is synced, and what waits to be.
#[derive(Clone, Debug)]
struct Cached<Saved, Waiting> {
    saved: Saved,
    waiting: Vec<Waiting>,
    /// How much of it a sync that is under way covers.
    covered: usize,
}

impl<Saved: Default, Waiting> Default for Cached<Saved, Waiting> {
    fn default() -> Self {
        Cached { saved: Saved::default(), waiting: Vec::new(), covered: 0 }
    }
}

/// The disk after some of the calls.
#[derive(Debug)]
pub struct Disk<'a> {
    record: &'a [u8],
    base: PathBuf,
    files: Vec<Cached<Vec<u8>, Change>>,
    by_inode: HashMap<u64, usize>,
    folders: HashMap<PathBuf, Cached<(), Name>>,
    folder_by_inode: HashMap<u64, PathBuf>,
    names: BTreeMap<PathBuf, Node>,
    acknowledged: Lsn,
}

impl<'a> Disk<'a> {
    /// An empty folder `base`; writes are ranges of `record`.
    pub fn new(record: &'a [u8], base: &Path) -> Disk<'a> {
        Disk {
            record,
            base: base.to_owned(),
            files: Vec::new(),
            by_inode: HashMap::new(),
            folders: HashMap::new(),
            folder_by_inode: HashMap::new(),
            names: BTreeMap::new(),
            acknowledged: 0,
        }
    }

    /// The last event that was acknowledged before a crash now.
    pub fn acknowledged(&self) -> Lsn {
        self.acknowledged
    }

    /// Makes one call.
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::Create(inode, path) => {
                self.by_inode.insert(*inode, self.files.len());
                self.name(path, Name::File(path.clone(), self.files.len()));
                self.files.push(Cached::default());
            }
            Call::Folder(inode, path) => {
                self.by_inode.remove(inode);
                self.folder_by_inode.insert(*inode, path.clone());
            }
            Call::MakeFolder(path) => self.name(path, Name::Folder(path.clone())),
            Call::Rename(from, to) => self.name(to, Name::Rename(from.clone(), to.clone())),
            Call::Remove(path) => self.name(path, Name::Remove(path.clone())),
            Call::Write(inode, offset, bytes) => {
                self.change(*inode, Change::Write(*offset, bytes.clone()));
            }
            Call::Cut(inode, length) => self.change(*inode, Change::Cut(*length)),
            Call::SyncBegins(inode) => self.sync_begins(*inode),
            Call::SyncEnds(inode) => self.sync_ends(*inode),
            Call::Acknowledged(lsn) => self.acknowledged = *lsn,
        }
    }

    fn name(&mut self, path: &Path, name: Name) {
        let folder = path.parent().unwrap_or(path).to_owned();
        self.folders.entry(folder).or_default().waiting.push(name);
    }

    fn change(&mut self, inode: u64, change: Change) {
        if let Some(file) = self.by_inode.get(&inode) {
            self.files[*file].waiting.push(change);
        }
    }

    fn sync_begins(&mut self, inode: u64) {
        if let Some(file) = self.by_inode.get(&inode).map(|file| &mut self.files[*file]) {
            file.covered = file.waiting.len();
        } else if let Some(path) = self.folder_by_inode.get(&inode) {
            let folder = self.folders.entry(path.clone()).or_default();
            folder.covered = folder.waiting.len();
        }
    }

    fn sync_ends(&mut self, inode: u64) {
        if let Some(file) = self.by_inode.get(&inode).map(|file| &mut self.files[*file]) {
            let covered = std::mem::take(&mut file.covered);
            for change in file.waiting.drain(..covered) {
                make(&mut file.saved, self.record, &change);
            }
        } else if let Some(path) = self.folder_by_inode.get(&inode) {
            let folder = self.folders.entry(path.clone()).or_default();
            let covered = std::mem::take(&mut folder.covered);
            let names: Vec<Name> = folder.waiting.drain(..covered).collect();
            names.into_iter().for_each(|name| rename(&mut self.names, name));
        }
    }

    /// Writes what a crash now could leave to `to`, which is empty.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn crash(&self, loss: Loss, random: &mut Random, to: &Path) -> io::Result<()> {
        let mut names = self.names.clone();
        // By name: a hash map's order is no seed's.
        let mut folders: Vec<_> = self.folders.iter().collect();
        folders.sort_by_key(|(path, _)| *path);
        for (_, folder) in folders {
            let kept = keep(&folder.waiting, loss.of_one(random), random);
            kept.into_iter().for_each(|name| rename(&mut names, name));
        }
        for (path, node) in &names {
            let target = to.join(path.strip_prefix(&self.base).map_err(io::Error::other)?);
            // Without its folder a file is lost, whatever its own sync saved.
            if !target.parent().is_some_and(Path::exists) {
                continue;
            }
            match node {
                Node::Folder => fs::create_dir(target)?,
                Node::File(file) => {
                    fs::write(target, self.content(&self.files[*file], loss, random))?;
                }
            }
        }
        Ok(())
    }

    fn content(&self, file: &Cached<Vec<u8>, Change>, loss: Loss, random: &mut Random) -> Vec<u8> {
        let (mut bytes, mut loss) = (file.saved.clone(), loss.of_one(random));
        if file.waiting.is_empty() {
            return bytes;
        }
        if loss == Loss::SomePages {
            let mut all = bytes.clone();
            file.waiting.iter().for_each(|change| make(&mut all, self.record, change));
            return some_pages(bytes, &all, random);
        }
        if loss == Loss::TornPrefix && random.one_in(8) {
            loss = Loss::Everything;
        }
        let kept = match loss {
            Loss::Nothing => 0,
            Loss::TornPrefix => random.below(file.waiting.len()),
            _ => file.waiting.len(),
        };
        file.waiting[..kept].iter().for_each(|change| make(&mut bytes, self.record, change));
        if loss == Loss::TornPrefix
            && let Some(Change::Write(offset, range)) = file.waiting.get(kept)
        {
            self.tear(&mut bytes, *offset, range, random);
        }
        bytes
    }

    /// A write of which a part arrived: up to some byte, and anything up to that sector's end.
    fn tear(
        &self,
        bytes: &mut Vec<u8>,
        offset: u64,
        range: &std::ops::Range<usize>,
        random: &mut Random,
    ) {
        let part = range.start..range.start + random.below(range.len());
        let (whole, offset) = (part.len() == range.len(), offset as usize);
        make(bytes, self.record, &Change::Write(offset as u64, part.clone()));
        let torn = offset + part.len();
        let end = torn.next_multiple_of(SECTOR).min(offset + range.len());
        if !whole && random.one_in(2) {
            bytes.resize(bytes.len().max(end), 0);
            bytes[torn..end].iter_mut().for_each(|byte| *byte = random.draw() as u8);
        }
    }
}

fn make(bytes: &mut Vec<u8>, record: &[u8], change: &Change) {
    match change {
        Change::Cut(length) => bytes.resize(*length as usize, 0),
        Change::Write(offset, range) => {
            let (from, to) = (*offset as usize, *offset as usize + range.len());
            bytes.resize(bytes.len().max(to), 0);
            bytes[from..to].copy_from_slice(&record[range.clone()]);
        }
    }
}

/// The old bytes with some of the pages that changed; as long as the new ones, or as the last page
/// that arrived.
fn some_pages(mut old: Vec<u8>, new: &[u8], random: &mut Random) -> Vec<u8> {
    let pages = new.len().div_ceil(PAGE);
    let long = random.one_in(2);
    // Each by chance, or all but some neighbours: disks write back in runs.
    let by_chance = random.one_in(2);
    let changed = old.len().min(new.len()) / PAGE;
    let hole = changed + random.below(pages.saturating_sub(changed));
    let hole = hole..hole + 1 + random.below(pages - hole);
    for page in 0..pages {
        let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(new.len()));
        let arrived = if by_chance { random.one_in(2) } else { !hole.contains(&page) };
        if old.get(from..to) != Some(&new[from..to]) && arrived {
            old.resize(old.len().max(to), 0);
            old[from..to].copy_from_slice(&new[from..to]);
        }
    }
    if long {
        old.resize(old.len().max(new.len()), 0);
    }
    old
}

fn keep(names: &[Name], loss: Loss, random: &mut Random) -> Vec<Name> {
    match loss {
        Loss::Nothing => Vec::new(),
        Loss::Everything => names.to_vec(),
        Loss::TornPrefix => names[..random.below(names.len() + 1)].to_vec(),
        _ => names.iter().filter(|_| random.one_in(2)).cloned().collect(),
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, name: Name) {
    match name {
        Name::File(path, file) => drop(names.insert(path, Node::File(file))),
        Name::Folder(path) => drop(names.insert(path, Node::Folder)),
        Name::Remove(path) => drop(names.remove(&path)),
        Name::Rename(from, to) => {
            if let Some(node) = names.remove(&from) {
                names.insert(to, node);
            }
        }
    }
}
